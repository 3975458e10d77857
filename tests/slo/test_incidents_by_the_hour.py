"""Hours of incidents, played by promtool against the rules that ship: what pages, how often, and what stays silent.

Each of these worlds was wrong with the rules before: they flapped, paged for one bad night's call, or said nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from dashboards.rules.tests import worlds
from dashboards.rules.tests.harness import HOUR, MINUTE, Firing, World, asked, firings
from dashboards.rules.tests.traffic import Agent, Call, at_a_steady_pace, traffic
from exporter.slo import Objective, render_rules
from tests.support.peers import needs

pytestmark = [
    needs("promtool"),
    pytest.mark.timeout(600),
]
DAY = 86_400.0


def played(world: World, *parts: str, every: float = 2 * MINUTE) -> list[Firing]:
    return firings(world, [worlds.RULES / f"{part}.yml" for part in parts], every)


def pages(found: list[Firing]) -> list[Firing]:
    return [one for one in found if one.labels["severity"] == "critical"]


def of(found: list[Firing], name: str, **labels: str) -> list[Firing]:
    return [one for one in found if one.name == name and labels.items() <= one.labels.items()]


def test_every_call_fails_for_eight_hours_and_it_is_told_once_at_any_rate() -> None:
    found = played(worlds.failing(), "calls")
    for rate in (60, 24, 12):
        (page,) = of(found, "AtomsCallFailuresBurning", severity="critical", agent_id=f"failing-{rate}")
        assert page.begun < worlds.BEGIN + 45 * MINUTE
        assert page.ended > worlds.BEGIN + 8 * HOUR, "unbroken, to the end"
        assert page.ended < 11.75 * HOUR, "and over when it is over"
        (ticket,) = of(found, "AtomsCallFailuresBurning", severity="warning", agent_id=f"failing-{rate}")
        assert ticket.begun > page.begun
    assert {one.name for one in found} == {"AtomsCallFailuresBurning"}


def test_slow_turns_at_a_few_calls_an_hour_page_once_for_each_window_and_one_bad_call_at_night_never() -> None:
    found = played(worlds.slow(), "slo")
    told = Counter((one.labels["agent_id"], one.labels["slo"], one.labels["window"]) for one in pages(found))
    rates = {
        (f"slow-{rate}", f"turn-latency-{slo}", window)
        for rate in (12, 6)
        for slo in ("2s", "4s")
        for window in ("1h", "6h")
    }
    assert told == dict.fromkeys(rates, 1)
    assert all(one.begun < worlds.BEGIN + 1.5 * HOUR for one in pages(found))
    assert [one for one in found if one.labels["agent_id"] == "night"] == []


def test_what_callers_do_not_hear_and_calls_that_do_not_come_are_pages_that_say_so() -> None:
    found = played(worlds.unheard(), "calls", every=MINUTE)
    assert {(one.name, one.labels["agent_id"]) for one in pages(found)} == {
        ("AtomsCallersUnanswered", "mute"),
        ("AtomsCallsStopped", "stopped"),
        ("AtomsAgentErrors", "errors"),
    }
    assert len(pages(found)) == 3, "each once"
    (mute,) = of(found, "AtomsCallersUnanswered")
    assert mute.begun <= worlds.BEGIN + 20 * MINUTE
    (lost,) = of(found, "AtomsCallsLost")
    assert (lost.labels["agent_id"], lost.labels["severity"]) == ("lost", "warning")


def test_what_is_wrong_with_calls_that_are_over_is_told_once_each_and_unevenness_never() -> None:
    found = played(worlds.over(), "calls", every=5 * MINUTE)
    told = Counter((one.name, one.labels["severity"], one.labels["agent_id"]) for one in found)
    wrong = {
        "ended": ("AtomsEndReasonsFailing", "warning"),
        "late": ("AtomsFirstWordSlow", "warning"),
        "dear": ("AtomsCostPerCallJumped", "warning"),
        "wordless": ("AtomsCallersUnanswered", "critical"),
    }
    assert told == {(*alert, agent): 1 for agent, alert in wrong.items()}
    for one in found:
        assert one.begun <= 10.5 * HOUR, one
        assert 15 * HOUR < one.ended < 17.75 * HOUR, one


def test_the_limit_is_told_when_near_and_when_reached_and_the_queue_while_it_grows() -> None:
    found = played(worlds.full(), "calls", every=MINUTE)
    told = [(one.name, one.labels["severity"]) for one in found if one.name.startswith(("AtomsNear", "AtomsQueue"))]
    limit = "AtomsNearConcurrencyLimit"
    assert told == [(limit, "warning"), (limit, "critical"), ("AtomsQueueGrowing", "warning")]
    near, at, queue = found
    assert 2 * HOUR < near.begun < 2.5 * HOUR
    assert 4 * HOUR < at.begun < 4.25 * HOUR
    assert 4.5 * HOUR < queue.begun < 5 * HOUR
    assert all(6 * HOUR < one.ended < 7.25 * HOUR for one in (near, at, queue))


def test_one_broken_node_of_a_hundred_is_named_within_the_hour() -> None:
    found = played(worlds.one_node_of_a_hundred(), "slo", "calls")
    assert {(one.name, one.labels.get("node_id")) for one in found} == {
        ("AtomsNodeFailsObjective", "node07"),
        ("AtomsNodeErrors", "node08"),
        ("AtomsNodeUnanswered", "node09"),
    }
    assert all(one.begun <= 2 * HOUR for one in found), "within the hour"


def test_pages_hold_while_the_exporter_is_away_and_when_the_agent_gets_another_name() -> None:
    found = played(worlds.away_and_renamed(), "slo", "calls")
    told = Counter(
        (one.name, one.labels["agent_id"], one.labels.get("slo"), one.labels.get("window")) for one in pages(found)
    )
    assert len(told) == 10
    assert set(told.values()) == {1}
    assert all(one.ended == 7 * HOUR for one in pages(found))


def test_a_renamed_agent_keeps_its_spent_budget() -> None:
    world = World(5 * HOUR)
    before, after = Agent("a", "Before"), Agent("a", "After")
    traffic(world, before, at_a_steady_pace(30, 0, 2 * HOUR), Call(latency_seconds=6.0))
    traffic(world, after, at_a_steady_pace(30, 2 * HOUR, 5 * HOUR - 300), Call())
    expr = 'atoms_slo:error_ratio{slo="turn-latency-2s",window="30d"}'
    (ratio,) = asked(world, [worlds.RULES / "slo.yml"], expr, [4.9 * HOUR], 2 * MINUTE)[4.9 * HOUR]
    assert 'agent_name="After"' in ratio
    assert "Before" not in ratio
    assert float(ratio.split()[-1]) == pytest.approx(0.4, abs=0.04)


def test_an_outage_shows_in_the_budget_within_minutes_and_not_at_the_full_hour() -> None:
    world = World(3 * HOUR)
    agent = Agent("a", "A")
    traffic(world, agent, at_a_steady_pace(60, 0, 2 * HOUR), Call())
    traffic(world, agent, at_a_steady_pace(60, 2 * HOUR, 3 * HOUR - 300), Call(latency_seconds=6.0))
    expr = 'atoms_slo:error_budget_remaining{slo="turn-latency-2s"}'
    times = [10 * MINUTE, 2 * HOUR, 2 * HOUR + 14 * MINUTE]
    answers = asked(world, [worlds.RULES / "slo.yml"], expr, times, 2 * MINUTE)
    first, whole, spent = (float(answers[at][0].split()[-1]) for at in times)
    assert first == whole == 1, "and there is a number in the first hour"
    assert spent < 0.5


@pytest.mark.parametrize("days", [7, 28])
def test_an_objective_over_a_week_or_four_burns_under_the_names_everybody_knows(tmp_path: Path, days: int) -> None:
    """Scraped once a minute: the shortest windows hold five scrapes, not one."""
    rules = tmp_path / "rules.yml"
    slo = Objective("turns", 0.95, threshold_seconds=2.0, window_seconds=days * DAY)
    rules.write_text(render_rules([slo], only=("slo",)))
    world = World(2 * HOUR)
    traffic(world, Agent("a", "A"), at_a_steady_pace(30, 0, 2 * HOUR - 300), Call(latency_seconds=6.0))
    expr = 'sum by (window) (atoms_slo:error_ratio{slo="turns"})'
    (ratios,) = asked(world, [rules], expr, [1.8 * HOUR], 2 * MINUTE)[1.8 * HOUR]
    windows = dict(re.findall(r'window="(\w+)"} (\S+?)(?:,|$)', ratios))
    assert set(windows) == {"5m", "30m", "1h", "2h", "6h", "1d", "3d", f"{days}d"}
    assert all(float(ratio) == pytest.approx(1, abs=0.01) for ratio in windows.values())
    found = firings(world, [rules], 2 * MINUTE)
    assert {one.labels["window"] for one in pages(found)} == {"1h", "6h"}


def test_a_fresh_installation_without_calls_is_silent() -> None:
    assert played(worlds.fresh(), "slo", "calls", "exporter", every=5 * MINUTE) == []


@pytest.mark.parametrize(
    ("world", "name", "severity"),
    [
        (worlds.streams_silent, "AtomsEventsRecovered", "warning"),
        (worlds.streams_refused, "AtomsStreamsRefused", "critical"),
        (worlds.lists_refused, "AtomsListNotReadable", "critical"),
    ],
)
def test_what_the_api_withholds_is_one_alert_unbroken_with_the_right_name(
    world: object, name: str, severity: str
) -> None:
    assert callable(world)
    (only,) = played(world(), "exporter", every=MINUTE)
    assert (only.name, only.labels["severity"]) == (name, severity)
    assert only.begun <= worlds.BEGIN + 10 * MINUTE
    assert only.ended >= 3 * HOUR


def test_a_world_is_scraped_as_the_exporter_is() -> None:
    world = World(6 * MINUTE, away=[(3 * MINUTE, 5 * MINUTE)])
    world.count(90, "calls_total", agent_id="a")
    world.count(200, "calls_total", agent_id="a")
    (up, calls) = world.series()
    assert up["values"] == "1x2 0x1 1x1"
    assert calls["values"] == "_x2 0 stale _ 2x1", "shown at 0 first; what was counted meanwhile comes at once"
