"""Fifty thousand live calls on the list, of which fifty may be followed: nobody has to wait for the exporter, and it
says how many calls wait for it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from docs.bounds import MOST_MEMORY_MIB
from exporter.receivers.following import WITHOUT_A_STREAM
from tests.attack.victims import watching
from tests.system.world import Exporter, until, world

CALLS = 50_000
STREAMS = 50
SETTINGS = {"api.max_streams": str(STREAMS), "log.level": "info", "shutdown_timeout": "5s"}


async def pending(exporter: Exporter) -> float:
    return (await exporter.page()).total("atoms_exporter_streams", state="pending")


async def listed(exporter: Exporter, **asked: int) -> dict[str, Any]:
    answer = await exporter.get("/api/v1/calls", params=asked)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_fifty_thousand_live_calls_are_counted_and_shown_and_nobody_waits_for_that(tmp_path: Path) -> None:
    async with world(tmp_path, webhooks=False, total_calls=0, settings=SETTINGS) as here:
        here.simulator.hostile.begin("crowd", CALLS, 600, here.simulator.now_ms())
        exporter = await here.exporter()
        async with watching(exporter) as watch:
            await until(lambda: watch.scrapes >= 1)
            assert 0 < await pending(exporter) < CALLS, "a scrape is answered while the list is being read"

            async def all_known() -> bool:
                return await pending(exporter) == CALLS - STREAMS

            await until(all_known, 60, "all calls of the list are known")
            page = await exporter.page()
            assert page.total("atoms_exporter_streams", state="open") == STREAMS
            assert page.total("atoms_exporter_bounds_hit_total", what="streams") >= CALLS - STREAMS
            assert f"{CALLS - STREAMS:,} wait for one, api.max_streams is {STREAMS}" in (await exporter.get("/")).text
            first, last = await listed(exporter), await listed(exporter, page=999_999, limit=7)
            assert first["total"] == last["total"] == CALLS
            assert (len(first["calls"]), first["pages"]) == (1_000, 50)
            assert (last["page"], last["calls"][-1]["state"]) == (-(-CALLS // 7), "pending")
            assert sum(call["state"] == "following" for call in first["calls"]) == STREAMS
            assert (await exporter.get(f"/calls/{last['calls'][-1]['call_id']}")).status_code == 200
        assert watch.unanswered == []
        assert watch.most_bytes < MOST_MEMORY_MIB << 20, f"{watch.most_bytes / 2**20:.0f} MiB"
        assert exporter.log.count("more calls than streams: calls wait") == 1
        began = time.monotonic()
        assert await exporter.stop() == 0
        assert time.monotonic() - began < 10, "the drain keeps its time (shutdown_timeout), whoever waits"
        assert "Traceback" not in exporter.log


async def test_who_waits_is_followed_when_there_is_room_and_looked_up_when_it_is_over(tmp_path: Path) -> None:
    """A crowd that leaves makes room for honest calls that came after it, and is counted itself."""
    crowd = WITHOUT_A_STREAM + 2 * STREAMS
    async with world(tmp_path, webhooks=False, calls=10, total_calls=10, speed=10.0, settings=SETTINGS) as here:
        here.simulator.hostile.begin("crowd", crowd, 6, here.simulator.now_ms())
        exporter = await here.exporter()

        async def all_known() -> bool:
            return await pending(exporter) == crowd - STREAMS

        await until(all_known, 20, "the crowd is known")
        here.simulator.begin()
        await here.played(120)
        page = await exporter.settled(60)
        assert page.total("atoms_exporter_streams", state="pending") == 0
        assert page.total("atoms_calls_ended_total", agent_id="hostile") == crowd
        ended = page.total("atoms_calls_ended_total") - crowd
        assert (ended, page.total("atoms_calls_ended_total", outcome="lost")) == (10, 0)
        assert "no call waits for a stream any more" in exporter.log
