"""Which events are the same: those of one id and one type; without an id, those of the same content."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.calls.identity import ConnectionFrame, SeenEvents, event_identity
from exporter.calls.tracker import Progress
from exporter.protocol.decode import decode_event
from exporter.protocol.events import EVENT_CLASSES
from tests.support.calls import calls
from tests.support.lives import Life, lived
from tests.support.wire import Step, encoded, hop, measured, node, payloads, step, tokens, turn


def _identity(**fields: Any) -> int:
    payload = encoded(fields)
    event, _ = decode_event(payload)
    return event_identity(event, payload)


FRAMES = ("sse_init", "sse_close")
TYPES = [*(kind for kind in EVENT_CLASSES if kind not in FRAMES), "sentiment_shift", "in_progress", ""]


def test_one_id_is_as_many_events_as_it_has_types() -> None:
    assert len({_identity(event_type=kind, event_id="e1") for kind in TYPES}) == len(TYPES)


@pytest.mark.parametrize("kind", TYPES)
def test_an_event_is_the_same_however_it_is_written(kind: str) -> None:
    plain = _identity(event_type=kind, event_id="e1")
    assert plain == _identity(event_type=kind, event_id="e1", timestamp=1758124305.25, node_id="n", turn_latency="x")
    assert plain == _identity(eventType=kind, eventId="e1", eventTime="2026-03-02T10:00:01.123Z")
    assert plain != _identity(event_type=kind, event_id="e2")


def test_a_hop_is_not_dropped_because_a_turn_bears_its_id() -> None:
    whole = payloads(
        [
            node(100, "1", "One"),
            Step(1000, "turn_latency", turn(1000, 900).fields, event_id="same"),
            Step(1000, "hopping", hop(1000, "1", "2").fields, event_id="same"),
            Step(1000, "metrics", measured(1000, tokens(5, 1)).fields, event_id="same"),
            Step(1000, "sentiment_shift", {}, event_id="same"),
            Step(1000, "mood_shift", {}, event_id="same"),
            step(2000, "call_end"),
        ]
    )
    life = lived([*whole, *whole])
    assert life.total("atoms_node_hops_total") == life.total("atoms_turn_latency_seconds_count") == 1
    assert life.total("atoms_llm_tokens_total") == 6
    assert life.total("atoms_exporter_events_total") == len(whole)
    assert life.total("atoms_exporter_events_duplicate_total") + life.total("atoms_exporter_events_rejected_total") == 7


@given(calls(), st.data())
def test_ids_that_are_shared_between_types_lose_nothing(call: list[Step], data: st.DataObject) -> None:
    """As when two observers number their events alike."""
    numbers: dict[str, int] = {}
    shared = []
    for each in call:
        numbers[each.kind] = numbers.get(each.kind, 0) + 1
        shared.append(Step(each.at_ms, each.kind, each.fields, event_id=f"n{numbers[each.kind]}"))
    whole = payloads(shared)
    life = Life()
    life.feed(whole)
    life.feed(data.draw(st.lists(st.sampled_from(whole), max_size=8)) if whole else [])
    life.recover(whole)
    assert life.end().counted() == lived(payloads(call)).counted()


@pytest.mark.parametrize("kind", FRAMES)
def test_the_first_and_last_frame_of_a_connection_are_no_events_whatever_id_they_bear(kind: str) -> None:
    for fields in ({}, {"event_id": "e1"}):
        with pytest.raises(ConnectionFrame):
            _identity(event_type=kind, **fields)


def test_a_goodbye_that_bears_an_id_is_a_goodbye() -> None:
    life = Life()
    life.feed([encoded({"event_type": "sse_init", "event_id": "i"})])
    assert life.feed([encoded({"event_type": "sse_close", "event_id": "e"})]) is Progress.STREAM_CLOSED
    assert len(life.tracked.seen) == 0


def test_events_made_to_fall_into_one_slot_of_any_table_of_a_power_of_two_cost_no_more_than_others() -> None:
    """Counted in reads of the table, not in time: what they collide in is a number nobody knows."""
    crafted = [number << 40 for number in range(1, 20_000)]
    seen = SeenEvents()
    for identity in crafted:
        assert seen.add(identity)
    assert len(seen) == len(crafted)
    reads = Counted(seen._table)
    seen._table = reads  # type: ignore[assignment]  # reads like the array
    assert all(identity in seen for identity in crafted)
    assert reads.reads < 20 * len(crafted)


class Counted:
    """A table that counts how often it is read."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self.reads = 0

    def __getitem__(self, slot: int) -> int:
        self.reads += 1
        return int(self.table[slot])


@given(st.lists(st.integers(0, 2**64 - 1), max_size=600))
def test_what_was_seen_is_a_set_of_identities(identities: list[int]) -> None:
    seen = SeenEvents()
    known: set[int] = set()
    for identity in identities:
        assert seen.add(identity) is ((identity or 1) not in known)
        known.add(identity or 1)
    assert len(seen) == len(known)
    assert all(identity in seen for identity in identities)


_MANY = st.lists(st.integers(0, 5) | st.integers(0, 2**64 - 1), unique=True, max_size=300)


@given(_MANY, _MANY)
def test_events_of_an_earlier_life_are_known_though_nobody_has_looked_yet(kept: list[int], more: list[int]) -> None:
    counted = set(map(_as_held, kept))
    seen = SeenEvents.of(array("Q", kept).tobytes())
    assert len(seen) >= len(counted)
    for identity in more:
        assert seen.add(identity) is (_as_held(identity) not in counted)
        counted.add(_as_held(identity))
    assert all(identity in seen for identity in kept)
    assert len(seen) == len(counted) or not more
    again = SeenEvents.of(array("Q", kept).tobytes())
    assert all((identity in again) is (_as_held(identity) in set(map(_as_held, kept))) for identity in more)


def _as_held(identity: int) -> int:
    return identity or 1  # 0 marks a free slot
