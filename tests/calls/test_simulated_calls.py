"""Believable calls from the simulator, an independent witness: both dialects, and its own books."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.calls.observations import Agent
from exporter.outputs.prometheus.catalogue import EVENT_TYPES
from exporter.protocol.api import decode_call_log
from exporter.simulator import AGENTS, LABELS, Conditions, call_log, recorded, script
from exporter.simulator.ledger import book_of
from tests.support.lives import Life, summed
from tests.support.wire import encoded

ROUGH = Conditions(
    negative_latency=0.2,
    unknown_event=0.2,
    tool_failure=0.3,
    call_without_end=0.3,
    silent_agent=0.1,
    dead_air=0.1,
    custom_event=0.2,
    recording_failure=0.3,
    new_version=0.5,
    slow_tools=(("*", 8.0),),
)
PLAIN = Conditions()
ABOUT_ITSELF = ("events_total", "samples_skipped_total")
Counts = defaultdict[tuple[str, ...], float]


@given(st.integers(0, 10**6), st.integers(0, 500), st.sampled_from((PLAIN, ROUGH)))
def test_a_simulated_call_is_the_same_in_both_dialects(seed: int, number: int, conditions: Conditions) -> None:
    older, newer = (_life(seed, number, dialect, conditions) for dialect in ("2025", "2026"))
    assert older.text() == newer.text()
    assert older.spans == newer.spans


@pytest.mark.parametrize(("dialect", "conditions"), [("2025", PLAIN), ("2026", ROUGH)])
def test_the_counters_are_what_the_simulator_s_own_books_say(dialect: str, conditions: Conditions) -> None:
    lives = [_life(7, number, dialect, conditions) for number in range(20)]
    books = [book_of(script(7, number, ((0, conditions),))) for number in range(20)]
    counted = summed(*lives)
    for family, labels in LABELS.items():
        name = f"atoms_exporter_{family}" if family in ABOUT_ITSELF else family
        mine: Counts = defaultdict(float)
        for (sample, pairs), value in counted.items():
            if sample == name:
                mine[tuple(dict(pairs)[label] for label in labels)] += value
        booked: Counts = defaultdict(float)
        for row, amount in (item for book in books for item in book.counts(family).items()):
            booked[_known(family, row)] += amount
        assert dict(mine) == pytest.approx({row: amount for row, amount in booked.items() if amount}, abs=1e-5), family


def test_nothing_waits_and_every_span_has_its_parent_when_simulated_calls_have_ended() -> None:
    for number in range(25):
        life = _life(3, number, "2026", ROUGH)
        trace = life.trace()
        assert [span.name for span in trace.values() if span.parent_id is None] == ["call"]
        assert all(span.parent_id is None or span.parent_id in trace for span in trace.values())
        assert life.total("atoms_calls_active") == 0


def _known(family: str, row: tuple[str, ...]) -> tuple[str, ...]:
    """The ledger keeps the names of event types that no exporter knows, and of the customer's own events."""
    if family == "atoms_agent_logs_total":
        return (*row[:2], "other", row[3])
    return ("other",) if family == "events_total" and row[0] not in EVENT_TYPES else row


def _life(seed: int, number: int, dialect: str, conditions: Conditions) -> Life:
    events = recorded(seed, number, dialect, conditions)  # type: ignore[arg-type]  # one of the two
    plan = script(seed, number, ((0, conditions),))
    simulated = next(agent for agent in AGENTS if agent.id == plan.agent_id)
    agent = Agent(simulated.id, simulated.name, single_prompt=not simulated.shows_nodes)
    life = Life(agent=agent, channel=plan.channel, call_id=events[0]["call_id"])
    life.feed(encoded(event) for event in events)
    log = decode_call_log(encoded(call_log(seed, number, dialect, conditions)), life.call_id)  # type: ignore[arg-type]  # as above
    life.tracker.end(life.call_id, plan.outcome, log=log)
    return life
