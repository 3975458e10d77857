"""Turns, their stages, speech."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.calls import STAGES
from tests.support.lives import Life, lived
from tests.support.wire import Step, greeting, node, payloads, step, turn

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


def test_a_turn_of_a_summary_is_counted_once_and_only_if_the_stream_had_none_like_it() -> None:
    life = Life()
    life.feed(payloads([HERE, turn(1000, 1000), turn(3000, 1002), turn(5000, 700)]))
    latencies = [(1.001, None), (1.0, None), (0.7, None), (2.5, None), (2.5, None), (float("nan"), None)]
    assert life.tracker.fill_turns(life.tracked, latencies, 0.0) == 2
    assert life.tracker.fill_turns(life.tracked, latencies[:5], 0.0) == 0
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
    assert life.tracker.fill_turns(life.tracked, [(seconds, None) for seconds in told], 0.0) == 0


def test_speech_is_measured_until_its_event() -> None:
    life = lived(payloads([HERE, greeting(6000, 5713)]))
    assert life.total("atoms_tts_latency_seconds_sum") == 5.713
    [span] = [span for span in life.spans if span.name == "text_to_speech"]
    assert span.end_ns - span.start_ns == 5_713_000_000
