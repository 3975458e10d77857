"""Without a fault: every number equals what the simulator says it sent, and every trace is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.books import differences, report
from tests.system.traces import Backend, flaws
from tests.system.world import world


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
