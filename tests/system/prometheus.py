"""A real Prometheus, and what it makes of what it has scraped: increments added up, resets taken for resets."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from tests.support.peers import need_program
from tests.system.books import Page
from tests.system.world import free_port, until

_HOW = "on Debian: apt-get install prometheus"
_KINDS = {"_bucket": "histogram", "_count": "histogram", "_sum": "histogram", "_total": "counter"}


class Prometheus:
    """One server that scrapes one target."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def ask(self, path: str, **params: Any) -> Any:
        """The data of an answer; ``None`` while there is none."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=120) as client:
            try:
                answer = await client.get(f"/api/v1/{path}", params=params)
            except httpx.TransportError:
                return None
            return answer.json().get("data") if answer.status_code == 200 else None

    async def scrapes(self) -> int:
        """Successful ones so far."""
        found = await self.ask("query", query="sum(sum_over_time(up[1h]))")
        return int(float(found["result"][0]["value"][1])) if found and found["result"] else 0

    async def stored(self) -> AsyncIterator[tuple[dict[str, str], list[float]]]:
        """Every series of ours, its samples in order, up to the last scrape that is whole by now; one metric after the
        other, or an hour would be a gigabyte."""
        latest = await self.ask("query", query="timestamp(up)")
        at = latest["result"][0]["value"][1]
        for name in await self.ask("label/__name__/values"):
            if name.startswith("atoms_"):
                found = await self.ask("query", query=f'{{__name__="{name}"}}[1h]', time=at)
                for series in found["result"]:
                    yield series["metric"], [float(value) for _, value in series["values"]]

    async def added_up(self) -> tuple[Page, list[str]]:
        """What all counters grew by: a series' first value is where it begins, less than before is a reset. And those
        that fell, one line each: whatever fell was added once more."""
        page, fell = Page(), []
        sums: defaultdict[str, defaultdict[frozenset[tuple[str, str]], float]] = page.samples
        async for have, values in self.stored():
            name = have.pop("__name__")
            have.pop("job"), have.pop("instance")
            grown = sum(now if now < before else now - before for before, now in pairwise(values))
            if name.endswith(tuple(_KINDS)):
                fell += [f"{name}{have}: {before:g} to {now:g}" for before, now in pairwise(values) if now < before]
            else:
                grown = values[-1]
            sums[name][frozenset(have.items())] += grown
        return page, fell


@contextlib.asynccontextmanager
async def prometheus(folder: Path, target: str, interval: str) -> AsyncIterator[Prometheus]:
    """A server of its own, without feature flags, scraping ``target`` (host:port) every ``interval``."""
    program = need_program("prometheus", _HOW)
    folder.mkdir()
    (folder / "prometheus.yml").write_text(
        f"global: {{scrape_interval: {interval}}}\n"
        f'scrape_configs: [{{job_name: atoms, static_configs: [{{targets: ["{target}"]}}]}}]\n'
    )
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"),
        f"--web.listen-address=127.0.0.1:{port}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    made = Prometheus(f"http://127.0.0.1:{port}")
    try:
        await until(lambda: made.ask("targets"), 60, "Prometheus answers")
        yield made
    finally:
        process.terminate()
        await process.wait()
