"""What is in ``metrics[]`` is what Pipecat's own metric classes dump."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from exporter.simulator import recorded


@pytest.fixture(scope="module")
def pipecat_metrics() -> Any:
    """Pipecat's module; importing it replaces ``asyncio.wait_for``, which is none of the other tests' business."""
    wait_for = asyncio.wait_for
    try:
        return pytest.importorskip("pipecat.metrics.metrics", reason="pipecat-ai is not installed: nothing to compare")
    finally:
        asyncio.wait_for = wait_for


def records(dialect: str) -> list[dict[str, Any]]:
    return [
        record
        for number in range(60)
        for event in recorded(31, number, dialect)
        if event["event_type"] == "metrics"
        for record in event["metrics"]
        if not _is_total_alone(record.get("value"))
    ]


def _is_total_alone(value: Any) -> bool:
    """A usage that some providers tell, and Pipecat does not."""
    return isinstance(value, dict) and set(value) == {"total_tokens"}


def classes_of(module: Any, record: dict[str, Any]) -> tuple[Any, ...]:
    """The Pipecat classes a record may come from: the wire has lost the type."""
    if "ttfa" in record:
        return (module.TTFAMetricsData,)
    if "ttfat" in record:
        return (module.TTFATMetricsData,)
    if "is_complete" in record:
        return (module.TurnMetricsData,)
    value = record["value"]
    if isinstance(value, dict):
        return (module.STTUsageMetricsData,) if "audio_seconds" in value else (module.LLMUsageMetricsData,)
    if isinstance(value, int) and value and "WavesTTS" in record["processor"]:
        return (module.TTSUsageMetricsData,)
    return (module.TTFBMetricsData, module.ProcessingMetricsData, module.TextAggregationMetricsData)


@pytest.mark.parametrize("dialect", ["2025", "2026"])
def test_every_record_is_one_that_pipecat_would_have_dumped(dialect, pipecat_metrics):
    seen: Counter[str] = Counter()
    for record in records(dialect):
        for pipecat_class in classes_of(pipecat_metrics, record):
            dumped = pipecat_class(**record).model_dump()
            if isinstance(record.get("value"), dict):
                dumped["value"] = {name: dumped["value"][name] for name in record["value"]}
            assert dumped == record, pipecat_class.__name__
            seen[pipecat_class.__name__] += 1
    assert set(seen) == {
        "TTFAMetricsData",
        "TTFATMetricsData",
        "TurnMetricsData",
        "STTUsageMetricsData",
        "LLMUsageMetricsData",
        "TTSUsageMetricsData",
        "TTFBMetricsData",
        "ProcessingMetricsData",
        "TextAggregationMetricsData",
    }


def test_the_newer_dialect_dumps_token_usage_whole(pipecat_metrics):
    usages = [r for r in records("2026") if isinstance(r.get("value"), dict) and "prompt_tokens" in r["value"]]
    assert usages
    for record in usages:
        assert pipecat_metrics.LLMUsageMetricsData(**record).model_dump() == record


def test_a_breakdown_adds_up():
    for record in records("2026"):
        if "ttfa" in record:
            assert record["ttfb"] + record["leading_silence"] == pytest.approx(record["ttfa"], abs=0.0011)
        if "ttfat" in record:
            assert record["ttfb"] + record["thinking_time"] == pytest.approx(record["ttfat"], abs=0.0011)
