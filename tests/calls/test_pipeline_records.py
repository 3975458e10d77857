"""What ``metrics[]`` can hold: durations, exact zeros, characters, tokens, audio, predictions, first sounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.lives import Life, lived
from tests.support.wire import Dialect, measured, node, payloads, record, tokens

HERE = node(1, "A", "Ask")


def _life(*records: dict[str, Any], dialect: Dialect = "2025") -> Life:
    return lived(payloads([HERE, measured(1000, *records)], dialect))


def _skipped(life: Life) -> dict[str, float]:
    return life.by("atoms_exporter_samples_skipped_total", "reason")


@pytest.mark.parametrize("zero", [0, 0.0, -0.0])
@pytest.mark.parametrize("processor", ["WavesTTSService#0", "LLM#0", None])
def test_an_exact_zero_is_the_initial_empty_metric(zero: float, processor: Any) -> None:
    life = _life(record(processor, zero))
    assert _skipped(life) == {"initial_zero": 1}
    assert life.total("atoms_processor_latency_seconds_count") + life.total("atoms_tts_characters_total") == 0


@given(st.integers(1, 50_000), st.sampled_from(("2025", "2026")))
def test_an_integer_of_a_synthesiser_is_characters(count: int, dialect: Dialect) -> None:
    life = _life(record("WavesTTSService#3", count, "lightning-v2"), dialect=dialect)
    assert life.by("atoms_tts_characters_total", "processor", "model") == {("WavesTTSService", "lightning-v2"): count}
    assert life.total("atoms_processor_latency_seconds_count") == 0


def test_instances_of_a_processor_are_one_and_no_model_is_an_empty_label() -> None:
    life = _life(record("WavesTTSService#0", 0.25), record("WavesTTSService#3", 0.5), record("LLM", 0.125))
    assert life.by("atoms_processor_latency_seconds_sum", "processor", "model") == {
        ("WavesTTSService", ""): 0.75,
        ("LLM", ""): 0.125,
    }


def test_token_counts_that_are_null_count_nothing() -> None:
    life = _life(tokens(None, 12), tokens(7, None))
    assert life.by("atoms_llm_tokens_total", "type") == {"completion": 12, "prompt": 7}
    assert life.by("atoms_llm_request_tokens_count", "type") == {"completion": 1, "prompt": 1}


def test_details_are_kept_apart_from_the_tokens_they_are_part_of() -> None:
    life = _life(tokens(1000, 80, cache_read_input_tokens=640, reasoning_tokens=16, cache_creation_input_tokens=None))
    assert life.total("atoms_llm_tokens_total") == 1080
    assert life.by("atoms_llm_token_details_total", "detail") == {"cache_read": 640, "reasoning": 16}


def test_tokens_are_summed_by_the_visit_the_turn_and_the_call_for_their_spans() -> None:
    life = lived(payloads([HERE, measured(10, tokens(5, 1)), measured(20, tokens(7, 2))]))
    for name in ("hop Ask", "call"):
        [span] = [span for span in life.spans if span.name == name]
        assert span.attributes["gen_ai.usage.input_tokens"] == 12
        assert span.attributes["gen_ai.usage.output_tokens"] == 3


def test_seconds_of_audio_are_a_usage() -> None:
    life = _life(record("PulseSTTService#0", {"audio_seconds": 2.5}), record("PulseSTTService#1", {"audio_seconds": 0}))
    assert life.by("atoms_stt_audio_seconds_total", "processor") == {"PulseSTTService": 2.5}
    assert _skipped(life) == {}


@pytest.mark.parametrize(
    ("entry", "metric", "seconds"),
    [
        ({"ttfa": 0.25, "ttfb": 0.2, "leading_silence": 0.05}, "atoms_tts_first_audio_seconds", 0.25),
        ({"ttfat": 0.5, "ttfb": 0.3, "thinking_time": 0.2}, "atoms_llm_first_answer_seconds", 0.5),
        ({"is_complete": True, "e2e_processing_time_ms": 12.5}, "atoms_end_of_turn_prediction_seconds", 0.0125),
        ({"is_complete": True, "inference_time_ms": 25}, "atoms_end_of_turn_prediction_seconds", 0.025),
        ({"value": {"probability": 1, "inference_time_ms": 25}}, "atoms_end_of_turn_prediction_seconds", 0.025),
    ],
)
def test_other_records_are_never_mixed_into_the_processor_latency(entry: Any, metric: str, seconds: float) -> None:
    life = _life({"processor": "P#0", "model": None, **entry})
    assert life.by(f"{metric}_sum", "processor", "node_id") == {("P", "A"): seconds}
    assert life.total("atoms_processor_latency_seconds_count") == 0
    assert _skipped(life) == {}


@pytest.mark.parametrize(
    ("entry", "reasons"),
    [
        (record("LLM#0", -0.5), {"negative": 1}),
        (record("WavesTTSService#0", -3), {"negative": 1}),
        (record("WavesTTSService#0", 10**8), {"implausible": 1}),
        (record("LLM#0", None), {"missing": 1}),
        (record("LLM#0", {}), {"missing": 1}),
        (record("LLM#0", {"something": "new"}), {"missing": 1}),
        (record("LLM#0", float("inf")), {"non_finite": 1}),
        (record("LLM#0", 400_000), {"implausible": 1}),
        (tokens(-1, None), {"negative": 1}),
        (record("LLM#0", {"prompt_tokens": 1e300}), {"implausible": 1}),
        (record("LLM#0", {"prompt_tokens": float("nan")}), {"non_finite": 1}),
        (record("PulseSTTService#0", {"audio_seconds": -1}), {"negative": 1}),
        (record("PulseSTTService#0", {"audio_seconds": 1e9}), {"implausible": 1}),
    ],
)
def test_what_cannot_be_counted_is_skipped_once_and_says_why(entry: Any, reasons: dict[str, int]) -> None:
    life = _life(entry)
    assert _skipped(life) == reasons
    assert not life.samples(leave_out=("atoms_exporter", "atoms_call", "atoms_node"))


def test_one_bad_entry_does_not_cost_its_neighbours() -> None:
    whole = payloads([HERE, measured(1000, record("LLM#0", 0.5), record("LLM#0", 0.25))])
    whole[1] = whole[1].replace(b'"metrics":[', b'"metrics":[null,7,"x",{"processor":5,"value":[1]},')
    life = lived(whole)
    assert life.total("atoms_processor_latency_seconds_sum") == 0.75
    assert _skipped(life)["wrong_type"] == 5
