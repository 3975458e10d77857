"""A quarter of an hour in which replicas and their Redis have a bad day, by a seeded schedule: ``make chaos``.

Every few seconds something happens: a replica is killed, sleeps, is cut off, is restarted, one joins, one that joined
leaves for good, Redis is restarted or away. Whoever ends is started again after a while, as supervisors do. 300 calls
go on meanwhile; at the end what a scraper added up must equal the ledger. ``CHAOS_SEED=…`` plays a schedule again,
``CHAOS_SECONDS=60`` a shorter one.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.fleet.replicas import Replicas, replicas, told
from tests.system.books import report

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(3_600)]

_LEASE_SECONDS = 3.0
_AT_ONCE = 25
_SECONDS_BETWEEN = (4.0, 10.0)
_SECONDS_A_CALL = 3.0
"""One begins so often, on average, at the simulator's natural speed with so many at once."""


class Chaos:
    """Does things to a fleet, each by its own chance, one after the other.

    At most one replica of three is away by our doing at a time, and Redis only while all are there: what more than one
    fault at once must come to is not exactness, but a start from what was kept.
    """

    def __init__(self, here: Replicas, rng: random.Random) -> None:
        self._here = here
        self._rng = rng
        self._joined = 0
        self._guests: list[str] = []
        self.done: Counter[str] = Counter()
        self.log: list[str] = []
        self._deeds: dict[str, Callable[[], Awaitable[None]]] = {
            "killed": self._kill,
            "paused": self._pause,
            "cut off": self._cut,
            "restarted": self._restart,
            "joined": self._join,
            "left": self._leave,
            "redis restarted": self._redis_restart,
            "redis away": self._redis_away,
        }

    async def once(self) -> None:
        """The next thing."""
        deed = self._rng.choice([*self._deeds, "killed", "paused", "cut off"])
        if deed == "left" and not self._guests:
            deed = "joined"
        self.done[deed] += 1
        self.log.append(f"{time.monotonic():.1f} {deed}")
        await self._deeds[deed]()

    def _somebody(self) -> str:
        return self._rng.choice(sorted(replica.name for replica in self._here.fleet.alive))

    def _while(self) -> float:
        """From less than a lease to three of them."""
        return self._rng.uniform(0.3, 3.0) * _LEASE_SECONDS

    async def _kill(self) -> None:
        name = self._somebody()
        self._here.fleet.kill(name)
        await asyncio.sleep(self._while())
        await self._here.fleet.start(name)

    async def _pause(self) -> None:
        name = self._somebody()
        self._here.fleet.pause(name)
        await asyncio.sleep(self._while())
        self._here.fleet.wake(name)
        await asyncio.sleep(_LEASE_SECONDS)

    async def _cut(self) -> None:
        name = self._somebody()
        self._here.cut(name)
        await asyncio.sleep(self._while())
        self._here.links[name].mend()
        await asyncio.sleep(_LEASE_SECONDS)

    async def _restart(self) -> None:
        name = self._somebody()
        await self._here.fleet.stop(name)
        await self._here.fleet.start(name)

    async def _join(self) -> None:
        self._joined += 1
        name = f"guest-{self._joined}"
        await self._here.join(name)
        self._guests.append(name)

    async def _leave(self) -> None:
        await self._here.fleet.leave(self._guests.pop(self._rng.randrange(len(self._guests))))

    async def _redis_restart(self) -> None:
        self._here.redis.stop()
        self._here.redis.start()

    async def _redis_away(self) -> None:
        self._here.redis.kill()
        await asyncio.sleep(self._while())
        self._here.redis.start()
        await asyncio.sleep(_LEASE_SECONDS)


async def test_a_bad_day_counts_every_event_once(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(1_000_000))
    seconds = float(os.environ.get("CHAOS_SECONDS") or 900)
    told(f"CHAOS_SEED={seed} CHAOS_SECONDS={seconds:g}")
    rng = random.Random(seed)
    total = max(_AT_ONCE, int(seconds / _SECONDS_A_CALL))
    options = {"calls": _AT_ONCE, "total_calls": total, "speed": 1.0, "seed": seed}
    async with replicas(tmp_path, lease=_LEASE_SECONDS, interval=1.0, **options) as here:
        await here.begin()
        chaos, ends_at = Chaos(here, rng), time.monotonic() + seconds
        while time.monotonic() < ends_at and not here.fleet.simulator.switchboard.idle:
            await asyncio.sleep(rng.uniform(*_SECONDS_BETWEEN))
            await chaos.once()
        exits = Counter(code for replica in here.fleet.replicas.values() for code in replica.exits)
        page = await here.over(600)
        ledger = here.fleet.ledger
        told(f"{dict(chaos.done)}; ends that nobody asked for: {dict(exits)}")
        told(f"{ledger['begun']} calls, {ledger['published']} events")
        wrong = await here.wrong(page, killed=here.fleet.replicas)
        assert not wrong, f"CHAOS_SEED={seed}\n{report(wrong)}\n" + "\n".join(chaos.log)
