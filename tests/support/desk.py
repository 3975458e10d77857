"""A store that remembers what it was told, and somebody who counts and keeps: the parts of the service around it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from exporter.calls.observations import Agent
from exporter.calls.tracker import Tracker
from exporter.errors import Interrupted
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.prometheus.scrapers import Scrapers
from exporter.outputs.recorder import Outputs
from exporter.state.keeping import Keeping
from exporter.state.kept import Commit, Fenced, SavedState, StateStore
from tests.support.wire import heard, payloads

ONE = "CALL-1758124225863-00000a"
TWO = "CALL-1758124225863-00000b"


@dataclass
class Paper:
    """A store that remembers what it was told; it fails when told to, and takes its time when ``gate`` is set."""

    commits: list[Commit] = field(default_factory=list)
    expired: list[float] = field(default_factory=list)
    failing: bool = False
    bug: bool = False
    """Fail once, in a way that nobody foresaw."""
    flag: bool = False
    flag_fails: bool = False
    gate: threading.Event | None = None
    inside: int = 0
    most_inside: int = 0

    def load(self) -> SavedState:
        return SavedState()

    def save(self, commit: Commit) -> None:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            if self.gate is not None:
                assert self.gate.wait(20)
            if self.bug:
                self.bug = False
                raise ZeroDivisionError
            if self.failing:
                raise Interrupted("the disk is full", reason="SQLITE_FULL")
            self.commits.append(commit)
        finally:
            self.inside -= 1

    def go_ahead(self) -> bool:
        self.flag = self.flag or not self.flag_fails
        return not self.flag_fails

    def caught_up(self) -> None:
        self.flag = False

    def tidy(self) -> None:
        pass

    def expire(self, before: float) -> None:
        self.expired.append(before)
        if self.failing:
            raise Interrupted("the disk is full", reason="SQLITE_FULL")

    def close(self) -> None:
        pass

    @property
    def saved(self) -> list[tuple[list[str], Sequence[str]]]:
        """Of each commit: the calls in it, and those that are over."""
        return [([call.call_id for call in commit.calls], commit.over) for commit in self.commits]

    def counted(self, call_id: str) -> list[int]:
        """All identities saved of a call, in order."""
        calls = [call for commit in self.commits for call in commit.calls if call.call_id == call_id]
        return [each for call in calls for each in call.counted]

    def series(self, name: str) -> list[list[bytes]]:
        """The numbers of a family in each commit."""
        return [[row.numbers for row in commit.series if row.family == name] for commit in self.commits]


class Desk:
    """A tracker, its keeping, and a clock that is told."""

    def __init__(
        self,
        interval: float = 3600.0,
        max_stale: float = 3600.0,
        latency_buckets: tuple[float, ...] = (),
        store: StateStore | None = None,
        retention: float = 86_400.0,
        on_fenced: Callable[[Fenced], None] = lambda _: None,
    ) -> None:
        self.paper = Paper()
        self.now = 1000.0
        self.failures = 0
        self.log = structlog.testing.LogCapture()
        self.metrics = Metrics(version="0", latency_buckets=latency_buckets)
        self.tracker = Tracker(Outputs(self.metrics))
        self.scrapers = Scrapers()
        self.keeping = Keeping(
            store or self.paper,
            self.tracker,
            self.metrics.store,
            self.scrapers,
            instance_id="me",
            interval_seconds=interval,
            retention_seconds=retention,
            max_stale_seconds=max_stale,
            clock=lambda: self.now,
            log=structlog.wrap_logger(structlog.testing.ReturnLogger(), processors=[self.log]),
            counts=self,
            on_fenced=on_fenced,
        )

    def commit_failed(self) -> None:
        self.failures += 1

    def committed(self, seconds: float) -> None:
        pass

    def feed(self, call_id: str, *at_ms: int) -> list[int]:
        """Events at these times; the identities that are not saved yet."""
        tracked = self.tracker.open(call_id, agent=Agent("a1"), now=self.now, durable=True)
        for payload in payloads([heard(at) for at in at_ms], call_id=call_id):
            self.tracker.feed(tracked, payload, self.now)
        return list(tracked.uncommitted or ())

    def said(self) -> list[str]:
        return [entry["event"] for entry in self.log.entries]
