"""Metrics that can be switched off, in groups: who does not look at them need not pay for their series.

What is not in a group is what the product is for, or costs next to nothing: turns, their latency, errors, calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

GROUPS: Mapping[str, tuple[str, ...]] = {
    "stages": ("atoms_turn_stage_latency_seconds",),
    "processors": (
        "atoms_processor_latency_seconds",
        "atoms_tts_first_audio_seconds",
        "atoms_llm_first_answer_seconds",
        "atoms_end_of_turn_prediction_seconds",
    ),
    "speech": ("atoms_tts_latency_seconds", "atoms_tts_characters_total", "atoms_stt_audio_seconds_total"),
    "tokens": ("atoms_llm_tokens_total", "atoms_llm_token_details_total", "atoms_llm_request_tokens"),
    "words": ("atoms_words_total",),
    "silence": ("atoms_unanswered_turns_total", "atoms_dead_air_seconds", "atoms_first_word_seconds"),
    "visits": ("atoms_node_visits_total", "atoms_node_duration_seconds", "atoms_node_exits_total"),
    "hops": ("atoms_node_hops_total", "atoms_hop_response_seconds", "atoms_node_loops_total"),
    "tools": ("atoms_tool_calls_total", "atoms_tool_call_failures_total", "atoms_tool_call_latency_seconds"),
    "lookups": (
        "atoms_knowledgebase_queries_total",
        "atoms_knowledgebase_failures_total",
        "atoms_knowledgebase_latency_seconds",
        "atoms_variable_extractions_total",
        "atoms_variable_extraction_failures_total",
        "atoms_variable_extraction_latency_seconds",
    ),
    "api_calls": ("atoms_api_calls_total", "atoms_api_call_failures_total"),
    "agent_logs": ("atoms_agent_logs_total",),
    "account": (
        "atoms_call_end_reasons_total",
        "atoms_call_attempts_total",
        "atoms_call_cost_total",
        "atoms_call_setup_seconds",
        "atoms_test_calls_total",
        "atoms_agent_version_info",
    ),
    "recordings": ("atoms_recordings_total",),
    "dispositions": ("atoms_disposition_results_total", "atoms_disposition_value"),
}
"""By name, in the order of the documentation."""


def metrics_of(groups: Iterable[str]) -> frozenset[str]:
    """The metrics in these groups."""
    return frozenset(name for group in groups for name in GROUPS[group])
