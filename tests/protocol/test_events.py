"""The event classes: what they know, what they deliberately do not, and that they say so in one place."""

from __future__ import annotations

import gc

import msgspec
import pytest

from exporter.outputs.prometheus.catalogue import EVENT_TYPES
from exporter.protocol.decode import decode_event
from exporter.protocol.events import EVENT_CLASSES, WIRE_NAMES, Event, Unknown

DOCUMENTED = {
    "sse_init": "",
    "sse_close": "",
    "call_start": "telephony_id",
    "call_end": "",
    "call_cancelled": "",
    "user_interim_transcription": "",
    "user_transcription": "user_transcription_text",
    "agent_node_state": "node_id node_name node_type context",
    "hopping": "from_node_id to_node_id",
    "llm_full_response_end": "llm_text",
    "tts_completed": "tts_latency tts_text",
    "turn_latency": (
        "turn_latency stt_api_ms stt_to_llm_ms smart_turn_ms llm_api_ms llm_to_tts_ms tts_api_ms tts_to_audio_ms "
        "total_turn_ms turn_index interrupted smart_turn_enabled"
    ),
    "metrics": "metrics",
    "tool_call_start": "turn_id tool_call_id function_name context",
    "tool_call_end": "turn_id tool_call_id function_name latency_ms success response error",
    "tool_call_error": "turn_id tool_call_id function_name error",
    "knowledgebase": "knowledge_base_id user_transcript response latency error",
    "variable_extraction": "variables latency error",
    "pre_call_api": "method success error",
    "post_call_api": "method success error",
    "agent_error": "error metadata payload severity error_class",
    "agent_log": "",
    "call_recording": "",
}
"""What is read of each event."""

NEVER_READ = ("headers", "body", "recording_url", "extracted_variables", "variable_extraction_prompt", "toPhone")


def test_every_documented_event_is_known() -> None:
    assert set(EVENT_CLASSES) == set(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_what_is_read_of_an_event(name: str) -> None:
    envelope = {"event_id", "timestamp", "call_id"}
    fields = set(EVENT_CLASSES[name].__struct_fields__)
    assert envelope <= fields
    assert set(DOCUMENTED[name].split()) <= fields - envelope
    assert not fields & set(NEVER_READ), "a secret that is not read cannot leak"


@pytest.mark.parametrize("cls", [*EVENT_CLASSES.values(), Unknown])
def test_events_are_frozen_cost_the_collector_nothing_and_may_lack_every_field(cls: type[Event]) -> None:
    event = cls()
    assert not gc.is_tracked(event)
    with pytest.raises(AttributeError):
        event.event_id = "x"  # type: ignore[misc]  # that is the point
    tag = cls.__struct_config__.tag
    decoded, misfits = decode_event(msgspec.json.encode({"event_type": tag}))
    wanted = Unknown(wire_type=str(tag)) if cls is Unknown else event
    assert (decoded, misfits) == (wanted, 0)


def test_every_type_has_its_word_for_the_metrics_and_there_is_one_for_the_rest() -> None:
    assert set(WIRE_NAMES.values()) == set(EVENT_TYPES)
    assert WIRE_NAMES[Unknown] == "other"
