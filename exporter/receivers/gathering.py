"""Reads gather under load: the event loop turns fifty to two hundred times a second, and each turn finds many streams.

A turn for each event is the dearest way to read: every time a system call to find one socket ready, and the
interpreter's code and the calls' memory gone cold since the last. Network cards moderate their interrupts for the
same reason. It costs an event some milliseconds, which nobody sees in a scrape.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from exporter.receivers.turns import Late

EVENTS_IN_A_TURN: Final = 60
"""So many are waited for: each costs two thirds of what it costs among ten, and hardly less among hundreds."""

SHORTEST_SECONDS: Final = 0.005
LONGEST_SECONDS: Final = 0.02
"""From one turn's beginning to the next, while there is much to read and the work is done sooner."""

BUSY_PER_SECOND: Final = 1_000
"""Events per second above which waiting pays: twenty in a turn."""

HURRY_SECONDS: Final = 0.2
"""So long it does not rest after somebody has asked for something: an answer takes several turns."""

_LOOK_SECONDS: Final = 0.25
"""How often the load is looked at."""


class Gathering:
    """Lets the running event loop rest between its turns while many events come.

    It sleeps in the loop's own thread, on purpose: whatever is ready meanwhile is served by one turn, and other
    threads have the interpreter. A turn that takes longer than it should is followed by the next at once, so that an
    overloaded loop never rests.

    :param events: how many events have been counted so far.
    :param late: told when a turn begins; while something waits there is no rest.
    """

    def __init__(
        self,
        events: Callable[[], int],
        late: Late | None = None,
        *,
        look_seconds: float = _LOOK_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._events = events
        self._late = late or Late()
        self._look_seconds = look_seconds
        self._sleep = sleep
        self._clock = clock
        self._busy = False
        self._turn_seconds = SHORTEST_SECONDS
        self._turning = False
        self._next_turn_at = 0.0
        self._hurries_until = 0.0

    def hurry(self) -> None:
        """Somebody waits for an answer: no rest until it is given, or for a moment."""
        self._hurries_until = self._clock() + HURRY_SECONDS

    async def run(self) -> None:
        """Look at the load from time to time, until cancelled."""
        try:
            while True:
                before, began = self._events(), self._clock()
                await asyncio.sleep(self._look_seconds)
                self._set(self._events() - before, self._clock() - began)
        finally:
            self._busy = False

    def _set(self, events: int, seconds: float) -> None:
        self._busy = events >= BUSY_PER_SECOND * seconds
        if self._busy:
            self._turn_seconds = min(max(EVENTS_IN_A_TURN * seconds / events, SHORTEST_SECONDS), LONGEST_SECONDS)
        if self._busy and not self._turning:
            self._turning = True
            self._turn()

    def _turn(self) -> None:
        """Once in each turn of the loop: what is called soon keeps it turning."""
        if not self._busy:
            self._turning = False
            self._late.nobody_tells()
            return
        now = self._clock()
        rest = self._next_turn_at - now
        if rest > 0 and now >= self._hurries_until and not self._late.waiting:
            self._sleep(rest)
            now = self._clock()
        self._next_turn_at = now + self._turn_seconds
        self._late.turn_begins()
        asyncio.get_running_loop().call_soon(self._turn)
