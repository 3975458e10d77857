"""Spans out over OTLP: a bounded queue, a thread that sends, patience with a backend that is away."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable

import structlog

from exporter.calls.observations import Observation
from exporter.outputs.otlp.answer import Answer
from exporter.outputs.otlp.encode import SpanEncoder
from exporter.outputs.otlp.queue import SpanQueue, Waiting
from exporter.outputs.otlp.retry import Backoff, DropReason, ExportCounts, Sender
from exporter.outputs.otlp.settings import Batching
from exporter.outputs.spans import SpanRecord, span_count, spans_of, trace_of

_log = structlog.get_logger(__name__)
_LAST_MINUTE_FIRST_SECONDS = 0.2
_LAST_MINUTE_MOST_SECONDS = 2.0


class TraceExport:
    """Where finished spans go. ``show`` and ``put``, from one thread (the event loop's), never wait for a backend; the
    spans of what is shown are built, encoded and sent by a thread of its own.

    While the backend is away nothing is lost within ``max_queue_spans`` and ``max_retry_age_seconds``. Delivery is at
    least once: after an answer that got lost a batch is sent again, with the same span ids.
    """

    def __init__(
        self,
        sender: Sender,
        encoder: SpanEncoder,
        *,
        sampled: Callable[[int], bool],
        counts: ExportCounts,
        batching: Batching,
        max_retry_age_seconds: float,
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sampled = sampled  #: whether spans of this trace id are exported: the same answer for all of a call
        self._sender = sender
        self._encoder = encoder
        self._counts = counts
        self._batching = batching
        self._backoff = backoff or Backoff(random.Random())
        self._clock = clock
        self._queue = SpanQueue(batching.max_queue_spans, max_retry_age_seconds)
        self._unbuilt: deque[tuple[float, Observation]] = deque()
        self._shown = 0  # spans of all facts shown, counted by the showing thread alone
        self._built = 0  # … of those whose spans were built
        self._building = threading.Lock()
        self._most_unbuilt = min(batching.max_batch_spans, batching.max_queue_spans)
        self._batch_size = batching.max_batch_spans  # smaller for a while after "too large"
        self._batch_growth = max(1, batching.max_batch_spans // 8)
        self._under_way = 0
        self._failing = False
        self._wake = threading.Event()  # there is a batch to send, or somebody waits for it
        self._flushing = threading.Event()
        self._empty = threading.Event()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._settling = threading.Lock()  # whether what is left was counted: by the thread, or by close() for it
        self._left: int | None = None
        self._thread = threading.Thread(target=self._run, name="otlp-traces", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Spans waiting or under way."""
        return self._shown - self._built + len(self._queue) + self._under_way

    def show(self, fact: Observation) -> None:
        """Queue the spans of a fact (one of ``spans.SHOWN``), unless its trace is not sampled. About a microsecond."""
        if not self.sampled(trace_of(fact)):
            return
        spans = span_count(fact)
        if self._left is not None:
            self._counts.spans_dropped("shutdown", spans)
            return
        self._shown += spans
        self._unbuilt.append((self._clock(), fact))
        if len(self._unbuilt) > self._most_unbuilt:  # the thread waits for a backend: the queue says what is kept
            self._build()
        if self._shown - self._built + len(self._queue) >= self._batching.max_batch_spans and not self._wake.is_set():
            self._wake.set()

    def put(self, record: SpanRecord) -> None:
        """Queue one finished span, unless its trace is not sampled."""
        if not self.sampled(record.trace_id):
            return
        if self._left is not None:
            self._counts.spans_dropped("shutdown", 1)
            return
        with self._building:
            self._enqueue(record, self._clock())
        if len(self._queue) >= self._batching.max_batch_spans and not self._wake.is_set():
            self._wake.set()

    def flush(self, deadline_seconds: float) -> int:
        """Wait until everything put so far is sent, at most that long; return how many spans are left. Blocks."""
        end = self._clock() + deadline_seconds
        while self.pending and self._thread.is_alive():
            self._empty.clear()
            self._flushing.set()
            self._wake.set()
            remaining = end - self._clock()
            if remaining <= 0:
                break
            self._empty.wait(min(remaining, 0.05))
        return self.pending

    def close(self, deadline_seconds: float) -> int:
        """Send what is left within the deadline and stop; return how many spans never arrived. Blocks, never longer."""
        if self._closing.is_set():
            return self._settle()
        self._deadline = self._clock() + deadline_seconds
        self._closing.set()
        self._wake.set()
        self._thread.join(deadline_seconds)
        left = self._settle()
        self._sender.close()
        return left

    def _run(self) -> None:
        while not self._closing.is_set():
            if not (self.pending >= self._batching.max_batch_spans or self._flushing.is_set()):
                self._wake.wait(self._batching.schedule_delay_seconds)
            self._wake.clear()
            self._send_what_is_there()
        self._send_the_rest()
        self._settle()

    def _send_what_is_there(self) -> None:
        """Full batches while there are any, everything if somebody waits for it; between failures wait, then take the
        oldest anew. What is left waits for a batch to be full or old: a request costs as much as some 200 spans."""
        while not self._closing.is_set():
            answer = self._send_a_batch(self._batching.export_timeout_seconds)
            if answer is None:
                self._flushing.clear()
                self._empty.set()
                return
            if answer.verdict == "later":
                self._closing.wait(self._backoff.next_seconds(answer.retry_after_seconds))
                continue
            self._backoff.reset()
            full = self.pending >= self._batching.max_batch_spans
            if not (full or answer.verdict == "smaller" or self._flushing.is_set()):
                return

    def _send_the_rest(self) -> None:
        """The process ends: try until all is sent or the deadline has come, with short pauses."""
        backoff = Backoff(
            random.Random(), first_seconds=_LAST_MINUTE_FIRST_SECONDS, most_seconds=_LAST_MINUTE_MOST_SECONDS
        )
        nobody_sets_it = threading.Event()
        while (remaining := self._deadline - self._clock()) > 0:
            answer = self._send_a_batch(min(self._batching.export_timeout_seconds, remaining))
            if answer is None:
                return
            if answer.verdict == "later":
                left = self._deadline - self._clock()
                nobody_sets_it.wait(max(0.0, min(backoff.next_seconds(), left)))

    def _send_a_batch(self, limit_seconds: float) -> Answer | None:
        """One attempt with the oldest spans; afterwards they are exported, dropped, or back. None: nothing waits."""
        with self._settling:
            if self._left is not None:
                return None
            self._build()
            batch = self._queue.take(self._batch_size, self._clock())
            self._under_way = len(batch)
            self._report()
        if not batch:
            return None
        try:
            answer = self._sender.send(self._encoder.request([span for _, span in batch]), limit_seconds)
        except Exception as error:  # noqa: BLE001  # whatever a library does with one request: the thread lives on
            answer = Answer("smaller", "other", f"{type(error).__name__} while sending")
        with self._settling:
            if self._left is None:  # else close() gave up on this attempt and counted the batch already
                self._account(batch, answer)
        return answer

    def _build(self) -> None:
        """Make the spans of what was shown and queue them, each encoded at once, while it is at hand."""
        with self._building:
            while self._unbuilt:
                shown_at, fact = self._unbuilt.popleft()
                spans = span_count(fact)
                try:
                    for record in spans_of(fact):
                        self._enqueue(record, shown_at)
                except Exception as error:  # noqa: BLE001  # one fact must not end the export of all others
                    self._impossible(error, spans)
                self._built += spans

    def _enqueue(self, record: SpanRecord, at: float) -> None:
        try:
            span = self._encoder.span(record)
        except Exception as error:  # noqa: BLE001  # nor one span
            self._impossible(error, 1)
        else:
            self._queue.put(span, at)

    def _impossible(self, error: Exception, spans: int) -> None:
        _log.error("spans cannot be encoded", error=type(error).__name__, spans=spans)
        self._drop("permanent", spans)

    def _account(self, batch: list[Waiting], answer: Answer) -> None:
        if answer.reason is not None:
            self._counts.export_failed("traces", answer.reason)
        match answer.verdict:
            case "taken":
                rejected = min(answer.rejected, len(batch))
                self._counts.spans_exported(len(batch) - rejected)
                self._drop("rejected", rejected)
                self._batch_size = min(self._batching.max_batch_spans, self._batch_size + self._batch_growth)
            case "later":
                self._queue.give_back(batch)
            case "smaller" if len(batch) > 1:
                self._queue.give_back(batch)
                self._batch_size = len(batch) // 2
            case _:
                self._drop("permanent", len(batch))
        self._under_way = 0
        self._report()
        self._tell(answer, len(batch))

    def _tell(self, answer: Answer, spans: int) -> None:
        """Say in the log when it starts to fail, when it works again, and each time spans are lost for good."""
        if answer.verdict == "smaller" and spans > 1:
            _log.debug("a request was too large; its spans go in smaller ones", detail=answer.detail, spans=spans)
        elif answer.verdict in ("never", "smaller"):
            _log.error("spans refused", reason=answer.reason, detail=answer.detail, spans=spans)
        elif answer.rejected:
            _log.warning("spans rejected", detail=answer.detail, spans=answer.rejected)
        failing = answer.verdict == "later"
        if failing and not self._failing:
            _log.warning("span export fails, trying again", reason=answer.reason, detail=answer.detail)
        elif self._failing and answer.verdict == "taken":
            _log.info("span export works again", waiting=len(self._queue))
        self._failing = failing or (self._failing and answer.verdict != "taken")

    def _drop(self, reason: DropReason, n: int) -> None:
        if n:
            self._counts.spans_dropped(reason, n)

    def _report(self) -> None:
        pushed_out, too_old = self._queue.lost()
        self._drop("queue_full", pushed_out)
        self._drop("too_old", too_old)
        self._counts.export_queue(self.pending)

    def _settle(self) -> int:
        """Count what is left as lost, once."""
        with self._settling:
            if self._left is None:
                self._build()
                self._report()
                self._left = self.pending
                self._drop("shutdown", self._left)
                self._counts.export_queue(0)
                if self._left:
                    _log.warning("spans left unsent at shutdown", spans=self._left)
            return self._left
