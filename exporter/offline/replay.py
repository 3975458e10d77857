"""Recordings through the pipeline, without a clock and without a network."""

from __future__ import annotations

import errno
import gzip
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
from structlog.typing import FilteringBoundLogger

from exporter import __version__
from exporter.calls.dispositions import Analyses
from exporter.calls.observations import Agent
from exporter.calls.tracker import UNKNOWN_CHANNEL, Recorder, Tracker, natural_outcome
from exporter.config import Config
from exporter.config.rules import call_limits, unit_rules
from exporter.errors import ConfigError, Malformed
from exporter.offline.delivery import BackendAway, Delivery
from exporter.outputs.otlp import trace_export
from exporter.outputs.otlp.settings import endpoint
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recorder import Outputs, SpansOnly
from exporter.outputs.spans import SpanRecord
from exporter.protocol.api import CallLog
from exporter.protocol.labels import name_label
from exporter.receivers.recordings import Recording, begins_a_document, read_recording

MOST_PENDING_SPANS = 5_000


_GZIP = b"\x1f\x8b"
_PACKED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A file, or standard input for ``-``; unpacked where it is gzip. Raises ConfigError for what cannot be read."""
    if path == "-":
        if sys.stdin is None:
            raise ConfigError("FILE", "-: standard input is closed")
        with _unpacked(path, sys.stdin.buffer) as file:
            yield file
        return
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed below; opening and reading fail differently
    except OSError as problem:
        raise ConfigError("FILE", f"{path}: {problem.strerror}") from problem
    with file, _unpacked(path, file) as unpacked:
        yield unpacked


@contextmanager
def _unpacked(path: str, file: BinaryIO) -> Iterator[BinaryIO]:
    start = file.peek(6)[:6] if isinstance(file, BufferedReader) else b""
    for magic, name in _PACKED.items():
        if start.startswith(magic):
            raise ConfigError("FILE", f"{path}: is packed with {name}; unpack it first")
    try:
        yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if start.startswith(_GZIP) else file
    except (gzip.BadGzipFile, EOFError, zlib.error) as problem:
        raise ConfigError("FILE", f"{path}: is gzip that is damaged or cut off") from problem
    except OSError as problem:
        if problem.errno not in (errno.EIO, errno.EISDIR, errno.ESTALE):
            raise
        raise ConfigError("FILE", f"{path}: {problem.strerror}") from problem


class Replay:
    """Recordings through the pipeline, without a clock and without a network.

    What several recordings tell of one call is counted once: pieces of its stream, its stream and its log, the same
    file twice. So the calls end when all have been taken (``end``). ``other_ids`` are calls whose log bears other ids
    than their stream, of which only the stream is counted.

    :param agent: who answered, where a recording does not say.
    """

    def __init__(self, recorder: Recorder, config: Config, agent: Agent, channel: str = UNKNOWN_CHANNEL) -> None:
        self._tracker = Tracker(
            recorder,
            units=unit_rules(config),
            capture_content=config.traces.capture_content,
            limits=call_limits(config),
            remember=0,
            analyses=Analyses(config.metrics.disposition_values),
        )
        self._agent = agent
        self._tell_versions = config.metrics.version_label
        self._channel = channel
        self._logs: dict[str, CallLog] = {}
        self._held: dict[str, list[bytes | msgspec.Raw]] = {}
        self.other_ids: set[str] = set()

    def introduce(self, log: CallLog) -> None:
        """A call whose log will be taken, after what other recordings hold of its stream: they are put together."""
        if _tells_of_a_call(log):
            self._held[log.call_id] = []

    def _agent_of(self, log: CallLog) -> Agent:
        if log.agent_id is None:
            return self._agent
        version = name_label(log.version) if self._tell_versions else ""
        return Agent(log.agent_id, name_label(log.agent_name), log.workflow_type == "single_prompt", version)

    def take(self, recording: Recording, after_each: Callable[[], None] = lambda: None) -> None:
        """All events of one recording."""
        tracker, agent, channel, log = self._tracker, self._agent, self._channel, recording.call_log
        if log is not None:
            self.take_log(log)
            return
        for number, payload in enumerate(recording.payloads):
            tracker.replay(payload, agent=agent, channel=channel, held=self._held)
            if not number % 4096:
                after_each()

    def end(self, after_each: Callable[[], None] = lambda: None) -> None:
        """Everything has been taken: every call is over, as its log says, where there is one."""
        tracker = self._tracker
        for number, tracked in enumerate(tracker, 1):
            if not number % 512:
                after_each()
            call_id = tracked.call.call_id
            log = self._logs.get(call_id)
            if log is None:
                tracker.end(call_id, natural_outcome(tracked.call))
                continue
            tracker.fill_turns(tracked, log, 0.0)
            tracker.analysed(call_id, tracked.call.agent, log.dispositions)
            tracker.end(
                call_id,
                log.outcome or natural_outcome(tracked.call),
                at=log.ended_at,
                began_at=log.created_at,
                lasted_seconds=log.duration_seconds,
                log=log,
            )

    def take_log(self, log: CallLog) -> None:
        """The events of a call log, and what it tells of the call's end. A document in which no call happened tells of
        none."""
        if not _tells_of_a_call(log):
            return
        tracked = self._tracker.open(log.call_id, agent=self._agent_of(log), channel=log.channel)
        if len(tracked.seen):
            self._tracker.recover(tracked, log.events, 0.0)
        else:
            self._tracker.replay_history(tracked, log.events, self._held.pop(log.call_id, ()))
        before = self._logs.get(log.call_id)
        if before is None or log.outcome is not None or before.outcome is None:
            self._logs[log.call_id] = log
        if tracked.other_ids:
            self.other_ids.add(log.call_id)


def _tells_of_a_call(log: CallLog) -> bool:
    return bool(log.events or log.turn_latencies or log.outcome or log.created_at or log.ended_at)


def replay(
    paths: Sequence[str], config: Config, env: Mapping[str, str], agent: Agent, channel: str, log: FilteringBoundLogger
) -> tuple[str, bool]:
    """OpenMetrics text of the recordings, and whether their traces arrived, which go out when an OTLP endpoint is set.

    :raises ConfigError: a file cannot be opened, or is no recording.
    """
    metrics = Metrics(
        version=__version__,
        latency_buckets=config.metrics.latency_buckets,
        max_series_per_metric=config.metrics.max_series_per_metric,
        without=config.metrics.disable,
        version_label=config.metrics.version_label,
    )
    traces = trace_export(env, metrics, max_queue_spans=None)
    where = endpoint(env, "traces")
    delivery = Delivery(traces, metrics, where.masked_url) if traces is not None and where is not None else None
    replaying = Replay(Outputs(metrics, traces.show if traces is not None else None), config, agent, channel)
    away: BackendAway | None = None

    def wait(pending: int) -> None:
        nonlocal away
        if delivery is not None and away is None:
            try:
                delivery.down_to(pending)
            except BackendAway as problem:
                away = problem  # the metrics are still worth having

    for path in _streams_first(paths, replaying):
        with _recording_of(path) as recording:
            replaying.take(recording, lambda: wait(MOST_PENDING_SPANS))
    replaying.end(lambda: wait(MOST_PENDING_SPANS))
    if replaying.other_ids:
        log.warning("logs bear other ids than streams; counted from the streams", calls=sorted(replaying.other_ids))
    wait(0)
    lost = delivery.close(0.0) if delivery is not None else 0
    if lost:
        log.error("spans were not delivered", spans=lost, problem=str(away) if away is not None else None)
    metrics.refresh()
    return metrics.store.render(openmetrics=True) + "# EOF\n", not lost


@contextmanager
def _recording_of(path: str) -> Iterator[Recording]:
    """What is in a file. Raises ConfigError for one that cannot be opened, or is no recording."""
    with opened(path) as file:
        try:
            yield read_recording(file)
        except Malformed as problem:
            raise ConfigError("FILE", f"{path}: {problem}") from problem


def _streams_first(paths: Sequence[str], replaying: Replay) -> list[str]:
    """The files in the order in which they are taken: a log knows who answered, a stream in which order things came."""
    if len(paths) < 2:
        return list(paths)
    documents = {path: _is_document(path) for path in dict.fromkeys(paths)}
    if any(documents.values()) and not all(documents.values()):
        for path in (path for path, is_document in documents.items() if is_document):
            with _recording_of(path) as recording:
                if recording.call_log is not None:
                    replaying.introduce(recording.call_log)
    return sorted(paths, key=lambda path: documents[path])


def _is_document(path: str) -> bool:
    """What is no ordinary file (a pipe) can be read once only, and is taken as it comes."""
    if path == "-" or not Path(path).is_file():
        return False
    with opened(path) as file:
        return begins_a_document(file)


def spans_of_file(path: str, config: Config) -> dict[int, list[SpanRecord]]:
    """The spans in a recording, by trace. Raises ConfigError for a file that is none."""
    spans: list[SpanRecord] = []
    replaying = Replay(SpansOnly(spans.append), config, Agent())
    with _recording_of(path) as recording:
        replaying.take(recording)
    replaying.end()
    return by_trace(spans)


def by_trace(spans: Sequence[SpanRecord]) -> dict[int, list[SpanRecord]]:
    """Spans of several calls apart, in the order in which the calls appear; without those in which nothing happened."""
    traces: dict[int, list[SpanRecord]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    return {trace: spans for trace, spans in traces.items() if len(spans) > 1 or spans[0].start_ns or spans[0].end_ns}
