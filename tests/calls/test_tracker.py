"""Which calls are followed, what is theirs, what is refused, what a receiver is told."""

from __future__ import annotations

import pytest

from exporter.calls.identity import SeenEvents, span_id, trace_id
from exporter.calls.observations import Agent
from exporter.calls.tracker import Progress, natural_outcome
from tests.support.lives import AGENT, Life, lived
from tests.support.wire import CALL_ID, encoded, heard, hop, node, payloads, rendered, step, turn


def test_a_call_is_opened_once_and_known_after_its_end() -> None:
    life = Life()
    first = life.tracked
    assert life.tracker.open(CALL_ID, agent=Agent()) is first
    assert life.tracker.known(CALL_ID)
    assert [each.call.call_id for each in life.tracker] == [CALL_ID]
    life.end()
    assert life.tracker.known(CALL_ID)
    assert life.tracker.get(CALL_ID) is None
    assert len(life.tracker) == 0


def test_a_call_without_any_event_was_still_a_call() -> None:
    life = Life()
    _ = life.tracked
    life.end("no_answer")
    assert life.by("atoms_calls_started_total", "channel") == {"webcall": 1}
    assert life.by("atoms_calls_ended_total", "outcome") == {"no_answer": 1}
    assert life.total("atoms_call_duration_seconds_count") == 0
    assert life.spans == []


def test_ending_twice_ends_once() -> None:
    life = lived(payloads([node(1, "A", "A")]))
    life.end("failed")
    life.tracker.end("CALL-unknown", "failed")
    assert life.by("atoms_calls_ended_total", "outcome") == {"completed": 1}


def test_the_receiver_is_told_when_the_call_or_the_stream_is_over() -> None:
    life = Life()
    assert life.feed([b'{"event_type":"sse_init","event_time":"2025-09-17T15:51:44.234Z"}']) is Progress.GOING_ON
    assert life.feed(payloads([heard(10)])) is Progress.GOING_ON
    assert life.feed([b'{"event_type":"sse_close"}']) is Progress.STREAM_CLOSED
    assert life.feed(payloads([heard(10), step(20, "call_end")])) is Progress.CALL_ENDED
    assert life.feed(payloads([heard(10)])) is Progress.CALL_ENDED, "a replay after the end"
    assert life.by("atoms_exporter_events_total", "event_type") == {
        "sse_init": 1,
        "sse_close": 1,
        "user_transcription": 1,
        "call_end": 1,
    }


def test_the_frames_around_a_stream_count_once_each_as_well() -> None:
    life = Life()
    opened = [b'{"event_type":"sse_init","event_time":"2025-09-17T15:51:%02d.234Z"}' % second for second in range(40)]
    life.feed([opened[0], opened[0], opened[1], opened[0]])
    assert life.total("atoms_exporter_events_total", event_type="sse_init") == 2
    assert life.total("atoms_exporter_events_duplicate_total") == 2
    life.feed(opened)
    assert life.total("atoms_exporter_events_total", event_type="sse_init") == 40
    for _ in range(2):
        life.tracker.replay(opened[0], agent=AGENT)
    assert life.total("atoms_exporter_events_total", event_type="sse_init") == 41
    assert len(life.tracked.frames) <= 16
    assert len(life.tracked.seen) == 0, "they are not in any history"


@pytest.mark.parametrize(
    ("kind", "outcome"), [("call_end", "completed"), ("call_cancelled", "cancelled"), ("agent_log", "lost")]
)
def test_how_a_call_ended_as_far_as_it_says(kind: str, outcome: str) -> None:
    life = Life()
    life.feed(payloads([step(10, kind)]))
    assert natural_outcome(life.tracked.call) == outcome


def test_what_is_not_an_event_of_this_call_is_counted_and_changes_nothing() -> None:
    life = Life()
    life.feed([b"", b"{", b"[]", b"7", b"\xff", b'{"event_type":"hopping"', *payloads([heard(1)], call_id="CALL-x")])
    assert life.by("atoms_exporter_events_rejected_total", "reason") == {
        "malformed_json": 4,
        "not_an_object": 2,
        "wrong_call": 1,
    }
    assert life.total("atoms_exporter_events_total") == 0
    assert life.tracked.call.first_at is None


def test_an_event_without_a_call_id_belongs_to_the_stream_it_came_on() -> None:
    event = rendered([heard(1)], "2025")[0]
    del event["call_id"]
    life = lived([encoded(event)])
    assert life.total("atoms_user_turns_total") == 1


def test_what_comes_after_the_end_is_counted_as_that() -> None:
    life = Life()
    tracked = life.tracked
    life.feed(payloads([node(1, "A", "A")]))
    life.end()
    life.tracker.feed(tracked, payloads([*[heard(1)], turn(2000, 900)])[1], 0.0)
    assert life.recover([]) == 0
    assert life.total("atoms_exporter_events_rejected_total", reason="after_end") == 1
    assert life.total("atoms_turn_latency_seconds_count") == 0


def test_the_lag_is_from_the_event_s_own_time_to_its_arrival_and_never_negative() -> None:
    life = Life()
    life.now = 1_758_124_305.75
    life.feed(payloads([heard(500), heard(1500)]))
    assert life.total("atoms_exporter_event_lag_seconds_count") == 2
    assert life.total("atoms_exporter_event_lag_seconds_sum") == 0.25


def test_an_event_without_a_time_happened_when_the_one_before_it_did() -> None:
    life = Life()
    life.now = 2_000_000_000.0
    whole = payloads([node(1000, "A", "A"), hop(0, "A", "B"), step(3000, "call_end")])
    whole[1] = whole[1].replace(b'"timestamp"', b'"when"')
    life.feed(whole)
    life.end()
    assert life.by("atoms_node_duration_seconds_sum", "node_id") == {"B": 2}


def test_calls_do_not_touch_each_other() -> None:
    life = Life()
    other = life.tracker.open("CALL-2", agent=Agent("a2", "Other"), channel="chat")
    life.feed(payloads([node(1, "A", "A"), turn(2000, 900)]))
    life.tracker.feed(other, payloads([turn(2000, 400)], call_id="CALL-2")[0], 0.0)
    life.tracker.feed(other, b"garbage", 0.0)
    life.end()
    assert life.by("atoms_turn_latency_seconds_sum", "agent_id") == {"a1": 0.9}
    assert life.by("atoms_calls_active", "agent_id") == {"a2": 1}
    life.tracker.end("CALL-2", "failed")
    assert life.by("atoms_turn_latency_seconds_sum", "agent_id") == {"a1": 0.9, "a2": 0.4}
    assert life.total("atoms_calls_active") == 0


def test_finished_calls_are_remembered_up_to_a_bound() -> None:
    life = Life()
    for number in range(5):
        life.tracker.forget(f"CALL-{number}")
    assert all(life.tracker.known(f"CALL-{number}") for number in range(5))


def test_a_recording_opens_its_calls_as_they_appear_and_ends_them_as_they_say() -> None:
    life = Life()
    one = payloads([node(1, "A", "A"), turn(2000, 900), step(3000, "call_end")], call_id="CALL-1")
    two = payloads([node(1, "B", "B"), step(50, "call_cancelled")], call_id="CALL-2")
    for payload in (one[0], two[0], *one[1:], b"nonsense", two[1], b'{"event_type":"sse_close"}'):
        life.tracker.replay(payload, agent=AGENT)
    life.tracker.end_all()
    assert life.by("atoms_calls_ended_total", "outcome") == {"completed": 1, "cancelled": 1}
    assert life.by("atoms_node_visits_total", "node_id") == {"A": 1, "B": 1}
    assert life.total("atoms_exporter_event_lag_seconds_count") == 0
    assert life.total("atoms_exporter_events_recovered_total") == 0


def test_identities_of_events_are_known_again_however_many_there_are() -> None:
    seen = SeenEvents()
    many = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(1, 3000)]
    assert all(seen.add(identity) for identity in many)
    assert not any(seen.add(identity) for identity in many)
    assert all(identity in seen for identity in many)
    assert len(seen) == len(many)
    assert 12345 not in seen


def test_trace_and_span_ids_are_what_the_documentation_says() -> None:
    assert f"{trace_id(CALL_ID):032x}" == "58d627047e6d17f865220ea849aea2d6"
    assert f"{span_id(CALL_ID, 'call'):016x}" == "bb3cff81a074a3a2"
