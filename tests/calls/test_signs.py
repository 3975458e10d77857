"""Who is answered, how long nobody says a word, how soon the agent speaks: told when the call is over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.calls.signs import Limits
from exporter.calls.tracker import natural_outcome
from exporter.protocol.api import CallLog
from tests.support.lives import Life
from tests.support.wire import Step, hop, node, payloads, step, turn


def speaks(at_ms: int, text: str = "Good morning, this is Anna.") -> Step:
    return step(at_ms, "tts_completed", tts_latency=0.4, tts_text=text)


def asks(at_ms: int, text: str = "Is anybody there?") -> Step:
    return step(at_ms, "user_transcription", user_transcription_text=text)


TALK = [
    step(0, "call_start"),
    speaks(2_500),
    node(3_000, "1", "One"),
    step(6_000, "user_interim_transcription", interim_transcription_text="hello"),
    asks(7_000, "Hello there"),
    turn(19_000, 12_000),  # twelve seconds later: too late
    hop(20_000, "1", "2"),
    node(21_000, "2", "Two"),
    asks(30_500),
    speaks(32_000, "Yes"),
    asks(33_000, "Bye"),
    step(34_000, "call_end"),
]


def ended(steps: list[Step], order: list[int] | None = None) -> Life:
    life = Life()
    wire = payloads(steps)
    life.feed(wire if order is None else [wire[place] for place in order])
    life.tracker.end(
        life.call_id, natural_outcome(life.tracked.call), log=CallLog(life.call_id, end_reason="user_hangup")
    )
    return life


def test_who_waited_too_long_and_who_was_never_answered_is_counted_where_he_spoke() -> None:
    assert ended(TALK).by("atoms_unanswered_turns_total", "node_id") == {"1": 1, "2": 1}


def test_silences_are_counted_where_they_ended() -> None:
    life = ended(TALK)
    assert life.by("atoms_dead_air_seconds_sum", "node_id") == {"1": 12.0, "2": 11.5}
    assert life.total("atoms_dead_air_seconds_count") == 2


def test_the_first_word_is_timed_from_the_connection() -> None:
    life = ended(TALK)
    assert life.by("atoms_first_word_seconds_sum", "agent_id", "channel") == {("a1", "webcall"): 2.5}


def test_words_are_counted_by_speaker_and_node() -> None:
    life = ended(TALK)
    assert life.by("atoms_words_total", "node_id", "speaker") == {
        ("1", "agent"): 5,
        ("1", "user"): 2,
        ("2", "agent"): 1,
        ("2", "user"): 4,
    }


def test_a_call_ends_in_a_node_for_a_reason() -> None:
    life = ended(TALK)
    assert life.by("atoms_node_exits_total", "node_id", "reason") == {("2", "user_hangup"): 1}
    assert life.by("atoms_call_end_reasons_total", "channel", "reason") == {("webcall", "user_hangup"): 1}


def test_a_mute_agent_answers_nobody_and_has_no_first_word() -> None:
    life = ended([step(0, "call_start"), node(100, "1", "One"), asks(4_000), asks(6_000), asks(30_000)])
    assert life.total("atoms_unanswered_turns_total") == 2  # one that waited in vain, one that still waits
    assert life.total("atoms_first_word_seconds_count") == 0
    assert life.total("atoms_turn_latency_seconds_count") == 0


def test_nothing_is_said_before_the_call_is_over() -> None:
    life = Life()
    life.feed(payloads(TALK[:-1]))
    assert life.total("atoms_unanswered_turns_total") == life.total("atoms_dead_air_seconds_count") == 0


def test_the_customer_s_own_events_have_names_only_from_the_list() -> None:
    logs = [
        step(200, "agent_log", metadata={"name": "escalated", "severity": "WARNING", "message": "Mrs Smith"}),
        step(300, "agent_log", metadata={"name": "Mrs Smith", "severity": "Mrs Smith"}),
        step(400, "agent_log", metadata="Mrs Smith"),
        step(500, "agent_log"),
    ]
    life = Life(limits=Limits(log_names=frozenset(("escalated",))))
    life.feed(payloads([node(100, "1", "One"), *logs]))
    told = life.by("atoms_agent_logs_total", "name", "severity")
    assert told == {("escalated", "warning"): 1, ("other", "unknown"): 3}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("completed", "completed"),
        ("In Progress", "in_progress"),
        ("https://r.example/Mrs-Smith.wav", "other"),
        (None, "unknown"),
        (7, "unknown"),
    ],
)
def test_recordings_are_counted_by_what_became_of_them_and_once(status: Any, told: str) -> None:
    made = step(9_000, "call_recording", recording_url="https://r.example/secret.wav", status=status)
    wire = payloads([node(100, "1", "One"), step(8_000, "call_end"), made])
    life = Life()
    life.feed(wire[:2])
    life.recover(wire)
    life.recover(wire)
    life.end()
    assert life.by("atoms_recordings_total", "agent_id", "status") == {("a1", told): 1}
    assert "secret" not in life.text()


@pytest.mark.parametrize(("gap", "silences"), [(4_999, 0), (5_000, 0), (5_001, 1)])
def test_a_silence_counts_when_it_is_longer_than_the_limit(gap: int, silences: int) -> None:
    life = ended([node(100, "1", "One"), asks(1_000), speaks(1_000 + gap)])
    assert life.total("atoms_dead_air_seconds_count") == silences


MOMENTS = st.lists(st.tuples(st.integers(1, 60_000), st.sampled_from((speaks, asks))), min_size=2, max_size=12)


@given(MOMENTS, st.randoms())
def test_who_was_heard_and_who_was_answered_is_the_same_in_whatever_order_it_is_told(
    moments: list[Any], chance: Any
) -> None:
    steps = [node(0, "1", "One"), *(says(at_ms) for at_ms, says in moments)]
    order = list(range(1, len(steps)))
    chance.shuffle(order)
    by_time, mixed = ended(sorted(steps, key=lambda each: each.at_ms)), ended(steps, [0, *order])
    for family in ("dead_air_seconds_count", "dead_air_seconds_sum", "unanswered_turns_total"):
        assert mixed.total(f"atoms_{family}") == pytest.approx(by_time.total(f"atoms_{family}")), family


@pytest.mark.parametrize("number", range(1, len(TALK) - 1))
def test_two_neighbours_that_come_the_wrong_way_round_change_nothing(number: int) -> None:
    order = list(range(len(TALK)))
    order[number], order[number + 1] = order[number + 1], order[number]
    mixed, right = ended(TALK[:-1], [each for each in order if each < len(TALK) - 1]), ended(TALK[:-1])
    for family in (
        "unanswered_turns_total",
        "dead_air_seconds_sum",
        "dead_air_seconds_count",
        "first_word_seconds_sum",
    ):
        assert mixed.total(f"atoms_{family}") == right.total(f"atoms_{family}"), family


@given(st.sets(st.integers(0, len(TALK) - 2), min_size=1))
def test_what_the_stream_missed_and_the_history_brings_changes_nothing(missed: set[int]) -> None:
    wire = payloads(TALK)
    life = Life()
    life.feed(payload for place, payload in enumerate(wire) if place not in missed)
    life.recover(wire)
    life.tracker.end(life.call_id, "completed", log=CallLog(life.call_id, end_reason="user_hangup"))
    whole = ended(TALK)
    for family in ("unanswered_turns_total", "dead_air_seconds_sum", "node_exits_total"):
        assert life.by(f"atoms_{family}", "node_id") == whole.by(f"atoms_{family}", "node_id"), family
    assert life.by("atoms_words_total", "speaker") == whole.by("atoms_words_total", "speaker")
    assert life.total("atoms_first_word_seconds_sum") == whole.total("atoms_first_word_seconds_sum")
