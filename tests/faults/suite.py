"""Faults against the running process: the simulator misbehaves, the exporter's books must stay exact.

Each case plays a few calls at twenty times their speed, waits until the exporter has reconciled them, and compares
every counter, every histogram and every trace with the simulator's ledger.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


Play = Callable[[Path], Awaitable[Outcome]]


@dataclass(frozen=True)
class Case:
    """One fault: ``name`` for the test, ``title`` for the table."""

    name: str
    title: str
    play: Play


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
    check: Check = lambda *_: None,
    **options: Any,
) -> Case:
    """A case in which the simulator's faults (as on its command line) strike while calls are played.

    :param places: compare by node.
    :param busy: tell ``busy`` from ``failed``: not where a call's history is there before its last webhook.
    """

    async def play(folder: Path) -> Outcome:
        outcome = Outcome()
        backend = await Backend().start()
        given: dict[str, Any] = {"calls": 10, "total_calls": 20} | options
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
                await here.played(120)
                page = await exporter.settled(90)
                ledger = here.ledger
                nan = ledger["garbage"].get("nan", 0)
                outcome.take(ledger, page)
                outcome.counted -= nan
                outcome.struck = sum(ledger["faults"].values())
                outcome.problems += differences(ledger, page, places=places, busy=busy, nan=nan)
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
            outcome.expect(times >= least, f"{name} struck {times} times only: the case proves nothing")

    return check


def counted(name: str, least: float = 1, **labels: str) -> Check:
    """The exporter says so itself."""

    def check(outcome: Outcome, page: Page, here: World) -> None:
        found = page.total(name, **labels)
        outcome.expect(found >= least, f"{name}{labels} is {found:g}, not {least:g} or more")

    return check


def exactly(name: str, of: Callable[[Mapping[str, Any]], float], **labels: str) -> Check:
    """The exporter counts what the ledger says."""

    def check(outcome: Outcome, page: Page, here: World) -> None:
        found, wanted = page.total(name, **labels), of(here.ledger)
        outcome.expect(found == wanted, f"{name}{labels} is {found:g}, not {wanted:g}")

    return check


def every(*checks: Check) -> Check:
    """All of them."""

    def check(outcome: Outcome, page: Page, here: World) -> None:
        for each in checks:
            each(outcome, page, here)

    return check


async def suffer(case: Case, folder: Path) -> Outcome:
    """Play one case. What goes wrong on the way is a problem of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return await case.play(folder)
    except (AssertionError, TimeoutError) as failure:
        return Outcome(problems=[f"{type(failure).__name__}: {failure}"])
