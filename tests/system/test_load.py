"""Many calls for a while: nothing lost, memory and file descriptors flat.

``make test`` plays a minute of 200 calls and five simulated minutes of mild faults; ``pytest -m soak`` half an hour of
them, ``pytest -m hour`` an hour of 300 calls with every fault at once. Both print what they saw.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from pathlib import Path

import pytest

from exporter.simulator import parse_faults
from tests.faults.on_streams import EVERY_FAULT
from tests.system.books import Page, differences, report
from tests.system.traces import Backend, flaws
from tests.system.world import Exporter, World, world

_MEGABYTE = 1 << 20
_MILD = (
    "drop=0.05,gap=0.05,replay=0.05,duplicate=0.02,reorder=0.02,noise=0.05,server_error=0.02:burst=1,"
    "webhook_duplicate=0.1"
)


class Watch:
    """Memory and open files of a process over time."""

    def __init__(self, life: Exporter) -> None:
        self._life = life
        self._began = time.monotonic()
        self.seen: list[tuple[float, int, int]] = []
        self._task = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        while self._life.process.poll() is None:
            self.seen.append((time.monotonic() - self._began, self._life.rss, self._life.files))
            await asyncio.sleep(0.5)

    def ended(self) -> Watch:
        self._task.cancel()
        return self

    def _of(self, share: tuple[float, float], what: int) -> float:
        """The median within a part of the time."""
        last = self.seen[-1][0]
        values = sorted(each[what] for each in self.seen if share[0] * last <= each[0] <= share[1] * last)
        return values[len(values) // 2]

    @property
    def grown(self) -> float:
        """Megabytes from the second quarter to the last."""
        return (self._of((0.75, 1.0), 1) - self._of((0.25, 0.5), 1)) / _MEGABYTE

    @property
    def files_grown(self) -> float:
        return self._of((0.75, 1.0), 2) - self._of((0.25, 0.5), 2)

    def __str__(self) -> str:
        line = [f"{at:.0f} s {rss / _MEGABYTE:.0f} MB {files} files" for at, rss, files in self.seen]
        step = -(-len(line) // 12)
        return ", ".join(line[::step])


async def test_a_minute_of_two_hundred_calls_loses_nothing_and_takes_no_memory(tmp_path: Path) -> None:
    async with world(tmp_path, calls=200, total_calls=None, speed=1.0, ramp_seconds=5.0) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        watch = Watch(exporter)
        await asyncio.sleep(55)
        watch.ended()
        page = here.hold_breath(exporter)
        ledger = here.ledger
        settled = {
            call: entry for call, entry in ledger["calls"].items() if ledger["now_ms"] - entry["started_ms"] > 3000
        }
        events = {call["call_id"]: call["events"] for call in exporter.calls_now()}
        for call, entry in settled.items():
            assert call not in events or events[call] == entry["events"], call
        assert ledger["published"] >= page.events >= sum(entry["events"] for entry in settled.values()) > 20_000
        assert len(events.keys() & settled.keys()) > 180
        assert ledger["wire"]["ended"].keys() <= {"closed"}, "streams end with their calls only"
        assert page.total("atoms_exporter_stream_reconnects_total") == 0
        assert page.total("atoms_exporter_stream_failures_total") == 0
        assert page.total("atoms_exporter_events_rejected_total") == 0
        assert ledger["in_progress"] > 180
        assert page.total("atoms_calls_active") > 180
        # In the first minute the series of every node, their lines and exemplars come into being; the soak is for what
        # grows after that.
        assert watch.grown < 20, str(watch)
        assert page.total("atoms_exporter_event_loop_lag_seconds_count") > 100
        assert "level=warning" not in exporter.log
        assert "level=error" not in exporter.log
        assert await exporter.stop() == 0


async def _soak(here: World, backend: Backend, *, simulated_seconds: float) -> tuple[Watch, Page]:
    """Play so long, let all calls end, and compare everything."""
    exporter = await here.exporter()
    here.simulator.begin()
    watch = Watch(exporter)
    await asyncio.sleep(simulated_seconds / here.simulator.options.speed)
    watch.ended()
    here.simulator.drain()
    await here.played(600)
    await asyncio.sleep(3)  # the polls after the last call: it may have been too short for the one before
    page = await exporter.settled(600)
    nan = here.ledger["garbage"].get("nan", 0)
    unequal = differences(here.ledger, page, busy=False, nan=nan)
    assert not unequal, f"{report(unequal)}\n{_warnings(exporter)}"
    assert page.events - nan == here.ledger["published"]
    assert "Traceback" not in exporter.log
    assert await exporter.stop() == 0
    assert not (wrong := flaws(backend.spans, here.ledger, once=False)), report(wrong)
    return watch, page


def _warnings(exporter: Exporter) -> str:
    """What the exporter said was not as it should be, how often, and the last of each."""
    said: dict[str, list[str]] = defaultdict(list)
    for line in re.findall(r"^.*level=warning.*$", exporter.log, re.MULTILINE):
        said[line.partition("msg=")[2].partition(" call_id=")[0]].append(line)
    return "\n".join(f"{len(lines)} times, the last: {lines[-1]}" for lines in said.values())


async def test_five_minutes_of_mild_faults_compressed(tmp_path: Path) -> None:
    backend = await Backend().start()
    options = {"calls": 30, "total_calls": None, "speed": 15.0, "faults": parse_faults(_MILD)}
    async with world(tmp_path, env=backend.env, **options) as here:
        watch, _ = await _soak(here, backend, simulated_seconds=300)
        assert watch.grown < 25, str(watch)
    await backend.stop()


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_thirty_minutes_of_mild_faults_compressed(tmp_path: Path) -> None:
    backend = await Backend().start()
    options = {"calls": 80, "total_calls": None, "speed": 10.0, "faults": parse_faults(_MILD)}
    state = {"state.path": str(tmp_path / "state.db"), "state.checkpoint_interval": "1s"}
    async with world(tmp_path, env=backend.env, settings=state, **options) as here:
        watch, page = await _soak(here, backend, simulated_seconds=1800)
        _say(f"soak: {here.ledger['begun']} calls, {page.events:,.0f} events, {watch.grown:+.1f} MB; {watch}")
        assert watch.grown < 15, str(watch)
        assert abs(watch.files_grown) < 20, str(watch)
    await backend.stop()


@pytest.mark.hour
@pytest.mark.timeout(7200)
async def test_an_hour_of_three_hundred_calls_with_every_fault_at_once(tmp_path: Path) -> None:
    backend = await Backend().start()
    speed = 6.0
    options = {
        "calls": 300,
        "total_calls": None,
        "speed": speed,
        "faults": parse_faults(EVERY_FAULT),
        "history": 100_000,  # the ledger must still know every call by name when its trace is looked for
    }
    settings = {
        "api.idle_timeout": "5s",
        "state.path": str(tmp_path / "state.db"),
        # Calls come six times as fast, and the pauses the API asks for (429) last as long as ever.
        "history.concurrency": "48",
    }
    async with world(tmp_path, env=backend.env, settings=settings, **options) as here:
        watch, page = await _soak(here, backend, simulated_seconds=3600)
        ledger = here.ledger
        _say(
            f"hour: {ledger['begun']} calls, {page.events:,.0f} events, "
            f"{page.total('atoms_exporter_events_recovered_total'):,.0f} recovered, "
            f"{page.total('atoms_exporter_events_duplicate_total'):,.0f} came again, {len(backend.spans):,} spans; "
            f"faults {ledger['faults']}; {watch}"
        )
    await backend.stop()


def _say(line: str) -> None:
    import sys

    sys.__stdout__.write(f"\n{line}\n")
