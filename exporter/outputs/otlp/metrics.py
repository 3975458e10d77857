"""Metrics out over OTLP: every interval the registry is walked and sent, by a thread of its own."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Protocol

import structlog
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import Metric, MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Metric as Family

from exporter.outputs.otlp.answer import Answer
from exporter.outputs.otlp.bridge import Window, metrics_of, pack
from exporter.outputs.otlp.delta import Deltas
from exporter.outputs.otlp.retry import Backoff, ExportCounts, Sender
from exporter.outputs.otlp.starts import Starts

_log = structlog.get_logger(__name__)
_POINTS_IN_A_REQUEST: Final = 5_000  # about 2 MB with our histograms; gRPC servers take 4 MiB by default
_PUSHES_BEFORE_GROWING: Final = 30
"""A backend that once found a request too large is asked for twice as much after so many pushes."""

_LAST_MINUTE_FIRST_SECONDS = 0.2
_LAST_MINUTE_MOST_SECONDS = 2.0


class Families(Protocol):
    """A registry, or whoever gives out what is in it."""

    def collect(self) -> Iterable[Family]:
        """Every family, as of now. Called from the push's own thread."""


class MetricPush:
    """Pushes a registry every ``interval_seconds`` and once more at the end.

    A push that fails is not kept: the next one carries newer numbers of the same series, after the back-off when that
    is shorter than the interval. A request that is too large goes in halves; one that is refused hides no other.

    :param goes_on_from: what was counted so far was pushed by an earlier life: no delta has it again.
    """

    def __init__(
        self,
        sender: Sender,
        registry: Families,
        *,
        resource: Resource,
        scope: InstrumentationScope,
        counts: ExportCounts,
        interval_seconds: float,
        timeout_seconds: float,
        delta: bool = False,
        goes_on_from: Iterable[Family] | None = None,
        exemplars: bool = True,
        units: Mapping[str, str] | None = None,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._sender = sender
        self._registry = registry
        self._resource = resource
        self._scope = scope
        self._counts = counts
        self._interval = interval_seconds
        self._timeout = timeout_seconds
        self._starts = Starts()
        self._deltas = Deltas() if delta else None
        self._exemplars = exemplars
        self._units = dict(units or {})
        self._backoff = backoff or Backoff(random.Random())
        self._clock = clock
        self._now_ns = now_ns
        self._start_ns = now_ns()
        if self._deltas is not None and goes_on_from is not None:
            self._deltas.go_on_from(self._walk(goes_on_from))
        self._points = _POINTS_IN_A_REQUEST  # smaller for a while after "too large"
        self._pushes_of_this_size = 0
        self._failing = False
        self._closing = threading.Event()
        self._given_up = threading.Event()  # close() has returned: what a late answer says is no news
        self._deadline = float("inf")
        self._last_push_arrived = False
        self._thread = threading.Thread(target=self._run, name="otlp-metrics", daemon=True)
        self._thread.start()

    def close(self, deadline_seconds: float) -> bool:
        """Push the final numbers within the deadline and stop; say whether they arrived. Blocks, never longer."""
        if not self._closing.is_set():
            self._deadline = self._clock() + deadline_seconds
            self._closing.set()
            self._thread.join(deadline_seconds)
            self._given_up.set()
            self._sender.close()
        return self._last_push_arrived

    def _run(self) -> None:
        pause = self._interval
        while not self._closing.wait(pause):
            answer = self._push(self._clock() + self._timeout)
            pause = self._interval  # also after a refusal: at once it would only be refused again
            if answer is None:
                self._backoff.reset()
            elif answer.verdict == "later":
                delay = self._backoff.next_seconds(answer.retry_after_seconds)
                pause = delay if answer.retry_after_seconds else min(delay, self._interval)
        self._push_the_last()

    def _push_the_last(self) -> None:
        backoff = Backoff(
            random.Random(), first_seconds=_LAST_MINUTE_FIRST_SECONDS, most_seconds=_LAST_MINUTE_MOST_SECONDS
        )
        nobody_sets_it = threading.Event()
        while self._clock() < self._deadline:
            answer = self._push(self._deadline)
            if answer is None:
                self._last_push_arrived = not self._given_up.is_set()
                return
            if answer.verdict != "later":
                break
            nobody_sets_it.wait(max(0.0, min(backoff.next_seconds(), self._deadline - self._clock())))
        if not self._given_up.is_set():
            _log.warning("the last metrics were not pushed")

    def _push(self, deadline: float) -> Answer | None:
        """Walk and send once; None when everything arrived, else the worst answer: one to try again after, if any."""
        worst: Answer | None = None
        try:
            for request in self._requests():
                answer = self._deliver(request, deadline)
                if answer.verdict != "taken":
                    worst = answer
                if answer.verdict == "later":  # it is away for the others, too
                    break
        except Exception as error:  # noqa: BLE001  # a collector that fails once must not end all pushes
            worst = Answer("never", "other", f"{type(error).__name__} while reading the registry")
            self._count(worst)
        self._tell(worst)
        self._pushes_of_this_size += worst is None
        if self._pushes_of_this_size >= _PUSHES_BEFORE_GROWING:
            self._pushes_of_this_size, self._points = 0, min(self._points * 2, _POINTS_IN_A_REQUEST)
        return worst

    def _deliver(self, request: MetricsData, deadline: float) -> Answer:
        """One request, in halves where it is too large; the worst answer."""
        body = encode_metrics(request).SerializeToString()
        answer = self._sender.send(body, min(self._timeout, deadline - self._clock()))
        self._count(answer)
        if answer.verdict == "taken" and self._deltas is not None:
            self._deltas.taken(request)
        if answer.verdict != "smaller":
            return answer
        metrics = request.resource_metrics[0].scope_metrics[0].metrics
        points = sum(len(metric.data.data_points) for metric in metrics)
        if points <= 1:
            return Answer("never", answer.reason, answer.detail)
        self._pushes_of_this_size, self._points = 0, max(1, min(self._points, points // 2))
        worst = Answer("taken")
        for part in pack(metrics, self._resource, self._scope, (points + 1) // 2):
            of_part = self._deliver(part, deadline)
            if of_part.verdict != "taken":
                worst = of_part
            if of_part.verdict == "later":
                break
        return worst

    def _requests(self) -> Iterator[MetricsData]:
        metrics = self._walk(self._registry.collect())
        if self._deltas is not None:
            metrics = self._deltas.since_last(metrics)
        return pack(metrics, self._resource, self._scope, self._points)

    def _walk(self, families: Iterable[Family]) -> Iterator[Metric]:
        """Every metric, cumulative, with its start times."""
        window = Window(self._start_ns, self._now_ns())
        metrics = metrics_of(families, window, units=self._units, exemplars=self._exemplars)
        return self._starts.of(metrics, window.start_ns, window.now_ns)

    def _count(self, answer: Answer) -> None:
        """Count a failure, and say what a backend took a request without."""
        if self._given_up.is_set():
            return
        if answer.reason is not None:
            self._counts.export_failed("metrics", answer.reason)
        if answer.rejected:
            _log.warning("metrics rejected", detail=answer.detail, points=answer.rejected)

    def _tell(self, worst: Answer | None) -> None:
        """Say in the log when pushes start to fail and when they work again."""
        if self._given_up.is_set():
            return
        if worst is not None and not self._failing:
            _log.warning("metric push fails", reason=worst.reason, detail=worst.detail)
        elif self._failing and worst is None:
            _log.info("metric push works again")
        self._failing = worst is not None
