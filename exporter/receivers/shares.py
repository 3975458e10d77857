"""The event loop's time, shared among those who have more to be read than one turn of the loop may take.

A stream that brings an event now and then is read at once. One that brings a flood, a replay of hours, or a history
of megabytes is read in slices, one such reader in each turn of the loop: all others, scrapes and probes are served in
between, and the flood falls behind by itself, because its socket is not read meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, TypeVar

from exporter.receivers.turns import Late

Piece = TypeVar("Piece")
Result = TypeVar("Result")

SHARE_BYTES: Final = 4 * 1024
"""What a stream may bring in one turn of the loop without waiting for its share: some ten events."""

SLICE_SECONDS: Final = 0.005
"""What one reader that has more may take of a turn of the loop."""

FLOOD_SECONDS: Final = 0.5
"""Of the loop's time within ten times as long, for what was more than a share: no replay after a reconnect any more."""

LARGE_EVENTS: Final = 5_000
"""A history of a quarter of an hour."""

MOST_HELD_BYTES: Final = 128 << 20
"""Read from sockets and not yet taken, of all streams together. Whoever brings more is cut, and comes back later."""


class Shares:
    """Whose turn it is. One for each event loop.

    :param bound_hit: told ``stream_held`` when a stream is cut because too much waits.
    :param slice_seconds: how long one reader may go on in one turn of the loop.
    """

    def __init__(
        self,
        bound_hit: Callable[[str], None] = lambda _: None,
        *,
        slice_seconds: float = SLICE_SECONDS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.bound_hit = bound_hit
        self._slice_seconds = slice_seconds
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._ushering = False
        self._large = asyncio.Lock()
        self.late = Late()
        self.held_bytes = 0
        """Read from sockets and not yet taken."""

    async def turn(self) -> None:
        """Wait for a turn of the loop in which nobody else has a slice: first come, first served."""
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        if not self._ushering:
            self._ushering = True
            asyncio.get_running_loop().call_soon(self._usher)
        await mine

    def _usher(self) -> None:
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(None)
                break
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._usher)
        else:
            self._ushering = False

    def room_for(self, events: int) -> AbstractAsyncContextManager[object]:
        """Of the longest histories one is taken at a time: as objects they are many times as large."""
        return self._large if events > LARGE_EVENTS else nullcontext()

    async def run(self, steps: Generator[None, None, Result]) -> Result:
        """Work that stops now and then: the first slice at once, each other in a turn of its own."""
        began = self._clock()
        while True:
            try:
                next(steps)
            except StopIteration as done:
                result: Result = done.value
                return result
            if self._clock() - began >= self._slice_seconds:
                await self.turn()
                began = self._clock()

    def pace(self, falls_behind: Callable[[], None]) -> Pace:
        """For one more reader."""
        return Pace(self, falls_behind, self._slice_seconds, self._clock)


class Pace:
    """One reader's way through what it has to read.

    :param falls_behind: told once, when the reader has taken ``FLOOD_SECONDS`` of the loop within ten times as long
        by bringing more than its share.
    """

    __slots__ = ("_clock", "_falls_behind", "_shares", "_since", "_slice_seconds", "_spent", "_told")

    def __init__(
        self, shares: Shares, falls_behind: Callable[[], None], slice_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._shares = shares
        self._falls_behind = falls_behind
        self._slice_seconds = slice_seconds
        self._clock = clock
        self._since = clock()
        self._spent = 0.0
        self._told = False

    async def through(self, pieces: Iterator[Piece]) -> AsyncIterator[Piece]:
        """The same pieces, in slices: whoever else has pieces gets the next turn of the loop."""
        began = self._clock()
        for piece in pieces:
            yield piece
            now = self._clock()
            if now - began >= self._slice_seconds:
                self._took(now - began, now)
                await self._shares.turn()
                began = self._clock()
        now = self._clock()
        self._took(now - began, now)

    def _took(self, seconds: float, now: float) -> None:
        if now - self._since > 10 * FLOOD_SECONDS:
            self._since, self._spent = now, 0.0
        self._spent += seconds
        if self._spent >= FLOOD_SECONDS and not self._told:
            self._told = True
            self._falls_behind()
