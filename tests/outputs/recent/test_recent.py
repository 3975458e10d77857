"""The last hour in a bounded memory: which node is slow since when, which call shows it, how calls ended."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from exporter.calls.identity import trace_id
from exporter.calls.observations import Agent, CallEnded, Place, TurnAnswered, Where
from exporter.outputs.recent import Recent
from exporter.outputs.recent.hour import BOUNDS, quantiles

SALES = Agent("a1", "Sales")
GREETING = Place("a1", "Sales", "1", "Greeting")
PAYMENT = Place("a1", "Sales", "2", "Payment")
START = 1_000_000.0


@dataclass
class Now:
    """A clock that a test moves."""

    seconds: float = START

    def __call__(self) -> float:
        return self.seconds

    def minutes(self, number: float) -> None:
        self.seconds += 60 * number


def remembered(now: Now, **options: int) -> Recent:
    return Recent(slow_seconds=2.0, clock=now, wall=lambda: now() + 1e9, **options)


def turn(recent: Recent, seconds: float, place: Place = GREETING, call: str = "c1", interrupted: bool = False) -> None:
    where = Where(call, place, f"{place.node_id}#1", 0)
    recent.recorders[TurnAnswered](TurnAnswered(where, 5.0, seconds, interrupted, (), None, None, None, 0, 0, 0))


def ended(recent: Recent, call: str = "c1", outcome: str = "completed", turns: int = 1, agent: Agent = SALES) -> None:
    fact = CallEnded(call, agent, "webcall", outcome, 1.0, 2.0, 1.0, None, False, 0, turns, 0, 0, 0)
    recent.recorders[CallEnded](fact)


def test_a_quiet_hour_has_no_nodes_and_no_trouble() -> None:
    recent = remembered(Now())
    assert recent.nodes() == []
    assert recent.troubles() == []
    assert recent.ended() == []


def test_the_node_with_the_largest_share_of_slow_turns_comes_first() -> None:
    recent = remembered(Now())
    for _ in range(9):
        turn(recent, 0.7, GREETING)
    turn(recent, 30.0, GREETING)
    for _ in range(5):
        turn(recent, 6.0, PAYMENT)
    first, second = recent.nodes()
    assert (first.place, first.turns, first.slow) == (PAYMENT, 5, 5)
    assert (second.place, second.turns, second.slow, second.slowest_seconds) == (GREETING, 10, 1, 30.0)


def test_trouble_says_where_since_when_and_which_call_shows_it() -> None:
    now = Now()
    recent = remembered(now)
    for minute in range(40):
        slow = minute >= 30
        for _ in range(3):
            turn(recent, 6.0 if slow else 0.8, PAYMENT, call=f"c{minute}")
        turn(recent, 0.8, GREETING)
        now.minutes(1)
    turn(recent, 8.5, PAYMENT, call="worst")
    [trouble] = recent.troubles()
    assert (trouble.kind, trouble.agent_name, trouble.node_name) == ("slow", "Sales", "Payment")
    assert trouble.seconds_ago == 10 * 60 + START % 60, "from the first second of that minute"
    assert trouble.call_id == "worst"
    assert 5 <= trouble.seconds <= 8.5


def test_since_when_stays_where_it_is_while_the_minute_goes_on() -> None:
    now = Now()
    recent = remembered(now)
    began = set()
    for _ in range(60):
        turn(recent, 6.0, PAYMENT)
        now.minutes(0.05)
        began.update(now() - trouble.seconds_ago for trouble in recent.troubles())
    (at,) = began
    assert START - 60 < at <= START


def test_a_node_keeps_its_name_when_calls_no_longer_tell_it() -> None:
    recent = remembered(Now())
    turn(recent, 0.8, PAYMENT)
    turn(recent, 0.8, replace(PAYMENT, node_name="unknown"))
    [node] = recent.nodes()
    assert (node.turns, node.place.node_name) == (2, "Payment")


def test_trouble_ends_when_the_node_is_quick_again() -> None:
    now = Now()
    recent = remembered(now)
    for _ in range(10):
        turn(recent, 6.0, PAYMENT)
    assert recent.troubles()
    now.minutes(6)
    for _ in range(10):
        turn(recent, 0.6, PAYMENT)
    assert recent.troubles() == []


@pytest.mark.parametrize(("slow", "of", "told"), [(2, 6, False), (3, 11, False), (3, 5, True), (4, 12, True)])
def test_a_few_slow_turns_of_a_few_are_chance_and_most_of_them_are_not(slow: int, of: int, told: bool) -> None:
    recent = remembered(Now())
    for number in range(of):
        turn(recent, 6.0 if number < slow else 0.8)
    assert bool(recent.troubles()) is told


def test_one_slow_turn_on_a_quiet_night_is_no_trouble() -> None:
    recent = remembered(Now())
    turn(recent, 9.0)
    assert recent.troubles() == []


def test_calls_that_fail_are_trouble_of_their_agent() -> None:
    now = Now()
    recent = remembered(now)
    for number in range(4):
        ended(recent, f"c{number}", "failed" if number else "completed")
        now.minutes(1)
    [trouble] = recent.troubles()
    assert (trouble.kind, trouble.agent_id, trouble.node_id) == ("failing", "a1", None)
    assert (trouble.share, trouble.of, trouble.seconds_ago) == (0.75, 4, 180)
    assert trouble.call_id == "c3"


def test_an_interrupted_turn_counts_but_is_not_timed() -> None:
    recent = remembered(Now())
    turn(recent, 0.7)
    turn(recent, 50.0, interrupted=True)
    known = recent.turns_of("c1")
    assert known is not None
    assert known.turns == 2
    assert known.slowest is not None
    assert known.slowest.seconds == 0.7
    assert recent.nodes()[0].turns == 1


def test_an_ended_call_keeps_its_slowest_turn_for_an_hour() -> None:
    now = Now()
    recent = remembered(now)
    for seconds in (0.7, 4.5, 0.9):
        turn(recent, seconds)
    ended(recent, turns=3)
    [call] = recent.ended()
    assert call.slowest is not None
    assert (call.turns, call.last_turn_seconds, call.slowest.seconds, call.slowest.place) == (3, 0.9, 4.5, GREETING)
    assert recent.turns_of("c1") is None
    now.minutes(61)
    assert recent.ended() == []


def test_outcomes_are_those_of_the_minutes_asked_for() -> None:
    now = Now()
    recent = remembered(now)
    ended(recent, "c1", "completed")
    now.minutes(30)
    ended(recent, "c2", "failed")
    assert recent.outcomes(15) == {"failed": 1}
    assert recent.outcomes() == {"completed": 1, "failed": 1}
    now.minutes(40)
    assert recent.outcomes() == {"failed": 1}


def test_a_known_call_is_found_by_its_trace_id_too() -> None:
    recent = remembered(Now())
    turn(recent, 0.7, call="going")
    ended(recent, "over")
    for call in ("going", "over"):
        assert recent.call_named(call) == call
        assert recent.call_named(f"{trace_id(call):032X}") == call
    assert recent.call_named("nobody") is None
    assert recent.call_named("0" * 32) is None


def test_memory_is_bounded_in_places_and_calls() -> None:
    recent = remembered(Now(), most_places=10, most_calls=10)
    for number in range(100):
        turn(recent, 1.0, Place("a1", "Sales", str(number), "n"), call=f"c{number}")
        ended(recent, f"e{number}", f"o{number}")
    assert {node.place.node_id for node in recent.nodes()} == {str(number) for number in range(90, 100)}
    assert [call.call_id for call in recent.ended()] == [f"e{number}" for number in range(99, 89, -1)]
    assert recent.turns_of("c0") is None
    assert sum(recent.outcomes().values()) == 10


@given(st.lists(st.floats(0, 120), min_size=1, max_size=200))
def test_a_quantile_lies_in_the_bucket_that_holds_it_and_never_above_the_slowest(seconds: list[float]) -> None:
    counts = [0] * (len(BOUNDS) + 1)
    for each in seconds:
        counts[next((i for i, bound in enumerate(BOUNDS) if each <= bound), len(BOUNDS))] += 1
    ordered = sorted(seconds)
    for q, told in zip((0.5, 0.95), quantiles(counts, max(seconds)), strict=True):
        exact = ordered[max(0, math.ceil(len(ordered) * q) - 1)]
        bucket = next((i for i, bound in enumerate(BOUNDS) if exact <= bound), len(BOUNDS))
        low = BOUNDS[bucket - 1] if bucket else 0.0
        high = BOUNDS[bucket] if bucket < len(BOUNDS) else max(seconds)
        assert min(low, max(seconds)) <= told <= min(high, max(seconds))


@given(st.lists(st.tuples(st.integers(0, 200), st.floats(0.01, 100)), max_size=60))
def test_an_hour_holds_just_the_turns_of_its_last_sixty_minutes(steps: list[tuple[int, float]]) -> None:
    now = Now()
    recent = remembered(now)
    said: list[tuple[int, float]] = []
    for pause, seconds in steps:
        now.minutes(pause / 10)
        turn(recent, seconds)
        said.append((int(now() // 60), seconds))
    held = [seconds for minute, seconds in said if minute > int(now() // 60) - 60]
    nodes = recent.nodes()
    assert sum(node.turns for node in nodes) == len(held)
    assert sum(minute.turns for node in nodes for minute in node.minutes) == len(held)
    assert sum(node.slow for node in nodes) == sum(seconds > 2 for seconds in held)
