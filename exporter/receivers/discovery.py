"""Which calls there are: those the operator names, and those the API lists as going on."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple, NoReturn

from structlog.typing import FilteringBoundLogger

from exporter.calls.telemetry import Telemetry
from exporter.errors import Interrupted, Malformed, Refused
from exporter.protocol.api import UNKNOWN, CallPage, CallSummary, decode_call_page
from exporter.receivers.backoff import Backoff
from exporter.receivers.client import AtomsApi

MANY_PAGES: Final = 100
"""A list longer than this is said to be long; it is read on. A larger ``limit`` helps who has so many calls."""

MOST_PAGES: Final = 2_000
"""One look must end: with pages of 500 this is a million calls."""

LONGEST_PAUSE_SECONDS: Final = 300.0
"""The longest ``Retry-After`` that the list is left alone for: who asks for a day would have us blind for a day."""

WHOLE_EVERY: Final = 30
"""Every so many looks the list is read to its end: a call may have slipped through between two pages."""

REFUSED_RETRY_SECONDS: Final = 30.0

ENDED: Final = ("completed", "failed", "no_answer", "cancelled")
"""The statuses of calls that are over. ``processing`` is not yet: such a call will have one of these."""


class FoundCall(NamedTuple):
    """A call that may be followed; ``created_at`` is Unix time. ``source`` says who found it."""

    call_id: str
    agent_id: str | None = None
    channel: str = UNKNOWN
    status: str | None = None
    created_at: float | None = None
    source: str = "poll"


def static_calls(call_ids: Iterable[str], telemetry: Telemetry) -> list[FoundCall]:
    """The calls of the configuration, each once."""
    found = [FoundCall(call_id, source="static") for call_id in dict.fromkeys(call_ids)]
    for _ in found:
        telemetry.discovery_request("static", "ok")
    return found


class Poll:
    """Looks at ``GET /conversation`` now and then, the way the vendor wants it: default sort, small pages, no dates.

    Each call is reported once to ``found``, which is told of calls that may be known from elsewhere.

    :param interval: seconds between two looks.
    :param since: report only calls that began after this Unix time, and after all that the first look finds, in case
        this machine's clock is slow: the list of calls that are over has no end.
    :param remember: how many call ids to know again; the least recently listed are forgotten first.
    """

    def __init__(
        self,
        api: AtomsApi,
        found: Callable[[FoundCall], object],
        *,
        backoff: Backoff,
        log: FilteringBoundLogger,
        interval: float = 10.0,
        limit: int = 100,
        statuses: Sequence[str] = ("active", "in_progress"),
        agent_ids: Sequence[str] = (),
        call_types: Sequence[str] = (),
        since: float | None = None,
        remember: int = 100_000,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._found = found
        self._backoff = backoff
        self._log = log
        self._interval = interval
        self._params = {
            "limit": str(limit),
            **({"statusFilter": ",".join(statuses)} if statuses else {}),
            **({"agentIds": ",".join(agent_ids)} if agent_ids else {}),
            **({"callTypes": ",".join(call_types)} if call_types else {}),
        }
        self._since = since
        self._past_known = False
        self._remember = remember
        self._sleep = sleep
        self._clock = clock
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._half_read: set[str] = set()  # calls first seen since the last look that came to its end
        self._failing = False
        self._looks = 0

    async def run(self) -> NoReturn:
        """Look until cancelled; failures are counted, logged once, and waited out."""
        while True:
            started = self._clock()
            pause = await self._look()
            await self._sleep(max(0.0, pause - (self._clock() - started)))

    async def _look(self) -> float:
        """One look; returns after how many seconds to look again."""
        try:
            await self.once()
        except Refused as refused:
            self._fails(f"HTTP {refused.status}", refused)
            return max(REFUSED_RETRY_SECONDS, self._interval)
        except Interrupted as interrupted:
            self._fails(interrupted.reason, interrupted)
            asked = min(interrupted.retry_after_seconds or 0.0, LONGEST_PAUSE_SECONDS)
            return max(self._backoff.delay(at_least_seconds=asked), self._interval)
        except Malformed as malformed:
            self._fails(malformed.reason, malformed)
            return max(self._backoff.delay(), self._interval)
        if self._failing:
            self._failing = False
            self._log.info("calls can be listed again")
        self._backoff.reset()
        return self._interval

    async def once(self) -> int:
        """Look at the list once; returns how many calls on it were new. Raises Refused, Interrupted, Malformed."""
        if self._since is not None and not self._past_known:
            past = await self._page(1)
            self._since = max([self._since, *(call.created_at or 0.0 for call in past.calls)])
            self._past_known = True
            return 0
        self._looks += 1
        whole = self._since is None and self._looks % WHOLE_EVERY == 0
        if len(self._half_read) > self._remember:
            self._half_read.clear()
        before = len(self._half_read)
        for page in range(1, MOST_PAGES + 1):
            answer = await self._page(page)
            calls = [call for call in answer.calls if self._is_wanted(call)]
            unseen = [call for call in calls if not self._is_seen(call.call_id)]
            # The list is sorted by last change: a page without anything new has nothing new behind it, unless calls
            # that ended between two pages moved the rest up, or a look that failed had come no further than here.
            goes_on = bool(unseen or whole or any(call.call_id in self._half_read for call in calls))
            self._half_read.update(call.call_id for call in unseen)
            for call in unseen:
                self._found(found_call(call))
            if not answer.has_more or not goes_on:
                break
            if page in (MANY_PAGES, MOST_PAGES):
                self._log.warning(
                    "the list of calls is long",
                    pages_read=page,
                    reads_on=page < MOST_PAGES,
                    hint="a larger discovery.poll.limit takes fewer requests",
                )
        new = len(self._half_read) - before
        self._half_read.clear()
        return new

    async def _page(self, number: int) -> CallPage:
        params = {"page": str(number), **self._params}
        return await self._api.get("conversation", source="poll", read=decode_call_page, params=params)

    def _is_wanted(self, call: CallSummary) -> bool:
        return self._since is None or (call.created_at is not None and call.created_at > self._since)

    def _is_seen(self, call_id: str) -> bool:
        if call_id in self._seen:
            self._seen.move_to_end(call_id)
            return True
        self._seen[call_id] = None
        if len(self._seen) > self._remember:
            self._seen.popitem(last=False)
        return False

    def _fails(self, reason: str, cause: Exception) -> None:
        log = self._log.debug if self._failing else self._log.warning
        log("calls cannot be listed", reason=reason, url=self._api.shown_url("conversation"), cause=str(cause))
        self._failing = True


def found_call(call: CallSummary, source: str = "poll") -> FoundCall:
    """A listed call as a found one."""
    return FoundCall(call.call_id, call.agent_id, call.channel, call.status, call.created_at, source)
