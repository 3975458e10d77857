"""OTLP out: traces and metrics over HTTP or gRPC, each only when an endpoint is set for it."""

from __future__ import annotations

from exporter.outputs.otlp.signals import (
    DROP_REASONS,
    FAILURE_REASONS,
    DropReason,
    ExportCounts,
    FailureReason,
    Signal,
    describe,
    metric_push,
    sampled_traces,
    trace_export,
)

__all__ = [
    "DROP_REASONS",
    "FAILURE_REASONS",
    "DropReason",
    "ExportCounts",
    "FailureReason",
    "Signal",
    "describe",
    "metric_push",
    "sampled_traces",
    "trace_export",
]
