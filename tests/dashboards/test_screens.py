"""What somebody sees who opens a dashboard at night: what fires, then now; names that tell apart."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, quote, urlsplit

from .boards import DOCUMENTS, Document, every_dashboard, overrides, panels


def test_latency_panels_carry_exemplars_and_lead_to_the_traces() -> None:
    shown = [
        panel
        for name in ("atoms-overview", "atoms-node", "atoms-slo")
        for panel in panels(DOCUMENTS[name])
        if panel["type"] in {"timeseries", "heatmap"} and "atoms_turn_latency_seconds_bucket" in json.dumps(panel)
    ]
    assert len(shown) >= 4
    for panel in shown:
        assert sum(bool(target.get("exemplar")) for target in panel["targets"]) == 1, panel["title"]
    assert json.dumps(DOCUMENTS).count("/explore?schemaVersion=1") >= 5


@every_dashboard
def test_grafana_asks_for_exemplars_of_the_first_query_of_a_metric_so_only_that_one_wants_them(
    document: Document,
) -> None:
    for panel in panels(document):
        seen: set[str] = set()
        for target in panel["targets"]:
            metrics = set(re.findall(r"\batoms_\w+", target.get("expr", "")))
            assert not (target.get("exemplar") and metrics & seen), (panel["title"], target["refId"])
            seen |= metrics


@every_dashboard
def test_what_sums_up_the_time_range_is_asked_once(document: Document) -> None:
    for panel in panels(document):
        for target in panel["targets"]:
            expr = target.get("expr", "")
            if "$__range" in expr.replace("[$__range] @ end()", ""):
                assert target["instant"], panel["title"]
                assert panel["type"] not in {"timeseries", "heatmap"}, panel["title"]


@every_dashboard
def test_the_largest_of_a_graph_are_chosen_at_its_end_and_not_anew_at_every_point(document: Document) -> None:
    for panel in panels(document):
        for target in panel["targets"]:
            if panel["type"] == "timeseries" and "topk" in target["expr"]:
                assert "@ end()" in target["expr"], panel["title"]


@every_dashboard
def test_a_number_is_asked_for_now_and_is_never_the_last_point_of_a_course(document: Document) -> None:
    for panel in panels(document):
        if panel["type"] in {"stat", "bargauge"}:
            assert all(target["instant"] and not target["range"] for target in panel["targets"]), panel["title"]


def test_now_is_now_whatever_the_time_range() -> None:
    for name in ("atoms-overview", "atoms-exporter"):
        document, row = DOCUMENTS[name], ""
        for panel in document["panels"]:
            row = panel["title"] if panel["type"] == "row" else row
            if panel["type"] != "row" and row.startswith("Now"):
                asked = [target["expr"] for target in panel["targets"]]
                assert not [expr for expr in asked if "$__" in expr], (name, panel["title"])


def test_the_overview_begins_with_what_fires_and_the_worst_are_in_the_first_screen() -> None:
    first, *rest = panels(DOCUMENTS["atoms-overview"])
    assert "ALERTS{" in first["targets"][0]["expr"]
    since = rest[0]["targets"][0]["expr"]
    assert "ALERTS_FOR_STATE" in since
    screen = {panel["title"] for panel in (first, *rest) if panel["gridPos"]["y"] + panel["gridPos"]["h"] <= 22}
    assert {"Firing alerts", "Worst agents, the last 15 minutes", "Worst nodes, the last 15 minutes"} <= screen


@every_dashboard
def test_a_colour_that_warns_is_for_a_share_a_time_or_an_alert_never_for_how_many(document: Document) -> None:
    for panel in panels(document):
        if panel["type"] == "table":
            units, coloured = overrides(panel, "unit"), overrides(panel, "thresholds")
            assert "short" not in {units.get(name) for name in coloured}, panel["title"]


@every_dashboard
def test_a_graph_has_a_table_with_the_last_and_the_largest_value_of_each_line(document: Document) -> None:
    for panel in panels(document):
        if panel["type"] == "timeseries":
            legend = panel["options"]["legend"]
            assert (legend["displayMode"], legend["calcs"]) == ("table", ["lastNotNull", "max"]), panel["title"]


@every_dashboard
def test_lines_and_bars_by_node_say_the_agent_too_and_are_kept_apart_by_ids(document: Document) -> None:
    for panel in panels(document):
        for target in panel["targets"]:
            names = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
            if names & {"node_name", "from_node_name"}:
                assert "agent_name" in names, panel["title"]
            outermost = re.findall(r"(?:sum|min|max) by \(([^)]*)\)", target.get("expr", ""))
            for by in outermost:
                kept = set(by.split(", "))
                assert "node_name" not in kept or {"node_id", "agent_id"} <= kept or "alertname" in kept, panel["title"]


@every_dashboard
def test_percentiles_and_shares_rest_on_five_minutes_at_least(document: Document) -> None:
    for panel in panels(document):
        for target in panel["targets"]:
            expr = target.get("expr", "")
            if "[$__rate_interval]" in expr and ("histogram_quantile" in expr or " / " in expr):
                assert target["interval"] == "75s", (panel["title"], "$__rate_interval is four of these")


def test_heatmaps_by_node_are_last_and_closed_and_their_rare_cells_are_seen_on_dark() -> None:
    last = DOCUMENTS["atoms-node"]["panels"][-1]
    assert (last["type"], last["collapsed"]) == ("row", True)
    (heat,) = last["panels"]
    assert (heat["type"], heat["repeat"]) == ("heatmap", "node")
    for document in DOCUMENTS.values():
        for panel in panels(document):
            if panel["type"] == "heatmap":
                # The schemes of one hue and Viridis and its kin begin at nearly black.
                assert panel["options"]["color"]["scheme"] == "Cool"


def explore_links() -> list[Document]:
    """What links to Explore ask the trace datasource, as Grafana reads it from their address."""
    addresses = set(re.findall(r'"(/explore\?[^"]*)"', json.dumps(DOCUMENTS)))
    return [json.loads(parse_qs(urlsplit(address).query)["panes"][0]) for address in addresses]


def test_a_link_to_the_traces_goes_by_ids_because_names_have_quotes() -> None:
    found = [query["query"] for pane in explore_links() for query in pane["a"]["queries"]]
    assert found
    for query in found:
        assert "span.atoms.node.id" in query
        assert "span.gen_ai.agent.id" in query
        assert "name}" not in query.replace(" ", "")


def test_slow_turns_are_those_of_the_chosen_agents_and_nodes() -> None:
    (panel,) = [panel for panel in panels(DOCUMENTS["atoms-slo"]) if panel["title"] == "Slow turns, newest first"]
    (target,) = panel["targets"]
    assert "span.gen_ai.agent.name =~ `${agent:regex}`" in target["query"]
    assert "span.atoms.node.name =~ `${node:regex}`" in target["query"]


@every_dashboard
def test_names_in_links_are_percent_encoded_and_in_questions_between_backticks(document: Document) -> None:
    text = json.dumps(document)
    for value in re.findall(r"\$\{(__(?:value|data|field)[^}]*)\}", text):
        assert value.endswith(":percentencode"), value
    assert not re.search(r'_name=~\\"', text), "a quote in a name ends the matcher"


def test_a_name_with_quotes_arrives_at_the_other_end_of_a_link() -> None:
    name = 'Ask "why?" & (it\'s {odd}) \\ 100% #1'
    # As Grafana's percentencode writes it.
    encoded = quote(name, safe="!'()*")
    addresses = {
        address for address in re.findall(r'"url": "(/d/[^"]*)"', json.dumps(DOCUMENTS)) if ":percentencode}" in address
    }
    assert len(addresses) >= 4
    for address in addresses:
        followed = re.sub(r"\$\{__(?:value|data|field)[^}]*:percentencode\}", lambda _: encoded, address)
        followed = re.sub(r"\$\{[^}]*\}", "", followed)
        found = parse_qs(urlsplit(followed).query)
        assert name in [value for key, values in found.items() if key != "var-slo" for value in values], address


@every_dashboard
def test_nodes_to_choose_from_are_those_visited(document: Document) -> None:
    for variable in document["templating"]["list"]:
        if variable["name"] == "node":
            assert variable["query"]["query"].startswith("label_values(atoms_node_visits_total{")


@every_dashboard
def test_ratios_that_rules_have_recorded_are_never_added_up(document: Document) -> None:
    for panel in panels(document):
        for target in panel["targets"]:
            for ratio in ("error_ratio", "error_budget_remaining", "node_error_ratio"):
                assert not re.search(rf"sum[^(]*\(+atoms_slo:{ratio}\b", target.get("expr", "")), panel["title"]
