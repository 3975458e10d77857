"""What is found while Redis is away waits for it, up to a bound; beyond that the lists are read again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from exporter.fleet import sharing
from exporter.fleet.connecting import AsyncRedis
from exporter.fleet.facts import row_of
from exporter.fleet.seat import Seat
from exporter.fleet.sharing import Sharing
from exporter.receivers.discovery import FoundCall
from tests.support.peers import RedisServer
from tests.system.world import until


class Nobody:
    """Follows no call, and owns none."""

    def follows(self, call_id: str) -> bool:
        return False

    def ended(self, call_id: str) -> None:
        pass


def shared(redis: AsyncRedis, bound_hit: Callable[[str], None], look_again: Callable[[], None]) -> Sharing:
    nobody: Any = Nobody()
    return Sharing(
        redis,
        Seat("one", "1", "id"),
        nobody,
        nobody,
        structlog.get_logger(),
        look_soon=lambda: None,
        past_is_known=True,
        bound_hit=bound_hit,
        look_again=look_again,
    )


async def test_what_is_found_while_redis_is_away_is_told_when_it_is_back(
    tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "MOST_WAITING", 3)
    server = RedisServer(tmp_path)
    redis = AsyncRedis(f"redis://127.0.0.1:{server.port}/0", namespace, patience_seconds=1.0)
    hit: list[str] = []
    again: list[bool] = []
    here = shared(redis, hit.append, lambda: again.append(True))
    publishing = asyncio.create_task(here.publish())
    here.listed(FoundCall("call-1", status="active"))
    here.told(FoundCall("call-1"), "completed", 5.0)
    await asyncio.sleep(0.2)  # it is tried, in vain
    for number in (2, 3):
        here.listed(FoundCall(f"call-{number}", status="active"))
    assert (hit, again) == (["calls"], []), "four words, and there is room for three"
    server.start()
    try:
        await until(lambda: again, 10)
        kept = await redis.client.hgetall(f"{redis.prefix}facts")
        rows = {call_id: row_of(facts) for call_id, facts in kept.items()}
        assert sorted(rows) == [b"call-1", b"call-2", b"call-3"]
        told = rows[b"call-1"]
        assert told is not None
        assert (told.kind, told.outcome, told.ended_at) == ("told", "completed", 5.0)
        assert again == [True]
    finally:
        publishing.cancel()
        await asyncio.wait([publishing])
        await redis.aclose()
        server.stop()
