"""The pages of the running process: the node that became slow is named, with a call that shows it."""

from __future__ import annotations

from pathlib import Path

from exporter.simulator import AGENTS, Fault
from tests.system.world import Exporter, until, world
from tests.web.test_pages import said

_NODE = "Restart Router"


async def test_the_page_names_the_node_that_became_slow_and_its_call_has_a_waterfall(tmp_path: Path) -> None:
    async with world(tmp_path, calls=30, total_calls=60, speed=30.0) as here:
        node_id = next(node.id for agent in AGENTS for node in agent.nodes if node.name == _NODE)
        here.simulator.change_faults((Fault("slow_node", node_id=node_id, factor=6.0),))
        exporter = await here.exporter()
        here.simulator.begin()

        async def page_names_it() -> bool:
            return f"is slow in {_NODE} since" in said((await exporter.get("/")).text)

        await until(page_names_it, 60, "the page names the slow node")
        await here.played()
        await exporter.settled()
        calls = (await exporter.get("/api/v1/calls")).json()["calls"]
        slowest = max(calls, key=lambda call: call["slowest_turn_seconds"] or 0)
        assert (slowest["slowest_node_name"], slowest["state"]) == (_NODE, "ended")
        assert slowest["slowest_turn_seconds"] > 2
        for name in (slowest["call_id"], slowest["trace_id"]):
            await _shows_its_waterfall(exporter, name)
        asked = here.simulator.wire.requests
        before = sum(asked.values())
        assert (await exporter.get("/calls/CALL-1758124225863-80752e")).status_code == 404
        await _shows_its_waterfall(exporter, slowest["call_id"])
        assert sum(asked.values()) == before  # neither a stranger nor a second look costs the API a request
        assert await exporter.stop() == 0


async def _shows_its_waterfall(exporter: Exporter, name: str) -> None:
    answer = await exporter.get(f"/calls/{name}")
    assert answer.status_code == 200
    text = said(answer.text)
    assert "◀ slowest" in text
    assert f"hop {_NODE}" in text
