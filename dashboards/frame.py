"""What every dashboard has around its panels: filters, links to the others, annotations, stable ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from .panels import PROMETHEUS

FILTERS = "var-datasource=${datasource}&var-traces=${traces}"
TIME = "${__url_time_range}"


def to_dashboard(uid: str, variables: str) -> str:
    """An address of another dashboard with filters; the time range goes along."""
    return f"/d/{uid}?{FILTERS}&{variables}&{TIME}"


def to_traces(traceql: str) -> str:
    """An address in Explore that searches the trace datasource of the dashboard.

    ``traceql`` may name Grafana's variables; what a field's label holds must be percent-encoded by Grafana itself.
    """
    query = {"refId": "A", "queryType": "traceql", "query": traceql, "limit": 20, "tableType": "spans"}
    pane = {"datasource": "${traces}", "queries": [query], "range": {"from": "${__from}", "to": "${__to}"}}
    text = quote(json.dumps({"a": pane}, separators=(",", ":")), safe="${}:_.")
    return f"/explore?schemaVersion=1&orgId=${{__org.id}}&panes={text}"


SLOW_TURNS = "Slow turns in the traces"
"""The title of links from a latency to the turns behind it."""


def slow_turns_of_node() -> tuple[str, str]:
    """A link from a series labelled by node to that node's turns over two seconds."""
    node = "${__field.labels.node_name:percentencode}"
    return SLOW_TURNS, to_traces(f'{{ name = "turn" && duration > 2s && span.atoms.node.name = "{node}" }}')


def slow_turns_of_row() -> tuple[str, str]:
    """The same for a table's cell that holds a node's name."""
    node = "${__value.text:percentencode}"
    return SLOW_TURNS, to_traces(f'{{ name = "turn" && duration > 2s && span.atoms.node.name = "{node}" }}')


def slow_turns() -> tuple[str, str]:
    """A link to all turns over two seconds."""
    return SLOW_TURNS, to_traces('{ name = "turn" && duration > 2s }')


def node_of_series() -> tuple[str, str]:
    """A link from a series labelled by node to that node's own page."""
    variables = (
        "var-agent=${__field.labels.agent_name:percentencode}&var-node=${__field.labels.node_name:percentencode}"
    )
    return "This node", to_dashboard("atoms-node", variables)


class Board:
    """A dashboard in the making: rows of panels, flowing left to right on Grafana's 24 columns."""

    def __init__(self, uid: str, title: str, what: str, *, variables: Sequence[Any], span: str = "now-6h") -> None:
        board = builders.Dashboard(title).uid(uid).description(what).tags(["atoms"]).editable()
        board.timezone("browser").time(span, "now").refresh("30s").tooltip(models.DashboardCursorSync.CROSSHAIR)
        board.link(
            builders.DashboardLink("Atoms dashboards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["atoms"])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        for annotation in _annotations():
            board.annotation(annotation)
        for variable in variables:
            board.with_variable(variable)
        self._board = board

    def row(self, title: str, *panels: Any) -> Board:
        """A titled row with its panels."""
        self._board.with_row(builders.Row(title))
        for panel in panels:
            self._board.with_panel(panel)
        return self

    def document(self) -> dict[str, Any]:
        """The dashboard as Grafana stores it; panel ids count up, so that links to a panel survive."""
        document: dict[str, Any] = json.loads(json.dumps(self._board.build(), cls=JSONEncoder))
        for number, panel in enumerate(document["panels"], start=1):
            panel["id"] = number
            _tidy_links(panel)
        return document


def _tidy_links(panel: dict[str, Any]) -> None:
    """Data links have three fields; the SDK writes those of dashboard links."""
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if "links" in defaults:
        defaults["links"] = [{key: link[key] for key in ("title", "url", "targetBlank")} for link in defaults["links"]]


def datasources() -> list[Any]:
    """Where metrics and traces come from, as a choice of the reader."""
    return [
        builders.DatasourceVariable("datasource").label("Metrics").type("prometheus"),
        builders.DatasourceVariable("traces").label("Traces").type("tempo"),
    ]


def filter_by(name: str, label: str, query: str, what: str) -> Any:
    """A filter with several values; "All" matches everything, and what has no such label too."""
    everything = models.VariableOption(selected=True, text="All", value="$__all")
    return (
        builders.QueryVariable(name)
        .label(label)
        .description(what)
        .datasource(PROMETHEUS)
        .query({"query": query, "refId": name})
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def agents() -> Any:
    return filter_by("agent", "Agent", "label_values(atoms_calls_started_total, agent_name)", "Agents, by name.")


def nodes() -> Any:
    query = 'label_values(atoms_turn_latency_seconds_count{agent_name=~"$agent"}, node_name)'
    return filter_by("node", "Node", query, "Workflow nodes of the chosen agents; none for single-prompt agents.")


def channels() -> Any:
    query = 'label_values(atoms_calls_started_total{agent_name=~"$agent"}, channel)'
    return filter_by("channel", "Channel", query, "How the calls come in: phone, web or chat.")


def price(name: str, label: str, example: str, what: str) -> Any:
    """A price the reader types in."""
    typed = models.VariableOption(selected=True, text=example, value=example)
    return builders.TextBoxVariable(name).label(label).description(what).default_value(example).current(typed)


def _annotations() -> list[Any]:
    restarts = 'process_start_time_seconds{job=~".*atoms.*"} * 1000'
    firing = 'count by (alertname, severity, agent_name, slo) (ALERTS{alertname=~"Atoms.*",alertstate="firing"})'
    return [
        _annotation("Exporter restarts", restarts, "orange", "Exporter started", "{{instance}}", value_is_time=True),
        _annotation("Alerts", firing, "red", "{{alertname}}", "{{severity}} {{agent_name}} {{slo}}"),
    ]


def _annotation(name: str, expr: str, colour: str, title: str, text: str, *, value_is_time: bool = False) -> Any:
    """Marks where a query has values, or at the times (ms) that are its values: that survives a long outage."""
    made = builders.AnnotationQuery().name(name).datasource(PROMETHEUS).enable(True).icon_color(colour).expr(expr)
    return _Extended(made, {"titleFormat": title, "textFormat": text, "step": "30s", "useValueForTime": value_is_time})


class _Extended:
    """An annotation with the Prometheus datasource's own fields, which the SDK does not know."""

    def __init__(self, made: Any, fields: dict[str, object]) -> None:
        self._made, self._fields = made, fields

    def build(self) -> Any:
        return _ExtendedModel(self._made.build(), self._fields)


class _ExtendedModel:
    def __init__(self, model: Any, fields: dict[str, object]) -> None:
        self._model, self._fields = model, fields

    def to_json(self) -> dict[str, object]:
        return {**self._model.to_json(), **self._fields}
