"""What the call logs say beside the events: reasons, cost, attempts, versions, by the simulator's own scripts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from exporter.calls.account import END_REASONS, end_reason_of
from tests.system.world import world


async def test_reasons_cost_and_attempts_are_those_of_the_call_logs(tmp_path: Path) -> None:
    async with world(tmp_path, calls=20, total_calls=40) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        await here.played()
        page = await exporter.settled()
        scripts = [ended.call.script() for ended in here.simulator.switchboard.past.values()]
        assert len(scripts) == 40
        reasons = Counter((script.agent_id, script.channel, end_reason_of(script.reason)) for script in scripts)
        assert page.rows("atoms_call_end_reasons_total", ("agent_id", "channel", "reason")) == dict(reasons)
        assert {reason for _, _, reason in reasons} <= set(END_REASONS)
        cost = sum(round(script.ended_ms / 60_000 * 0.07, 4) for script in scripts)
        assert page.total("atoms_call_cost_total") == pytest.approx(cost)
        attempts = Counter(("retry" if script.attempt else "initial",) for script in scripts)
        assert page.rows("atoms_call_attempts_total", ("attempt",)) == dict(attempts)
        assert page.total("atoms_test_calls_total") == sum(script.number % 16 == 5 for script in scripts) > 0
        versions = page.rows("atoms_agent_version_info", ("agent_id", "version"))
        assert versions == {(agent_id, "3"): 1 for agent_id in {script.agent_id for script in scripts}}
        assert page.total("atoms_call_setup_seconds_count") == sum(
            any(happening.kind == "call_start" for happening in script.happenings) for script in scripts
        )
        assert page.total("atoms_node_exits_total") == 40
        shown = (await exporter.get("/api/v1/calls")).json()["calls"]
        assert {call["end_reason"] for call in shown} <= set(END_REASONS)
        assert await exporter.stop() == 0
