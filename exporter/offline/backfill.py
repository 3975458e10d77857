"""Traces of finished calls, exported again. Never touches a counter."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from exporter.calls.observations import Agent
from exporter.config import Config
from exporter.errors import AtomsExporterError, ConfigError
from exporter.offline.replay import FLUSH_SECONDS, MOST_PENDING_SPANS, Replay
from exporter.outputs.otlp import trace_export
from exporter.outputs.otlp.traces import TraceExport
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recorder import SpansOnly
from exporter.receivers.history import History


class Backfill:
    """Exports the traces of finished calls. Never touches a counter.

    Calls that still go on are left alone: their traces come from their streams.
    """

    def __init__(self, config: Config, traces: TraceExport, history: History) -> None:
        self._config = config
        self._traces = traces
        self._history = history
        self.exported = 0
        self.going_on: list[str] = []
        self.failed: dict[str, str] = {}

    async def call_ids(self, last: int) -> list[str]:
        """The calls that changed last."""
        return [call.call_id async for call in self._history.recent(last)]

    async def export(self, call_id: str) -> None:
        """One call."""
        try:
            log = await self._history.fetch(call_id)
        except AtomsExporterError as problem:
            self.failed[call_id] = str(problem)
            return
        if log.outcome is None:
            self.going_on.append(call_id)
            return
        Replay(SpansOnly(self._traces.put), self._config, Agent()).take_log(log)
        self.exported += 1
        if self._traces.pending > MOST_PENDING_SPANS:  # fetching is faster than a backend may be
            await asyncio.to_thread(self._traces.flush, FLUSH_SECONDS)


def trace_export_or_error(env: Mapping[str, str], config: Config, metrics: Metrics) -> TraceExport:
    """Where traces go. Raises ConfigError that says what to set when nowhere."""
    traces = trace_export(
        env,
        metrics,
        max_queue_spans=max(config.traces.max_queue_spans, 100_000),
        max_retry_age_seconds=config.traces.max_retry_age,
    )
    if traces is None:
        raise ConfigError(
            "OTEL_EXPORTER_OTLP_ENDPOINT", "is required: say where traces go, such as http://localhost:4318"
        )
    return traces
