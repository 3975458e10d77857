"""Which calls this replica follows: those it claims, those it takes over, those that were its own before.

Of the members, hashing names the one that claims a call at once. Whatever waits for longer than two seconds is claimed
by anybody with room. Where nobody could claim anything for a while the two seconds begin when one can, or whoever looks
first would have it all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from exporter.calls.evidence import Evidence
from exporter.errors import Interrupted
from exporter.fleet import facts
from exporter.fleet.connecting import AsyncRedis, goes_on, meaning
from exporter.fleet.facts import Row
from exporter.fleet.membership import Gone, View
from exporter.fleet.seat import Seat
from exporter.fleet.shards import first
from exporter.receivers.discovery import FoundCall
from exporter.receivers.following import Earlier, Following
from exporter.state.kept import CALL_FORM

_PATIENCE_SECONDS = 2.0
"""So long the one that hashing names has a call to itself."""
_SCAN_SECONDS = 0.5
_AT_ONCE = 200
"""Calls claimed by one script: some milliseconds of Redis."""
_MOST_SCANNED = 1_000


class OwningCounts(Protocol):
    """What is said about it in metrics."""

    def taken_over(self, why: str, calls: int) -> None:
        """Calls of a replica that is ``dead``, or has ``left``."""


class Releasing(Protocol):
    """Whoever lets go of calls with the next commit."""

    def releasing(self, call_id: str) -> bool:
        """It is ours still, but not for long."""


@dataclass
class Owning:
    """Claims calls and has them followed.

    :param room: how many more calls can be followed.
    :param evidence: what a row says of its call, for its judge.
    :param ended: told of calls that were found to be over.
    """

    redis: AsyncRedis
    seat: Seat
    lease_seconds: float
    following: Following
    releasing: Releasing
    log: FilteringBoundLogger
    counts: OwningCounts
    room: Callable[[], int]
    ended: Callable[[str], None]
    evidence: Callable[[Row], Evidence | None]
    view: View = field(default_factory=View)
    _wanted: dict[str, None] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _gone_since: dict[str, float] = field(default_factory=dict)
    _closed_at: float = -inf
    """When Redis last let nobody claim anything, by the monotonic clock."""
    _adopted: bool = False
    _too_many: int = 0

    # -- what it is told

    def seen(self, view: View) -> None:
        """The fleet, as a renewal told it."""
        now = time.monotonic()
        self.view = view
        self._gone_since = {each.name: self._gone_since.get(each.name, now) for each in view.gone}
        self._too_many = self._too_many + 1 if view.owned > len(self.following) else 0
        self._news.set()

    def unowned(self, row: Row) -> None:
        """Somebody has found a call that nobody owns."""
        if self._is_first(row.call_id):
            self.want([row.call_id])

    def want(self, call_ids: Iterable[str]) -> None:
        """Claim these next."""
        self._wanted.update(dict.fromkeys(call_ids))
        self._news.set()

    def _is_first(self, call_id: str) -> bool:
        return first(self.view.members, call_id) == self.seat.name

    # -- what it does

    async def run(self) -> None:
        """Claim what is to be claimed, until cancelled."""
        while goes_on():
            try:
                async with asyncio.timeout(_SCAN_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            try:
                await self._once()
            except Interrupted as problem:
                self.log.debug("calls cannot be claimed", reason=problem.reason)
                await asyncio.sleep(_SCAN_SECONDS)

    async def _once(self) -> None:
        if not self._adopted or self._too_many >= 3:
            await self._adopt()
        await self._claim_wanted()
        for gone in self.view.gone:
            await self._take_over(gone)
        if (room := self.room()) > 0:
            await self._claim(await self._waiting(room))

    async def _claim_wanted(self) -> None:
        while self._wanted and (room := self.room()) > 0:
            some = list(self._wanted)[: min(room, _AT_ONCE)]
            if await self._claim(some) is None:  # Redis has not been back for long enough: they wait there
                self._wanted.clear()  # who is to have them is asked again when it has: members come meanwhile
                return
            for call_id in some:
                self._wanted.pop(call_id, None)

    async def _waiting(self, room: int) -> list[str]:
        """Calls that have waited for so long that anybody may have them; when nobody could have had any, its own."""
        anybody = self._open_for_longer_than_patience()
        most = min(room, _MOST_SCANNED) if anybody else _MOST_SCANNED
        with meaning():
            seconds, microseconds = await self.redis.client.time()
            upto = seconds * 1000 + microseconds // 1000 - (int(_PATIENCE_SECONDS * 1000) if anybody else 0)
            found = await self.redis.client.zrangebyscore(f"{self.redis.prefix}waiting", "-inf", upto, 0, most)
        call_ids = [call_id.decode() for call_id in found]
        return call_ids if anybody else [call_id for call_id in call_ids if self._is_first(call_id)][:room]

    def _open_for_longer_than_patience(self) -> bool:
        return time.monotonic() - self._closed_at > _PATIENCE_SECONDS

    async def _adopt(self) -> None:
        """Its own calls: of an earlier life of its name, or claimed by a request whose answer was lost."""
        with meaning():
            owned: set[bytes] = await self.redis.client.smembers(f"{self.redis.prefix}calls:{self.seat.name}")
        own = [call_id.decode() for call_id in owned if not self._has(call_id.decode())]
        for place in range(0, len(own), _AT_ONCE):
            some = own[place : place + _AT_ONCE]
            with meaning():
                told = await self.redis.client.hmget(f"{self.redis.prefix}facts", some)
            await self._begin([(call_id, each or b"") for call_id, each in zip(some, told, strict=True)])
        self._adopted, self._too_many = True, 0

    async def _take_over(self, gone: Gone) -> None:
        """Calls of one who is gone: those that hashing gives to this replica, after a while any."""
        now = time.monotonic()
        waited = now - self._gone_since.get(gone.name, now) > _PATIENCE_SECONDS
        anybody = waited and self._open_for_longer_than_patience()
        cursor, taken = 0, 0
        while True:
            with meaning():
                cursor, some = await self.redis.client.sscan(
                    f"{self.redis.prefix}calls:{gone.name}", cursor, count=_MOST_SCANNED
                )
            calls = [call_id.decode() for call_id in some]
            room = self.room()
            mine = [call_id for call_id in calls if anybody or self._is_first(call_id)][: max(room, 0)]
            taken += await self._claim(mine) or 0
            if not cursor or room <= 0:
                break
        if taken:
            self.counts.taken_over(gone.why, taken)
            self.log.info("calls are taken over", replica=gone.name, calls=taken, why=gone.why)

    def _has(self, call_id: str) -> bool:
        following = self.following
        return following.knows(call_id) or following.is_forgotten(call_id) or self.releasing.releasing(call_id)

    async def _claim(self, call_ids: Sequence[str]) -> int | None:
        """How many are followed now that were not; ``None`` while nothing may be claimed."""
        begun = 0
        call_ids = [call_id for call_id in call_ids if not self._has(call_id)]
        for place in range(0, len(call_ids), _AT_ONCE):
            some = call_ids[place : place + _AT_ONCE]
            answer = await self.redis.run(
                "claim", self.seat.name, self.seat.epoch, int(self.lease_seconds * 1000), *some
            )
            if answer[0] != b"claimed":
                self._closed_at = time.monotonic()
                return None  # too early, or fenced: the next renewal says so
            ours = []
            for call_id, what, told in zip(some, answer[1::3], answer[2::3], strict=True):
                if what in (b"claimed", b"yours"):
                    ours.append((call_id, told))
                elif what == b"ended":
                    self.ended(call_id)
            begun += await self._begin(ours)
        return begun

    async def _begin(self, ours: Sequence[tuple[str, bytes]]) -> int:
        """Follow calls that are ours now, each with what is known of it."""
        identities: list[Any] = [None] * len(ours)
        if any(facts.row_of(told) is None for _, told in ours):
            with meaning():
                identities = await self.redis.client.mget([f"{self.redis.prefix}ids:{call_id}" for call_id, _ in ours])
        return sum(
            self._follow(call_id, told, seen or b"") for (call_id, told), seen in zip(ours, identities, strict=True)
        )

    def _follow(self, call_id: str, told: bytes, identities: bytes) -> bool:
        row = facts.row_of(told)
        if row is not None:
            found = found_call(row)
            return self.following.follow(found, under_way=row.under_way, first=self.evidence(row))
        saved = facts.saved_call(call_id, told, identities)
        if saved is None or saved.form != CALL_FORM:  # its events cannot be told from those to come
            return self.following.follow(FoundCall(call_id, source="state"), under_way=True)
        found = FoundCall(call_id, saved.agent.agent_id, saved.channel, source="state")
        return self.following.follow(found, earlier=Earlier(saved.agent, saved.counted, saved.waiting))


def found_call(row: Row) -> FoundCall:
    """A row as who follows calls knows it. Whether it was under way has been decided where it was found."""
    return FoundCall(row.call_id, row.agent_id, row.channel, row.status, row.created_at, row.source)
