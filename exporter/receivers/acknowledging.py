"""A delivery that brings results is acknowledged when they are kept: whoever is told that they were taken never sends
them again, and there is nobody else to ask but the call's log, which need not have them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Final, Protocol

ANSWER_SECONDS: Final = 8.0
"""The longest an answer waits. The platform waits for 30 s: whoever stands between may ask two others in that time."""
MOST_ANSWERS: Final = 100
"""Answers that wait at one time: clients that hold a connection each."""
MOST_UNKEPT: Final = 10_000
"""Deliveries known to have brought what is not kept yet."""


class Receipts(Protocol):
    """Who knows what is kept."""

    @property
    def number(self) -> int:
        """For what has just been counted: ask with it whether that is kept."""

    async def kept(self, number: int) -> bool:
        """Whether what was counted then is kept, once that is known."""


class Acknowledging:
    """Which deliveries brought results that are not kept yet, and whoever waits for that.

    :param receipts: None where nothing is kept: then nobody waits.
    :param forget: told the identity of a delivery that has to be worked off again if it comes again.
    :param bound_hit: told ``webhook_answers`` of each answer that waited too long, or that would be one too many.
    """

    def __init__(
        self,
        receipts: Receipts | None,
        *,
        forget: Callable[[bytes], None],
        bound_hit: Callable[[str], None],
        seconds: float = ANSWER_SECONDS,
        most_unkept: int = MOST_UNKEPT,
    ) -> None:
        self._receipts = receipts
        self._forget = forget
        self._bound_hit = bound_hit
        self._seconds = seconds
        self._most_unkept = most_unkept
        self._waiting = 0
        self._unkept: dict[bytes, asyncio.Future[int | None]] = {}
        """By identity, the number of the commit that will hold what was counted of it; None: nothing was."""

    def __len__(self) -> int:
        return len(self._unkept)

    def brings(self, identity: bytes) -> None:
        """A delivery was taken that brings something; it will be counted, or not."""
        if self._receipts is None:
            return
        self._unkept[identity] = asyncio.get_running_loop().create_future()
        if len(self._unkept) > self._most_unkept:
            oldest = next(iter(self._unkept))
            self._resolve(oldest, None)
            del self._unkept[oldest]
            self._forget(oldest)  # its results are known again, so that they count once all the same

    def counted(self, identity: bytes) -> None:
        """All that it brought was counted, this very moment."""
        if self._receipts is not None:
            self._resolve(identity, self._receipts.number)

    def lost(self, identity: bytes) -> None:
        """It could not be worked off: the next one like it is new."""
        self._resolve(identity, None)
        self._unkept.pop(identity, None)
        self._forget(identity)

    def end(self) -> None:
        """What nobody has worked off, nobody will."""
        for identity in self._unkept:
            self._resolve(identity, None)

    async def kept(self, identity: bytes | None) -> bool:
        """Whether all is kept that a delivery has brought, if anything; waits for it, within bounds.

        ``False`` does not mean that it is not counted, only that nobody may rely on it: it is kept when that is
        possible again, and if it comes once more, here or elsewhere, it still counts once.
        """
        counted, receipts = self._unkept.get(identity or b""), self._receipts
        if counted is None or receipts is None:
            return True
        if self._waiting >= MOST_ANSWERS:
            self._bound_hit("webhook_answers")
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds):
                number = await asyncio.shield(counted)
                if number is None or not await receipts.kept(number):
                    return False
        except TimeoutError:
            self._bound_hit("webhook_answers")
            return False
        finally:
            self._waiting -= 1
        self._were_kept(number)
        return True

    def _were_kept(self, number: int) -> None:
        """Those, too, whose answers did not wait any longer."""
        for identity, counted in list(self._unkept.items()):
            if counted.done() and (counted.result() or inf) <= number:
                del self._unkept[identity]

    def _resolve(self, identity: bytes, number: int | None) -> None:
        counted = self._unkept.get(identity)
        if counted is not None and not counted.done():
            counted.set_result(number)
