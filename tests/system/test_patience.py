"""What takes longer than a test of the default suite may: waits that are minutes, clocks that are wrong for a while."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from exporter.simulator import parse_faults
from tests.system.books import differences, report
from tests.system.world import until, world

pytestmark = [pytest.mark.patience, pytest.mark.timeout(600)]


async def test_a_call_that_was_forgotten_is_followed_when_the_list_still_names_it(tmp_path: Path) -> None:
    """Neither its stream nor its log is there for longer than it is looked for; nobody but the list speaks of it."""
    faults = parse_faults("late=1:seconds=20")
    async with world(tmp_path, webhooks=False, calls=4, total_calls=4, speed=2.0, faults=faults) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        await here.played(120)
        page = await exporter.settled(60)
        assert exporter.log.count("not a call we can see") >= 2, "those that lasted so long were forgotten"
        assert not (unequal := differences(here.ledger, page, busy=False)), report(unequal)


async def test_a_webhook_that_calls_a_call_over_does_not_cut_one_that_goes_on_for_longer_than_the_grace(
    tmp_path: Path,
) -> None:
    faults = parse_faults("webhook_premature=1")
    async with world(tmp_path, calls=6, total_calls=6, speed=2.0, faults=faults) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        await here.played(180)
        page = await exporter.settled(60)
        assert here.ledger["faults"]["webhook_premature"] == 6
        assert not (unequal := differences(here.ledger, page)), report(unequal)
        assert {call["connections"] for call in here.ledger["calls"].values()} == {1}, "no stream was closed for it"


async def test_call_logs_that_are_away_for_a_minute_and_a_half_lose_no_call(tmp_path: Path) -> None:
    faults = parse_faults("log_away=1:seconds=90,gap=0.5")
    async with world(tmp_path, calls=10, total_calls=20, speed=20.0, faults=faults) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        await here.played(120)
        ended = time.monotonic()
        page = await exporter.settled(180)
        assert time.monotonic() - ended > 60, "they were waited for"
        assert not (unequal := differences(here.ledger, page)), report(unequal)


SHIFTED = """
import os, time
real, by = time.time, float(os.environ["TESTS_CLOCK_IS_OFF_BY"])
time.time = lambda: real() + by
real_ns = time.time_ns
time.time_ns = lambda: real_ns() + int(by * 1e9)
"""


@pytest.mark.parametrize("off_by", [20.0, -20.0])
async def test_a_machine_whose_clock_is_wrong_after_a_restart_counts_every_event_once(
    off_by: float, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SHIFTED, encoding="utf-8")
    wrong = {"PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}", "TESTS_CLOCK_IS_OFF_BY": str(off_by)}
    settings = {"state.path": str(tmp_path / "state.db"), "state.checkpoint_interval": "1s"}
    soon = time.time() + 45  # what begins before the first life does is not counted, and that may take a while
    async with world(
        tmp_path, calls=8, total_calls=12, speed=1.0, ramp_seconds=20.0, starts_at=soon, settings=settings
    ) as here:
        exporter = await here.exporter()
        here.simulator.begin()

        async def much_is_counted() -> bool:
            return (await exporter.page()).events > 300

        await until(much_is_counted, 90, "calls go on")
        assert await exporter.stop() == 0
        exporter = await here.exporter(env=wrong)
        await here.played(300)
        page = await exporter.settled(90)
        assert not (unequal := differences(here.ledger, page)), report(unequal)


async def test_analytics_that_a_call_log_has_only_some_time_after_the_end_are_counted_once(tmp_path: Path) -> None:
    """ENUM, BOOLEAN and INTEGER as text; free texts and dates make no series. No webhook brings them."""
    faults = parse_faults("log_analytics=1:seconds=6")
    settings = {"history.analytics_delay": "9s", "metrics.disposition_values": "{}"}
    async with world(
        tmp_path, webhooks=False, calls=10, total_calls=30, speed=10.0, faults=faults, settings=settings
    ) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        await here.played(180)
        await exporter.settled(60)
        ended = [each.call for each in here.simulator.switchboard.past.values()]
        for call in ended:
            here.simulator.postman.count(call)
        told = [call for call in ended if call.script().analytics]

        async def all_told() -> bool:
            return (await exporter.page()).total("atoms_disposition_value_count") >= len(told)

        await until(all_told, 60, "every call was looked at once more")
        page = await exporter.page()
        assert not (unequal := differences(here.ledger, page, busy=False)), report(unequal)
        assert len(told) > 10
        seen = {identifier for (identifier,) in page.rows("atoms_disposition_results_total", ["identifier"])}
        assert not {"said", "call_back"} & seen
        asked = here.ledger["wire"]["requests"]["conversation"]["200"]
        here.simulator.drain()
        assert asked < 20 * len(ended), "no call is asked for again and again"
