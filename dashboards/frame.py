"""What every dashboard has around its panels: filters, links to the others, annotations, stable ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from .expressions import every_panel
from .panels import PROMETHEUS
from .queries import AGENT, AGENT_NAME, INSTANCE

FILTERS = "var-datasource=${datasource}&var-traces=${traces}&${job:queryparam}&${instance:queryparam}"
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


def _slow_turns_of(agent_id: str, node_id: str) -> tuple[str, str]:
    """By ids: a quote in a name would end the search's text, and the JSON around it."""
    where = f'span.gen_ai.agent.id = "{agent_id}" && span.atoms.node.id = "{node_id}"'
    return SLOW_TURNS, to_traces(f'{{ name = "turn" && duration > 2s && {where} }}')


def slow_turns_of_node() -> tuple[str, str]:
    """A link from a series labelled by node to that node's turns over two seconds."""
    return _slow_turns_of("${__field.labels.agent_id:percentencode}", "${__field.labels.node_id:percentencode}")


def slow_turns_of_row() -> tuple[str, str]:
    """The same for a table whose (hidden) columns hold the ids."""
    return _slow_turns_of("${__data.fields.AgentId:percentencode}", "${__data.fields.NodeId:percentencode}")


def slow_turns() -> tuple[str, str]:
    """A link to the list of turns over two seconds on the SLO dashboard, which filters by agent and node."""
    return SLOW_TURNS, to_dashboard("atoms-slo", "${agent:queryparam}&${node:queryparam}")


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

    def closed_row(self, title: str, *panels: Any) -> Board:
        """A row that asks nothing until somebody opens it; the last one, for what costs most."""
        row = builders.Row(title).collapsed(True)
        for panel in panels:
            row.with_panel(panel)
        self._board.with_row(row)
        return self

    def document(self) -> dict[str, Any]:
        """The dashboard as Grafana stores it; panel ids count up, so that links to a panel survive."""
        document: dict[str, Any] = json.loads(json.dumps(self._board.build(), cls=JSONEncoder))
        for number, panel in enumerate(every_panel(document), start=1):
            panel["id"] = number
            _tidy(panel)
        for variable in document["templating"]["list"]:
            for key in _OF_INTERVALS:
                variable.pop(key, None)
        return document


_OF_INTERVALS = ("auto", "auto_count", "auto_min")
"""Fields of interval variables, which the SDK gives to all of them."""


def _tidy(panel: dict[str, Any]) -> None:
    """What the SDK writes and Grafana does not read, or no longer."""
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if "links" in defaults:
        # Data links have three fields; the SDK writes those of dashboard links.
        defaults["links"] = [{key: link[key] for key in ("title", "url", "targetBlank")} for link in defaults["links"]]
    # A table's foot is no option of the panel any more since Grafana 12.2.
    panel.get("options", {}).pop("footer", None)


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


def scraped() -> list[Any]:
    """Which exporters: ``job`` and ``instance``, as Prometheus gives them to whatever it scrapes."""
    info = "atoms_exporter_build_info"
    return [
        filter_by("job", "Job", f"label_values({info}, job)", "Scrape jobs that hold exporters."),
        filter_by("instance", "Instance", f'label_values({info}{{job=~"$job"}}, instance)', "Exporters, by address."),
    ]


def agents() -> Any:
    query = f"label_values(atoms_calls_started_total{{{INSTANCE}}}, agent_name)"
    return filter_by("agent", "Agent", query, "Agents, by name.")


def nodes() -> Any:
    query = f"label_values(atoms_node_visits_total{{{AGENT}}}, node_name)"
    return filter_by("node", "Node", query, "Workflow nodes the chosen agents' calls have visited.")


def channels() -> Any:
    query = f"label_values(atoms_calls_started_total{{{AGENT}}}, channel)"
    return filter_by("channel", "Channel", query, "How the calls come in: phone, web or chat.")


def price(name: str, label: str, example: str, what: str) -> Any:
    """A price the reader types in."""
    typed = models.VariableOption(selected=True, text=example, value=example)
    return builders.TextBoxVariable(name).label(label).description(what).default_value(example).current(typed)


def _annotations() -> list[Any]:
    # Only exporters' own starts: with the filter on "All", the job would be any job.
    exporters = f"atoms_exporter_build_info{{{INSTANCE}}}"
    restarts = f"process_start_time_seconds{{{INSTANCE}}} * 1000 and on (job, instance) {exporters}"
    firing = f"count by (alertname, severity, agent_name, slo) ({with_agent_names(firing_alerts())})"
    return [
        _annotation("Exporter restarts", restarts, "orange", "Exporter started", "{{instance}}", value_is_time=True),
        _annotation("Alerts", firing, "red", "{{alertname}}", "{{severity}} {{agent_name}} {{slo}}"),
        _annotation(
            "Versions", _new_versions(), "blue", "{{agent_name}}: version {{version}}", "A new version is in use"
        ),
    ]


def _new_versions() -> str:
    """For five minutes, the version of an agent that was not in use before, where another one was."""
    by = "agent_id, agent_name, version"
    now = f"max by ({by}) (atoms_agent_version_info{{{AGENT}}})"
    before = f"(atoms_agent_version_info{{{AGENT}}} offset 5m)"
    return f"({now} unless max by ({by}) {before}) and on (agent_id) max by (agent_id) {before}"


def firing_alerts(*matchers: str) -> str:
    """The alerts that fire for the chosen agents, and those that are about no agent at all."""
    about = AGENT_NAME.removesuffix("`") + "|`"
    chosen = ('alertname=~"Atoms.*"', 'alertstate="firing"', about, *matchers)
    others = f"atoms_slo:agent_name{{{AGENT_NAME.replace('=~', '!~')}}}"
    return f"(ALERTS{{{','.join(chosen)}}} unless on (agent_id) {others})"


def with_agent_names(alerts: str) -> str:
    """Alerts bear the id of their agent, so that a new name makes no new alert; here is what it is called now."""
    names = "topk by (agent_id) (1, max by (agent_id, agent_name) (atoms_slo:agent_name))"
    return f"({alerts} unless on (agent_id) {names}) or {alerts} * on (agent_id) group_left (agent_name) {names}"


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
