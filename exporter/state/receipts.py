"""What somebody gave us is acknowledged when the commit has been made that holds what was counted of it.

As scrapes do, many share one commit. Scrapes come every so many seconds, though, and these may come all the time: so
the commits made for them are apart, and take a twentieth of the time, or there is one a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

TIMES_AS_LONG: Final = 20
"""As a commit has taken, until there is another one for this."""
LONGEST_PAUSE_SECONDS: Final = 1.0


class Commits(Protocol):
    """Who makes commits."""

    @property
    def next_commit(self) -> int:
        """The number of the commit in which everything will be that is counted now."""

    def is_kept(self, number: int) -> bool:
        """Whether everything is kept that was in this commit, or was to be."""

    async def keep(self) -> bool:
        """Make a commit, or share one that is about to be made; whether it was made."""

    @property
    def ahead(self) -> bool:
        """Numbers are shown that are not kept, as where nothing is."""


class Receipts:
    """Says when what was counted is kept."""

    def __init__(
        self,
        commits: Commits,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._commits = commits
        self._clock = clock
        self._sleep = sleep
        self._wanted = 0
        self._not_before = clock()
        self._running: asyncio.Task[bool] | None = None
        self._next: asyncio.Task[bool] | None = None

    @property
    def number(self) -> int:
        """For what has just been counted: ask with it whether that is kept."""
        return self._commits.next_commit

    async def kept(self, number: int) -> bool:
        """Whether what was counted then is kept, once that is known; ``False`` when the commit failed that was to
        hold it: it is part of the next one. Who does not wait any longer leaves the commit to finish.

        While pages show more than is kept this is ``True``, as where nothing is: Prometheus has the numbers, and no
        later life goes on from fewer.
        """
        while not self._commits.is_kept(number):
            self._wanted = max(self._wanted, number)
            if self._next is None:
                self._next = asyncio.ensure_future(self._after(self._running))
            if not await asyncio.shield(self._next):
                return self._commits.is_kept(number) or self._commits.ahead
        return True

    async def _after(self, before: asyncio.Task[bool] | None) -> bool:
        """One commit for all who ask until it begins. Whether it was made, or not needed any more."""
        if before is not None and not before.done():
            await asyncio.wait([before])
        await self._sleep(max(0.0, self._not_before - self._clock()))
        self._running, self._next = self._next, None
        if self._commits.is_kept(self._wanted):
            return True  # somebody has scraped meanwhile
        began = self._clock()
        try:
            return await self._commits.keep()
        finally:
            ended = self._clock()
            self._not_before = ended + min(TIMES_AS_LONG * (ended - began), LONGEST_PAUSE_SECONDS)
