"""The pages of the running process: the node that became slow is named, with a call that shows it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from exporter.simulator import AGENTS, Fault
from tests.command import command
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
        await _is_explained(exporter, here.simulator.base_url, slowest["trace_id"])
        asked = here.simulator.wire.requests
        for _ in range(5):  # the list is looked at once a second: that is no answer to anybody
            before = sum(asked.values())
            assert (await exporter.get("/calls/CALL-1758124225863-80752e")).status_code == 404
            await _shows_its_waterfall(exporter, slowest["call_id"])
            if sum(asked.values()) == before:
                break
        else:
            pytest.fail("a stranger or a second look costs the API a request")
        assert await exporter.stop() == 0


async def _is_explained(exporter: Exporter, base_url: str, trace_id: str) -> None:
    """On the command line, by the trace's id: the exporter is asked for the call, the API for its history."""
    words = ("explain", trace_id, "--exporter", exporter.url, "--api.base-url", base_url)
    told = await asyncio.to_thread(command, *words, env={"ATOMS_API_KEY": "simulated-key"})
    assert (told.code, told.err) == (0, "")
    assert f"trace {trace_id}" in told.out
    assert "◀ slowest" in told.out
    stranger = await asyncio.to_thread(command, words[0], "0" * 32, *words[2:], env={"ATOMS_API_KEY": "simulated-key"})
    assert stranger.code == 1
    assert "take the call's id from the trace" in stranger.err


async def _shows_its_waterfall(exporter: Exporter, name: str) -> None:
    answer = await exporter.get(f"/calls/{name}")
    assert answer.status_code == 200
    text = said(answer.text)
    assert "◀ slowest" in text
    assert f"hop {_NODE}" in text
