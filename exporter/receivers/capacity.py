"""How close the account is to its limit: asked for once a minute, because no stream and no call log shows it.

Over the limit, inbound callers ring for half a minute and are dropped without any event; outbound calls wait in a
queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

from structlog.typing import FilteringBoundLogger

from exporter.errors import AtomsExporterError, Refused
from exporter.protocol.capacity import Concurrency, decode_concurrency, decode_total
from exporter.receivers.attempts import AttemptFilter
from exporter.receivers.backoff import Backoff
from exporter.receivers.client import AtomsApi

REFUSED_RETRY_SECONDS: Final = 600.0
"""An account that may not see its limits is asked again this seldom."""

STALE_SECONDS: Final = 300.0
"""What could not be read for so long is not shown any more."""


class Capacity:
    """Asks for the limit and the length of the queue.

    :param shown: told what is known, ``None`` for what is not (any more).
    :param interval: seconds between two looks.
    :param attempts: how the queue is asked for retries, too.
    """

    def __init__(
        self,
        api: AtomsApi,
        shown: Callable[[Concurrency | None, int | None], None],
        *,
        backoff: Backoff,
        log: FilteringBoundLogger,
        interval: float = 60.0,
        attempts: AttemptFilter | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._shown = shown
        self._backoff = backoff
        self._log = log
        self._interval = interval
        self._attempts = attempts or AttemptFilter(clock)
        self._sleep = sleep
        self._clock = clock
        self._limits: Concurrency | None = None
        self._queued: int | None = None
        self._limits_at = self._queued_at = 0.0
        self._failing = False

    async def run(self) -> NoReturn:
        """Look until cancelled."""
        while True:
            await self._sleep(await self.look())

    async def look(self) -> float:
        """One look; after how many seconds to look again."""
        problems = [problem for problem in (await self._ask_limits(), await self._ask_queue()) if problem is not None]
        now = self._clock()
        if self._limits is not None and now - self._limits_at > STALE_SECONDS:
            self._limits = None
        if self._queued is not None and now - self._queued_at > STALE_SECONDS:
            self._queued = None
        self._shown(self._limits, self._queued)
        if not problems:
            self._backoff.reset()
            self._failing = False
            return self._interval
        if not self._failing:
            self._failing = True
            self._log.info("the account's limits cannot be read", cause=str(problems[0]))
        if all(isinstance(problem, Refused) for problem in problems) and len(problems) > 1:
            return max(self._interval, REFUSED_RETRY_SECONDS)
        return max(self._interval, self._backoff.delay())

    async def _ask_limits(self) -> AtomsExporterError | None:
        try:
            self._limits = await self._api.get("concurrency", source="capacity", read=decode_concurrency)
        except AtomsExporterError as problem:
            return problem
        self._limits_at = self._clock()
        return None

    async def _ask_queue(self) -> AtomsExporterError | None:
        try:
            self._queued = await self._length_of_queue()
        except AtomsExporterError as problem:
            return problem
        self._queued_at = self._clock()
        return None

    async def _length_of_queue(self) -> int:
        params = {"page": "1", "limit": "1", "statusFilter": "in_queue"}
        more = self._attempts.parameters
        try:
            return await self._api.get("conversation", source="capacity", read=decode_total, params={**params, **more})
        except Refused as refused:
            if refused.status != 400 or not more:
                raise
        self._attempts.refused()
        return await self._api.get("conversation", source="capacity", read=decode_total, params=params)
