"""When checkpoints are written, what is in them, and what becomes of those that could not be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from exporter.calls.observations import Agent
from exporter.calls.tracker import Tracker
from exporter.errors import Interrupted
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recorder import Outputs
from exporter.state.checkpointing import Checkpointing
from exporter.state.sqlite import CallCheckpoint, SavedState
from tests.support.wire import heard, payloads, turn
from tests.system.world import until

ONE = "CALL-1758124225863-00000a"
TWO = "CALL-1758124225863-00000b"


@dataclass
class Paper:
    """A store that remembers what it was told; it fails when told to, and takes its time when ``gate`` is set."""

    saved: list[tuple[list[CallCheckpoint], list[str]]] = field(default_factory=list)
    expired: list[float] = field(default_factory=list)
    failing: bool = False
    gate: threading.Event | None = None
    inside: int = 0
    most_inside: int = 0

    def load(self) -> SavedState:
        return SavedState()

    def save(self, calls: Iterable[CallCheckpoint], finished: Iterable[str], now: float) -> None:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            if self.gate is not None:
                assert self.gate.wait(20)
            if self.failing:
                raise Interrupted("the disk is full", reason="SQLITE_FULL")
            self.saved.append((list(calls), list(finished)))
        finally:
            self.inside -= 1

    def expire(self, before: float) -> None:
        self.expired.append(before)
        if self.failing:
            raise Interrupted("the disk is full", reason="SQLITE_FULL")

    def close(self) -> None:
        pass

    def counted(self, call_id: str) -> list[int]:
        """All identities saved of a call, in order."""
        return [each for calls, _ in self.saved for call in calls if call.call_id == call_id for each in call.counted]


class Desk:
    """A tracker, its checkpointing, and a clock that is told."""

    def __init__(self, interval: float = 3600.0) -> None:
        self.paper = Paper()
        self.now = 1000.0
        self.failures = 0
        self.log = structlog.testing.LogCapture()
        self.tracker = Tracker(Outputs(Metrics(version="0")))
        self.checkpointing = Checkpointing(
            self.paper,
            self.tracker,
            interval_seconds=interval,
            retention_seconds=86_400,
            clock=lambda: self.now,
            log=structlog.wrap_logger(structlog.testing.ReturnLogger(), processors=[self.log]),
            on_failure=self._failed,
        )

    def _failed(self) -> None:
        self.failures += 1

    def feed(self, call_id: str, *at_ms: int) -> list[int]:
        """Events at these times; the identities that are not saved yet."""
        tracked = self.tracker.open(call_id, agent=Agent("a1"), now=self.now, durable=True)
        for payload in payloads([heard(at) for at in at_ms], call_id=call_id):
            self.tracker.feed(tracked, payload, self.now)
        return list(tracked.uncommitted or ())

    def said(self) -> list[str]:
        return [entry["event"] for entry in self.log.entries]


async def test_each_event_is_written_once_and_calls_without_news_not_at_all() -> None:
    desk = Desk()
    first = desk.feed(ONE, 100, 200) + desk.feed(TWO, 100)
    assert await desk.checkpointing.write()
    assert {call.call_id for call in desk.paper.saved[0][0]} == {ONE, TWO}
    await desk.checkpointing.write()
    assert desk.paper.saved[1] == ([], [])
    more = desk.feed(ONE, 300)
    await desk.checkpointing.write()
    assert [call.call_id for call in desk.paper.saved[2][0]] == [ONE]
    assert sorted(desk.paper.counted(ONE) + desk.paper.counted(TWO)) == sorted(first + more)


async def test_a_call_without_events_is_written_once_so_that_it_is_known() -> None:
    desk = Desk()
    desk.feed(ONE)
    await desk.checkpointing.write()
    await desk.checkpointing.write()
    assert [[call.call_id for call in calls] for calls, _ in desk.paper.saved] == [[ONE], []]


async def test_facts_that_wait_for_a_node_are_in_the_checkpoint() -> None:
    desk = Desk()
    tracked = desk.tracker.open(ONE, agent=Agent("a1"), durable=True)
    (payload,) = payloads([turn(500, 400)], call_id=ONE)
    desk.tracker.feed(tracked, payload, desk.now)
    await desk.checkpointing.write()
    ((checkpoint,), _) = desk.paper.saved[0]
    assert set(checkpoint.waiting) == set(checkpoint.counted)
    assert {kind for kinds in checkpoint.waiting.values() for kind in kinds} == {"TurnAnswered"}


async def test_what_could_not_be_written_is_written_with_the_next_one() -> None:
    desk = Desk()
    first = desk.feed(ONE, 100, 200)
    desk.checkpointing.finished("over")
    desk.paper.failing = True
    assert not await desk.checkpointing.write()
    second = desk.feed(ONE, 300)
    assert second == first + second[2:], "nothing is forgotten meanwhile"
    assert not await desk.checkpointing.write()
    desk.paper.failing = False
    assert await desk.checkpointing.write()
    assert desk.paper.counted(ONE) == second
    assert desk.paper.saved[0][1] == ["over"]
    assert desk.failures == 2
    assert desk.said() == ["no checkpoint", "checkpoints work again"], "each said once"


async def test_events_that_come_while_it_writes_are_in_the_next_one() -> None:
    desk = Desk()
    first = desk.feed(ONE, 100)
    desk.paper.gate = threading.Event()
    writing = asyncio.ensure_future(desk.checkpointing.write())
    await until(lambda: desk.paper.inside)
    second = desk.feed(ONE, 200)
    assert len(second) == 1
    desk.paper.gate.set()
    assert await writing
    await desk.checkpointing.write()
    assert desk.paper.counted(ONE) == first + second


async def test_a_call_that_ends_while_it_writes_is_said_to_be_over_in_the_next_one() -> None:
    desk = Desk()
    desk.feed(ONE, 100)
    desk.paper.gate = threading.Event()
    writing = asyncio.ensure_future(desk.checkpointing.write())
    await until(lambda: desk.paper.inside)
    desk.tracker.end(ONE, "completed")
    desk.checkpointing.finished(ONE)
    desk.paper.gate.set()
    await writing
    await desk.checkpointing.write()
    assert desk.paper.saved[1] == ([], [ONE])


async def test_the_last_checkpoint_waits_for_one_that_was_interrupted() -> None:
    desk = Desk(interval=0.0)
    first = desk.feed(ONE, 100)
    desk.paper.gate = threading.Event()
    running = asyncio.ensure_future(desk.checkpointing.run())
    await until(lambda: desk.paper.inside)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    second = desk.feed(ONE, 200)
    last = asyncio.ensure_future(desk.checkpointing.write())
    await asyncio.sleep(0)
    assert desk.paper.inside == 1
    desk.paper.gate.set()
    assert await last
    assert desk.paper.most_inside == 1
    assert desk.paper.counted(ONE) == first + second


async def test_old_entries_are_dropped_now_and_then() -> None:
    desk = Desk()
    await desk.checkpointing.write()
    assert desk.paper.expired == []
    desk.now += 601
    await desk.checkpointing.write()
    await desk.checkpointing.write()
    assert desk.paper.expired == [desk.now - 86_400]


async def test_it_writes_every_interval_until_cancelled() -> None:
    desk = Desk(interval=0.01)
    desk.feed(ONE, 100)
    running = asyncio.ensure_future(desk.checkpointing.run())
    await until(lambda: len(desk.paper.saved) >= 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(desk.paper.counted(ONE)) == 1


def test_identities_do_not_depend_on_the_process() -> None:
    desk = Desk()
    assert desk.feed(ONE, 100) == Desk().feed(ONE, 100)
