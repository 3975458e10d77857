"""When the alerts beside the objectives speak."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AlertThresholds:
    """When the alerts beside the objectives speak.

    Ratios are shares of 1; minimums are events in the alert's window, below which it stays silent.
    """

    call_failure_warning: float = 0.10
    call_failure_critical: float = 0.20
    minimum_calls: int = 3
    certainty: float = 2.0
    """Standard errors by which failures have to exceed their limit: few calls prove little."""
    calls_lost_ratio: float = 0.50
    expected_calls: int = 10
    """Calls that usually come in a window that has none before that is an alarm; 0 never is."""
    errors_per_call: float = 0.50
    minimum_errors: int = 5
    answered_ratio: float = 0.10
    unanswered_ratio: float = 0.50
    minimum_spoken: int = 10
    node_bad_ratio: float = 0.60
    minimum_node_turns: int = 5
    minimum_visits: int = 3
    tool_failure_ratio: float = 0.20
    minimum_tool_calls: int = 20
    tts_p95_seconds: float = 5.0
    minimum_utterances: int = 20
    loops_per_visit: float = 0.50
    minimum_loops: int = 5
    interruption_ratio: float = 0.30
    minimum_turns: int = 30
    tokens_rise_factor: float = 1.5
    failing_end_reason_ratio: float = 0.20
    first_word_seconds: float = 3.0
    first_word_rise_factor: float = 1.5
    minimum_first_words: int = 10
    cost_rise_factor: float = 2.0
    minimum_costed_calls: int = 20
    near_limit_warning: float = 0.80
    near_limit_critical: float = 0.95
    minimum_queued: int = 10
    rejected_event_ratio: float = 0.01
    minimum_rejected: int = 10
    coverage: float = 0.50
    polls_failed_ratio: float = 0.50
    openings_failed_ratio: float = 0.50
    streams_not_open_ratio: float = 0.50
    recovered_ratio: float = 0.50
    minimum_recovered: int = 20
    loop_lag_seconds: float = 0.5
    bad_signature_ratio: float = 0.20
    minimum_bad_signatures: int = 3
    skipped_sample_ratio: float = 0.05
    minimum_skipped: int = 20
    clock_ahead_ratio: float = 0.50
    starts_in_half_an_hour: int = 3
    takeovers_in_an_hour: int = 3
    fleet_members: int = 0
    """Replicas that there should be; 0: nobody said so."""
