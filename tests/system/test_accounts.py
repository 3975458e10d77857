"""What the call logs say beside the events: reasons, cost, attempts, versions, by the simulator's own scripts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from exporter.calls.account import END_REASONS, end_reason_of
from exporter.simulator import book_of, parse_faults
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


async def test_versions_are_told_apart_and_test_calls_left_alone_where_that_is_wanted(tmp_path: Path) -> None:
    settings = {"metrics.version_label": "true", "discovery.test_calls": "false"}
    faults = parse_faults("new_version=0.5,gap=0.3,agent_error=0.1,late=0.2:seconds=1")
    async with world(tmp_path, calls=20, total_calls=48, settings=settings, faults=faults) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        await here.played()
        page = await exporter.settled()
        scripts = [ended.call.script() for ended in here.simulator.switchboard.past.values()]
        assert len(scripts) == 48
        followed = [script for script in scripts if not script.is_test]
        assert 0 < len(followed) < 48
        for family in ("atoms_calls_started_total", "atoms_calls_ended_total"):
            expected = Counter((script.agent_id, str(script.version)) for script in followed)
            assert page.rows(family, ("agent_id", "version")) == dict(expected), family
        turns: Counter[tuple[str]] = Counter()
        errors: Counter[tuple[str]] = Counter()
        for script in followed:
            turns[str(script.version),] += book_of(script).total("atoms_turn_latency_seconds_count")
            errors[str(script.version),] += book_of(script).total("atoms_agent_errors_total")
        assert page.rows("atoms_turn_latency_seconds_count", ("version",)) == +turns
        assert page.rows("atoms_agent_errors_total", ("version",)) == +errors
        assert page.total("atoms_test_calls_total") == 0
        assert await exporter.stop() == 0
