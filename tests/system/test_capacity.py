"""The account's limits on the running process, by the simulator's word."""

from __future__ import annotations

from pathlib import Path

from exporter.simulator import parse_faults
from tests.system.world import until, world


async def test_limits_are_shown_once_the_api_has_told_them_and_not_before(tmp_path: Path) -> None:
    async with world(tmp_path, calls=60, total_calls=1) as here:
        exporter = await here.exporter()

        async def known() -> bool:
            return (await exporter.page()).total("atoms_concurrency_limit") == 120

        await until(known, 20, "the limit")
        page = await exporter.page()
        reserved = page.rows("atoms_concurrency_reserved", ("channel",))
        assert {channel for (channel,) in reserved} == {"telephony_inbound", "telephony_outbound", "webcall"}
        assert page.total("atoms_concurrency_unreserved") + sum(reserved.values()) == 120
        assert page.total("atoms_calls_queued") == 0
        assert await exporter.stop() == 0


async def test_an_api_that_does_not_tell_leaves_no_limit_of_zero(tmp_path: Path) -> None:
    async with world(tmp_path, total_calls=1, settings={"capacity.enabled": "false"}) as here:
        exporter = await here.exporter()
        assert not [line for line in (await exporter.text()).splitlines() if line.startswith("atoms_concurrency_limit")]
        assert await exporter.stop() == 0


async def test_the_queue_is_as_long_as_the_account_s_with_the_retries_in_it(tmp_path: Path) -> None:
    faults = parse_faults("limit=1:calls=1")
    async with world(tmp_path, calls=60, total_calls=60, speed=1.0, ramp_seconds=0.0, faults=faults) as here:
        here.simulator.begin()
        queue = here.simulator.switchboard.queue
        await until(lambda: any(call.script.attempt for call in queue), 20, "a retry in the queue")
        exporter = await here.exporter()

        async def told() -> bool:
            page = await exporter.page()
            return page.total("atoms_calls_queued") == len(queue) > 0 and page.total("atoms_concurrency_limit") == 1

        await until(told, 20, "the queue")
        assert here.ledger["queued"] == len(queue)
        assert await exporter.stop() == 0
