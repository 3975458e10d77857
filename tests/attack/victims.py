"""What the victims see while somebody attacks: honest calls, scrapes, probes, and the memory of the process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

from tests.system.books import Page, differences
from tests.system.world import Exporter, World, until

HOSTILE_AGENTS = ("hostile", "x" * 127 + "…")


@dataclass
class Watch:
    """Scrapes and probes, one after the other, each over a connection of its own, and how much memory there was."""

    scrapes: int = 0
    probes: int = 0
    unanswered: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0
    most_bytes: int = 0
    first_bytes: int = 0
    bytes_by_minute: list[int] = field(default_factory=list)

    async def look(self, exporter: Exporter, pause_seconds: float = 0.2) -> None:
        """Until cancelled."""
        began = time.monotonic()
        while True:
            for path in ("/metrics", "/-/healthy"):
                await self._ask(exporter, path)
            self.most_bytes = max(self.most_bytes, exporter.rss)
            if time.monotonic() - began >= 60 * len(self.bytes_by_minute):
                self.bytes_by_minute.append(exporter.rss)
            await asyncio.sleep(pause_seconds)

    async def _ask(self, exporter: Exporter, path: str) -> None:
        began = time.monotonic()
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                status = (await client.get(exporter.url + path)).status_code
        except httpx.HTTPError as error:
            self.unanswered.append(f"{path}: {type(error).__name__}")
            return
        if status != 200:
            self.unanswered.append(f"{path}: {status}")
            return
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        if path == "/metrics":
            self.scrapes += 1
        else:
            self.probes += 1


@contextlib.asynccontextmanager
async def watching(exporter: Exporter) -> AsyncIterator[Watch]:
    """Look for as long as the block lasts."""
    watch = Watch(first_bytes=exporter.rss)
    task = asyncio.ensure_future(watch.look(exporter))
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def honest_settled(exporter: Exporter, hostile: set[str], seconds: float) -> Page:
    """Wait until no call but hostile ones is being followed; the metrics then."""

    async def none_left() -> bool:
        return {call["call_id"] for call in await exporter.calls()} <= hostile

    await until(none_left, seconds, "no honest call followed")
    return await exporter.page()


def honest(page: Page) -> Page:
    """The page without what hostile calls were counted for."""
    cleaned = Page()
    cleaned.types = page.types
    for name, series in page.samples.items():
        for pairs, value in series.items():
            if not any(pair in pairs for agent in HOSTILE_AGENTS for pair in [("agent_id", agent)]):
                cleaned.samples[name][pairs] += value
    return cleaned


def losses(here: World, page: Page) -> list[str]:
    """Whatever of the honest calls is not as the ledger has it. Events by type have no agent: hostile ones are among
    them."""
    found = differences(here.ledger, honest(page), busy=False)
    return [line for line in found if not line.startswith("atoms_exporter_") and "disposition" not in line]
