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

from structlog.typing import FilteringBoundLogger

from exporter import __version__
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
from exporter.receivers.recordings import Recording, read_recording

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

    :param agent: who answered, where a recording does not say.
    """

    def __init__(self, recorder: Recorder, config: Config, agent: Agent, channel: str = UNKNOWN_CHANNEL) -> None:
        self._tracker = Tracker(
            recorder,
            units=unit_rules(config),
            capture_content=config.traces.capture_content,
            limits=call_limits(config),
            remember=0,
        )
        self._agent = agent
        self._channel = channel

    def take(self, recording: Recording, after_each: Callable[[], None] = lambda: None) -> None:
        """All events of one recording, and the end of every call in it."""
        tracker, agent, channel, log = self._tracker, self._agent, self._channel, recording.call_log
        if log is not None:
            self.take_log(log)
            return
        for number, payload in enumerate(recording.payloads):
            tracker.replay(payload, agent=agent, channel=channel)
            if not number % 4096:
                after_each()
        tracker.end_all()

    def take_log(self, log: CallLog) -> None:
        """The events of a call log, and the end it tells of. A document in which no call happened tells of none."""
        if not (log.events or log.turn_latencies or log.outcome or log.created_at or log.ended_at):
            return
        agent = self._agent
        if log.agent_id is not None:
            agent = Agent(log.agent_id, name_label(log.agent_name), log.workflow_type == "single_prompt")
        tracked = self._tracker.open(log.call_id, agent=agent, channel=log.channel)
        self._tracker.replay_history(tracked, log.events)
        self._tracker.fill_turns(tracked, log, 0.0)
        self._tracker.end(
            log.call_id,
            log.outcome or natural_outcome(tracked.call),
            at=log.ended_at,
            began_at=log.created_at,
            lasted_seconds=log.duration_seconds,
        )


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

    for path in paths:
        with opened(path) as file:
            try:
                replaying.take(read_recording(file), lambda: wait(MOST_PENDING_SPANS))
            except Malformed as problem:
                raise ConfigError("FILE", f"{path}: {problem}") from problem
    wait(0)
    lost = delivery.close(0.0) if delivery is not None else 0
    if lost:
        log.error("spans were not delivered", spans=lost, problem=str(away) if away is not None else None)
    metrics.refresh()
    return metrics.store.render(openmetrics=True) + "# EOF\n", not lost


def spans_of_file(path: str, config: Config) -> dict[int, list[SpanRecord]]:
    """The spans in a recording, by trace. Raises ConfigError for a file that is none."""
    spans: list[SpanRecord] = []
    replaying = Replay(SpansOnly(spans.append), config, Agent())
    with opened(path) as file:
        try:
            replaying.take(read_recording(file))
        except Malformed as problem:
            raise ConfigError("FILE", f"{path}: {problem}") from problem
    return by_trace(spans)


def by_trace(spans: Sequence[SpanRecord]) -> dict[int, list[SpanRecord]]:
    """Spans of several calls apart, in the order in which the calls appear; without those in which nothing happened."""
    traces: dict[int, list[SpanRecord]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    return {trace: spans for trace, spans in traces.items() if len(spans) > 1 or spans[0].start_ns or spans[0].end_ns}
