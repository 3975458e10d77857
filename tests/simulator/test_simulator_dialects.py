"""Two notations, one call."""

from __future__ import annotations

import json
import re

import pytest
from simulator_reading import facts_of, is_stage, is_tts, milliseconds_at, read_metric

from exporter.simulator import Conditions, call_log, recorded, sse_bytes

NUMBERS = range(120)


@pytest.mark.parametrize("number", NUMBERS)
def test_both_dialects_carry_exactly_the_same_facts(number):
    assert facts_of(recorded(11, number, "2025")) == facts_of(recorded(11, number, "2026"))


def test_a_negative_latency_is_negative_in_both_dialects():
    worse = Conditions(negative_latency=1.0)
    older, newer = (recorded(11, 3, dialect, worse) for dialect in ("2025", "2026"))
    assert [e["turn_latency"] for e in older if e["event_type"] == "turn_latency" and e["turn_latency"] < 0]
    assert len([e for e in older if e.get("turn_latency", 0) < 0]) == len(
        [e for e in newer if e.get("turn_latency", 0) < 0]
    )


def test_the_older_dialect_is_written_as_in_the_guide():
    numbers: dict[str, int] = {}
    for event in recorded(11, 2, "2025"):
        assert isinstance(event["timestamp"], float)
        assert event["source"] == "orchestrator"
        observer, call = event["observer_class"], event["call_id"]
        matched = re.fullmatch(rf"{call}_(\d+)_(\d{{13}})", event["event_id"])
        assert matched
        assert int(matched[2]) == milliseconds_at(event)
        assert int(matched[1]) == numbers.get(observer, 1 if observer == "EventObserver" else 0) + 1
        numbers[observer] = int(matched[1])
    assert set(numbers) == {"EventObserver", "generic_event_factory"}


def test_the_newer_dialect_is_written_as_in_the_openapi_description():
    for event in recorded(11, 2, "2026"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["timestamp"])
        assert re.fullmatch(r"evt_[0-9a-f]{20}", event["event_id"])
        if event["event_type"] == "tts_completed":
            assert isinstance(event["tts_latency"], int)
        if event["event_type"] == "turn_latency":
            assert isinstance(event["turn_latency"], int)
            assert event["total_turn_ms"] == event["turn_latency"]


@pytest.mark.parametrize("dialect", ["2025", "2026"])
def test_event_ids_and_call_ids_are_unique(dialect):
    calls = [recorded(11, number, dialect) for number in NUMBERS]
    ids = [event["event_id"] for events in calls for event in events]
    assert len(set(ids)) == len(ids)
    call_ids = {events[0]["call_id"] for events in calls}
    assert len(call_ids) == len(calls)
    assert all(re.fullmatch(r"CALL-\d{13}-[0-9a-f]{6}", call_id) for call_id in call_ids)


@pytest.mark.parametrize("dialect", ["2025", "2026"])
def test_a_whole_number_from_a_tts_processor_is_always_characters_and_from_a_stage_always_a_time(dialect):
    characters = durations = stages = 0
    for number in NUMBERS:
        for event in recorded(11, number, dialect):
            for record in event.get("metrics", ()):
                value = record.get("value")
                if is_stage(record["processor"]) and value and not isinstance(value, dict):
                    assert 0.0003 <= read_metric(record, event["timestamp"])[-1] < 5
                    stages += isinstance(value, int)
                if not is_tts(record["processor"]) or value is None or value == 0:
                    continue
                if isinstance(value, int):
                    characters += 1
                else:
                    assert not float(value).is_integer()
                    assert read_metric(record, event["timestamp"])[-1] < 5
                    durations += 1
    assert characters > 100
    assert durations > 100
    assert stages > 100


def test_the_older_dialect_leaves_out_the_newer_token_details_unless_they_are_known():
    usages = [
        record["value"]
        for number in NUMBERS
        for event in recorded(11, number, "2025")
        for record in event.get("metrics", ())
        if isinstance(record.get("value"), dict) and "prompt_tokens" in record["value"]
    ]
    assert any("reasoning_tokens" not in usage for usage in usages)
    assert all(usage.get("reasoning_tokens", 1) is not None for usage in usages)
    assert all("cache_read_input_tokens" in usage for usage in usages)


@pytest.mark.parametrize("dialect", ["2025", "2026"])
def test_providers_tell_what_a_request_used_in_every_way_there_is(dialect):
    ways = set()
    for number in NUMBERS:
        for event in recorded(11, number, dialect):
            for record in event.get("metrics", ()):
                usage = record.get("value")
                if not isinstance(usage, dict) or "total_tokens" not in usage:
                    continue
                missing = (
                    usage["total_tokens"] - (usage.get("prompt_tokens") or 0) - (usage.get("completion_tokens") or 0)
                )
                assert missing >= 0
                if missing == usage["total_tokens"]:
                    ways.add("total")
                elif missing:
                    ways.add("thought" if missing == usage.get("reasoning_tokens") else "cache")
                else:
                    ways.add("whole")
    assert ways == {"whole", "cache", "thought", "total"}


def test_the_bytes_of_a_stream_are_frames_of_json():
    events = recorded(11, 1)
    frames = sse_bytes(events).decode().split("\n\n")
    assert frames.pop() == ""
    assert [json.loads(frame.removeprefix("data: ")) for frame in frames] == events


@pytest.mark.parametrize("dialect", ["2025", "2026"])
def test_the_call_log_holds_the_same_events_and_the_vendors_own_statistics(dialect):
    for number in range(20):
        data = call_log(11, number, dialect)["data"]
        assert data["events"] == recorded(11, number, dialect)
        turns = [fact[2] for fact in facts_of(data["events"]) if fact[1] == "turn_latency"]
        if turns:
            assert data["turnLatencyMetrics"]["latencies"] == [round(turn * 1000) for turn in turns]
            assert data["turnLatencyMetrics"]["turns"] == len(turns)
        else:
            assert data["turnLatencyMetrics"] is None
