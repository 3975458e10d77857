"""What the API keeps about calls after the fact: the only way to learn what a stream has missed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from exporter.errors import Interrupted, Refused
from exporter.protocol.api import CallLog, CallSummary, decode_call_log, decode_call_page
from exporter.receivers.backoff import Backoff
from exporter.receivers.client import AtomsApi

LARGEST_PAGE: Final = 500
"""More than this the API cuts off without a word."""


class History:
    """Fetches call logs, a few at a time: a burst of ended calls must not flood the API.

    A 429 holds all fetches back for the time it asks for.

    :param concurrency: requests in flight.
    :param deadline_seconds: the longest one fetch goes on trying.
    """

    def __init__(
        self,
        api: AtomsApi,
        *,
        rng: random.Random,
        concurrency: int = 4,
        deadline_seconds: float = 180.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._rng = rng
        self._slots = asyncio.Semaphore(concurrency)
        self._deadline = deadline_seconds
        self._sleep = sleep
        self._clock = clock
        self._held_until = 0.0

    async def fetch(self, call_id: str, *, attempts: int = 6) -> CallLog:
        """The call's log as it is now. Raises Refused, Malformed, or Interrupted when all attempts failed."""
        give_up_at = self._clock() + self._deadline
        backoff = Backoff(self._rng)
        attempt = 0
        while True:
            attempt += 1
            try:
                return decode_call_log(await self._body(give_up_at, call_id), call_id)
            except Interrupted as interrupted:
                delay = backoff.delay(at_least_seconds=interrupted.retry_after_seconds)
                if attempt >= attempts or self._clock() + delay > give_up_at:
                    raise
            await self._sleep(delay)

    async def fetch_ended(self, call_id: str, *, looks: int = 5, attempts: int = 6) -> CallLog:
        """The log of a call that has just ended: the API needs a moment to write it, so look again while it lags.

        Returns the last state when the call still is not final after so many looks. Raises as ``fetch`` does.
        """
        backoff = Backoff(self._rng)
        look = 0
        while True:
            look += 1
            try:
                log = await self.fetch(call_id, attempts=attempts)
            except Refused as refused:
                if refused.status != 404 or look >= min(looks, 3):
                    raise
            else:
                if log.outcome is not None or look >= looks:
                    return log
            await self._sleep(backoff.delay())

    async def recent(self, count: int, *, statuses: str = "") -> AsyncIterator[CallSummary]:
        """The calls that changed last, newest first; ``statuses`` is a comma-separated filter."""
        seen: set[str] = set()
        size = min(count, LARGEST_PAGE)
        page = 0
        while len(seen) < count:
            page += 1
            params = {"page": str(page), "limit": str(size), **({"statusFilter": statuses} if statuses else {})}
            answer = decode_call_page(await self._retried(params))
            before = len(seen)
            for call in answer.calls:
                if call.call_id not in seen and len(seen) < count:
                    seen.add(call.call_id)
                    yield call
            if not answer.has_more or len(seen) == before:
                return

    async def _retried(self, params: dict[str, str], attempts: int = 6) -> bytes:
        give_up_at = self._clock() + self._deadline
        backoff = Backoff(self._rng)
        for _ in range(attempts - 1):
            try:
                return await self._body(give_up_at, params=params)
            except Interrupted as interrupted:
                delay = backoff.delay(at_least_seconds=interrupted.retry_after_seconds)
            await self._sleep(delay)
        return await self._body(give_up_at, params=params)

    async def _body(self, give_up_at: float, *path: str, params: dict[str, str] | None = None) -> bytes:
        async with self._slots:
            while (held := self._held_until - self._clock()) > 0:
                if self._held_until > give_up_at:
                    raise Interrupted("the API asked for a longer pause", reason="rate_limited")
                await self._sleep(held)
            try:
                return await self._api.get("conversation", *path, source="history", params=params)
            except Interrupted as interrupted:
                if interrupted.reason == "rate_limited":
                    pause = interrupted.retry_after_seconds or 1.0
                    self._held_until = max(self._held_until, self._clock() + pause)
                raise
