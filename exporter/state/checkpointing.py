"""When checkpoints are written: every few seconds, off the event loop, and once more at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from structlog.typing import FilteringBoundLogger

from exporter.calls.tracker import TrackedCall, Tracker
from exporter.errors import Interrupted
from exporter.state.sqlite import CallCheckpoint, Checkpoints

_SECONDS_BETWEEN_EXPIRIES = 600.0


class Checkpointing:
    """Keeps a store up to date with a tracker.

    A batch that cannot be written (a full disk) is kept and written with the next one; counting goes on meanwhile.

    :param interval_seconds: how much counting a crash may cost.
    :param retention_seconds: how long calls that are over are remembered.
    """

    def __init__(
        self,
        store: Checkpoints,
        tracker: Tracker,
        *,
        interval_seconds: float,
        retention_seconds: float,
        clock: Callable[[], float],
        log: FilteringBoundLogger,
        on_failure: Callable[[], None],
    ) -> None:
        self._store = store
        self._tracker = tracker
        self._interval = interval_seconds
        self._retention = retention_seconds
        self._clock = clock
        self._log = log
        self._on_failure = on_failure
        self._finished: list[str] = []
        self._known: set[str] = set()
        self._failing = False
        self._expired_at = clock()
        self._writing: asyncio.Task[bool] | None = None

    def finished(self, call_id: str) -> None:
        """A call is over: the next checkpoint forgets its events and remembers that."""
        self._finished.append(call_id)
        self._known.discard(call_id)

    async def run(self) -> None:
        """Write a checkpoint every interval, until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            await self.write()

    async def write(self) -> bool:
        """One checkpoint; ``False`` when it could not be written.

        One at a time, and none is left half-way: whoever is cancelled meanwhile leaves it to finish, and the last
        checkpoint of a process waits for it.
        """
        while self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing])
        self._writing = asyncio.ensure_future(self._write())
        return await asyncio.shield(self._writing)

    async def _write(self) -> bool:
        now = self._clock()
        taken = [(tracked, self._take(tracked)) for tracked in self._tracker if self._is_news(tracked)]
        finished, self._finished = self._finished, []
        try:
            await asyncio.to_thread(self._store.save, [checkpoint for _, checkpoint in taken], finished, now)
        except Interrupted as problem:
            self._give_back(taken, finished)
            if not self._failing:
                self._log.error("no checkpoint", reason=problem.reason, hint="a crash now would count calls again")
            self._failing = True
            self._on_failure()
            return False
        if self._failing:
            self._failing = False
            self._log.info("checkpoints work again")
        if now - self._expired_at > _SECONDS_BETWEEN_EXPIRIES:
            self._expired_at = now
            await self._expire(now)
        return True

    def _is_news(self, tracked: TrackedCall) -> bool:
        return bool(tracked.uncommitted) or tracked.call.call_id not in self._known

    def _take(self, tracked: TrackedCall) -> CallCheckpoint:
        call = tracked.call
        counted = tuple(tracked.uncommitted or ())
        tracked.uncommitted = []
        self._known.add(call.call_id)
        return CallCheckpoint(call.call_id, call.agent, call.channel, tracked.opened_at, counted, call.waiting_facts())

    def _give_back(self, taken: list[tuple[TrackedCall, CallCheckpoint]], finished: list[str]) -> None:
        self._finished[:0] = finished
        for tracked, checkpoint in taken:
            self._known.discard(checkpoint.call_id)
            if tracked.uncommitted is not None:
                tracked.uncommitted[:0] = checkpoint.counted

    async def _expire(self, now: float) -> None:
        try:
            await asyncio.to_thread(self._store.expire, now - self._retention)
        except Interrupted as problem:
            self._log.warning("the state file could not be cleaned", reason=problem.reason)
