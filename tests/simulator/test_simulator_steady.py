"""Endless calls of a steady rate."""

from __future__ import annotations

import asyncio

import pytest
from simulator_client import api, frames, ids, until
from simulator_reading import Recount

from exporter.simulator.steady import SteadyCall


@pytest.mark.parametrize("dialect", ["2025", "2026"])
def test_a_steady_calls_book_adds_up_to_a_recount_of_its_frames(dialect):
    call = SteadyCall(1, 3, 1_767_225_600_000, dialect, 3.0)
    call.connected(1_767_225_600_000)
    for _ in range(400):
        call.take()
    counted = Recount(call.agent_id)
    counted.call(call.events())
    book = call.book()
    for family, rows in counted.counts.items():
        rows = {labels: amount for labels, amount in rows.items() if labels[-1] != "unattributed"}  # told at an end
        assert rows == pytest.approx(book.counts(family), rel=1e-9, abs=1e-6), family
    assert book.total("atoms_node_hops_total") > 5


def test_ids_times_and_turns_never_repeat():
    call = SteadyCall(1, 0, 1_767_225_600_000, "2026", 5.0)
    call.connected(1_767_225_600_000)
    for _ in range(500):
        call.take()
    events = call.events()
    assert len(set(ids(events))) == 500
    assert len({event["timestamp"] for event in events}) == 500
    turns = [event["turn_index"] for event in events if event["event_type"] == "turn_latency"]
    assert turns == list(range(len(turns)))
    tools = [event["tool_call_id"] for event in events if event["event_type"] == "tool_call_start"]
    assert len(set(tools)) == len(tools)


def test_a_steady_call_is_due_at_its_rate_once_somebody_listens():
    call = SteadyCall(1, 7, 0, "2026", 4.0)
    assert call.due_ms is None
    call.connected(1000)
    first = call.due_ms
    call.take()
    assert 1000 <= first <= 1250
    assert call.due_ms - first in (249, 250, 251)


async def test_nothing_is_lost_to_a_client_that_connects_late():
    async with api(calls=20, events_rate=50) as (simulator, client):
        call_ids = list(simulator.switchboard.live) or await until(lambda: list(simulator.switchboard.live))
        call_ids = await until(
            lambda: list(simulator.switchboard.live) if len(simulator.switchboard.live) == 20 else None
        )
        readings = [asyncio.create_task(frames(client, call_id)) for call_id in call_ids]
        await until(lambda: simulator.switchboard.published > 500)
        await simulator.stop()
        received = await asyncio.gather(*readings)
        published = simulator.switchboard.published
        assert sum(len(ids(events)) for events in received) == published == simulator.wire.frames
        assert simulator.control.totals(so_far=True).total("events_total") == published
