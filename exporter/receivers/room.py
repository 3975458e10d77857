"""Room for a large answer: there is one at a time, from its first byte beyond ``LARGE_BYTES`` until nobody needs it.

As objects, the events of a long history take many times the memory of its bytes: eight at once took a gigabyte.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from exporter.errors import Interrupted

LARGE_BYTES: Final = 4 << 20
"""Larger answers are had one at a time."""

NO_ROOM: Final = "no_room"
"""The reason why a large answer was not read on: another one is in hand. It says nothing of the API."""


class Room:
    """Who has the one large answer."""

    def __init__(self) -> None:
        self._one = asyncio.Semaphore(1)

    def hold(self, *, waits: bool = False) -> Hold:
        """For one answer; ``waits`` for room rather than giving up when it becomes large."""
        return Hold(self._one, waits=waits)


class Hold(AsyncExitStack):
    """What an answer holds until it is needed no more: the room, when it is large; whatever else is put into it."""

    def __init__(self, one: asyncio.Semaphore, *, waits: bool) -> None:
        super().__init__()
        self._one = one
        self._waits = waits
        self.is_large = False

    async def take_room(self) -> None:
        """Wait for room before there is anything of the answer."""
        await self.enter_async_context(self._one)
        self.is_large = True

    async def becomes_large(self) -> None:
        """The answer has more than ``LARGE_BYTES``. Raises Interrupted (``NO_ROOM``) where it cannot wait for room."""
        if self.is_large:
            return
        if self._one.locked() and not self._waits:
            raise Interrupted("another large answer is in hand", reason=NO_ROOM)
        await self.take_room()
