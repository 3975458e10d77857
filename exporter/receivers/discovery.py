"""Which calls there are: those the operator names, and those the API lists as going on."""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple, NoReturn

from structlog.typing import FilteringBoundLogger

from exporter.calls.telemetry import Telemetry
from exporter.errors import Interrupted, Malformed, Refused
from exporter.protocol.api import UNKNOWN, CallPage, CallSummary, decode_call_page
from exporter.receivers.api_time import Start
from exporter.receivers.attempts import WITHOUT_SECONDS, AttemptFilter
from exporter.receivers.backoff import Backoff
from exporter.receivers.client import LIST, AtomsApi

MANY_PAGES: Final = 100
"""A list longer than this is said to be long; it is read on. A larger ``limit`` helps who has so many calls."""

MOST_PAGES: Final = 2_000
MOST_CALLS: Final = 100_000
"""One look must end: after so many pages, or so many calls. What is behind them is counted, and the log says so."""

AT_ONCE: Final = 50
"""Calls of a page that are told of between two turns of the loop."""

LONGEST_PAUSE_SECONDS: Final = 300.0
"""The longest ``Retry-After`` that the list is left alone for: who asks for a day would have us blind for a day."""

WHOLE_EVERY: Final = 30
"""Every so many looks the list is read to its end: a call may have slipped through between two pages."""

REFUSED_RETRY_SECONDS: Final = 30.0

ENDED: Final = ("completed", "failed", "no_answer", "cancelled")
"""The statuses of calls that are over. ``processing`` is not yet: such a call will have one of these."""

ENDED_FOR_SOME: Final = ("busy", "blocked")
"""More of them, which the API's description does not know although its other programs do."""

_WAYS: Final = ((True, True), (False, True), (True, False), (False, False))
"""Asking for all attempts, and for statuses that not every version of the API knows."""

AHEAD_SECONDS: Final = 60.0
"""A row dated later than this from now is wrong."""

_TIME_IN_ID: Final = re.compile(r"CALL-(\d{13})-")


class FoundCall(NamedTuple):
    """A call that may be followed; ``created_at`` is Unix time. ``source`` says who found it."""

    call_id: str
    agent_id: str | None = None
    channel: str = UNKNOWN
    status: str | None = None
    created_at: float | None = None
    source: str = "poll"
    under_way: bool = False
    """It began before this process, which cannot tell what an earlier life counted of it."""
    version: str | None = None
    is_test: bool | None = None
    """``None``: nobody has said."""


def static_calls(call_ids: Iterable[str], telemetry: Telemetry) -> list[FoundCall]:
    """The calls of the configuration, each once."""
    found = [FoundCall(call_id, source="static") for call_id in dict.fromkeys(call_ids)]
    for _ in found:
        telemetry.discovery_request("static", "ok")
    return found


class Poll:
    """Looks at ``GET /conversation`` now and then, the way the vendor wants it: default sort, small pages, no dates.

    :param found: told of each call once.
    :param again: told of the same calls at later looks.
    :param interval: seconds between two looks.
    :param start: when this process began. A call that the first look finds and that began before is under way.
    :param ended: the list is that of calls that are over, which has no end: those that began before the process did,
        and those that the first look finds, go to ``again``.
    :param earlier: of such a list: an earlier life has looked already, and reported what began after this time by the
        API's clock. So does this one: what began and ended between the two is no past.
    :param optional: statuses that not every version of the API takes: left out for a while once it refuses them.
    :param attempts: how it asks for retries, too; shared by all lists.
    :param remember: how many call ids to know again; the least recently listed are forgotten first.
    """

    def __init__(
        self,
        api: AtomsApi,
        found: Callable[[FoundCall], object],
        *,
        backoff: Backoff,
        log: FilteringBoundLogger,
        again: Callable[[FoundCall], object] = lambda _: None,
        interval: float = 10.0,
        limit: int = 100,
        statuses: Sequence[str] = ("active", "in_progress"),
        optional: Sequence[str] = (),
        attempts: AttemptFilter | None = None,
        agent_ids: Sequence[str] = (),
        call_types: Sequence[str] = (),
        start: Start | None = None,
        ended: bool = False,
        earlier: float | None = None,
        remember: int = 100_000,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._found = found
        self._again = again
        self._backoff = backoff
        self._log = log
        self._interval = interval
        self._statuses = tuple(statuses)
        self._optional = tuple(optional)
        self._optional_again_at = 0.0
        self._params = {
            "limit": str(limit),
            **({"agentIds": ",".join(agent_ids)} if agent_ids else {}),
            **({"callTypes": ",".join(call_types)} if call_types else {}),
        }
        self._attempts = attempts or AttemptFilter(clock)
        self._start = start
        self._ended = ended
        self._source = "ended" if ended else LIST
        self._since = earlier
        self._first = earlier is None or not ended  # no look has come to its end yet
        self._remember = remember
        self._sleep = sleep
        self._clock = clock
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._half_read: set[str] = set()  # calls first seen since the last look that came to its end
        self._failing = False
        self._looks = 0
        self._is_long = self._is_cut = False

    @property
    def reports_since(self) -> float | None:
        """Calls that began after this time, by the API's clock, are reported; ``None`` while that is not known."""
        return None if self._first else self._since

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
        if self._ended and self._first:
            await self._past(await self._page(1))
            return 0
        self._looks += 1
        whole = not self._ended and self._looks % WHOLE_EVERY == 0
        if len(self._half_read) > self._remember:
            self._half_read.clear()
        before, read = len(self._half_read), 0
        for page in range(1, MOST_PAGES + 1):
            answer = await self._page(page)
            read += len(answer.calls)
            unseen = await self._tell(answer.calls)
            # The list is sorted by last change: a page without anything new has nothing new behind it, unless calls
            # that ended between two pages moved the rest up, or a look that failed had come no further than here.
            goes_on = bool(unseen or whole or any(call.call_id in self._half_read for call in answer.calls))
            self._half_read.update(unseen)
            if not answer.has_more:
                self._is_long, self._is_cut = page > MANY_PAGES, False
            if not answer.has_more or not goes_on or not (answer.calls or answer.unreadable):
                break
            if page == MANY_PAGES and not self._is_long:
                self._is_long = True
                self._log.warning(
                    "the list of calls is long",
                    pages_read=page,
                    hint="a larger discovery.poll.limit takes fewer requests",
                )
            if page == MOST_PAGES or read >= MOST_CALLS:
                self._beyond(page, read, answer.total)
                break
        new = len(self._half_read) - before
        self._half_read.clear()
        self._first = False
        return new

    async def _tell(self, calls: Sequence[CallSummary]) -> list[str]:
        """Tell of the calls of a page, a few in each turn of the loop; which of them are news."""
        unseen: list[str] = []
        for begin in range(0, len(calls), AT_ONCE):
            if begin:
                await asyncio.sleep(0)
            unseen += [call.call_id for call in calls[begin : begin + AT_ONCE] if self._told(call)]
        return unseen

    def _beyond(self, pages: int, read: int, total: int | None) -> None:
        """The list goes on behind what one look reads."""
        self._api.telemetry.bound_hit("listed")
        if not self._is_cut:
            self._is_cut = True
            self._log.warning(
                "the list of calls goes on behind what one look reads", pages_read=pages, calls_read=read, calls=total
            )

    async def _past(self, page: CallPage) -> None:
        """What was over at the first look is the past, whatever its times say."""
        self._first = False
        self._since = self._start.by(self._api.time) if self._start is not None else None
        if self._since is None:  # no answer has told the time: what the rows say, the odd one out left aside
            began = sorted(call.created_at for call in page.calls if call.created_at is not None)
            wall = self._start.wall if self._start is not None else 0.0
            self._since = max([wall, *began[(len(began) - 1) // 2 :][:1]])
        for number, call in enumerate(page.calls, 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            self._is_seen(call.call_id)
            short = self._start is not None and self._start.by(self._api.time) is not None and self._is_recent(call)
            (self._found if short and not self._is_odd(call) else self._again)(found_call(call))

    def _told(self, call: CallSummary) -> bool:
        """Tell of a listed call; whether it is news."""
        found = found_call(call)._replace(under_way=self._is_under_way(call))
        unseen = not self._is_seen(call.call_id)
        if unseen and (not self._ended or self._is_recent(call)):
            self._found(found)
            return True
        self._again(found)
        return False

    def _is_recent(self, call: CallSummary) -> bool:
        began_at = self._began_at(call)
        return began_at is not None and self._since is not None and began_at > self._since

    def _is_odd(self, call: CallSummary) -> bool:
        """Its row comes from the future, and its id does not say so."""
        return self._in_the_future(call.created_at) and not self._in_the_future(_time_in_id(call))

    def _in_the_future(self, at: float | None) -> bool:
        now = self._api.time.now()
        return at is not None and now is not None and at > now + AHEAD_SECONDS

    def _began_at(self, call: CallSummary) -> float | None:
        """When a call began by the API's clock: what its row says or the time in its id, whichever is later; a row from
        the future is as old as its id."""
        in_id = _time_in_id(call)
        times = [at for at in (None if self._is_odd(call) and in_id else call.created_at, in_id) if at is not None]
        return max(times, default=None)

    def _is_under_way(self, call: CallSummary) -> bool:
        """Listed at the first look, and begun before this process: by the API's clock, if it has told the time."""
        if self._start is None or self._ended or not self._first:
            return False
        start = self._start.by(self._api.time)
        began_at = self._began_at(call)
        return began_at is None or began_at < (self._start.wall if start is None else start)

    async def _page(self, number: int) -> CallPage:
        """A page of the list, asked for with as much as the API takes; what it refuses is left out for a while."""
        now = self._clock()
        wanted = (bool(self._attempts.parameters), bool(self._optional) and now >= self._optional_again_at)
        ways = [way for way in _WAYS if way[0] <= wanted[0] and way[1] <= wanted[1]]
        for attempts, optional in ways:
            try:
                answer = await self._ask(number, attempts=attempts, optional=optional)
            except Refused as refused:
                if refused.status != 400 or (attempts, optional) == ways[-1]:
                    raise
                continue
            if attempts != wanted[0]:
                self._attempts.refused()
                self._log.info("the list refuses callAttemptFilter: it may lack retries")
            if optional != wanted[1]:
                self._log.debug("the list refuses a filter with these statuses", statuses=",".join(self._optional))
                self._optional_again_at = now + WITHOUT_SECONDS
            return answer
        raise AssertionError("the last way returns or raises")

    async def _ask(self, number: int, *, attempts: bool, optional: bool) -> CallPage:
        statuses = ",".join((*self._statuses, *(self._optional if optional else ())))
        params = {"page": str(number), **self._params, **({"statusFilter": statuses} if statuses else {})}
        params |= self._attempts.parameters if attempts else {}
        return await self._api.get("conversation", source=self._source, read=decode_call_page, params=params)

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
    return FoundCall(
        call.call_id,
        call.agent_id,
        call.channel,
        call.status,
        call.created_at,
        source,
        version=call.version,
        is_test=call.is_test,
    )


def _time_in_id(call: CallSummary) -> float | None:
    told = _TIME_IN_ID.match(call.call_id)
    return int(told[1]) / 1000 if told is not None else None
