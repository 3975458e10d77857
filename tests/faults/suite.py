"""Faults against the running process: the simulator misbehaves, the exporter's books must stay exact.

Each case plays a few calls at twenty times their speed, waits until the exporter has reconciled them, and compares
every counter, every histogram and every trace with the simulator's ledger.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from exporter.simulator import parse_faults
from tests.system.books import Page, differences
from tests.system.traces import Backend, flaws
from tests.system.world import World, world


@dataclass
class Outcome:
    """What came of one fault: numbers for the table, and whatever was not as it must be."""

    sent: int = 0
    counted: int = 0
    duplicates: int = 0
    recovered: int = 0
    struck: int = 0
    calls: int = 0
    note: str = ""
    problems: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    """What should have happened and did not, so that the case proves too little: the machine was too busy."""

    @property
    def lost(self) -> int:
        """Events sent and never counted; negative when some were counted twice."""
        return self.sent - self.counted

    def take(self, ledger: Mapping[str, Any], page: Page) -> None:
        """The numbers of the table."""
        self.calls = int(ledger["begun"])
        self.sent = int(ledger["published"])
        self.counted = int(page.events)
        self.duplicates = int(page.total("atoms_exporter_events_duplicate_total"))
        self.recovered = int(page.total("atoms_exporter_events_recovered_total"))

    def expect(self, true: bool, otherwise: str) -> None:
        """One more thing that must be so."""
        if not true:
            self.problems.append(otherwise)


Play = Callable[[Path, float], Awaitable[Outcome]]
"""Plays a case in a folder, so many times faster than real time."""

SPEEDS = (20.0, 8.0, 3.0)
"""Where a busy machine lets calls end before they were followed, a fault does not strike: then more slowly."""


@dataclass(frozen=True)
class Case:
    """One fault: ``name`` for the test, ``title`` for the table. One that is played ``alone`` blocks the loop."""

    name: str
    title: str
    play: Play
    alone: bool = False


Check = Callable[[Outcome, Page, World], None]


def streams(
    name: str,
    title: str,
    faults: str,
    *,
    settings: Mapping[str, str] | None = None,
    places: bool = True,
    busy: bool = True,
    webhooks: bool = True,
    settles_within: float = 120.0,
    log_names: Collection[str] = (),
    check: Check = lambda *_: None,
    **options: Any,
) -> Case:
    """A case in which the simulator's faults (as on its command line) strike while calls are played.

    :param places: compare by node.
    :param log_names: names of the customer's own events that the exporter is told of.
    :param settles_within: seconds from the last call's end until none is followed any more.
    :param busy: tell ``busy`` from ``failed``: not where a call's history is there before its last webhook.
    """

    async def play(folder: Path, speed: float) -> Outcome:
        outcome = Outcome()
        backend = await Backend().start()
        given: dict[str, Any] = {"calls": 10, "total_calls": 20, "speed": speed} | options
        try:
            async with world(
                folder,
                faults=parse_faults(faults),
                settings=settings,
                env=backend.env,
                webhooks=webhooks,
                **given,
            ) as here:
                exporter = await here.exporter()
                here.simulator.begin()
                await here.played(600)
                page = await exporter.settled(settles_within)
                ledger = here.ledger
                nan = ledger["garbage"].get("nan", 0)
                outcome.take(ledger, page)
                outcome.counted -= nan
                outcome.struck = sum(ledger["faults"].values())
                outcome.problems += differences(ledger, page, places=places, busy=busy, nan=nan, log_names=log_names)
                outcome.expect(outcome.lost == 0, f"{outcome.lost} events lost")
                check(outcome, page, here)
                outcome.expect(await exporter.stop() == 0, "the exit code is not 0")
                outcome.expect("Traceback" not in exporter.log, f"a traceback in the log:\n{exporter.log[-3000:]}")
                outcome.problems += flaws(backend.spans, ledger, places=places)
        finally:
            await backend.stop()
        return outcome

    return Case(name, title, play)


def struck(*names: str, least: int = 1) -> Check:
    """Each of these faults did strike."""

    def check(outcome: Outcome, page: Page, here: World) -> None:
        for name in names:
            times = here.ledger["faults"].get(name, 0) + here.ledger["garbage"].get(name, 0)
            if times < least:
                outcome.unproven.append(f"{name} struck {times} times only")

    return check


def counted(name: str, least: float = 1, /, **labels: str) -> Check:
    """The exporter says so itself."""

    def check(outcome: Outcome, page: Page, here: World) -> None:
        found = page.total(name, **labels)
        if found < least:
            outcome.unproven.append(f"{name}{labels} is {found:g}, not {least:g} or more")

    return check


def exactly(name: str, of: Callable[[Mapping[str, Any]], float], **labels: str) -> Check:
    """The exporter counts what the ledger says."""

    def check(outcome: Outcome, page: Page, here: World) -> None:
        found, wanted = page.total(name, **labels), of(here.ledger)
        outcome.expect(found == wanted, f"{name}{labels} is {found:g}, not {wanted:g}")

    return check


def said(event: str, *, times: int | None = None) -> Check:
    """The log says so (so often)."""

    def check(outcome: Outcome, page: Page, here: World) -> None:
        found = here.lives[0].log.count(event)
        if not found:
            outcome.unproven.append(f"the log does not say {event!r}")
        outcome.expect(times in (None, found), f"the log says {event!r} {found} times")

    return check


def at_most_connections(number: int) -> Check:
    """No call was connected to more often: the back-off grows."""

    def check(outcome: Outcome, page: Page, here: World) -> None:
        most = max(call["connections"] for call in here.ledger["calls"].values())
        outcome.expect(most <= number, f"a call was connected to {most} times")

    return check


def every(*checks: Check) -> Check:
    """All of them."""

    def check(outcome: Outcome, page: Page, here: World) -> None:
        for each in checks:
            each(outcome, page, here)

    return check


async def suffer(case: Case, folder: Path) -> Outcome:
    """Play one case, again and more slowly while it proves too little. What goes wrong on the way is a problem."""
    for speed in SPEEDS:
        here = folder / f"{speed:g}"
        here.mkdir(parents=True, exist_ok=True)
        try:
            outcome = await case.play(here, speed)
        except (AssertionError, TimeoutError, subprocess.TimeoutExpired, httpx.HTTPError) as failure:
            return Outcome(problems=[f"{type(failure).__name__}: {failure}"])
        if outcome.problems or not outcome.unproven:
            return outcome
    outcome.problems += outcome.unproven
    return outcome


async def play_all(
    cases: Iterable[Case],
    folder: Path,
    *,
    at_once: int = 4,
    done: Callable[[Case, Outcome], None] = lambda case, outcome: None,
) -> dict[str, Outcome]:
    """Play these cases, a few at a time, the last first (they take longest), those that need the loop for themselves
    at the end."""
    cases = list(cases)
    outcomes: dict[str, Outcome] = {}
    places = asyncio.Semaphore(at_once)

    async def play(case: Case) -> None:
        async with places:
            outcome = outcomes[case.name] = await suffer(case, folder / case.name)
            done(case, outcome)

    async with asyncio.TaskGroup() as group:
        for case in reversed(cases):
            if not case.alone:
                group.create_task(play(case))
    for case in cases:
        if case.alone:
            await play(case)
    return outcomes
