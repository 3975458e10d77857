"""The demo under a real Prometheus and a real Alertmanager, time compressed sixty times.

Every question of every panel and rule is answered; healthy traffic fires nothing; a node that becomes slow is
reported by name, with its links, and the report is taken back.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml

from dashboards.asked import QUESTIONS
from dashboards.expressions import FILLED, Chosen, Question, every_panel, filled, questions
from dashboards.generate import dashboards
from dashboards.rehearsal import Rehearsal
from exporter.slo import BY_NODE, DEFAULT_OBJECTIVES, AlertThresholds, Objective
from tests.support.peers import needs
from tests.web.test_pages import said

pytestmark = [
    needs("prometheus", "prometheus-alertmanager"),
    pytest.mark.timeout(900),
]

BY_EVERY_NODE = Objective("turn-latency-4s-by-node", 0.95, threshold_seconds=4.0, by=BY_NODE, minimum_events=3)
"""Standard traffic has a node that is often slower than two seconds, and none slower than four."""
SLOW = {"node_id": "10001", "agent_id": "66f0a1c2d3e4f5a6b7c8d901"}
SLOW_AGENT = "Business Funding - Lead Qualification"
SLOW_NODE = "Start - Determine If Reached Owner or Gatekeeper"

ONLY_WITH_A_FAULT = {
    "Reconnects per minute": {"drop": 0.5},
    "Failures to open a stream per minute": {"server_error": 0.3},
    "Rejected, duplicate and recovered events per minute": {"malformed": 0.05},
}
"""Panels that are empty while all is well, and the simulator's fault that fills them."""
OF_STRANGERS = {"Bounds hit per minute", "Unknown words per minute", "Label sets over budget"}
"""Empty while all is well, and filled by nothing the simulator does: their series have to be there, at zero."""
MARKS_RESTARTS = "annotation Exporter restarts"
ONLY_WHILE_FIRING = {"annotation Alerts", "Firing alerts"}
ONLY_IN_A_FLEET = {
    "Replicas",
    "Calls by replica",
    "Calls taken over, commits refused",
    "Leases",
    "AtomsFleetTakeovers",
}
ONLY_WITH_A_NEW_VERSION = {"annotation Versions"}
SHOWN = {**FILLED, "__rate_interval": "15s", "__range": "1m"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    folder = tmp_path_factory.mktemp("rehearsal")
    # An hour is a minute here: so few calls end in a window that one failure among them is a tenth.
    patient = AlertThresholds(minimum_calls=100)
    with Rehearsal(folder, objectives=(*DEFAULT_OBJECTIVES, BY_EVERY_NODE), thresholds=patient).running() as stage:
        yield stage


def every_question() -> list[Question]:
    return [question for document in dashboards().values() for question in questions(document)]


def unanswered(stage: Rehearsal, asked: list[Question]) -> list[Question]:
    return [question for question in asked if not stage.query(filled(question.expr, SHOWN))]


def rules(stage: Rehearsal) -> list[dict[str, str]]:
    text = (stage.folder / "rules.yml").read_text()
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def without_limits(expr: str) -> str:
    """An alert's expression that is true whatever the numbers: its operands still have to exist and match."""
    told = re.sub(r"\s*(>=|<=|==|>|<)\s*[\d.]+(?=\s|$|\))", "", expr)
    # What takes an alert back is there while all is well: beside the rest, then, not instead of it.
    return re.sub(r"\bunless\b", "or", told)


def test_every_panel_and_rule_has_data_on_standard_traffic_and_nothing_fires(stage: Rehearsal) -> None:
    exceptions = {*ONLY_WITH_A_FAULT, *ONLY_WHILE_FIRING, *ONLY_WITH_A_NEW_VERSION}
    asked = {filled(one.expr, SHOWN): one.panel for one in every_question() if one.panel not in exceptions}
    asked = {without_limits(expr) if panel in OF_STRANGERS else expr: panel for expr, panel in asked.items()}
    for rule in rules(stage):
        asked[rule["expr"] if "record" in rule else without_limits(rule["expr"])] = rule.get("alert", "a record")
    asked = {expr: name for expr, name in asked.items() if name not in ONLY_IN_A_FLEET}
    assert len(asked) > 200

    def nothing_left() -> bool:
        for expr in [expr for expr in asked if stage.query(expr)]:
            del asked[expr]
        return not asked

    try:
        stage.wait_for("data on every panel", nothing_left, 240, every=4)
    except TimeoutError:
        pytest.fail(f"no data: {asked}")
    # What connections take is not compressed: Prometheus' first scrape comes after 5 s, which are five minutes here.
    # And the simulator's events, sped up, bear times that have not come yet.
    compressed = 'alertstate="firing",alertname!~"AtomsExporterDown|AtomsStreamsNotOpen|AtomsClockAhead"'
    fired = f"count_over_time(ALERTS{{{compressed}}}[10m])"
    assert [one["metric"] for one in stage.query(fired)] == []


def test_every_graph_is_answered_over_a_range_as_grafana_asks_it(stage: Rehearsal) -> None:
    answers = pytest.importorskip("dashboards.answers")
    end = time.time()
    source = answers.Source(stage.prometheus, end - 60, end, 5.0, SHOWN)
    graphs = [
        (panel, target)
        for document in dashboards().values()
        for panel in every_panel(document)
        for target in panel.get("targets", ())
        if panel["type"] in {"timeseries", "heatmap"}
    ]
    assert len(graphs) > 60
    for panel, target in graphs:
        lines = source.lines({**panel, "targets": [target]})
        if "topk" in target["expr"]:
            assert 0 < len(lines) <= 12, "the same twelve at every point"


def test_one_node_of_one_agent_can_be_chosen_by_their_names(stage: Rehearsal) -> None:
    chosen: dict[str, Chosen] = {**SHOWN, "__range": "10m", "__rate_interval": "10m"}
    chosen |= {"agent": [SLOW_AGENT], "node": [SLOW_NODE]}
    asked = [
        one for one in every_question() if one.panel in {"Turn latency p95 by node", "Workflow", "Loops per visit"}
    ]
    for question in asked:
        found = stage.query(filled(question.expr, chosen))
        assert found, question.panel
        assert {one["metric"].get("node_name", SLOW_NODE) for one in found} == {SLOW_NODE}
        assert {one["metric"].get("agent_name", SLOW_AGENT) for one in found} == {SLOW_AGENT}


@pytest.mark.parametrize("uid", ["atoms-flow", "atoms-slo"])
def test_a_dashboard_can_be_drawn_from_what_prometheus_answers(stage: Rehearsal, uid: str) -> None:
    answers, drawing = pytest.importorskip("dashboards.answers"), pytest.importorskip("dashboards.drawing")
    end = time.time()
    source = answers.Source(stage.prometheus, end - 60, end, 2.0, SHOWN)
    picture = BytesIO()
    drawing.draw(dashboards()[uid], source, "a test").savefig(picture, dpi=20)
    assert picture.tell() > 10_000


@pytest.mark.parametrize("panel", ONLY_WITH_A_FAULT)
def test_a_panel_that_is_empty_while_all_is_well_shows_its_fault(stage: Rehearsal, panel: str) -> None:
    asked = [question for question in every_question() if question.panel == panel]
    assert asked
    stage.misbehave(ONLY_WITH_A_FAULT[panel])
    try:
        stage.wait_for(panel, lambda: not unanswered(stage, asked))
    finally:
        stage.behave()


def test_a_node_that_becomes_slow_is_reported_with_its_name_and_links_and_taken_back(stage: Rehearsal) -> None:
    def mine(status: str) -> dict[str, object] | None:
        for alert in stage.pager.alerts("AtomsSLOBudgetBurn", status):
            labels = alert["labels"]
            if (labels.get("node_id"), labels["agent_id"], labels["severity"]) == (*SLOW.values(), "critical"):
                return dict(alert)
        return None

    stage.misbehave({"slow_node": {**SLOW, "factor": 10}})
    alert = stage.wait_for("the page", lambda: mine("firing"))
    asked = [question for question in every_question() if question.panel in ONLY_WHILE_FIRING]
    not_shown = unanswered(stage, asked)
    stage.behave()
    assert not_shown == []
    labels, annotations = alert["labels"], alert["annotations"]
    assert isinstance(labels, dict)
    assert isinstance(annotations, dict)
    assert "agent_name" not in labels, "a new name would make another alert of it"
    assert labels["node_name"] == SLOW_NODE
    assert labels["slo"] == BY_EVERY_NODE.name
    assert annotations["summary"].startswith(f"{SLOW_AGENT} / {SLOW_NODE} burns its error budget ")
    assert annotations["runbook_url"].endswith("/dashboards/runbook.md#atomsslobudgetburn")
    link = urlsplit(annotations["dashboard_url"])
    assert link.path == "/d/atoms-slo"
    assert parse_qs(link.query) == {
        "var-slo": [BY_EVERY_NODE.name],
        "var-agent": [SLOW_AGENT],
        "var-node": [SLOW_NODE],
    }
    blamed = {
        (one["labels"].get("agent_id"), one["labels"].get("node_name", SLOW_NODE))
        for delivery in stage.pager.deliveries
        for one in delivery["alerts"]
        if one["labels"]["alertname"] == "AtomsSLOBudgetBurn"
    }
    assert blamed == {(SLOW["agent_id"], SLOW_NODE)}, "somebody else was blamed as well"
    stage.wait_for("the page being taken back", lambda: mine("resolved"))


def test_a_restart_of_the_exporter_is_marked_on_every_dashboard(stage: Rehearsal) -> None:
    asked = {filled(one.expr, SHOWN) for one in every_question() if one.panel == MARKS_RESTARTS}
    assert len(asked) == 1

    def marks() -> set[float]:
        return {float(series["value"][1]) for expr in asked for series in stage.query(expr)}

    before, begun_ms = marks(), time.time() * 1000
    stage.restart_exporter()
    after = stage.wait_for("the mark", lambda: marks() - before)
    assert all(mark >= begun_ms - 1000 for mark in after)


def test_an_account_at_its_limit_pages_and_its_panel_and_the_page_say_so(stage: Rehearsal) -> None:
    """The one question of an on-call that is answered within seconds here; ``make incidents`` walks the others."""
    (asked,) = [asked for asked in QUESTIONS if asked.alert == "AtomsNearConcurrencyLimit"]
    stage.misbehave({"limit": {"calls": 20}})
    try:
        alert = stage.wait_for("the page", lambda: stage.pager.alerts(asked.alert, "firing"))[0]
        link = urlsplit(alert["annotations"]["dashboard_url"])
        assert link.path == f"/d/{asked.dashboard}"
        values = {**SHOWN, "job": tuple(parse_qs(link.query)["var-job"])}
        panel = [one for one in every_question() if (one.dashboard, one.panel) == (asked.dashboard, asked.panel)]

        def full() -> bool:
            active, limit = (stage.query(filled(one.expr, values)) for one in panel[:2])
            return bool(active and limit) and float(active[0]["value"][1]) >= 0.9 * float(limit[0]["value"][1])

        stage.wait_for("the panel", full)
        stage.wait_for("the exporter's page", lambda: asked.on_the_page in said(httpx.get(stage.exporter).text))
    finally:
        stage.behave()
