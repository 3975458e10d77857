"""A fleet over a real Redis: each replica reaches it by a link of its own, which can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.calls.identity import trace_id
from tests.fleet.partition import Link
from tests.fleet.scraper import Scraper, scraped
from tests.fleet.world import Fleet, Replica, fleet
from tests.support.peers import RedisServer
from tests.support.redis_server import reached
from tests.system.books import Page, differences
from tests.system.traces import Backend, flaws
from tests.system.world import until

LEASE_SECONDS = 3.0
"""Short, and long enough for a machine that is busy."""
THREE = ("replica-0", "replica-1", "replica-2")


def told(text: str) -> None:
    """Say it to whoever runs a long suite (pytest -s)."""
    sys.stdout.write(f"\n{text}\n")
    sys.stdout.flush()


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
    """Who could not know what the others did: cut off."""

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
        await self._of_age()
        self.fleet.simulator.begin()
        names = [replica.name for replica in self.fleet.alive]
        try:
            await until(lambda: all(self.scraper.seen_at[name] for name in names), 30, "every replica follows calls")
        except AssertionError as late:
            seen = {name: len(self.scraper.seen_at[name]) for name in names}
            raise AssertionError(f"{late}: {seen}\n{self.fleet.log}") from None

    async def _of_age(self) -> None:
        """Wait until calls are claimed: on a slow machine, all that one replica gets may be over before that."""
        with reached(self.redis.port, "default").client as redis:
            back_at = int(redis.hget("{atoms-exporter:default}:fleet", "back_at") or 0) / 1000
        await asyncio.sleep(back_at + self.lease - time.time())

    async def taken_for_dead(self, name: str, seconds: float = 30.0) -> None:
        """Wait until a life has found that others have taken over, and has ended: a supervisor begins the next."""
        await until(lambda: self.fleet.replicas[name].exits, seconds, f"the end of a life of {name}")
        assert self.fleet.replicas[name].exits[-1] == 1, self.fleet.log

    async def over(self, seconds: float = 120.0) -> Page:
        """Play to the end; what a scraper has added up over all replicas."""
        await self.fleet.played(seconds)
        wanted = [replica for replica in self.fleet.replicas.values() if replica.wanted]
        await until(lambda: all(replica.alive for replica in wanted), 60, "a life of everybody who should run")
        await until(self._all_ended, 60, "the end of every call")
        await self.fleet.settled(60)
        await self.scraper.visited_again()
        return self.scraper.added_up()

    def _all_ended(self) -> bool:
        """What began is over by what the fleet keeps: nothing is followed, and nothing waits to be."""
        with reached(self.redis.port, "default").client as redis:
            return redis.zcard("{atoms-exporter:default}:ended") >= self.fleet.simulator.switchboard.begun

    async def wrong(self, page: Page, *, killed: Iterable[str] = (), busy: bool = False) -> list[str]:
        """Whatever is not as the ledger says, after everybody has ended; empty when all of it is.

        :param killed: whose spans may be missing: what was not sent yet ended with it.
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
        aside = {call_id for name in killed for call_id in self.scraper.seen_at[name]}
        return lines + self._flaws(ledger, aside)

    def _flaws(self, ledger: dict[str, Any], aside: set[str]) -> list[str]:
        """What is wrong with the traces of all calls but those ``aside``."""
        if not aside:
            return flaws(self.backend.spans, ledger, once=False)
        left_out = {f"{trace_id(call_id):032x}" for call_id in aside}
        spans = [span for span in self.backend.spans if span.trace_id not in left_out]
        roots = {span.attributes["gen_ai.conversation.id"] for span in spans if not span.parent_id}
        missing = ledger["calls"].keys() - aside - roots
        return flaws(spans, ledger, once=False, calls=False) + [f"call {call_id} has no trace" for call_id in missing]


@contextlib.asynccontextmanager
async def replicas(
    folder: Path,
    names: Sequence[str] = THREE,
    *,
    lease: float = LEASE_SECONDS,
    settings: dict[str, str] | None = None,
    interval: float = 0.5,
    ask_for_calls: bool = True,
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
            scraper = Scraper(here, interval, ask_for_calls=ask_for_calls)
            made = Replicas(here, redis, scraper, backend, lease, stack)
            for name in names:
                made.add(name)
            await here.start()
            await stack.enter_async_context(scraped(scraper))
            supervising = asyncio.create_task(here.supervise())
            try:
                yield made
            finally:
                supervising.cancel()
                await asyncio.wait([supervising])
    finally:
        redis.stop()
        await backend.stop()
