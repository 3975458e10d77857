"""Turns, their stages, speech."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.protocol.api import CallLog, LoggedTurn
from tests.support.calls import STAGES
from tests.support.lives import Life, lived
from tests.support.wire import CALL_ID, Step, encoded, greeting, heard, node, payloads, step, turn, unix

HERE = node(1, "A", "Ask")


def test_an_interrupted_turn_is_counted_apart() -> None:
    turns = [turn(1000, 500), turn(2000, 600, interrupted=False), turn(3000, 90, interrupted=True)]
    life = lived(payloads([HERE, *turns]))
    assert life.by("atoms_turn_latency_seconds_sum", "interrupted") == {"false": 1.1, "true": 0.09}


def test_the_total_beside_a_turn_s_latency_replaces_it() -> None:
    life = lived(payloads([HERE, step(3000, "turn_latency", turn_latency=7, total_turn_ms=1690)]))
    assert life.total("atoms_turn_latency_seconds_sum") == 1.69


@given(st.integers(0, 20_000), st.dictionaries(st.sampled_from(STAGES), st.integers(0, 8_000)))
def test_stages_and_the_rest_are_the_turn_and_the_rest_is_never_negative(total: int, stages: dict[str, int]) -> None:
    life = lived(payloads([HERE, turn(30_000, total, **stages)], "2026"))
    took = life.by("atoms_turn_stage_latency_seconds_sum", "stage")
    rest = took.pop("unattributed", 0)
    assert rest >= 0
    assert took == {name: ms / 1000 for name, ms in stages.items() if ms}
    if stages:
        assert rest == pytest.approx(max(0, total - sum(stages.values())) / 1000)
        assert life.total("atoms_turn_stage_latency_seconds_count") == len(stages) + 1
    else:
        assert life.total("atoms_turn_stage_latency_seconds_count") == 0


def test_a_stage_that_is_off_took_no_time_rather_than_none() -> None:
    fields: dict[str, Any] = {"turn_latency": 1.5, "smart_turn_ms": 0, "llm_api_ms": 0}
    life = lived(payloads([HERE, step(3000, "turn_latency", **fields, smart_turn_enabled=False)]))
    assert life.by("atoms_turn_stage_latency_seconds_count", "stage") == {"llm_api": 1, "unattributed": 1}


def test_a_stage_that_cannot_be_does_not_cost_the_turn() -> None:
    life = lived(payloads([HERE, turn(3000, 900, stt_api=-5, llm_api=500)]))
    assert life.total("atoms_turn_latency_seconds_sum") == 0.9
    assert life.by("atoms_turn_stage_latency_seconds_sum", "stage") == {"llm_api": 0.5, "unattributed": 0.4}
    assert life.by("atoms_exporter_samples_skipped_total", "reason") == {"negative": 1}


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (step(3000, "turn_latency"), "missing"),
        (step(3000, "turn_latency", turn_latency=-1.5), "negative"),
        (step(3000, "turn_latency", total_turn_ms=130_000), "implausible"),
        (step(3000, "turn_latency", turn_latency=float("nan")), "non_finite"),
        (step(3000, "tts_completed"), "missing"),
        (step(3000, "tts_completed", tts_latency=float("inf")), "non_finite"),
    ],
)
def test_a_latency_that_cannot_be_is_skipped_and_says_why(event: Step, reason: str) -> None:
    life = lived(payloads([HERE, event]))
    assert life.total("atoms_turn_latency_seconds_count") + life.total("atoms_tts_latency_seconds_count") == 0
    assert life.by("atoms_exporter_samples_skipped_total", "reason") == {reason: 1}


def logged(*seconds: float) -> CallLog:
    """A call log that tells these turns."""
    return CallLog(CALL_ID, turn_latencies=[LoggedTurn(each) for each in seconds])


def test_a_turn_of_a_summary_is_counted_once_and_only_if_the_stream_had_none_like_it() -> None:
    life = Life()
    life.feed(payloads([HERE, turn(1000, 1000), turn(3000, 1002), turn(5000, 700)]))
    log = logged(1.001, 1.0, 0.7, 2.5, 2.5, float("nan"))
    assert life.tracker.fill_turns(life.tracked, log, 0.0) == 2
    assert life.tracker.fill_turns(life.tracked, logged(1.001, 1.0, 0.7, 2.5, 2.5), 0.0) == 0
    life.end()
    assert life.total("atoms_turn_latency_seconds_count") == 5
    assert life.total("atoms_turn_latency_seconds_sum") == pytest.approx(1 + 1.002 + 0.7 + 2.5 + 2.5)
    assert len([span for span in life.trace().values() if span.name == "turn"]) == 5


@given(st.lists(st.integers(1, 3000), max_size=12), st.lists(st.integers(-1, 1), min_size=12, max_size=12), st.data())
def test_a_summary_in_any_order_and_a_millisecond_off_adds_nothing(
    turns: list[int], off: list[int], data: st.DataObject
) -> None:
    life = Life()
    life.feed(payloads([HERE, *(turn(5000 * (n + 1), ms) for n, ms in enumerate(turns))]))
    told = data.draw(st.permutations([(ms + by) / 1000 for ms, by in zip(turns, off, strict=False)]))
    assert life.tracker.fill_turns(life.tracked, logged(*told), 0.0) == 0


def test_a_history_with_turns_is_all_there_is_and_one_without_is_filled_in_from_the_statistics() -> None:
    whole = payloads([HERE, turn(1000, 1000), heard(3000)])
    life = Life()
    life.feed(whole)
    told = msgspec.structs.replace(logged(1.0, 2.5), events=[msgspec.Raw(payload) for payload in whole])
    assert life.tracker.fill_turns(life.tracked, told, 0.0) == 0
    life = Life()
    life.feed([whole[0], whole[2]])
    assert life.tracker.fill_turns(life.tracked, told, 0.0) == 2
    late = encoded({"event_type": "user_transcription", "event_id": "late", "timestamp": unix(500)})
    assert life.recover([whole[0], late, whole[2]]) == 1, "folded again"
    assert life.tracker.fill_turns(life.tracked, told, 0.0) == 0
    assert life.end().total("atoms_turn_latency_seconds_sum") == 3.5


def test_what_an_earlier_life_counted_of_the_turns_is_not_filled_in_again() -> None:
    whole = payloads([HERE, turn(1000, 1000)])
    first = Life()
    first.feed(whole)
    second = Life()
    second.resume(first.checkpoint(), None)
    assert second.tracker.fill_turns(second.tracked, logged(1.0), 0.0) == 0


@given(st.floats(0, 86_400), st.booleans())
def test_a_turn_of_the_statistics_is_where_they_put_it_and_never_in_the_seventies(
    after: float, connected: bool
) -> None:
    life = Life()
    life.feed(payloads([step(190, "call_start"), HERE] if connected else [HERE]))
    log = CallLog(CALL_ID, turn_latencies=[LoggedTurn(0.5, None, after)])
    life.tracker.fill_turns(life.tracked, log, 0.0)
    life.end()
    [span] = [span for span in life.spans if span.name == "turn"]
    begun = unix(190) if connected else unix(HERE.at_ms)
    assert span.end_ns / 1e9 == pytest.approx(begun + after, abs=1e-3)


def test_speech_is_measured_until_its_event() -> None:
    life = lived(payloads([HERE, greeting(6000, 5713)]))
    assert life.total("atoms_tts_latency_seconds_sum") == 5.713
    [span] = [span for span in life.spans if span.name == "text_to_speech"]
    assert span.end_ns - span.start_ns == 5_713_000_000
