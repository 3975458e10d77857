"""The faults of the process and what is around it: signals, its state file, the tracing backend."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import shutil
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from exporter.state.sqlite import SQLiteStore
from tests.faults.suite import Case, Outcome
from tests.system.books import Page, differences
from tests.system.traces import Backend, flaws
from tests.system.world import Exporter, World, free_port, until, world

_INTERVAL = 1.0
_AWAY_SECONDS = 60.0
_STATE = {"state.checkpoint_interval": f"{_INTERVAL:g}s"}


@contextlib.asynccontextmanager
async def _stage(
    folder: Path, speed: float, settings: Mapping[str, str], **options: Any
) -> AsyncIterator[tuple[World, Backend]]:
    """A world whose calls all begin in its first half second and go on for some more, and a tracing backend."""
    given: dict[str, Any] = {"calls": 20, "total_calls": 20, "speed": speed * 0.6, "ramp_seconds": 6.0} | options
    backend = await Backend().start()
    try:
        state = {"state.path": str(folder / "state.db")}
        async with world(folder, settings=state | dict(settings), env=backend.env, **given) as here:
            yield here, backend
    finally:
        await backend.stop()


async def _under_load(here: World, share: float = 0.35) -> None:
    """Play until so much of the traffic has passed."""
    here.simulator.begin()
    await until(lambda: here.simulator.switchboard.published > share * 3600, 60, "enough events")


def _checkpointed(state: Path, ledger: Mapping[str, Any], folder: Path) -> int:
    """How many events the state file knows to be counted."""
    copy = folder / "copy"
    copy.mkdir()
    for file in state.parent.glob(f"{state.name}*"):
        shutil.copy(file, copy)
    with contextlib.closing(SQLiteStore(copy / state.name)) as store:
        kept = store.load()
    in_flight, finished = sum(len(call.counted) for call in kept.calls), set(kept.finished)
    return in_flight + sum(ledger["calls"][call_id]["events"] for call_id in finished & set(ledger["calls"]))


async def _second_life(outcome: Outcome, here: World, second: Exporter, backend: Backend) -> Page:
    """The second life to its end; its metrics, which go on from those of the first."""
    await here.played(600)
    await second.settled(90)
    both = await second.page()
    outcome.take(here.ledger, both)
    outcome.expect(await second.stop() == 0, "the exit code of the second life is not 0")
    outcome.problems += flaws(backend.spans, here.ledger, once=False)
    return both


async def sigterm(folder: Path, speed: float) -> Outcome:
    """Asked to end under load: the second life counts exactly the rest."""
    outcome = Outcome()
    async with _stage(folder, speed, _STATE | {"state.checkpoint_interval": "1h"}) as (here, backend):
        life = await here.exporter()
        await _under_load(here)
        here.hold_breath(life)
        began = time.monotonic()
        life.signal(signal.SIGTERM)
        code = life.process.wait(10)
        took = time.monotonic() - began
        outcome.expect(code == 0, f"SIGTERM ended with {code}")
        outcome.expect(took < 8, f"SIGTERM took {took:.1f} s")
        outcome.note = f"exit 0 in {took:.1f} s"
        both = await _second_life(outcome, here, await here.exporter(), backend)
        outcome.problems += differences(here.ledger, both, busy=False)
    return outcome


async def sigkill(folder: Path, speed: float) -> Outcome:
    """Killed under load, with events that were counted and not kept: the second life counts them, and nothing twice."""
    outcome = Outcome()
    async with _stage(folder, speed, {"state.checkpoint_interval": "2s"}) as (here, backend):
        life = await here.exporter()
        await _under_load(here)
        log, written = folder / "state.db-wal", (folder / "state.db-wal").stat().st_mtime_ns
        await until(lambda: log.stat().st_mtime_ns != written, 20, "a checkpoint")
        published = here.simulator.switchboard.published
        await asyncio.sleep(1.2)
        life.kill()
        saved = _checkpointed(folder / "state.db", here.ledger, folder)
        sent = here.simulator.switchboard.published
        both = await _second_life(outcome, here, await here.exporter(), backend)
        outcome.note = f"{sent - saved} of {sent} events were not kept, {-outcome.lost} counted twice"
        if sent <= saved or sent == published:
            outcome.unproven.append("every event was kept")
        outcome.problems += differences(here.ledger, both, busy=False)
    return outcome


async def sigkill_quiet(folder: Path, speed: float) -> Outcome:
    """Killed in a quiet moment, everything checkpointed: nothing is counted twice."""
    outcome = Outcome()
    async with _stage(folder, speed, _STATE) as (here, backend):
        life = await here.exporter()
        await _under_load(here)
        here.hold_breath(life, seconds=2.5 * _INTERVAL)
        life.kill()
        both = await _second_life(outcome, here, await here.exporter(), backend)
        outcome.problems += differences(here.ledger, both, busy=False)
    return outcome


async def disk_full(folder: Path, speed: float) -> Outcome:
    """The state file cannot grow: counting goes on, the failure is counted and said, later it is made good."""
    outcome = Outcome()
    # No webhooks: what is not acknowledged meanwhile counts all the same, and their sender's books lack it.
    async with _stage(folder, speed, {"state.checkpoint_interval": "100ms"}, webhooks=False) as (here, backend):
        life = await here.exporter()
        await _under_load(here, 0.1)
        before = resource.prlimit(life.process.pid, resource.RLIMIT_FSIZE)
        full = life.log_file.stat().st_size + (1 << 18)  # room for the log, which has this limit, too
        resource.prlimit(life.process.pid, resource.RLIMIT_FSIZE, (full, before[1]))
        failed = "atoms_exporter_checkpoint_failures_total"

        async def failures() -> float:
            return (await life.page()).total(failed)

        await until(lambda: here.simulator.switchboard.published > 1800, 60)
        outcome.note = f"{await failures():g} checkpoints failed"
        if await failures() < 3:
            outcome.unproven.append("no checkpoint failed")
        resource.prlimit(life.process.pid, resource.RLIMIT_FSIZE, before)
        await until(lambda: "what is counted is kept again" in life.log, 20, "it is kept again")
        here.hold_breath(life, seconds=0.5)
        life.kill()
        outcome.expect(
            life.log.count("what is counted cannot be kept") == 1, f"the failure is not said once:\n{life.log}"
        )
        both = await _second_life(outcome, here, await here.exporter(), backend)
        outcome.problems += differences(here.ledger, both, busy=False)
    return outcome


async def damaged_state(folder: Path, speed: float) -> Outcome:
    """The state file is damaged: set aside, a new one begun, all that comes is counted."""
    outcome = Outcome()
    state = folder / "state.db"
    with contextlib.closing(sqlite3.connect(state)) as db:
        db.executescript(f"PRAGMA application_id={0x41544F4D}; PRAGMA user_version=1; CREATE TABLE calls (x);")
    content = bytearray(state.read_bytes())
    content[100:] = b"\xa5" * (len(content) - 100)
    state.write_bytes(content)
    async with _stage(folder, speed, _STATE) as (here, backend):
        life = await here.exporter()
        here.simulator.begin()
        await here.played(600)
        page = await life.settled(60)
        outcome.take(here.ledger, page)
        outcome.problems += differences(here.ledger, page)
        outcome.expect("the state file was damaged" in life.log, "not said")
        outcome.expect(len(list(folder.glob("state.db.damaged-*"))) == 1, "not set aside")
        outcome.expect(await life.stop() == 0, "the exit code is not 0")
        outcome.problems += flaws(backend.spans, here.ledger)
    return outcome


async def otlp_down(folder: Path, speed: float) -> Outcome:
    """The tracing backend is away for a minute, of which it is overloaded at the end, then back: every span arrives."""
    outcome = Outcome()
    backend = Backend(status=503)
    port = free_port()
    env = Backend(port=port).env
    async with world(folder, calls=12, total_calls=24, speed=speed, env=env) as here:
        life = await here.exporter()
        here.simulator.begin()

        async def failed() -> float:
            return (await life.page()).total("atoms_exporter_export_failures_total", reason="refused")

        began = time.monotonic()
        await until(failed, 60, "a refused connection")
        await asyncio.sleep(_AWAY_SECONDS - (time.monotonic() - began))
        await backend.start(port)
        await until(lambda: backend.refused, 60, "a request to the overloaded backend")
        waiting = (await life.page()).total("atoms_exporter_span_queue")
        backend.status = 200
        outage = time.monotonic() - began
        await here.played(600)
        page = await life.settled(60)
        outcome.take(here.ledger, page)
        outcome.problems += differences(here.ledger, page)
        reasons = ("refused", "unavailable")
        failures = {why: page.total("atoms_exporter_export_failures_total", reason=why) for why in reasons}
        outcome.expect(all(failures.values()), f"failures are not counted: {failures}")
        outcome.expect(await life.stop() == 0, "the exit code is not 0")
        outcome.expect("spans_left=0" in life.log, "spans were left")
        outcome.problems += flaws(backend.spans, here.ledger, once=False)
        outcome.expect(outage >= 60, f"the outage was over after {outage:.0f} s")
        outcome.note = f"away for {outage:.0f} s; {waiting:,.0f} spans had to wait, {len(backend.spans):,} arrived"
    await backend.stop()
    return outcome


CASES: tuple[Case, ...] = (
    Case("sigterm", "SIGTERM under load, then a second life", sigterm, alone=True),
    Case("sigkill", "SIGKILL under load, 1.2 s after a checkpoint, then a second life", sigkill, alone=True),
    Case("sigkill_quiet", "SIGKILL right after a checkpoint, then a second life", sigkill_quiet, alone=True),
    Case("disk_full", "the state file cannot grow for a while, then SIGKILL", disk_full, alone=True),
    Case("damaged_state", "the state file is damaged", damaged_state),
    Case("otlp_down", "the tracing backend is away, then answers 503, then works", otlp_down),
)
