"""Times and durations of calls: those of their events where these have any, and none that no call can have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.protocol.units import LONGEST_CALL_SECONDS
from tests.support.calls import calls
from tests.support.lives import Life, lived
from tests.support.wire import CALL_ID, Step, encoded, hop, node, payloads, step, turn, unix

WHOLE = payloads(
    [step(100, "call_start"), node(200, "1", "One"), turn(2000, 900), hop(3000, "1", "2"), node(4000, "2", "Two")]
)
END = payloads([step(10_100, "call_end")])[0].replace(b"_1_", b"_9_")


def _untimed(payload: bytes) -> bytes:
    event = json.loads(payload)
    del event["timestamp"]
    return encoded(event)


def _ended(life: Life, **told: Any) -> Life:
    life.tracker.end(life.call_id, "completed", **told)
    return life


def _root(life: Life) -> tuple[float, float]:
    [span] = [span for span in life.spans if span.name == "call"]
    return span.start_ns / 1e9, span.end_ns / 1e9


@pytest.mark.parametrize("odd", [1.0, 9e9, -1, 0, 1e300, 1e-300, 1.2e9, 2.4e9, "1970-01-01T00:00:01Z"])
@pytest.mark.parametrize("place", range(len(WHOLE) + 1))
@pytest.mark.parametrize("kind", ["user_transcription", "hopping", "call_recording"])
def test_one_event_of_an_impossible_time_adds_no_years(odd: Any, place: int, kind: str) -> None:
    event = {"event_type": kind, "event_id": "odd", "timestamp": odd, "from_node_id": "1", "to_node_id": "2"}
    life = Life()
    life.now = unix(90)
    life.feed([*WHOLE[:place], encoded(event), *WHOLE[place:], END])
    life.end()
    assert life.total("atoms_node_duration_seconds_sum") <= 10.1
    assert life.total("atoms_call_duration_seconds_sum") <= 10
    assert life.total("atoms_hop_response_seconds_sum") <= 10


@given(calls(), st.data())
def test_visits_and_calls_last_no_longer_than_anything_does(call: list[Step], data: st.DataObject) -> None:
    times = st.floats(allow_nan=False) | st.floats(1e9, 4e9) | st.integers(-(2**53), 2**53)
    events = [json.loads(payload) for payload in payloads(call)]
    for event in events:
        if data.draw(st.integers(0, 4)) == 0:
            event["timestamp"] = data.draw(times)
    life = lived([encoded(event) for event in events])
    for name in ("atoms_node_duration_seconds", "atoms_call_duration_seconds"):
        assert 0 <= life.total(f"{name}_sum") <= LONGEST_CALL_SECONDS * max(1, life.total(f"{name}_count"))
    assert all(span.start_ns <= span.end_ns for span in life.spans)


def test_events_without_a_time_take_what_the_log_or_a_webhook_says() -> None:
    life = Life()
    life.feed(map(_untimed, [*WHOLE, END]))
    _ended(life, at=unix(96_000), began_at=unix(0), lasted_seconds=95.0)
    assert life.total("atoms_call_duration_seconds_sum") == 95
    assert life.total("atoms_node_duration_seconds_count") <= 1
    assert _root(life) == pytest.approx((unix(0), unix(96_000)))


def test_a_duration_that_nobody_knows_is_not_counted_as_none() -> None:
    for told in ({}, {"at": unix(96_000)}, {"began_at": unix(0)}):
        life = Life()
        life.feed(map(_untimed, WHOLE))
        assert _ended(life, **told).total("atoms_call_duration_seconds_count") == 0
    life = Life()
    life.feed(WHOLE[:1])
    assert _ended(life).total("atoms_call_duration_seconds_count") == 0, "one event lasts for no time"


def test_events_that_tell_their_own_end_are_believed() -> None:
    life = Life()
    life.feed([*WHOLE, END])
    assert _ended(life, at=unix(96_000), lasted_seconds=95.0).total("atoms_call_duration_seconds_sum") == 10
    assert _root(life) == pytest.approx((unix(100), unix(10_100)))


def test_a_call_whose_events_stop_before_its_end_lasted_as_long_as_is_said() -> None:
    life = Life()
    life.feed(WHOLE)
    assert _ended(life, lasted_seconds=95.0).total("atoms_call_duration_seconds_sum") == 95
    assert _root(life) == pytest.approx((unix(100), unix(95_100)))


def test_a_call_without_any_event_has_the_root_that_its_log_tells_of() -> None:
    life = Life()
    assert life.tracked.call.call_id == CALL_ID
    _ended(life, began_at=unix(0), lasted_seconds=12.0)
    assert _root(life) == pytest.approx((unix(0), unix(12_000)))
    assert life.total("atoms_call_duration_seconds_sum") == 12


def test_an_end_that_cannot_be_is_not_taken_for_one() -> None:
    life = Life()
    life.feed(WHOLE)
    _ended(life, at=9e9)
    assert life.total("atoms_call_duration_seconds_sum") == 3.9
