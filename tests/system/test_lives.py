"""What a real Prometheus adds up over several lives of the exporter is what the simulator's ledger says, exactly."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from exporter.simulator import parse_faults
from tests.system.books import Page, differences, report
from tests.system.prometheus import Prometheus, prometheus
from tests.system.world import Exporter, World, until, world

_NOT_COUNTED = ("atoms_calls_active",)
_TOKENS = "atoms_llm_tokens_total"
_SAID = (
    ("atoms_turn_latency_seconds_count", "turns"),
    ("atoms_node_visits_total", "visits"),
    ("atoms_node_duration_seconds_count", "durations"),
    ("atoms_node_hops_total", "hops"),
    (_TOKENS, "tokens"),
    ("atoms_calls_started_total", "calls started"),
    ("atoms_calls_ended_total", "ended"),
)


async def _scraped_thrice(servers: list[Prometheus]) -> None:
    """Every server has seen the latest values: what is new is at 0 in one page and there in the next."""
    for server in servers:
        before = await server.scrapes()

        async def thrice(server: Prometheus = server, before: int = before) -> bool:
            return await server.scrapes() >= before + 3

        await until(thrice, 120, "three more scrapes")


def _unequal(ledger: dict[str, Any], page: Page) -> list[str]:
    """Gauges are not added up; and which type a usage's unnamed rest is counted as is no matter of this test."""
    lines = [line for line in differences(ledger, page, busy=False) if not line.startswith(_NOT_COUNTED)]
    tokens = [
        line for line in lines if line.startswith("atoms_llm_") and ("type=completion" in line or "type=other" in line)
    ]
    sent = sum(entry["value"] for entry in ledger["totals"][_TOKENS])
    if tokens and sent == page.total(_TOKENS):
        lines = [line for line in lines if line not in tokens]
    return lines


async def _end(life: Exporter, how: int, state: Path) -> bool:
    """By a signal; or, for 0, by SIGKILL at the moment the state file was written: between a commit and its answer.
    Whether that moment came."""
    between = False
    if how == 0:
        log = state.with_name(f"{state.name}-wal")
        before = log.stat().st_mtime_ns
        deadline = time.monotonic() + 2
        while not between and time.monotonic() < deadline:
            between = log.stat().st_mtime_ns != before  # this holds the simulator up: nothing else happens meanwhile
        how = signal.SIGKILL
    life.signal(how)
    await life.ended()
    return between


async def _live(here: World, servers: list[Prometheus], lives: int, seconds: float, state: Path, seed: int) -> None:
    """So many lives, one after the other, while calls go on; then quiet, and everything compared."""
    rng = random.Random(seed)
    ways = [signal.SIGTERM, signal.SIGKILL, 0, signal.SIGINT]
    between = 0
    life = await here.exporter(state__path=str(state))
    await _scraped_thrice(servers)  # what happened before a server's first scrape is not its to add up
    here.simulator.begin()
    for number in range(lives - 1):
        await asyncio.sleep(seconds * rng.uniform(0.5, 1.5))
        between += await _end(life, ways[number % len(ways)], state)
        life = await here.exporter(state__path=str(state))
    under_way = len(await life.calls())
    here.simulator.drain()
    await here.played(600)
    await life.settled(600)
    await _scraped_thrice(servers)
    ledger = here.ledger
    shown = await life.page()
    sys.stdout.write(
        f"\n{lives} lives, {between} killed between a commit and its answer, {under_way} calls under way at the last; "
        f"{here.simulator.switchboard.published} events\n"
    )
    assert not (wrong := _unequal(ledger, shown)), f"on the page itself: {report(wrong)}"
    for server in servers:
        added_up, fell = await server.added_up()
        told = ", ".join(f"{added_up.total(name):g} {what}" for name, what in _SAID)
        sys.stdout.write(f"{await server.scrapes()} scrapes: {told}\n")
        assert not fell, report(fell)
        assert not (wrong := _unequal(ledger, added_up)), f"in Prometheus: {report(wrong)}"
    assert await life.stop() == 0


async def _world_of(
    tmp_path: Path, *, servers: list[str], lives: int, seconds: float, seed: int = 1, **options: Any
) -> None:
    async with world(tmp_path, webhooks=False, seed=seed, **options) as here, contextlib.AsyncExitStack() as stack:
        target = f"127.0.0.1:{here.port}"
        started = [
            await stack.enter_async_context(prometheus(tmp_path / f"prometheus-{number}", target, interval))
            for number, interval in enumerate(servers)
        ]
        await _live(here, started, lives, seconds, tmp_path / "state.db", seed)


async def test_what_prometheus_adds_up_over_five_lives_is_what_happened(tmp_path: Path) -> None:
    await _world_of(tmp_path, servers=["1s", "1s"], lives=5, seconds=1.5, calls=7, total_calls=14, speed=25.0)


# Calls without end, of six busy agents, and of twenty that have one now and then.
_LONG: dict[str, Any] = {"lives": 20, "calls": 25, "total_calls": None, "faults": parse_faults("quiet_agents=0.1")}


@pytest.mark.lives
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_twenty_lives_scraped_every_second_by_two(seed: int, tmp_path: Path) -> None:
    await _world_of(tmp_path, servers=["1s", "1s"], seconds=4.0, seed=seed, speed=4.0, **_LONG)


@pytest.mark.lives
@pytest.mark.timeout(3600)
async def test_twenty_lives_scraped_every_fifteen_seconds_by_two_and_every_second_by_one(tmp_path: Path) -> None:
    await _world_of(tmp_path, servers=["15s", "15s", "1s"], seconds=20.0, speed=1.0, **_LONG)
