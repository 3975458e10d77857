"""A call that an earlier life has begun to count goes on under the names it had."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import structlog

from exporter.config import load
from exporter.outputs.prometheus.exposition import render
from exporter.service import Service
from exporter.simulator import Simulator, SimulatorOptions
from tests.system.books import Page, differences, report
from tests.system.world import until

TOKEN = "simulated-key"


@asynccontextmanager
async def life(base_url: str, state: Path) -> AsyncIterator[Service]:
    flags = {
        "api.base_url": base_url,
        "api.api_key": TOKEN,
        "web.listen_address": "127.0.0.1:0",
        "discovery.poll.interval": 1.0,
        "history.delay": 0.05,
        "state.path": str(state),
    }
    log = structlog.wrap_logger(structlog.testing.ReturnLogger(), processors=[structlog.testing.LogCapture()])
    service = Service(load(flags, {}, None), {}, log, rng=random.Random(1))
    running = asyncio.ensure_future(service.run())
    try:
        yield service
    finally:
        service.stop()
        await asyncio.wait_for(running, 20)


def page_of(service: Service) -> Page:
    return Page(render(service.metrics.store, service.metrics.others, "application/openmetrics-text")[1].decode())


async def test_a_call_keeps_the_name_of_its_agent_though_the_api_tells_it_no_longer(tmp_path: Path) -> None:
    simulator = Simulator(
        SimulatorOptions(calls=1, total_calls=1, seed=7, speed=15.0, ramp_seconds=0.0, paused=True, starts_at=4e9)
    )
    base_url = await simulator.start()
    try:
        async with life(base_url, tmp_path / "state.db") as first:
            await until(lambda: first.metrics.api_has_answered)
            simulator.begin()
            await until(lambda: any(len(call.seen) > 5 for call in first.tracker))
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(
                f"{base_url.partition('/atoms')[0]}/_simulator/faults",
                json={"not_found": {"probability": 1.0, "on": "agent"}},
            )
            assert answer.status_code == 200, answer.text
        async with life(base_url, tmp_path / "state.db") as second:
            await asyncio.wait_for(simulator.drained(), 60)
            await until(lambda: not len(second.following), 60)
            page = page_of(second)
        ledger = simulator.control.ledger(so_far=True)
        names = {key[0] for key in page.rows("atoms_calls_ended_total", ("agent_name",))}
        assert "unknown" not in names
        assert not (wrong := differences(ledger | {"dispositions": {}}, page, busy=False)), report(wrong)
    finally:
        await simulator.stop()
