"""Waiting for a backend to take spans, as long as it takes some."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from exporter.errors import AtomsExporterError
from exporter.outputs.otlp.traces import TraceExport
from exporter.outputs.prometheus.metrics import Metrics

PATIENCE_SECONDS = 60.0
"""Without one span taken for so long, a backend is not coming back for somebody who waits at a terminal."""

_SLICE_SECONDS = 0.25


class BackendAway(AtomsExporterError):
    """The backend took nothing for as long as we wait."""


class Delivery:
    """How spans of finished calls leave. Its methods block: they are for a thread, or for a command that only waits.

    :param endpoint: where they go, without secrets, for the message.
    """

    def __init__(
        self,
        traces: TraceExport,
        metrics: Metrics,
        endpoint: str,
        *,
        patience_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._traces = traces
        self._metrics = metrics
        self._endpoint = endpoint
        self._patience = PATIENCE_SECONDS if patience_seconds is None else patience_seconds
        self._clock = clock
        self._stop = threading.Event()

    @property
    def delivered(self) -> int:
        """Spans the backend has taken."""
        return _total(self._metrics, "atoms_exporter_spans_exported_total")

    @property
    def lost(self) -> int:
        """Spans that will not arrive."""
        return _total(self._metrics, "atoms_exporter_spans_dropped_total")

    def stop_waiting(self) -> None:
        """Whoever waits in ``down_to`` goes on at once."""
        self._stop.set()

    def down_to(self, pending: int) -> None:
        """Wait until no more than so many spans are left. Raises BackendAway after a minute without any taken."""
        since, before = self._clock(), (self.delivered, self.lost)
        while self._traces.pending > pending and not self._stop.is_set():
            self._traces.flush(_SLICE_SECONDS)
            now = (self.delivered, self.lost)
            if now != before:
                since, before = self._clock(), now
            elif self._clock() - since >= self._patience:
                raise BackendAway(f"{self._endpoint} has taken nothing for {self._patience:g} s: given up")

    def close(self, seconds: float) -> int:
        """Send what is left within so many seconds, and end; how many spans did not arrive in all."""
        self._traces.close(seconds)
        return self.lost


def _total(metrics: Metrics, name: str) -> int:
    return round(sum(sample.value for sample in metrics.store[name].metric().samples if sample.name == name))
