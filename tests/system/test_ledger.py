"""Without a fault: every number equals what the simulator says it sent, and every trace is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.books import differences, report
from tests.system.traces import Backend, flaws
from tests.system.world import until, world


@pytest.mark.parametrize("dialect", ["2025", "2026"])
async def test_every_number_equals_the_ledger_and_every_trace_is_whole(dialect: str, tmp_path: Path) -> None:
    backend = await Backend().start()
    async with world(tmp_path, dialect=dialect, calls=20, total_calls=40, env=backend.env) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        await here.played()
        page = await exporter.settled()
        assert not (unequal := differences(here.ledger, page)), report(unequal)
        assert page.events == here.ledger["published"] > 1000
        assert await exporter.stop() == 0
        assert not (wrong := flaws(backend.spans, here.ledger)), report(wrong)
    await backend.stop()


async def test_calls_that_begin_and_end_between_two_polls_are_counted_although_no_webhook_tells(tmp_path: Path) -> None:
    async with world(tmp_path, webhooks=False, speed=400.0, calls=10, total_calls=30, ramp_seconds=1.0) as here:
        exporter = await here.exporter(discovery__poll__interval="3s")
        here.simulator.begin()
        await here.played()

        async def all_counted() -> bool:
            return (await exporter.page()).events >= here.ledger["published"]

        await until(all_counted, 60, "every event is counted")
        page = await exporter.settled()
        assert not (unequal := differences(here.ledger, page, busy=False)), report(unequal)
        assert page.total("atoms_exporter_events_recovered_total") > 0.5 * page.events
        assert await exporter.stop() == 0
