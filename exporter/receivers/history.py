"""What the API keeps about calls after the fact: the only way to learn what a stream has missed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from heapq import heappop, heappush
from typing import Final, TypeVar

from exporter.errors import Interrupted, Refused
from exporter.protocol.api import CallLog, CallPage, CallSummary, decode_call_log, decode_call_page
from exporter.receivers.attempts import AttemptFilter
from exporter.receivers.backoff import Backoff
from exporter.receivers.client import AtomsApi
from exporter.receivers.room import NO_ROOM

T = TypeVar("T")

LARGEST_PAGE: Final = 500
"""More than this the API cuts off without a word."""


class _Lanes:
    """A few requests at one time. Where one is told to come later, its lane stays closed for so long.

    So a limit that holds for everybody costs one refusal per lane, and one that strikes here and there slows only those
    it strikes: held back all together, at one refusal in ten they would get through ten requests a pause.
    """

    def __init__(self, number: int, sleep: Callable[[float], Awaitable[None]], clock: Callable[[], float]) -> None:
        self._slots = asyncio.Semaphore(number)
        self._open_at = [0.0] * number  # a heap: those in use are not in it
        self._sleep = sleep
        self._clock = clock

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """A lane for one request. Raises Interrupted as the request does."""
        async with self._slots:
            open_at = heappop(self._open_at)
            try:
                if (closed := open_at - self._clock()) > 0:
                    await self._sleep(closed)
                yield
            except Interrupted as interrupted:
                if interrupted.reason == "rate_limited":
                    open_at = self._clock() + (interrupted.retry_after_seconds or 1.0)
                raise
            finally:
                heappush(self._open_at, open_at)


class History:
    """Fetches call logs, a few at a time: a burst of ended calls must not flood the API.

    :param concurrency: requests in flight. Each that is answered 429 leaves one fewer, for the time it asks for.
    :param patience_seconds: the longest one fetch waits between its tries, all in all; its turn is not counted.
    """

    def __init__(
        self,
        api: AtomsApi,
        *,
        rng: random.Random,
        concurrency: int = 8,
        patience_seconds: float = 180.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._rng = rng
        self._attempts = AttemptFilter(clock)
        self._lanes = _Lanes(concurrency, sleep, clock)
        self._patience = patience_seconds
        self._sleep = sleep

    async def fetch(self, call_id: str, *, attempts: int = 6) -> CallLog:
        """The call's log as it is now. Raises Refused, Malformed, or Interrupted when all attempts failed."""
        async with self.had(call_id, attempts=attempts) as call_log:
            return call_log

    @asynccontextmanager
    async def had(self, call_id: str, *, attempts: int = 6) -> AsyncIterator[CallLog]:
        """The same, for as long as its events are needed: no more are in hand at one time than may be asked for, and of
        large ones one."""
        read = partial(decode_call_log, call_id=call_id)
        async with AsyncExitStack() as until:
            yield await self._patiently(attempts, read, call_id, until=until)

    @asynccontextmanager
    async def look(self, call_id: str) -> AsyncIterator[CallLog]:
        """The same with one try, when it is its turn."""
        read = partial(decode_call_log, call_id=call_id)
        async with AsyncExitStack() as until:
            yield await self._ask(read, call_id, until=until)

    async def recent(self, count: int, *, statuses: str = "") -> AsyncIterator[CallSummary]:
        """The calls that changed last, newest first; ``statuses`` is a comma-separated filter."""
        seen: set[str] = set()
        size = min(count, LARGEST_PAGE)
        page = 0
        while len(seen) < count:
            page += 1
            params = {"page": str(page), "limit": str(size), **({"statusFilter": statuses} if statuses else {})}
            answer = await self._listed(params)
            before = len(seen)
            for call in answer.calls:
                if call.call_id not in seen and len(seen) < count:
                    seen.add(call.call_id)
                    yield call
            if not answer.has_more or len(seen) == before:
                return

    async def _listed(self, params: dict[str, str]) -> CallPage:
        """A page of the list, retries among them where the API takes that."""
        more = self._attempts.parameters
        try:
            return await self._page({**params, **more})
        except Refused as refused:
            if refused.status != 400 or not more:
                raise
        self._attempts.refused()
        return await self._page(params)

    async def _page(self, params: dict[str, str]) -> CallPage:
        async with AsyncExitStack() as until:
            return await self._patiently(6, decode_call_page, params=params, until=until)

    async def _patiently(
        self,
        attempts: int,
        read: Callable[[bytes], T],
        *path: str,
        until: AsyncExitStack,
        params: dict[str, str] | None = None,
    ) -> T:
        """An answer, after so many failures at most. To be told to come later is none: it says nothing of a call."""
        backoff = Backoff(self._rng)
        failures, waited = 0, 0.0
        while True:
            try:
                return await self._ask(read, *path, until=until, params=params)
            except Interrupted as interrupted:
                delay = backoff.delay(at_least_seconds=interrupted.retry_after_seconds)
                failures += interrupted.reason != "rate_limited"
                waited += delay
                if failures >= attempts or waited > self._patience:
                    raise
            await self._sleep(delay)

    async def _ask(
        self,
        read: Callable[[bytes], T],
        *path: str,
        until: AsyncExitStack,
        params: dict[str, str] | None = None,
    ) -> T:
        """One question in its turn, which lasts until ``until`` ends. What turns out to be large while another large
        answer is in hand is asked for again when it is its turn among these: it keeps no lane from the small ones."""
        ask = partial(self._api.get, "conversation", *path, source="history", read=read, params=params)
        async with AsyncExitStack() as turn:
            await turn.enter_async_context(self._lanes.one())
            hold = await turn.enter_async_context(self._api.room.hold())
            try:
                answer = await ask(hold=hold)
            except Interrupted as interrupted:
                if interrupted.reason != NO_ROOM:
                    raise
            else:
                until.push_async_exit(turn.pop_all())
                return answer
        async with AsyncExitStack() as turn:
            hold = await turn.enter_async_context(self._api.room.hold())
            await hold.take_room()
            answer = await ask(hold=hold)
            until.push_async_exit(turn.pop_all())
        return answer
