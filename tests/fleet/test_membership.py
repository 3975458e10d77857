"""Being a member, in real time on a real Redis, with leases of a second: who waits, who watches, who is told what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import structlog

from exporter.fleet.connecting import AsyncRedis
from exporter.fleet.membership import About, Membership, View, joined
from exporter.state.kept import Fenced
from tests.fleet.partition import Link
from tests.support.peers import RedisServer
from tests.system.world import until

LEASE = 1.0


@dataclass
class Replica:
    """One membership, and what it was told."""

    name: str
    redis: AsyncRedis
    log: structlog.testing.LogCapture = field(default_factory=structlog.testing.LogCapture)
    fenced: list[Fenced] = field(default_factory=list)
    lost: int = 0
    late: int = 0
    task: asyncio.Task[None] | None = None

    async def join(self) -> Replica:
        log = structlog.wrap_logger(structlog.testing.ReturnLogger(), processors=[self.log])
        seat = await joined(self.redis, self.name, lease_seconds=LEASE, about=self._about(), log=log)
        self.membership = Membership(
            self.redis,
            seat,
            LEASE,
            log,
            about=self._about,
            counts=self,
            on_fenced=self.fenced.append,
            on_lost=self._on_lost,
            on_view=lambda _: None,
        )
        self.task = asyncio.create_task(self.membership.run())
        await self.redis.client.hset(f"{self.redis.prefix}fleet", "back_at", "1")  # Redis has been there for long
        return self

    @property
    def view(self) -> View:
        return self.membership.view

    def _about(self) -> About:
        return About(1.0, 0, 10, "0")

    def _on_lost(self, store_knows: bool) -> None:
        self.lost += 1

    def renewed(self, seconds: float, *, late: bool) -> None:
        self.late += late

    def said(self) -> list[str]:
        return [entry["event"] for entry in self.log.entries]

    async def dies(self) -> None:
        """Its process is gone: nothing more is heard of it."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture
async def replicas(redis_port: int, namespace: str) -> AsyncIterator[list[Replica]]:
    """Three that can join."""
    url = f"redis://127.0.0.1:{redis_port}/0"
    made = [Replica(name, AsyncRedis(url, namespace, patience_seconds=2.0)) for name in ("one", "two", "three")]
    yield made
    for each in made:
        if each.task is not None:
            await each.dies()
        await each.redis.aclose()


async def test_all_see_all_and_one_polls(replicas: list[Replica]) -> None:
    for each in replicas:
        await each.join()
    await until(lambda: all(each.view.members == ("one", "three", "two") for each in replicas), 10)
    assert [each.view.polls for each in replicas].count(True) == 1
    assert not any(each.fenced or each.lost for each in replicas)


async def test_a_newcomer_waits_for_its_name_and_says_so(
    replicas: list[Replica], redis_port: int, namespace: str
) -> None:
    one, *_ = replicas
    await one.join()
    again = Replica("one", one.redis)
    joining = asyncio.create_task(again.join())
    await until(lambda: again.said() == ["waiting to join the fleet"], 10)
    await asyncio.wait([joining], timeout=LEASE)
    assert not joining.done(), "its lease is renewed"
    await one.dies()
    await asyncio.wait_for(joining, 10)
    assert int(again.membership.seat.epoch) > int(one.membership.seat.epoch)
    await again.dies()


async def test_one_that_is_gone_is_taken_for_dead_and_hears_of_it_when_it_is_back(replicas: list[Replica]) -> None:
    one, two, three = [await each.join() for each in replicas]
    await three.dies()
    await until(lambda: one.view.members == two.view.members == ("one", "two"), 10)
    assert "a replica is taken for dead" in one.said() + two.said()
    three.task = asyncio.create_task(three.membership.run())
    await until(lambda: three.fenced, 10)


async def test_one_that_leaves_is_gone_at_once(replicas: list[Replica]) -> None:
    one, two, _ = replicas
    await one.join()
    await two.join()
    await two.dies()
    await two.membership.leave()
    one.membership.look_soon()
    await until(lambda: one.view.members == ("one",), 10)
    assert "a replica is taken for dead" not in one.said()


async def test_nobody_is_taken_for_dead_because_redis_was_away(tmp_path: Path, namespace: str) -> None:
    server = RedisServer(tmp_path, "--appendonly", "yes")
    server.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.stop)
        made = []
        for name in ("one", "two"):
            link = stack.enter_context(Link(server.port).serving())
            redis = AsyncRedis(f"redis://127.0.0.1:{link.port}/0", namespace, patience_seconds=1.0)
            stack.push_async_callback(redis.aclose)
            made.append((await Replica(name, redis).join(), link))
        await until(lambda: all(each.view.members == ("one", "two") for each, _ in made), 10)
        for _, link in made:
            link.cut()
        await until(lambda: all("Redis cannot be reached" in each.said() for each, _ in made), 10)
        await asyncio.sleep(2 * LEASE)  # real time: both leases are long over
        made[0][1].mend()
        await until(lambda: "Redis can be reached again" in made[0][0].said(), 10)
        made[1][1].mend()
        await until(lambda: "Redis can be reached again" in made[1][0].said(), 10)
        await until(lambda: all(each.view.members == ("one", "two") for each, _ in made), 10)
        assert not any(each.fenced or each.lost for each, _ in made)
        for each, _ in made:
            await each.dies()


async def test_a_redis_that_is_empty_is_noticed_by_all_and_seats_are_taken_again(replicas: list[Replica]) -> None:
    one, two, three = [await each.join() for each in replicas]
    await until(lambda: all(len(each.view.members) == 3 for each in replicas), 10)
    keys = [key async for key in one.redis.client.scan_iter(f"{one.redis.prefix}*")]
    await one.redis.client.delete(*keys)
    await until(lambda: all(each.lost for each in replicas), 10)
    await until(lambda: all(len(each.view.members) == 3 for each in replicas), 10)
    assert len({each.membership.seat.fleet_id for each in (one, two, three)}) == 1
    assert not any(each.fenced for each in replicas)
