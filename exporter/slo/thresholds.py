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
    minimum_calls: int = 10
    minimum_recent_calls: int = 3
    tool_failure_ratio: float = 0.20
    minimum_tool_calls: int = 20
    tts_p95_seconds: float = 5.0
    minimum_utterances: int = 20
    loops_per_visit: float = 0.50
    minimum_loops: int = 5
    interruption_ratio: float = 0.30
    minimum_turns: int = 30
    tokens_rise_factor: float = 1.5
    rejected_event_ratio: float = 0.01
    minimum_rejected: int = 10
    coverage: float = 0.50
    streams_not_open_ratio: float = 0.50
