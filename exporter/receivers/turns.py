"""What a turn of the event loop reads, and what comes too late for it.

A loop that has fallen behind finds more sockets ready each time it looks, and does not end its turn before it has
worked off all of them: 50 ms in which a page was rendered made turns of a second, in which nobody was answered. So a
turn works for a while on what it reads; what is read after that waits, in order, and is worked off in slices, with
everybody else served in between.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

TURN_SECONDS: Final = 0.015
"""From the beginning of a turn: what is read later is late. Usual turns take a third of it."""

SLICE_SECONDS: Final = 0.008
"""How long one turn works on what was late in others."""

MOST_LATE_BYTES: Final = 8 << 20
"""Above this all of it is worked off at once, and the sockets wait: nothing is read faster than it can be taken."""


class Late:
    """What was read too late in a turn. Whatever comes while something waits, waits behind it.

    What is read now is late if something is ``waiting``, or ``clock()`` has passed ``ends_at``. Whoever reads asks that
    without a call of a method: it is asked for every event.

    :param clock: seconds, as good as monotonic.
    """

    __slots__ = ("_bytes", "_working", "clock", "ends_at", "waiting")

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.ends_at = float("inf")
        self._bytes = 0
        self._working = False
        self.waiting: deque[tuple[Callable[[Any], None], Any, int]] = deque()

    def turn_begins(self) -> None:
        """Told at the beginning of each turn, under load."""
        self.ends_at = self.clock() + TURN_SECONDS

    def nobody_tells(self) -> None:
        """Turns are not told any more: nothing is late."""
        self.ends_at = float("inf")

    def wait(self, take: Callable[[Any], None], what: Any, size: int = 0) -> None:
        """``take(what)`` in another turn."""
        self.waiting.append((take, what, size))
        self._bytes += size
        if self._bytes > MOST_LATE_BYTES:
            self._work_until(float("inf"))
        elif not self._working:
            self._working = True
            asyncio.get_running_loop().call_soon(self._slice)

    def _slice(self) -> None:
        try:
            self._work_until(self.clock() + SLICE_SECONDS)
        finally:
            self._working = bool(self.waiting)
            if self.waiting:
                asyncio.get_running_loop().call_soon(self._slice)

    def _work_until(self, ends_at: float) -> None:
        waiting = self.waiting
        while waiting:
            take, what, size = waiting[0]
            self._bytes -= size
            try:
                take(what)
            finally:
                waiting.popleft()  # only now: what it brings about waits behind it
            if self.clock() > ends_at:
                return
