"""Being a member: a lease that is renewed in time, who else holds one, and whose is over.

A member whose lease is over is taken for dead when it was watched for a whole lease without being renewed: by our own
clock, and without losing touch with Redis meanwhile. So a clock of Redis that jumps, or a Redis that was away for
everybody, costs nobody its seat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

import msgspec
from structlog.typing import FilteringBoundLogger

from exporter.errors import Interrupted
from exporter.fleet.connecting import AsyncRedis, goes_on
from exporter.fleet.seat import Seat
from exporter.state.kept import Fenced

_RENEWALS = 3
"""So often within a lease."""
_RETRY_SECONDS = 1.0
_SAY_AGAIN_SECONDS = 60.0


class MembershipCounts(Protocol):
    """What is said about it in metrics."""

    def renewed(self, seconds: float, *, late: bool) -> None:
        """Redis took so long to answer; ``late``: the lease was in danger."""


class About(msgspec.Struct, frozen=True):
    """What a member says of itself. ``since`` is Unix time, ``room`` how many more calls it could follow."""

    since: float
    calls: int
    room: int
    version: str


@dataclass(frozen=True)
class Gone:
    """Who left calls behind; ``why`` is ``left`` or ``dead``."""

    name: str
    calls: int
    why: str


@dataclass
class View:
    """The fleet as the last renewal told it. ``owned`` and ``waiting`` count calls."""

    members: tuple[str, ...] = ()
    gone: tuple[Gone, ...] = ()
    owned: int = 0
    waiting: int = 0
    polls: bool = False

    @property
    def unowned(self) -> int:
        """Calls that nobody follows."""
        return self.waiting + sum(each.calls for each in self.gone)


async def joined(
    redis: AsyncRedis, name: str, *, lease_seconds: float, about: About, log: FilteringBoundLogger
) -> Seat:
    """A seat under this name; waits for Redis, and for the end of the lease of whoever has the name now."""
    packed, fleet_id, said_at = msgspec.msgpack.encode(about), uuid4().hex, -_SAY_AGAIN_SECONDS
    while goes_on():
        pause = _RETRY_SECONDS
        why = hint = ""
        try:
            answer = await redis.run("join", name, int(lease_seconds * 1000), packed, fleet_id)
        except Interrupted as problem:
            why, hint = str(problem), "nothing can be counted before it is known what was"
        else:
            if (seat := Seat.given(name, answer)) is not None:
                return seat
            pause = min(answer[1] / 1000 + 0.01, _RETRY_SECONDS)
            why, hint = f"another replica has the name {name}", "it is ours when its lease is over (fleet.name)"
        if time.monotonic() - said_at >= _SAY_AGAIN_SECONDS:
            said_at = time.monotonic()
            log.warning("waiting to join the fleet", reason=why, hint=hint)
        await asyncio.sleep(pause)
    raise asyncio.CancelledError


@dataclass
class Membership:
    """One replica's membership, from when it has joined.

    :param about: what it says of itself, asked at each renewal.
    :param on_fenced: told, once, that it was taken for dead.
    :param on_lost: told that Redis has lost something it had kept, and whether the store has met that first.
    :param on_view: told what each renewal told.
    """

    redis: AsyncRedis
    seat: Seat
    lease_seconds: float
    log: FilteringBoundLogger
    about: Callable[[], About]
    counts: MembershipCounts
    on_fenced: Callable[[Fenced], None]
    on_lost: Callable[[bool], None]
    on_view: Callable[[View], None]
    view: View = field(default_factory=View)
    _watched: dict[tuple[str, str, int], float] = field(default_factory=dict)
    _renewed_at: float = field(default_factory=time.monotonic)
    _away: bool = False
    _losses: int = 0
    _soon: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Renew until cancelled, or fenced."""
        while goes_on():
            self._soon.clear()
            try:
                pause = await self._renew()
            except Interrupted as problem:
                pause = self._lost_touch(problem)
            except Fenced as fenced:
                self.on_fenced(fenced)
                return
            try:
                async with asyncio.timeout(pause):
                    await self._soon.wait()
            except TimeoutError:
                pass

    def look_soon(self) -> None:
        """Somebody has come or gone."""
        self._soon.set()

    async def leave(self) -> bool:
        """Give the seat back; what it owned may be claimed from now on. Whether Redis was told."""
        try:
            answer = await self.redis.run("leave", self.seat.name, self.seat.epoch)
        except Interrupted as problem:
            self.log.warning("the fleet could not be told that this replica leaves", reason=problem.reason)
            return False
        return bool(answer[0] == b"left")

    # -- one renewal

    async def _renew(self) -> float:
        """After how many seconds to do it again."""
        seat = self.seat
        acknowledged, began = seat.acknowledged, time.monotonic()
        packed = msgspec.msgpack.encode(self.about())
        answer = await self.redis.run("renew", seat.name, seat.epoch, seat.fleet_id, self._milliseconds, packed)
        now = time.monotonic()
        self.counts.renewed(now - began, late=now - self._renewed_at > self.lease_seconds * 2 / _RENEWALS)
        self._renewed_at = now
        if self._away:
            self._away = False
            self.log.info("Redis can be reached again")
        if answer[0] == b"fenced":
            raise Fenced("its lease was over, and it was taken for dead")
        if answer[0] == b"lost":
            await self._sit_again(packed)
            return 0.0
        if answer[2] < acknowledged:
            self._say_lost()
        elif seat.losses != self._losses:  # a commit has met it first
            self._losses = seat.losses
            self.on_lost(True)
        return await self._look(answer, now)

    async def _sit_again(self, about: bytes) -> None:
        seat = self.seat
        answer = await self.redis.run("rejoin", seat.name, seat.epoch, uuid4().hex, self._milliseconds, about)
        seat.taken_again(answer)
        self._say_lost()

    def _say_lost(self) -> None:
        self._watched.clear()
        self.on_lost(False)
        self._losses = self.seat.losses

    async def _look(self, answer: list[Any], now: float) -> float:
        """Who is there, who is not; seats of the dead are taken away."""
        _, redis_now, _, polls, owned, waiting, members, gone = answer
        leases = {
            (name.decode(), epoch.decode()): int(ends)
            for name, epoch, ends in zip(members[0::3], members[1::3], members[2::3], strict=True)
            if epoch is not None
        }
        self.view = View(
            tuple(sorted(name for name, _ in leases)),
            tuple(Gone(*each) for each in zip(_texts(gone[0::3]), gone[1::3], _texts(gone[2::3]), strict=True)),
            owned,
            waiting,
            polls == 1,
        )
        self.on_view(self.view)
        watched = {(*who, ends): self._watched.get((*who, ends), now) for who, ends in leases.items()}
        self._watched = {key: since for key, since in watched.items() if key[0] != self.seat.name}
        over = [key for key, since in self._watched.items() if now - since >= self.lease_seconds]
        dead = [(name, epoch) for name, epoch, ends in over if ends < int(redis_now)]
        if dead:
            await self._bury(dead)
        pause = self.lease_seconds / _RENEWALS
        ends_next = [since + self.lease_seconds - now for since in self._watched.values()]
        return max(min([pause, *(each for each in ends_next if each > 0)]), 0.02)

    async def _bury(self, dead: list[tuple[str, str]]) -> None:
        seat = self.seat
        parts = [part for each in dead for part in each]
        answer = await self.redis.run("bury", seat.name, seat.epoch, self._milliseconds, *parts)
        if answer[0] == b"fenced":
            raise Fenced("its lease was over, and it was taken for dead")
        for name in answer[1:]:
            self.log.warning("a replica is taken for dead", replica=name.decode(), lease_seconds=self.lease_seconds)
            self.look_soon()

    def _lost_touch(self, problem: Interrupted) -> float:
        self._watched.clear()  # nobody can have told us that it lives
        if not self._away:
            self._away = True
            hint = "calls are followed on; pages show what was last kept"
            self.log.warning("Redis cannot be reached", reason=problem.reason, cause=str(problem), hint=hint)
        return min(_RETRY_SECONDS, self.lease_seconds / _RENEWALS)

    @property
    def _milliseconds(self) -> int:
        return int(self.lease_seconds * 1000)


def _texts(parts: list[bytes]) -> list[str]:
    return [part.decode() for part in parts]
