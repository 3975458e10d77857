"""Results of analytics that were acknowledged are there after a SIGKILL at any moment; those that were not, when they
come again: once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from exporter.simulator import signature
from tests.system.world import SECRET, Exporter, world

_NOBODY_ELSE_COMMITS = {"state.checkpoint_interval": "1h"}
RESULTS = "atoms_disposition_results_total"


def analysis(number: int = 1) -> bytes:
    call_id = f"CALL-{time.time_ns() // 1_000_000:013d}-{number:06x}"
    metrics = [{"identifier": "booked", "value": True, "dispositionMetricType": "BOOLEAN"}]
    metadata: dict[str, Any] = {"agentId": "a1", "callId": call_id, "analytics": {"dispositionMetrics": metrics}}
    return json.dumps({"event": "a1.analytics-completed", "id": f"w-{call_id}", "metadata": metadata}).encode()


def signed(raw: bytes) -> dict[str, str]:
    return {"X-Signature": signature(SECRET, raw)}


async def _post(exporter: Exporter, raw: bytes) -> int:
    """The answer's status; 0 where there was none."""
    async with httpx.AsyncClient(base_url=exporter.url, trust_env=False, timeout=30) as client:
        try:
            return (await client.post("/webhooks/atoms", content=raw, headers=signed(raw))).status_code
        except httpx.TransportError:
            return 0


@contextlib.contextmanager
def _nobody_can_write(state: str) -> Iterator[None]:
    """Somebody else holds the file."""
    with contextlib.closing(sqlite3.connect(state, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def test_what_was_acknowledged_is_counted_whenever_the_process_is_killed(tmp_path: Path) -> None:
    state = str(tmp_path / "state.db")
    async with world(tmp_path, calls=1, total_calls=1, settings=_NOBODY_ELSE_COMMITS) as here:
        first = await here.exporter(state__path=state)
        posted = [analysis(number) for number in range(20)]
        assert set(await asyncio.gather(*(_post(first, raw) for raw in posted))) == {202}
        first.kill()
        second = await here.exporter(state__path=state)
        assert (await second.page()).total(RESULTS) == 20
        assert {await _post(second, raw) for raw in posted[:3]} == {202}, "they are known"
        page = await second.page()
        assert page.total("atoms_exporter_webhooks_total", outcome="duplicate") == 3
        assert page.total(RESULTS) == 20


async def test_who_was_killed_before_the_answer_counts_it_when_it_comes_again(tmp_path: Path) -> None:
    state = str(tmp_path / "state.db")
    async with world(tmp_path, calls=1, total_calls=1, settings=_NOBODY_ELSE_COMMITS) as here:
        first = await here.exporter(state__path=state)
        assert await _post(first, analysis(0)) == 202
        raw = analysis()
        with _nobody_can_write(state):
            posting = asyncio.ensure_future(_post(first, raw))
            await asyncio.sleep(0.5)  # it is counted by now, and waits to be kept
            assert not posting.done()
            first.kill()
            assert await posting == 0
        second = await here.exporter(state__path=state)
        assert (await second.page()).total(RESULTS) == 1
        assert await _post(second, raw) == 202
        second.kill()
        third = await here.exporter(state__path=state)
        assert await _post(third, raw) == 202
        assert (await third.page()).total(RESULTS) == 2


async def test_what_cannot_be_kept_is_refused_and_counts_once_when_it_can(tmp_path: Path) -> None:
    state = str(tmp_path / "state.db")
    async with world(tmp_path, calls=1, total_calls=1, settings=_NOBODY_ELSE_COMMITS) as here:
        first = await here.exporter(state__path=state)
        raw = analysis()
        with _nobody_can_write(state):
            assert await _post(first, raw) == 503
        assert await _post(first, raw) == 202, "it was taken, and is kept now"
        first.kill()
        second = await here.exporter(state__path=state)
        assert (await second.page()).total(RESULTS) == 1
        assert await second.stop() == 0
