"""A call's history into its state: what an earlier life knew, what a gap has lost, what came before we did."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from exporter.calls.identity import SeenEvents
from exporter.calls.observations import Agent
from exporter.calls.tracker import Steps, TrackedCall, Tracker
from exporter.protocol.api import CallLog
from exporter.receivers.shares import Shares


@dataclass(frozen=True)
class Earlier:
    """What an earlier life of the process knew of a call: who answers it, the events it counted, and the facts it held
    back."""

    agent: Agent
    counted: SeenEvents
    waiting: Mapping[int, frozenset[str]]


class Resume:
    """Takes the history of one call, as often as it is had. ``gap``: events may have been missed since.

    :param under_way: the call began before this process, which cannot tell what an earlier life counted of it: what
        its history holds at first is not counted.
    """

    __slots__ = ("_is_resumed", "_log", "_one", "_said", "_shares", "_tracked", "_tracker", "_under_way", "gap")

    def __init__(
        self,
        tracker: Tracker,
        tracked: TrackedCall,
        log: FilteringBoundLogger,
        shares: Shares,
        *,
        earlier: Earlier | None = None,
        under_way: bool = False,
    ) -> None:
        self._tracker = tracker
        self._tracked = tracked
        self._log = log
        self._shares = shares
        self._one = asyncio.Lock()
        self._is_resumed = earlier is not None
        self._under_way = under_way
        self.gap = True
        self._said = False
        if earlier is not None:
            tracker.resume(tracked, earlier.counted, earlier.waiting)

    @property
    def is_new(self) -> bool:
        """Nothing happened in the call that an earlier life could have counted."""
        return not self._is_resumed and not self._under_way

    async def take(self, call_log: CallLog, now: float) -> None:
        """Rebuilt, muted or recovered, as the call's past demands, one history after the other; ``now`` is Unix time.

        A long one is taken in slices of the event loop's time; of the longest, one at a time.
        """
        async with self._one, self._shares.room_for(len(call_log.events)):
            before, self._is_resumed, self._under_way = (self._is_resumed, self._under_way), False, False
            if call_log.events:
                self.gap = False
            try:
                recovered = await self._shares.run(self._steps(call_log, now, under_way=before[1]))
            except BaseException:  # given up half way: whoever takes the next history begins anew
                self._is_resumed, self._under_way = before
                raise
        if self._tracked.other_ids and not self._said:
            self._said = True
            self._log.warning("a history bears other ids than its stream; counted from one of them")
        if recovered:
            self._log.debug("recovered what the stream missed", events=recovered)

    async def settled(self) -> None:
        """Waits until no history is being taken: events must not come in between."""
        async with self._one:
            pass

    def _steps(self, call_log: CallLog, now: float, *, under_way: bool) -> Steps[int]:
        tracker, tracked = self._tracker, self._tracked
        if under_way and not len(tracked.seen):
            yield from tracker.muting(tracked, call_log.events, now)
            return 0
        return (yield from tracker.recovering(tracked, call_log.events, now, only_after_first=under_way))
