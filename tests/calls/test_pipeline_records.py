"""What ``metrics[]`` can hold: durations, exact zeros, characters, tokens, audio, predictions, first sounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.calls.tokens import usage_of
from exporter.protocol.units import Unit, UnitRules
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


@pytest.mark.parametrize("dialect", ["2025", "2026"])
def test_a_stage_of_the_vendor_s_measures_milliseconds_and_counts_no_characters(dialect: Dialect) -> None:
    entries = [record("lightning_tts", 180), record("pulse_stt", 45.3), record("electron_llm", 512)]
    life = _life(*entries, dialect=dialect)
    took = life.by("atoms_processor_latency_seconds_sum", "processor")
    assert {name: round(each, 9) for name, each in took.items()} == {
        "lightning_tts": 0.18,
        "pulse_stt": 0.0453,
        "electron_llm": 0.512,
    }
    assert life.total("atoms_tts_characters_total") == 0


@pytest.mark.parametrize("dialect", ["2025", "2026"])
def test_a_processor_of_pipecat_s_measures_seconds_whatever_their_number(dialect: Dialect) -> None:
    life = _life(record("LLM#0", 75.5), record("LLM#0", 2), record("LLM#0", 133.25), dialect=dialect)
    assert life.total("atoms_processor_latency_seconds_sum") == 77.5
    assert _skipped(life) == {"implausible": 1}


@pytest.mark.parametrize(
    ("unit", "value", "seconds"),
    [(Unit.MILLISECONDS, 180, 0.18), (Unit.SECONDS, 2, 2.0), (Unit.MILLISECONDS, 0.5, 0.0005)],
)
@pytest.mark.parametrize("processor", ["lightning_tts", "WavesTTSService#0", "LLM#0", "tts"])
def test_what_the_operator_says_of_processors_is_obeyed_before_any_rule(
    unit: Unit, value: float, seconds: float, processor: str
) -> None:
    whole = payloads([HERE, measured(1000, record(processor, value))])
    life = lived(whole, units=UnitRules(processor=unit))
    assert life.total("atoms_processor_latency_seconds_sum") == seconds
    assert life.total("atoms_tts_characters_total") == 0


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


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ((100, 50, 2150, {"cache_read_input_tokens": 2000}), (2100, 50, 0)),
        ((100, 50, 2178, {"cache_read_input_tokens": 2000, "cache_creation_input_tokens": 28}), (2128, 50, 0)),
        ((15, 359, 1035, {"reasoning_tokens": 661}), (15, 1020, 0)),
        ((10, 20, 1230, {"cache_read_input_tokens": 700, "reasoning_tokens": 500}), (710, 520, 0)),
        ((None, None, 700, {}), (0, 0, 700)),
        ((None, 46, 1338, {}), (0, 46, 1292)),
        ((500, 20, 520, {"cache_read_input_tokens": 450}), (500, 20, 0)),
        ((500, 20, 525, {"cache_read_input_tokens": 450}), (500, 20, 5)),
        ((1086, 15, 1108, {"cache_read_input_tokens": 512, "reasoning_tokens": 7}), (1086, 22, 0)),
        ((100, 50, 2155, {"cache_read_input_tokens": 2000}), (2100, 50, 5)),
        ((100, 50, None, {"cache_read_input_tokens": 2000}), (2100, 50, 0)),
        ((15, 359, None, {"reasoning_tokens": 661}), (15, 1020, 0)),
        ((500, 20, 7, {}), (500, 20, 0)),
        ((500, 20, None, {"cache_read_input_tokens": 450}), (500, 20, 0)),
    ],
)
def test_a_total_says_what_the_counts_leave_out(usage: Any, counted: tuple[int, int, int]) -> None:
    prompt, completion, total, details = usage
    value = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **details}
    life = _life(record("LLM#0", value))
    kinds = ("prompt", "completion", "other")
    wanted = {kind: count for kind, count in zip(kinds, counted, strict=True) if count}
    assert life.by("atoms_llm_tokens_total", "type") == wanted
    assert life.by("atoms_llm_request_tokens_sum", "type") == wanted
    names = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "atoms.usage.other_tokens")
    for span in (span for span in life.spans if span.name in ("call", "hop Ask")):
        assert tuple(span.attributes.get(name, 0) for name in names) == counted


_counts = st.none() | st.integers(0, 10**6)


@given(_counts, _counts, _counts, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_parts_sum_to_the_total_wherever_it_is_told_and_credible(
    prompt: int | None, completion: int | None, total: int | None, read: int, written: int, thought: int
) -> None:
    usage = usage_of(prompt, completion, total, cached=(read, written), thought=thought)
    told = (prompt or 0) + (completion or 0)
    if total is not None:
        assert (usage.prompt or 0) + (usage.completion or 0) + usage.other == max(total, told)
    else:
        assert usage.other == 0
        assert usage.prompt is None or usage.prompt >= read, "what came from a cache is a part of the prompt"
        assert usage.completion is None or usage.completion >= thought
    assert (usage.prompt is None) == (prompt is None)
    assert (usage.completion is None) == (completion is None)


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
        (record("LLM#0", {"prompt_tokens": -1}), {"negative": 1}),
        (record("LLM#0", {"total_tokens": -1}), {"negative": 1}),
        (record("LLM#0", {"prompt_tokens": -1, "total_tokens": 1e300}), {"negative": 1, "implausible": 1}),
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
