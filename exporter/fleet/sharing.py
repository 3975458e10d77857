"""What one replica finds, all hear of: lists, webhooks, requests go over one stream, and each owner hears of its calls.

What is said of a call that is followed here goes to it at once, whatever becomes of Redis. Everything else waits in a
bounded outbox while Redis is away; of each call the latest word of each kind.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from exporter.errors import Interrupted
from exporter.fleet import facts
from exporter.fleet.connecting import AsyncRedis, goes_on, meaning
from exporter.fleet.facts import Row
from exporter.fleet.owning import Owning, found_call
from exporter.fleet.seat import Seat
from exporter.receivers.discovery import FoundCall
from exporter.receivers.following import Following

MOST_WAITING: Final = 100_000
"""Words about calls that wait for Redis; beyond it the oldest is forgotten."""
_AT_ONCE = 200
_READ_AT_ONCE = 20
_BLOCK_MILLISECONDS = 1_000
_RETRY_SECONDS = 0.5
_PUBLISHED = {"listed": "new", "named": "new", "told": "over"}
"""What makes somebody follow a call, by kind of row; the rest is only said to its owner."""
_OVER, _GONE = b" ended", b" gone"


@dataclass
class Sharing:
    """Publishes what is found here, and hears what is found anywhere.

    :param look_soon: told that somebody has come or gone.
    :param past_is_known: what an earlier life of the fleet counted is known: no call is left out because of it.
    :param bound_hit: told ``calls`` when more was found than the outbox holds.
    :param look_again: told, once all that is left has been sent, that some was not: the lists are to be read again.
    """

    redis: AsyncRedis
    seat: Seat
    following: Following
    owning: Owning
    log: FilteringBoundLogger
    look_soon: Callable[[], None]
    past_is_known: bool
    bound_hit: Callable[[str], None]
    look_again: Callable[[], None]
    _outbox: OrderedDict[tuple[str, str], Row] = field(default_factory=OrderedDict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _last: bytes | str = "0-0"
    _missed: bool = False

    # -- what is found here

    def listed(self, found: FoundCall) -> None:
        """A list names a call that is news."""
        self._say(self._row("listed", found))

    def listed_again(self, found: FoundCall) -> None:
        """A list names a call that is none."""
        self._say(self._row("again", found))

    def told(
        self, found: FoundCall, outcome: str | None, ended_at: float | None, lasted_seconds: float | None = None
    ) -> None:
        """A webhook says that a call is over."""
        self._say(self._row("told", found, outcome=outcome, ended_at=ended_at, lasted_seconds=lasted_seconds))

    def follow(self, found: FoundCall) -> bool:
        """Somebody wants a call followed; ``False`` when it is known here."""
        if self.following.knows(found.call_id):
            return False
        self._say(self._row("named", found))
        return True

    async def named(self, found: FoundCall) -> bool:
        """The same at once; ``False`` when anybody follows it or did. Raises Interrupted."""
        if self.following.knows(found.call_id):
            return False
        (owner,) = await self._publish([self._row("named", found)])
        return owner == b""

    def _row(self, kind: str, found: FoundCall, **said: Any) -> Row:
        return Row(
            kind,
            found.call_id,
            found.agent_id,
            found.channel,
            found.status,
            found.created_at,
            found.source,
            found.under_way and not self.past_is_known,
            **said,
        )

    def _say(self, row: Row) -> None:
        if self.following.follows(row.call_id):
            self._deliver(row)
            return
        key = (row.call_id, row.kind)
        self._outbox[key] = row
        if len(self._outbox) > MOST_WAITING:
            self._outbox.popitem(last=False)
            self.bound_hit("calls")
            self._missed = True
        self._news.set()

    # -- to all

    async def publish(self) -> None:
        """Send what was found, until cancelled."""
        while goes_on():
            await self._news.wait()
            self._news.clear()
            while self._outbox and goes_on():
                some = [self._outbox.popitem(last=False) for _ in range(min(len(self._outbox), _AT_ONCE))]
                try:
                    await self._publish([row for _, row in some])
                except Interrupted as problem:
                    self.log.debug("what was found waits", reason=problem.reason, calls=len(some))
                    for key, row in reversed(some):
                        if key not in self._outbox:
                            self._outbox[key] = row
                            self._outbox.move_to_end(key, last=False)
                    await asyncio.sleep(_RETRY_SECONDS)
            if self._missed and not self._outbox:
                self._missed = False
                self.look_again()

    async def _publish(self, rows: list[Row]) -> list[bytes]:
        parts: list[str | bytes] = []
        for row in rows:
            parts += (row.call_id, facts.found(row), _PUBLISHED.get(row.kind, "word"))
        answer = await self.redis.run("publish", *parts)
        for row, owner in zip(rows, answer, strict=True):
            if owner == _OVER:
                self.owning.ended(row.call_id)
        return answer

    # -- from all

    async def hear(self) -> None:
        """Read what anybody found, until cancelled."""
        stream = f"{self.redis.prefix}found"
        begun = False
        while goes_on():
            try:
                with meaning():
                    if not begun:
                        latest = await self.redis.client.xrevrange(stream, count=1)
                        self._last, begun = (latest[0][0] if latest else "0-0"), True
                    read: Any = await self.redis.client.xread(
                        {stream: self._last}, count=_READ_AT_ONCE, block=_BLOCK_MILLISECONDS
                    )
            except Interrupted:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for _, entries in _streams(read):
                for entry_id, fields in entries:
                    self._last = entry_id
                    self._take(fields or {})

    def _take(self, fields: dict[bytes, bytes]) -> None:
        for told, owner in fields.items():
            if told == _GONE:
                self.look_soon()
            elif (row := facts.row_of(told)) is None:
                continue
            elif owner == self.seat.name.encode():
                self._deliver(row)
            elif not owner and (row.kind in _PUBLISHED or self.following.forgot(row.call_id)):
                self.owning.unowned(row)

    def _deliver(self, row: Row) -> None:
        """Its owner hears of it."""
        if not self.following.follows(row.call_id):
            self.owning.want([row.call_id])
        elif row.kind in ("listed", "again"):
            self.following.listed(found_call(row))
        elif row.kind == "told":
            self.following.told(found_call(row), row.outcome, row.ended_at, row.lasted_seconds)


def _streams(read: Any) -> list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]:
    """As RESP2 and RESP3 have it."""
    if not read:
        return []
    if isinstance(read, dict):
        return [(name, [entry for part in parts for entry in part]) for name, parts in read.items()]
    return list(read)
