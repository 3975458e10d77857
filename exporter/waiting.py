"""Several who wait for one and the same answer."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class Waiting(Generic[Answer]):
    """Each waits on a future of its own, so that who leaves takes nothing from the others, and all are answered in the
    turn of the loop in which the answer is there: each turn of a busy loop is long."""

    def __init__(self) -> None:
        self._futures: list[asyncio.Future[Answer]] = []

    def __bool__(self) -> bool:
        """Whether anybody has come since the last answer."""
        return bool(self._futures)

    def join(self) -> asyncio.Future[Answer]:
        """To be awaited by one."""
        mine: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._futures.append(mine)
        return mine

    def answer(self, what: Answer) -> None:
        """For all who wait, and nobody who comes later."""
        for future in self._left():
            future.set_result(what)

    def fail(self, problem: BaseException) -> bool:
        """It comes out where it is waited for; whether anybody did."""
        left = self._left()
        for future in left:
            if isinstance(problem, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(problem)
        return bool(left)

    def _left(self) -> list[asyncio.Future[Answer]]:
        futures, self._futures = self._futures, []
        return [future for future in futures if not future.done()]
