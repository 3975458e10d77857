"""Who counts results of analytics: asked of Redis, with patience for a Redis that is away and for another's commit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import structlog

from exporter.fleet import member
from exporter.fleet.member import Settings, member_of
from exporter.state.kept import Commit
from tests.support.peers import RedisServer
from tests.system.world import until

_LOG = structlog.wrap_logger(structlog.testing.ReturnLogger(), processors=[structlog.testing.LogCapture()])


def _settings(port: int, name: str, namespace: str, lease: float = 60.0) -> Settings:
    return Settings(f"redis://127.0.0.1:{port}/0", name, namespace, lease, "0")


async def test_what_another_is_about_to_count_is_waited_for_until_it_has_or_is_gone(
    redis_port: int, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "_ASKS_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(member, "_ASKS_FOR_RESULTS", 3)
    async with member_of(_settings(redis_port, "one", namespace), _LOG) as one:
        async with member_of(_settings(redis_port, "two", namespace), _LOG) as two:
            assert await two.said_by_others(["result:1", "result:2"]) == []
            asking = asyncio.ensure_future(one.said_by_others(["result:1", "result:3"]))
            await asyncio.sleep(0.2)
            assert not asking.done(), "however often it has to ask"
            await asyncio.to_thread(two.store.save, Commit(1.0, over=["result:1"]))
            assert await asking == ["result:1"]
            asking = asyncio.ensure_future(one.said_by_others(["result:2"]))
        assert await asking == [], "it left without having counted that one"


async def test_while_redis_is_away_a_calls_end_goes_on_without_an_answer_and_a_webhook_waits(
    tmp_path: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "_ASKS_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(member, "_ASKS_FOR_RESULTS", 3)
    server = RedisServer(tmp_path, "--appendonly", "yes")
    server.start()
    try:
        async with member_of(_settings(server.port, "one", namespace), _LOG) as one:
            server.kill()
            assert await one.said_by_others(["result:1"]) is None, "and they do not count yet"
            by_webhook = asyncio.ensure_future(one.said_by_others(["result:2"], patient=True))
            await asyncio.sleep(0.5)
            assert not by_webhook.done()
            server.start()
            await until(by_webhook.done, 20)
            assert by_webhook.result() == []
    finally:
        server.stop()
