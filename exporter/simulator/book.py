"""A book: counts by family and label values. A family is named like the exporter's sample it can be compared with; its
labels are the documented ones without the names of agents and nodes, for which the ids stand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

NODE = ("agent_id", "node_id")
MODEL = (*NODE, "processor", "model")

LABELS: Mapping[str, tuple[str, ...]] = {
    "events_total": ("event_type",),
    "samples_skipped_total": ("reason",),
    "atoms_turn_latency_seconds_count": (*NODE, "interrupted"),
    "atoms_turn_latency_seconds_sum": (*NODE, "interrupted"),
    "atoms_turn_stage_latency_seconds_count": (*NODE, "stage"),
    "atoms_turn_stage_latency_seconds_sum": (*NODE, "stage"),
    "atoms_tts_latency_seconds_count": NODE,
    "atoms_tts_latency_seconds_sum": NODE,
    "atoms_processor_latency_seconds_count": MODEL,
    "atoms_processor_latency_seconds_sum": MODEL,
    "atoms_llm_tokens_total": (*MODEL, "type"),
    "atoms_llm_token_details_total": (*MODEL, "detail"),
    "atoms_llm_request_tokens_count": (*MODEL, "type"),
    "atoms_llm_request_tokens_sum": (*MODEL, "type"),
    "atoms_tts_characters_total": MODEL,
    "atoms_stt_audio_seconds_total": MODEL,
    "atoms_tts_first_audio_seconds_count": MODEL,
    "atoms_tts_first_audio_seconds_sum": MODEL,
    "atoms_llm_first_answer_seconds_count": MODEL,
    "atoms_llm_first_answer_seconds_sum": MODEL,
    "atoms_end_of_turn_prediction_seconds_count": MODEL,
    "atoms_end_of_turn_prediction_seconds_sum": MODEL,
    "atoms_user_turns_total": NODE,
    "atoms_unanswered_turns_total": NODE,
    "atoms_dead_air_seconds_count": NODE,
    "atoms_dead_air_seconds_sum": NODE,
    "atoms_words_total": (*NODE, "speaker"),
    "atoms_first_word_seconds_count": ("agent_id", "channel"),
    "atoms_first_word_seconds_sum": ("agent_id", "channel"),
    "atoms_agent_logs_total": (*NODE, "name", "severity"),
    "atoms_node_visits_total": NODE,
    "atoms_node_hops_total": ("agent_id", "from_node_id", "to_node_id"),
    "atoms_hop_response_seconds_count": NODE,
    "atoms_node_loops_total": NODE,
    "atoms_tool_calls_total": (*NODE, "function"),
    "atoms_tool_call_failures_total": (*NODE, "function"),
    "atoms_tool_call_latency_seconds_count": (*NODE, "function"),
    "atoms_tool_call_latency_seconds_sum": (*NODE, "function"),
    "atoms_knowledgebase_queries_total": NODE,
    "atoms_knowledgebase_failures_total": NODE,
    "atoms_knowledgebase_latency_seconds_sum": NODE,
    "atoms_variable_extractions_total": NODE,
    "atoms_variable_extraction_failures_total": NODE,
    "atoms_variable_extraction_latency_seconds_sum": NODE,
    "atoms_api_calls_total": (*NODE, "phase", "method"),
    "atoms_api_call_failures_total": (*NODE, "phase", "method"),
    "atoms_agent_errors_total": (*NODE, "code", "severity"),
    "atoms_disposition_results_total": ("agent_id", "identifier", "value"),
    "atoms_disposition_value_count": ("agent_id", "identifier"),
    "atoms_disposition_value_sum": ("agent_id", "identifier"),
    "atoms_calls_started_total": ("agent_id", "channel"),
    "atoms_calls_ended_total": ("agent_id", "channel", "outcome"),
    "atoms_call_end_reasons_total": ("agent_id", "channel", "reason"),
    "atoms_node_exits_total": (*NODE, "reason"),
    "atoms_call_attempts_total": ("agent_id", "channel", "attempt"),
    "atoms_call_cost_total": ("agent_id", "channel"),
    "atoms_call_setup_seconds_count": ("agent_id", "channel"),
    "atoms_call_setup_seconds_sum": ("agent_id", "channel"),
    "atoms_test_calls_total": ("agent_id",),
    "atoms_recordings_total": ("agent_id", "status"),
}
"""Every family with its labels, in order. The dispositions are in the book of the webhooks alone."""

NOTES: Mapping[str, tuple[str, ...]] = {"nameless_visits_total": NODE}
"""What explains a consumer's page without being in it: visits to nodes that no event of their call names."""

_ALL = {**LABELS, **NOTES}


class Book:
    """Counts by family and label values. ``_seconds_sum`` families are milliseconds inside, seconds outside."""

    def __init__(self) -> None:
        self._counts: dict[str, defaultdict[tuple[str, ...], float]] = {}

    def add(self, family: str, labels: tuple[str, ...], amount: float = 1) -> None:
        """Count. KeyError for a family that is not declared, ValueError for labels that are not."""
        if len(_ALL[family]) != len(labels):
            raise ValueError(f"{family} has labels {_ALL[family]}, got {labels}")
        self._counts.setdefault(family, defaultdict(float))[labels] += amount

    def add_book(self, other: Book) -> None:
        """Everything of the other book too."""
        for family, rows in other._counts.items():
            mine = self._counts.setdefault(family, defaultdict(float))
            for labels, amount in rows.items():
                mine[labels] += amount

    def counts(self, family: str) -> dict[tuple[str, ...], float]:
        """What was counted in one family, by label values; sums of times and audio in seconds."""
        rows: Mapping[tuple[str, ...], float] = self._counts.get(family, {})
        scale = 1000 if family.endswith("_seconds_sum") or family == "atoms_stt_audio_seconds_total" else 1
        return {labels: amount / scale if scale > 1 else amount for labels, amount in rows.items()}

    def total(self, family: str, **labels: str) -> float:
        """The sum over all rows that have these label values."""
        names = _ALL[family]
        wanted = [(names.index(name), value) for name, value in labels.items()]
        rows = self.counts(family).items()
        return sum(amount for row, amount in rows if all(row[place] == value for place, value in wanted))

    def as_json(self) -> dict[str, list[dict[str, Any]]]:
        """By family a list of ``{label: value, …, "value": amount}``."""
        return {
            family: [
                {**dict(zip(_ALL[family], labels, strict=True)), "value": amount}
                for labels, amount in sorted(self.counts(family).items())
            ]
            for family in _ALL
            if family in self._counts
        }
