"""Replicas over a real Redis: whatever happens to one of them, or to Redis, every event counts once.

In each, what a scraper adds up over all replicas must equal the simulator's ledger, nothing may step back, and every
trace must be whole with one root.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from exporter.fleet.shards import first
from tests.fleet.replicas import LEASE_SECONDS, THREE, Replicas, replicas
from tests.system.books import report
from tests.system.world import until

A, B, C = THREE


async def exact(here: Replicas, *killed: str) -> None:
    """Play to the end; everything must be as the ledger says, but for spans that were ``killed`` with who had them."""
    page = await here.over()
    assert not (wrong := await here.wrong(page, killed=killed)), report(wrong) + here.fleet.log
    assert not (shared := here.scraper.shared_for_longer_than(here.lease, unless=here.apart)), report(shared)


async def test_three_replicas_count_what_one_would(tmp_path: Path) -> None:
    async with replicas(tmp_path) as here:
        await here.begin()
        page = await here.over()
        assert not (wrong := await here.wrong(page, busy=True)), report(wrong) + here.fleet.log
        assert not here.scraper.shared_seconds, "no call was followed by two"


async def test_calls_that_waited_for_a_young_fleet_are_divided_as_any_are(tmp_path: Path) -> None:
    patience = 2.0
    options = {"calls": 24, "speed": 1.0, "webhooks": False, "lease": 3 * patience}
    async with replicas(tmp_path, **options) as here:
        here.fleet.simulator.begin()
        live, followed = here.fleet.simulator.switchboard.live, here.scraper.followed
        await until(lambda: 0 < len(live) <= sum(map(len, followed.values())), 30, "every call is followed")
        owners = {call: name for name, calls in followed.items() for call in calls}
        assert owners == {call: first(THREE, call) for call in owners}


async def test_one_is_killed_and_comes_back(tmp_path: Path) -> None:
    async with replicas(tmp_path) as here:
        await here.begin()
        here.fleet.kill(B)
        await asyncio.sleep(2 * LEASE_SECONDS)
        await here.fleet.start(B)
        await exact(here, B)


async def test_one_sleeps_for_two_leases_and_wakes_up(tmp_path: Path) -> None:
    async with replicas(tmp_path) as here:
        await here.begin()
        here.fleet.pause(B)
        await asyncio.sleep(2 * LEASE_SECONDS)
        here.fleet.wake(B)
        await here.taken_for_dead(B)
        await exact(here)


async def test_redis_is_restarted_with_what_it_had_written_and_then_away_for_longer_than_a_lease(
    tmp_path: Path,
) -> None:
    async with replicas(tmp_path, calls=16, total_calls=48) as here:
        await here.begin()
        here.redis.stop()
        here.redis.start()
        await asyncio.sleep(2 * LEASE_SECONDS)  # young: nobody is taken for dead
        here.redis.kill()
        await asyncio.sleep(2 * LEASE_SECONDS)
        here.redis.start()
        await exact(here)


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_redis_is_away_for_a_minute(tmp_path: Path) -> None:
    # No webhooks: what is not acknowledged in that minute counts later all the same, and their sender's books lack it.
    async with replicas(tmp_path, calls=16, total_calls=64, speed=2.0, webhooks=False) as here:
        await here.begin()
        here.redis.kill()
        await asyncio.sleep(60)
        here.redis.start()
        await exact(here)


async def test_one_is_cut_off_from_redis_and_not_from_the_api(tmp_path: Path) -> None:
    async with replicas(tmp_path) as here:
        await here.begin()
        here.cut(B)
        await asyncio.sleep(2 * LEASE_SECONDS)
        here.links[B].mend()
        await here.taken_for_dead(B)
        await exact(here)


async def test_one_after_the_other_is_restarted(tmp_path: Path) -> None:
    async with replicas(tmp_path) as here:
        await here.begin()
        for name in THREE:
            assert await here.fleet.stop(name) == 0
            await here.fleet.start(name)
            await asyncio.sleep(LEASE_SECONDS / 2)
        await exact(here)


async def test_a_fourth_joins_and_another_leaves_for_good(tmp_path: Path) -> None:
    async with replicas(tmp_path, total_calls=None, speed=10.0) as here:
        await here.begin()
        await here.join("replica-3")
        await until(lambda: here.scraper.seen_at["replica-3"], 60, "the newcomer follows calls")
        assert await here.fleet.leave(C) == 0
        here.fleet.simulator.drain()
        await exact(here)
