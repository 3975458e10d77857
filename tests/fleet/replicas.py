"""A fleet over a real Redis: each replica reaches it by a link of its own, which can be cut."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fleet.partition import Link
from tests.fleet.scraper import Scraper, scraped
from tests.fleet.world import Fleet, Replica, fleet
from tests.support.peers import RedisServer
from tests.system.books import Page, differences
from tests.system.traces import Backend, flaws
from tests.system.world import until

LEASE_SECONDS = 2.0
THREE = ("replica-0", "replica-1", "replica-2")


@dataclass
class Replicas:
    """A fleet, its Redis, a scraper that adds up what it shows, and a backend for its traces."""

    fleet: Fleet
    redis: RedisServer
    scraper: Scraper
    backend: Backend
    lease: float
    _stack: contextlib.AsyncExitStack
    links: dict[str, Link] = field(default_factory=dict)
    apart: set[str] = field(default_factory=set)
    """Who could not know what the others did: paused, or cut off."""

    def add(self, name: str) -> Replica:
        """A replica with a link of its own to Redis, not started yet."""
        link = self.links[name] = self._stack.enter_context(Link(self.redis.port).serving())
        return self.fleet.add(
            name, fleet__redis_url=f"redis://127.0.0.1:{link.port}/0", fleet__name=name, fleet__lease=f"{self.lease:g}s"
        )

    async def join(self, name: str) -> None:
        """A replica that was not there before joins."""
        self.add(name)
        await self.fleet.start(name)

    def cut(self, name: str) -> None:
        """From now on this one cannot reach Redis, and does not hear that it cannot."""
        self.apart.add(name)
        self.links[name].cut()

    async def begin(self) -> None:
        """The first calls, and until each replica has some of them."""
        self.fleet.simulator.begin()
        names = [replica.name for replica in self.fleet.alive]
        await until(lambda: all(self.scraper.seen_at[name] for name in names), 30, "every replica follows calls")

    async def restarted(self, name: str, seconds: float = 30.0) -> int:
        """Wait for the end of a life that was taken for dead; begin the next, as supervisors do. The exit code."""
        code = await self.fleet.replicas[name].life.ended(seconds)
        await self.fleet.start(name)
        return code

    async def over(self, seconds: float = 120.0) -> Page:
        """Play to the end; what a scraper has added up over all replicas."""
        await self.fleet.played(seconds)
        await self.fleet.settled(60)
        await self.scraper.visited_again()
        return self.scraper.added_up()

    async def wrong(self, page: Page, *, traces: bool = True, busy: bool = False) -> list[str]:
        """Whatever is not as the ledger says, after everybody has ended; empty when all of it is.

        :param busy: tell ``busy`` from ``failed``, which only webhooks can, and only whoever lives to keep it.
        """
        ledger = self.fleet.ledger
        lines = differences(ledger, page, busy=busy)
        lines += self.scraper.fell
        for replica in self.fleet.alive:
            if (code := await self.fleet.stop(replica.name)) != 0:
                lines.append(f"{replica.name} ended with {code}")
        lines += [
            f"a traceback of {name}:\n{life.log[-3000:]}"
            for name, replica in self.fleet.replicas.items()
            for life in replica.lives
            if "Traceback" in life.log
        ]
        return lines + (flaws(self.backend.spans, ledger, once=False) if traces else [])


@contextlib.asynccontextmanager
async def replicas(
    folder: Path,
    names: Sequence[str] = THREE,
    *,
    lease: float = LEASE_SECONDS,
    settings: dict[str, str] | None = None,
    interval: float = 0.25,
    **options: Any,
) -> AsyncIterator[Replicas]:
    """So many replicas that have joined, scraped, with a simulator that waits for ``begin``."""
    backend = await Backend().start()
    redis = RedisServer(folder / "redis", "--appendonly", "yes")
    given = {"state.checkpoint_interval": "500ms"} | (settings or {})
    try:
        redis.start()
        async with contextlib.AsyncExitStack() as stack:
            here = await stack.enter_async_context(fleet(folder, settings=given, env=backend.env, **options))
            scraper = Scraper(here, interval)
            made = Replicas(here, redis, scraper, backend, lease, stack)
            for name in names:
                made.add(name)
            await here.start()
            await stack.enter_async_context(scraped(scraper))
            yield made
    finally:
        redis.stop()
        await backend.stop()
