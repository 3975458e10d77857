"""Every question of every panel in worlds that are not simple: twins, quotes, two of everything, thin traffic."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.expressions import FILLED, Chosen, Question, every_panel, filled, questions
from dashboards.generate import dashboards
from exporter.outputs.prometheus.catalogue import CALL_METRICS

from .boards import DOCUMENTS, overrides, panels
from .worlds import Place, Sample, World, needs_promtool, twice_evaluated

pytestmark = needs_promtool

QUOTED = 'Ask "why?" (it\'s {odd}) \\ again'
TWINS = (
    Place("agent-1", "Sales", "n1", "Start", instance="a:9464"),
    Place("agent-1", "Sales", "n2", "Start", instance="b:9464", seconds=lambda minute: 3.0),
    Place("agent-2", "Sales", "n1", "Start", instance="b:9464"),
    Place("agent-3", 'The "best"', "n9", QUOTED, instance="a:9464"),
)
"""Two nodes of one name in one agent, two agents of one name, names with quotes, two exporters."""
MINUTES = 90
SHOWN = {**FILLED, "__rate_interval": "5m", "__range": "1h"}
FIRST_SCREEN = {
    "Alerts",
    "Firing alerts",
    "Calls that succeed",
    "Turn latency",
    "Burn rate, last hour",
    "Worst agents, the last 15 minutes",
    "Worst nodes, the last 15 minutes",
}
HARDLY_EVER = {"annotation Alerts", "Firing alerts", "annotation Versions"}
"""Empty while nothing fires, and no version is new."""


def every_question() -> list[Question]:
    return [question for document in dashboards().values() for question in questions(document)]


def asked(values: dict[str, Chosen]) -> dict[str, Question]:
    return {filled(question.expr, values): question for question in every_question()}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The twins' world, its rules evaluated by two Prometheis."""
    folder = tmp_path_factory.mktemp("twins")
    recorded = '{__name__=~"atoms_[a-z]+:.+"}'
    once = World(MINUTES).traffic(*TWINS).answers(folder, [recorded])[recorded]
    assert len({sample.labels["slo"] for sample in once if "slo" in sample.labels}) == 2
    return twice_evaluated(once, World(MINUTES).traffic(*TWINS))


@pytest.fixture(scope="module")
def answered(twins: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Sample]]:
    return twins.answers(tmp_path_factory.mktemp("asked"), asked(SHOWN), rules=())


def test_two_objectives_two_exporters_and_two_prometheis_in_one_store_leave_no_panel_without_an_answer(
    answered: dict[str, list[Sample]],
) -> None:
    names = asked(SHOWN)
    empty = {(names[expr].dashboard, names[expr].panel) for expr, found in answered.items() if not found}
    assert {panel for _, panel in empty} <= HARDLY_EVER


def test_what_a_legend_names_is_what_its_series_have(answered: dict[str, list[Sample]]) -> None:
    """A division whose sides do not match leaves a nameless line: data, but not an answer."""
    nameless = set()
    for document in dashboards().values():
        for panel in every_panel(document):
            for target in panel.get("targets", ()):
                labels = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
                found = answered.get(filled(target["expr"], SHOWN), []) if target.get("expr") else []
                for label in labels:
                    if found and not any(sample.labels.get(label) for sample in found):
                        nameless.add((document["uid"], panel["title"], label))
    assert nameless == set()


def shares(answered: dict[str, list[Sample]]) -> Iterator[tuple[str, Sample]]:
    """What is shown as a percentage."""
    for document in DOCUMENTS.values():
        for panel in panels(document):
            units = overrides(panel, "unit")
            titles = {}
            for change in panel.get("transformations", ()):
                titles |= change["options"].get("renameByName", {}) if isinstance(change["options"], dict) else {}
            default = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
            for target in panel["targets"]:
                column = titles.get(f"Value #{target['refId']}", titles.get("Value", ""))
                if "expr" in target and units.get(column, default) == "percentunit":
                    for sample in answered[filled(target["expr"], SHOWN)]:
                        yield f"{document['title']}: {panel['title']} {column}", sample


def test_no_share_is_more_than_everything(answered: dict[str, list[Sample]]) -> None:
    found = list(shares(answered))
    assert len(found) > 30
    for panel, sample in found:
        assert sample.value <= 1.0 + 1e-9 or math.isnan(sample.value), (panel, sample)
        assert sample.value >= 0 or "udget" in panel, (panel, sample)


def found_in(answered: dict[str, list[Sample]], panel: str, ref: str = "A") -> list[Sample]:
    (question,) = {one.expr for one in every_question() if (one.panel, one.ref) == (panel, ref)}
    return answered[filled(question, SHOWN)]


@pytest.mark.parametrize(
    "panel",
    [
        "Worst nodes, the last 15 minutes",
        "Turn latency p95 by node",
        "Mean turn latency by node",
        "Loops per visit",
        "By agent and node",
    ],
)
def test_nodes_of_one_name_stay_apart(answered: dict[str, list[Sample]], panel: str) -> None:
    ids = [(sample.labels["agent_id"], sample.labels["node_id"]) for sample in found_in(answered, panel)]
    assert {(place.agent_id, place.node_id) for place in TWINS} <= set(ids)
    assert len(set(ids)) == len(ids)


def test_the_slow_twin_is_the_one_that_is_bad(answered: dict[str, list[Sample]]) -> None:
    for panel in ("Worst nodes, the last 15 minutes", "By node, last hour"):
        bad = {
            (one.labels["agent_id"], one.labels["node_id"])
            for one in found_in(answered, panel)
            if one.labels.get("slo", "turn-latency-2s") == "turn-latency-2s" and one.value > 0.5
        }
        assert bad == {("agent-1", "n2")}, panel


def test_a_node_whose_name_has_quotes_can_be_chosen(twins: World, tmp_path: Path) -> None:
    chosen: dict[str, Chosen] = {**SHOWN, "agent": ['The "best"'], "node": [QUOTED]}
    of_places = {
        expr: question
        for expr, question in asked(chosen).items()
        if "node:regex" in next(one.expr for one in every_question() if filled(one.expr, chosen) == expr)
    }
    assert len(of_places) > 60
    for expr, found in twins.answers(tmp_path, of_places, rules=()).items():
        assert found, (of_places[expr].dashboard, of_places[expr].panel)
        for sample in found:
            assert sample.labels.get("node_name", QUOTED) in {QUOTED, "Elsewhere"}, of_places[expr].panel


WALKS = {"atoms_node_hops_total", "atoms_node_visits_total", "atoms_node_loops_total"}


def test_a_chosen_node_shows_the_hops_to_it_as_well_as_those_from_it(tmp_path: Path) -> None:
    walked = World(MINUTES).traffic(*TWINS, metrics=WALKS)
    for node in ("Start", "Elsewhere"):
        chosen: dict[str, Chosen] = {**SHOWN, "node": [node]}
        hops = {filled(one.expr, chosen): one.panel for one in every_question() if "atoms_node_hops_total" in one.expr}
        for expr, found in walked.answers(tmp_path, hops, rules=()).items():
            if hops[expr] != "Where calls end":
                assert found, (node, hops[expr])


def test_an_arrow_of_the_workflow_has_a_node_at_either_end(tmp_path: Path) -> None:
    chosen: dict[str, Chosen] = {**SHOWN, "node": ["Start"]}
    expressions = {one.ref: filled(one.expr, chosen) for one in every_question() if one.panel == "Workflow"}
    found = World(MINUTES).traffic(*TWINS, metrics=WALKS).answers(tmp_path, expressions.values(), rules=())
    nodes = {sample.labels["id"] for sample in found[expressions["nodes"]]}
    ends = {sample.labels[end] for sample in found[expressions["edges"]] for end in ("source", "target")}
    assert ends
    assert ends <= nodes


def test_after_fifteen_bad_minutes_now_is_bad_though_the_day_was_good(tmp_path: Path) -> None:
    worse = 150
    place = Place(
        "agent-1",
        "Sales",
        "n1",
        "Start",
        seconds=lambda minute: 0.7 if minute < worse else 8.0,
        failing=lambda minute: 0.0 if minute < worse else 0.5,
    )
    world = World(worse + 15).traffic(place, metrics={spec.name for spec in CALL_METRICS})
    values: dict[str, Chosen] = {**SHOWN, "__range": "6h"}
    of_now = [one for one in every_question() if one.dashboard == "atoms-overview" and one.panel in FIRST_SCREEN]
    found = world.answers(tmp_path, [filled(one.expr, values) for one in of_now])
    now = {(one.panel, one.ref): found[filled(one.expr, values)] for one in of_now}

    def the(panel: str, ref: str = "A") -> float:
        (sample,) = now[panel, ref]
        return sample.value

    assert the("Calls that succeed") == pytest.approx(0.5, abs=0.1)
    assert the("Turn latency") > 6
    assert the("Turn latency", "B") > 7
    assert the("Burn rate, last hour") > 1
    assert the("Worst agents, the last 15 minutes") > 0.9
    assert the("Worst nodes, the last 15 minutes") > 0.9
    assert the("Alerts") > 0
    pages = [sample for sample in now["Firing alerts", "A"] if sample.labels["alertname"] == "AtomsSLOBudgetBurn"]
    assert {sample.labels["agent_name"] for sample in pages} == {"Sales"}
    assert all(worse <= sample.value / 60_000 <= worse + 15 for sample in pages), "since when: within the bad minutes"


def test_two_agents_of_one_name_are_two_lines_among_what_fires(tmp_path: Path) -> None:
    slow = [Place(f"agent-{which}", "Sales", "n1", "Start", seconds=lambda minute: 8.0) for which in (1, 2)]
    world = World(40).traffic(*slow, metrics={"atoms_turn_latency_seconds", "atoms_calls_started_total"})
    (firing,) = {filled(one.expr, SHOWN) for one in every_question() if one.panel == "Firing alerts"}
    found = world.answers(tmp_path, [firing])[firing]
    burning = [sample.labels for sample in found if sample.labels["alertname"] == "AtomsSLOBudgetBurn"]
    assert {labels["agent_id"] for labels in burning} == {"agent-1", "agent-2"}
    assert {labels["agent_name"] for labels in burning} == {"Sales"}
    (panel,) = [panel for panel in panels(DOCUMENTS["atoms-overview"]) if panel["title"] == "Firing alerts"]
    assert '"agent_id": "Agent id"' in json.dumps(panel)


def test_without_rules_the_first_number_says_so_and_with_them_it_is_zero(tmp_path: Path) -> None:
    world = World(20).traffic(TWINS[0], metrics={"atoms_turn_latency_seconds"})
    (critical,) = {filled(one.expr) for one in every_question() if (one.panel, one.ref) == ("Alerts", "A")}
    assert [sample.value for sample in world.answers(tmp_path, [critical])[critical]] == [0.0]
    assert world.answers(tmp_path, [critical, "up"], rules=())[critical] == []
    (panel,) = [panel for panel in panels(DOCUMENTS["atoms-overview"]) if panel["title"] == "Alerts"]
    assert panel["fieldConfig"]["defaults"]["noValue"] == "no rules"


def test_one_slow_turn_of_few_makes_no_node_the_worst_and_percentiles_do_not_flicker(tmp_path: Path) -> None:
    """Twelve turns an hour at one node, two hundred at another."""
    thin = Place("agent-1", "Sales", "n1", "Rare", turns=0.2, calls=0.05, seconds=lambda minute: 6.0)
    busy = Place("agent-1", "Sales", "n2", "Often", turns=3.4, calls=0.5)
    world = World(MINUTES).traffic(thin, busy, metrics={"atoms_turn_latency_seconds"})
    (worst,) = {
        filled(one.expr)
        for one in every_question()
        if one.panel == "Worst nodes, the last 15 minutes" and one.ref == "A"
    }
    found = world.answers(tmp_path, [worst], rules=())[worst]
    assert {sample.labels["node_name"] for sample in found} == {"Often"}
    (p95,) = {filled(one.expr, SHOWN) for one in every_question() if one.panel == "Turn latency p95 by node"}
    for minute in range(60, MINUTES, 7):
        nodes = {sample.labels["node_name"] for sample in world.answers(tmp_path, [p95], rules=(), at=minute)[p95]}
        assert "Often" in nodes


def test_cost_is_never_below_zero_and_counts_every_type(tmp_path: Path) -> None:
    world = World(60)
    where = {"agent_id": "a", "agent_name": "Sales", "node_id": "n", "node_name": "Start"}
    where |= {"processor": "LLM", "model": "m", "job": "atoms-exporter", "instance": "a:9464"}
    world.counter("atoms_llm_token_details_total", {**where, "detail": "cache_read"}, lambda minute: 1000)
    world.counter("atoms_llm_tokens_total", {**where, "type": "prompt"}, lambda minute: 900)
    money = {filled(one.expr, SHOWN) for one in every_question() if one.panel == "Estimated cost"}
    (cost,) = money
    (before,) = world.answers(tmp_path, [cost], rules=())[cost]
    assert before.value == pytest.approx(1000 * 60 * 0.10 / 1e6, rel=0.02)
    world.counter("atoms_llm_tokens_total", {**where, "type": "other"}, lambda minute: 500)
    (after,) = world.answers(tmp_path, [cost], rules=())[cost]
    assert after.value - before.value == pytest.approx(500 * 60 * 0.40 / 1e6, rel=0.02)


def test_a_model_whose_price_is_recorded_costs_that_and_others_what_is_typed_in(tmp_path: Path) -> None:
    world = World(60)
    where = {"agent_id": "a", "agent_name": "Sales", "node_id": "n", "node_name": "Start", "processor": "LLM"}
    where |= {"job": "atoms-exporter", "instance": "a:9464", "type": "completion"}
    for model in ("dear", "other"):
        world.counter("atoms_llm_tokens_total", {**where, "model": model}, lambda minute: 1000)
    world.constant("atoms_price:dollars_per_million_tokens", {"model": "dear", "type": "completion"}, 100.0)
    (cost,) = {filled(one.expr, SHOWN) for one in every_question() if one.panel == "Estimated cost"}
    (sample,) = world.answers(tmp_path, [cost], rules=())[cost]
    assert sample.value == pytest.approx(1000 * 60 * (100 + 1.60) / 1e6, rel=0.02)
