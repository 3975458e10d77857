"""Clients that take all there is of our port, against the running process: scrapes are answered all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path

import bcrypt
import httpx
import pytest

from tests.attack.clients import CLIENTS, STRANGER, attacking
from tests.attack.test_hostile_calls import MOST_BYTES
from tests.attack.victims import losses, watching
from tests.system.world import until, world


async def attacked(folder: Path, names: list[str], scrapes: int) -> None:
    async with world(folder, calls=5, total_calls=10, speed=10.0) as here:
        exporter = await here.exporter()
        assert (await exporter.get("/metrics")).status_code == 200
        here.simulator.begin()
        async with watching(exporter) as watch, attacking(exporter.url, *names):
            await until(lambda: watch.scrapes >= scrapes, 120, "scrapes answered while the attack goes on")
            await here.played(120)
        page = await exporter.settled(120)
        assert watch.unanswered == []
        assert losses(here, page) == []
        assert watch.most_bytes < MOST_BYTES, f"{watch.most_bytes / 2**20:.0f} MB"
        assert await exporter.stop() == 0
        assert "Traceback" not in exporter.log


@pytest.mark.attack
@pytest.mark.parametrize("name", CLIENTS)
async def test_one_kind_of_client_keeps_no_scrape_out(name: str, tmp_path: Path) -> None:
    await attacked(tmp_path, [name], 20)


async def test_all_of_them_together_keep_no_scrape_out(tmp_path: Path) -> None:
    await attacked(tmp_path, list(CLIENTS), 6)


async def test_who_knows_the_password_is_answered_while_many_guess(tmp_path: Path) -> None:
    """After a restart nothing is remembered; guessers come from another address, and guess all the time."""
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(10)).decode()
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{prometheus: {hashed}}}")
    async with world(tmp_path, calls=1, total_calls=1) as here:
        exporter = await here.exporter(web__config_file=str(tmp_path / "web.yml"))
        transport = httpx.AsyncHTTPTransport(local_address=STRANGER, limits=httpx.Limits(max_connections=None))
        async with httpx.AsyncClient(transport=transport, base_url=exporter.url, timeout=60) as stranger:
            guesses = 0

            async def guess(number: int) -> None:
                nonlocal guesses
                while True:
                    answer = await stranger.get("/metrics", auth=("prometheus", f"{number}-{guesses}"))
                    assert answer.status_code in (401, 503)
                    guesses += 1
                    await asyncio.sleep(0.01)

            guessing = [asyncio.ensure_future(guess(number)) for number in range(32)]
            await until(lambda: guesses > 32)
            before = guesses
            answer = await exporter.get("/metrics", auth=("prometheus", "secret"))
            assert answer.status_code == 200
            assert guesses - before < 2000, "they go on"
            for task in guessing:
                task.cancel()
            await asyncio.gather(*guessing, return_exceptions=True)
        assert await exporter.stop() == 0


async def test_with_few_descriptors_streams_leave_some_and_the_log_says_how_many(tmp_path: Path) -> None:
    async with world(tmp_path, calls=160, total_calls=160, speed=12.0) as here:
        here.through = ("sh", "-c", 'ulimit -n 256 && exec "$@"', "sh")
        exporter = await here.exporter()
        here.simulator.begin()
        async with watching(exporter) as watch:
            await here.played(120)
            page = await exporter.settled(180)
        assert watch.unanswered == []
        assert "fewer streams than configured" in exporter.log
        assert "Too many open files" not in exporter.log
        assert page.total("atoms_exporter_bounds_hit_total", what="streams") > 0
        assert losses(here, page) == []
        assert await exporter.stop() == 0
