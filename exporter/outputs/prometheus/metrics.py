"""The registry and everything in it: what calls count (``call_metrics``), and what the exporter says about itself.

Nothing here is shared between threads but the counters of the OTLP export and the lags of events, which take a lock.
"""

from __future__ import annotations

import platform
import time
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Collection, Iterable
from functools import partial
from threading import Lock

from prometheus_client import CollectorRegistry, GCCollector, Metric, ProcessCollector

from exporter.calls.observations import Observation
from exporter.outputs.prometheus.call_metrics import CallMetrics
from exporter.outputs.prometheus.catalogue import catalogue
from exporter.outputs.prometheus.groups import metrics_of
from exporter.outputs.prometheus.series import Counter, Store, View
from exporter.protocol.capacity import Concurrency
from exporter.protocol.events import WIRE_NAMES, Event
from exporter.protocol.labels import label, name_label


class Metrics:
    """The registry, and everything that is counted into it. Implements ``Recorder``, ``Telemetry`` and the OTLP
    export's counters.

    :param latency_buckets: bounds in seconds for the adjustable histograms; empty for the catalogue's.
    :param max_series_per_metric: label sets a metric may hold before they are folded into ``__other__``.
    :param without: groups of metrics that are switched off.
    :param version_label: tell the versions of an agent apart, in turns, calls and errors.
    :param created_timestamps: write ``_created`` in OpenMetrics.
    """

    def __init__(
        self,
        *,
        version: str,
        latency_buckets: tuple[float, ...] = (),
        max_series_per_metric: int = 2000,
        created_timestamps: bool = False,
        without: Collection[str] = (),
        version_label: bool = False,
    ) -> None:
        self.store = Store(
            catalogue(version_label=version_label),
            budget=max_series_per_metric,
            bounds=latency_buckets,
            created_lines=created_timestamps,
            without=metrics_of(without),
        )
        self.others = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.others)
        GCCollector(registry=self.others)
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_Fresh(self))
        self._process = ProcessCollector(registry=self.registry)
        self.api_has_answered = False
        """The list of calls could be read once: what readiness means."""
        self.api_problem = ""
        """Why it cannot be read now; empty while it can, and before the first look."""
        self.last_errors: dict[str, tuple[str, float]] = {}
        """Of the API, the streams, the state and OTLP: the class of the last error and when it was, Unix time."""
        self._export_lock = Lock()
        self.state: Callable[[], tuple[bool, float]] | None = None
        """Whether what is counted is kept, and since how many seconds it was not; ``None``: nobody keeps it."""
        self._overflows: dict[str, int] = {}  # of each family, as the counter has them
        self.store.gauge("atoms_exporter_build_info", version, platform.python_version()).set(1)
        self._up = self.store.gauge("atoms_exporter_up")
        self._lag = self.store.histogram("atoms_exporter_event_lag_seconds")
        self._lags: list[float] = []
        self._add_lag = self._lags.append
        self._lag_lock = Lock()
        self._events = {
            kind: self.store.counter("atoms_exporter_events_total", name) for kind, name in WIRE_NAMES.items()
        }
        self._duplicates = self.store.counter("atoms_exporter_events_duplicate_total")
        self._recovered = self.store.counter("atoms_exporter_events_recovered_total")
        self._loop_lag = self.store.histogram("atoms_exporter_event_loop_lag_seconds")
        self._scrape = self.store.histogram("atoms_exporter_scrape_duration_seconds")
        self._commit = self.store.histogram("atoms_exporter_state_commit_seconds")
        self._spans_exported = self.store.counter("atoms_exporter_spans_exported_total")
        self._span_queue = self.store.gauge("atoms_exporter_span_queue")
        self.calls = CallMetrics(self.store, version_label=version_label)

    @property
    def live_events(self) -> int:
        """Events of live streams counted so far, those without a time left out."""
        return self._lag.count + len(self._lags)

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """The series of a counter or gauge as they are now, for a person: labels and value."""
        family = self.store[name]
        return [
            (dict(zip(family.spec.labels, key, strict=True)), child.value)
            for key, child in family.children.items()
            if isinstance(child, Counter)
        ]

    # -- Recorder

    def observed(self, facts: Iterable[Observation]) -> None:
        """Count what became known."""
        recorders = self.calls.recorders
        for fact in facts:
            recorders[type(fact)](fact)

    def event_received(self, kind: type[Event], lag_seconds: float | None) -> None:
        """An event was counted."""
        self._events[kind].value += 1
        if lag_seconds is not None:
            self._add_lag(lag_seconds)  # the most frequent sample of all: counted many at a time

    def event_duplicate(self) -> None:
        """An event came again."""
        self._duplicates.inc()

    def event_recovered(self) -> None:
        """An event that a stream missed was counted."""
        self._recovered.inc()

    def event_rejected(self, reason: str) -> None:
        """A payload that could not become an event of its call."""
        self.store.counter("atoms_exporter_events_rejected_total", reason).inc()

    def sample_skipped(self, reason: str) -> None:
        """A value was not counted."""
        self.store.counter("atoms_exporter_samples_skipped_total", reason).inc()

    # -- Telemetry

    def stream_state(self, before: str | None, after: str | None) -> None:
        """A stream moved from one state to another."""
        if before is not None:
            self.store.gauge("atoms_exporter_streams", before).inc(-1)
        if after is not None:
            self.store.gauge("atoms_exporter_streams", after).inc()

    def stream_reconnected(self, reason: str) -> None:
        """A stream is opened again."""
        self.store.counter("atoms_exporter_stream_reconnects_total", reason).inc()

    def stream_failed(self, status: str) -> None:
        """An attempt to open a stream failed."""
        self.store.counter("atoms_exporter_stream_failures_total", status).inc()
        self._error("streams", status)

    def discovery_request(self, source: str, outcome: str) -> None:
        """A request for calls or names was answered, or not."""
        self.store.counter("atoms_exporter_discovery_requests_total", source, outcome).inc()
        if outcome != "ok":
            self._error("api", f"{source}: {outcome}")

    def api_answered(self, good: bool, why: str = "") -> None:
        """Whether the list of calls could be read at its last look, and why not."""
        self._up.set(1.0 if good else 0.0)
        self.api_has_answered = self.api_has_answered or good
        self.api_problem = "" if good else why

    def webhook(self, event: str, outcome: str) -> None:
        """A webhook delivery."""
        self.store.counter("atoms_exporter_webhooks_total", event, outcome).inc()

    def bound_hit(self, what: str, n: int = 1) -> None:
        """Something from outside went beyond its bound."""
        self.store.counter("atoms_exporter_bounds_hit_total", what).inc(n)

    def answer_surprised(self, n: int) -> None:
        """Members of an answer could not be read."""
        self.store.counter("atoms_exporter_samples_skipped_total", "unreadable").inc(n)

    def unknown_value(self, field: str) -> None:
        """A word nobody knows."""
        self.store.counter("atoms_exporter_unknown_values_total", field).inc()

    def commit_failed(self) -> None:
        """What is counted could not be kept."""
        self.store.counter("atoms_exporter_checkpoint_failures_total").inc()
        self._error("state", "not written")

    def committed(self, seconds: float) -> None:
        """What is counted was kept."""
        self._commit.observe(seconds)

    def loop_lagged(self, seconds: float) -> None:
        """The event loop woke up late."""
        self.count_lags()
        self._loop_lag.observe(seconds)

    def scraped(self, seconds: float) -> None:
        """``/metrics`` was rendered."""
        self._scrape.observe(seconds)

    # -- what the API tells of the account

    def capacity(self, limits: Concurrency | None, queued: int | None) -> None:
        """The limits of the account and the length of its queue; what is not known has no series."""
        known = limits or Concurrency(None, None)
        for name, value in (
            ("atoms_calls_queued", queued),
            ("atoms_concurrency_limit", known.limit),
            ("atoms_concurrency_unreserved", known.unreserved),
        ):
            if value is None:
                self.store[name].children.clear()
            else:
                self.store.gauge(name).set(value)
        self.store["atoms_concurrency_reserved"].children.clear()
        for each in known.reserved:
            name = name_label(each.agent_name)
            self.store.gauge("atoms_concurrency_reserved", label(each.agent_id), name, each.channel).set(each.calls)

    # -- the OTLP export, from its own threads

    def spans_exported(self, n: int) -> None:
        """A backend accepted spans."""
        with self._export_lock:
            self._spans_exported.inc(n)

    def spans_dropped(self, reason: str, n: int) -> None:
        """Spans were given up."""
        with self._export_lock:
            self.store.counter("atoms_exporter_spans_dropped_total", reason).inc(n)
        self._error("otlp", f"dropped: {reason}")

    def export_failed(self, signal: str, reason: str) -> None:
        """An OTLP request failed."""
        with self._export_lock:
            self.store.counter("atoms_exporter_export_failures_total", signal, reason).inc()
        self._error("otlp", f"{signal}: {reason}")

    def export_queue(self, n: int) -> None:
        """Spans that wait."""
        self._span_queue.set(n)

    def _error(self, of: str, kind: str) -> None:
        self.last_errors[of] = kind, time.time()

    # -- housekeeping

    def count_lags(self) -> None:
        """Observe the lags of the events since the last time. Those of clocks that run ahead add nothing to the sum."""
        with self._lag_lock:  # a push comes from a thread of its own; the loop may append meanwhile
            lag, lags = self._lag, self._lags[:]
            del self._lags[: len(lags)]
            for bucket, count in Counts(map(partial(bisect_left, lag.bounds), lags)).items():
                lag.counts[bucket] += count
            lag.sum += sum(seconds for seconds in lags if seconds > 0)
            lag.count += len(lags)

    def refresh(self) -> None:
        """Bring the metrics about metrics up to date: before a scrape or a push."""
        self.count_lags()
        for name, family in self.store.families.items():
            self.store.gauge("atoms_exporter_series", name).set(len(family.children))
            overflow = self.store.counter("atoms_exporter_series_overflow_total", name)
            overflow.value += family.overflows - self._overflows.get(name, 0)
            self._overflows[name] = family.overflows

        if self.state is not None:
            up, age = self.state()
            self.store.gauge("atoms_exporter_state_up").set(1.0 if up else 0.0)
            self.store.gauge("atoms_exporter_state_age_seconds").set(age)

    def collect_kept(self) -> Iterable[Metric]:
        """What ``registry`` gives, but with the numbers that were last kept."""
        self.refresh()
        yield from self.store.collect(View(kept=True), created=True)
        yield from self._process.collect()

    def collect_all(self) -> Iterable[Metric]:
        """What ``registry`` gives, and the series that rest."""
        self.refresh()
        yield from self.store.collect(created=True, resting=True)
        yield from self._process.collect()

    def sweep(self) -> None:
        """Lay call metrics' series to rest that did not change since the last sweep."""
        self.calls.sweep()


class _Fresh:
    """The store as a collector whose metrics about metrics are up to date."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """For prometheus_client."""
        self._metrics.refresh()
        return self._metrics.store.collect(created=True)
