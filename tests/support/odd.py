"""Hypothesis: well-typed events with odd values, in any order."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.support.wire import CALL_ID, encoded

_numbers = st.sampled_from((0, 1, -1, 2.5, 59, 60, 245, 1e-9, 120_001, 1e300, float("nan"), float("inf"), None))
_ids = st.sampled_from((None, "", "1", "2", "none", 7, "n" * 200))
_texts = st.sampled_from((None, "", "One", "Two", "a\nb", "\ud800"))
TIMES = st.sampled_from(
    (None, 0, -5, 1_758_124_305, 1_758_124_305.25, 1_758_124_307.5, 1_758_124_305_194, "2025-09-17T15:51:46.250Z")
) | st.integers(0, 20).map(lambda seconds: 1_758_124_300 + seconds)
_errors = st.sampled_from((None, "", "no", {"code": "X"}, ["a"], 5))
_values = st.one_of(
    _numbers,
    st.integers(-3, 300),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("prompt_tokens", "completion_tokens"), _numbers)),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("audio_seconds", "e2e_processing_time_ms"), _numbers)),
)
_records = st.fixed_dictionaries(
    {"processor": st.sampled_from((None, "WavesTTSService#1", "LLM#0", "")), "model": _texts, "value": _values},
    optional={"ttfa": _numbers, "ttfat": _numbers, "inference_time_ms": _numbers},
)
_latencies = {"latency": _numbers, "latency_ms": _numbers}

KINDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "call_start": {"telephony_id": _ids},
    "call_end": {"metadata": _errors},
    "call_cancelled": {},
    "call_recording": {},
    "user_interim_transcription": {},
    "user_transcription": {"user_transcription_text": _texts},
    "agent_node_state": {"node_id": _ids, "node_name": _texts, "node_type": _texts, "context": _errors},
    "hopping": {"from_node_id": _ids, "to_node_id": _ids},
    "llm_full_response_end": {"llm_text": _texts},
    "tts_completed": {"tts_latency": _numbers, "tts_text": _texts},
    "turn_latency": {
        **dict.fromkeys(("turn_latency", "stt_api_ms", "smart_turn_ms", "llm_api_ms", "tts_api_ms"), _numbers),
        "total_turn_ms": _numbers,
        "turn_index": _numbers,
        "interrupted": st.sampled_from((None, True, False)),
    },
    "metrics": {"metrics": st.lists(_records, max_size=4)},
    "tool_call_start": {"tool_call_id": _ids, "function_name": _texts, "context": _errors},
    "tool_call_end": {
        "tool_call_id": _ids,
        "function_name": _texts,
        "success": st.sampled_from((None, True, False)),
        "error": _errors,
        **_latencies,
    },
    "tool_call_error": {"tool_call_id": _ids, "function_name": _texts, "error": _errors},
    "knowledgebase": {"user_transcript": _texts, "response": _errors, "error": _errors, **_latencies},
    "variable_extraction": {"variables": _errors, "error": _errors, **_latencies},
    "pre_call_api": {"method": _texts, "success": st.sampled_from((None, True, False)), "error": _errors},
    "post_call_api": {"method": _texts, "error": _errors},
    "agent_error": {"error": _errors, "metadata": _errors},
    "agent_log": {"metadata": _errors},
    "something_new": {"x": _errors},
}
"""By event type, what may be in its fields."""


@st.composite
def odd_calls(draw: st.DrawFn) -> list[bytes]:
    """Events of one call in the order of their time, odd in every other respect."""
    at = 1_758_124_305.0
    whole: list[bytes] = []
    for number, kind in enumerate(draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=14))):
        at += draw(st.sampled_from((0.001, 0.5)))
        event = {"event_type": kind, "call_id": CALL_ID, "timestamp": at, "event_id": f"e{number}"}
        event |= {name: draw(values) for name, values in KINDS[kind].items() if draw(st.integers(0, 3))}
        whole.append(encoded(event))
    return whole
