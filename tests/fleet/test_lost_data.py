"""A Redis that has lost what it had, under replicas that live: it gets all of it again, and every event counts once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fleet.replicas import LEASE_SECONDS, replicas
from tests.support.redis_server import reached
from tests.system.books import report


async def test_what_redis_has_lost_the_living_give_it_again(tmp_path: Path) -> None:
    async with replicas(tmp_path, ("replica-0", "replica-1"), calls=12, total_calls=30) as here:
        await here.begin()
        redis = reached(here.redis.port, "default")
        await asyncio.to_thread(redis.client.flushall)
        await asyncio.sleep(LEASE_SECONDS)  # calls go on meanwhile, and some end
        page = await here.over()
        ended = redis.client.zcard(f"{redis.prefix}ended")
        assert not (wrong := await here.wrong(page)), report(wrong) + here.fleet.log
        logs = [replica.life.log for replica in here.fleet.replicas.values()]
        assert [log.count("it gets all of it again") for log in logs] == [1, 1]
        assert not any("taken for dead" in log for log in logs)
        assert ended >= 30, "the calls that were over before are known again"
