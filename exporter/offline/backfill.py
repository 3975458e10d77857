"""Traces of finished calls, exported again. Never touches a counter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from exporter import __version__
from exporter.calls.observations import Agent
from exporter.config import Config
from exporter.errors import AtomsExporterError, ConfigError
from exporter.offline.delivery import Delivery
from exporter.offline.replay import MOST_PENDING_SPANS, Replay
from exporter.outputs.otlp import trace_export
from exporter.outputs.otlp.settings import endpoint
from exporter.outputs.otlp.traces import TraceExport
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recorder import SpansOnly
from exporter.outputs.spans import SpanRecord
from exporter.receivers.history import History

_QUEUE_SPANS = 100_000


class Backfill:
    """Exports the traces of finished calls. Never touches a counter.

    Calls that still go on are left alone: their traces come from their streams. Raises ConfigError when no endpoint
    is set for traces.
    """

    def __init__(self, config: Config, env: Mapping[str, str]) -> None:
        metrics = Metrics(version=__version__)
        self._config = config
        self._traces, self.endpoint = _traces_to(env, config, metrics)
        self.delivery = Delivery(self._traces, metrics, self.endpoint)
        self.exported = 0
        self.going_on: list[str] = []
        self.failed: dict[str, str] = {}
        self._put = 0
        self._put_by: dict[str, int] = {}

    async def export_all(
        self, history: History, call_ids: Iterable[str], each_done: Callable[[], None] = lambda: None
    ) -> None:
        """All of these, then wait for the backend. Raises BackendAway."""
        async with asyncio.TaskGroup() as group:
            for call_id in call_ids:
                group.create_task(self._export(history, call_id)).add_done_callback(lambda _: each_done())
        await asyncio.to_thread(self.delivery.down_to, 0)

    async def _export(self, history: History, call_id: str) -> None:
        try:
            log = await history.fetch(call_id)
        except AtomsExporterError as problem:
            self.failed[call_id] = str(problem)
            return
        if log.outcome is None:
            self.going_on.append(call_id)
            return
        replaying = Replay(SpansOnly(self._take), self._config, Agent())
        replaying.take_log(log)
        replaying.end()
        self.exported += 1
        self._put_by[call_id] = self._put
        if self._traces.pending > MOST_PENDING_SPANS:  # fetching is faster than a backend may be
            await asyncio.to_thread(self.delivery.down_to, MOST_PENDING_SPANS)

    def _take(self, span: SpanRecord) -> None:
        self._put += 1
        self._traces.put(span)

    def undelivered(self) -> list[str]:
        """The calls of which not all has arrived. Spans go in the order of their calls, the oldest first."""
        return [call_id for call_id, put in self._put_by.items() if put > self.delivery.delivered]


def _traces_to(env: Mapping[str, str], config: Config, metrics: Metrics) -> tuple[TraceExport, str]:
    traces = trace_export(
        env,
        metrics,
        max_queue_spans=max(config.traces.max_queue_spans, _QUEUE_SPANS),
        max_retry_age_seconds=config.traces.max_retry_age,
    )
    where = endpoint(env, "traces")
    if traces is None or where is None:
        raise ConfigError(
            "OTEL_EXPORTER_OTLP_ENDPOINT", "is required: say where traces go, such as http://localhost:4318"
        )
    return traces, where.masked_url
