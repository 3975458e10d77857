"""Who has a place to be followed, and who waits for one: first come, first served, and none who waits is a task.

A list can hold fifty thousand live calls. As tasks they would hold half a gigabyte, and stopping them would take
longer than a drain may; as entries of a line they cost some hundred bytes each.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from structlog.typing import FilteringBoundLogger

from exporter.calls.evidence import Evidence, ListSaid, Standing, WebhookSaid
from exporter.calls.telemetry import Telemetry
from exporter.receivers.discovery import FoundCall
from exporter.receivers.resume import Earlier

LONGEST_LINE: Final = 100_000
"""Calls that may wait to be followed: as many as a look at the list brings at most."""

PENDING: Final = "pending"
"""The state, among those of streams, of a call that waits for its first one."""


class Places:
    """The streams there may be. Who has to wait is counted; the log says when that begins and ends."""

    def __init__(self, number: int, *, telemetry: Telemetry, log: FilteringBoundLogger) -> None:
        self.number = number
        self._free = asyncio.Semaphore(number)
        self._telemetry = telemetry
        self._log = log
        self._waiting = 0
        self._most = 0

    @asynccontextmanager
    async def one(self, *, again: bool = False) -> AsyncIterator[None]:
        """One place, for as long as a stream is open or being opened. ``again``: for a call that had one before."""
        waits = self._free.locked()
        if waits:
            self.waits(again=again)
        try:
            await self._free.acquire()
        finally:
            if waits:
                self.waits_no_more(again=again)
        try:
            yield
        finally:
            self._free.release()

    def waits(self, *, again: bool = False) -> None:
        """One more call waits for a place."""
        self._telemetry.bound_hit("streams")
        if not again:
            self._telemetry.stream_state(None, PENDING)
        if not self._waiting:
            self._most = 0
            self._log.warning("more calls than streams: calls wait", max_streams=self.number)
        self._waiting += 1
        self._most = max(self._most, self._waiting)

    def waits_no_more(self, *, again: bool = False) -> None:
        """It has one, or needs none any more."""
        if not again:
            self._telemetry.stream_state(PENDING, None)
        self._waiting -= 1
        if not self._waiting:
            self._log.info("no call waits for a stream any more", waited_at_most=self._most)


@dataclass(slots=True)
class Newcomer:
    """A call that was found and is not followed yet.

    :param earlier: what an earlier life of the process counted of it.
    :param under_way: an earlier life may have counted what its history holds, and nobody can tell.
    :param said: what is known of it already.
    """

    found: FoundCall
    earlier: Earlier | None = None
    under_way: bool = False
    said: tuple[Evidence, ...] = ()

    def hear(self, said: Evidence) -> None:
        """What matters of a call that nobody follows yet: that it is over, by each witness' word that counts."""
        if not _says_over(said):
            return
        of_its_kind = [before for before in self.said if type(before) is type(said) and _says_over(before)]
        if of_its_kind and isinstance(said, ListSaid):
            return  # a list says the same at each look: the first time counts
        self.said = (*(before for before in self.said if before not in of_its_kind), said)

    @property
    def is_over(self) -> bool:
        """Somebody has said so: it needs no stream, but its history."""
        return any(_says_over(said) for said in self.said)


class Line:
    """Calls that wait to be followed: those that go on, and those that are over by now, which need no stream.

    :param places: told of each that waits for one.
    :param bound_hit: told ``calls`` of each for which there is no room in the line.
    """

    def __init__(self, places: Places, bound_hit: Callable[[str], None], longest: int = LONGEST_LINE) -> None:
        self._places = places
        self._bound_hit = bound_hit
        self._longest = longest
        self._going_on: OrderedDict[str, Newcomer] = OrderedDict()
        self._over: OrderedDict[str, Newcomer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._going_on) + len(self._over)

    def __contains__(self, call_id: object) -> bool:
        return call_id in self._going_on or call_id in self._over

    def __iter__(self) -> Iterator[FoundCall]:
        """Who waits, those that are over first; not to be gone on with once somebody came or went."""
        return (newcomer.found for line in (self._over, self._going_on) for newcomer in line.values())

    def get(self, call_id: str) -> FoundCall | None:
        """A call that waits."""
        newcomer = self._going_on.get(call_id) or self._over.get(call_id)
        return newcomer.found if newcomer is not None else None

    def add(self, newcomer: Newcomer) -> bool:
        """At the end of the line; ``False`` when that is as long as it may be."""
        if len(self) >= self._longest:
            self._bound_hit("calls")
            return False
        if newcomer.is_over:
            self._over[newcomer.found.call_id] = newcomer
        else:
            self._going_on[newcomer.found.call_id] = newcomer
            self._places.waits()
        return True

    def hear(self, call_id: str, said: Evidence) -> None:
        """Somebody speaks of a call that waits; one that is over by then waits for no stream any more."""
        newcomer = self._going_on.get(call_id) or self._over[call_id]
        newcomer.hear(said)
        if newcomer.is_over and self._going_on.pop(call_id, None) is not None:
            self._places.waits_no_more()
            self._over[call_id] = newcomer

    def next_that_goes_on(self) -> Newcomer | None:
        """Whose turn it is to have a stream."""
        if not self._going_on:
            return None
        self._places.waits_no_more()
        return self._going_on.popitem(last=False)[1]

    def next_that_is_over(self) -> Newcomer | None:
        """Whose turn it is to be looked up."""
        return self._over.popitem(last=False)[1] if self._over else None


def _says_over(said: Evidence) -> bool:
    return isinstance(said, ListSaid | WebhookSaid) and said.word.standing is Standing.OVER
