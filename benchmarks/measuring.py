"""What every candidate measures in the same way: CPU, memory, events, in a window after everything is connected."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

SETTLE_SECONDS = 3.0
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") / 1024


@dataclass
class Result:
    """One candidate's window. ``extra`` is what only some candidates know."""

    candidate: str
    streams: int
    seconds: float
    events: int
    cpu_seconds: float
    connect_seconds: float
    connect_cpu_seconds: float
    rss_before_kib: float
    rss_after_kib: float
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def microseconds_per_event(self) -> float:
        """CPU of the whole process, threads included, per event."""
        return self.cpu_seconds / max(self.events, 1) * 1e6


def rss_kib() -> float:
    """Resident memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_KIB


def arguments() -> argparse.Namespace:
    """What the runner gives every candidate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    parser.add_argument("--token", default="simulated-key")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--ca", default="")
    parser.add_argument("--otlp", default="")
    parser.add_argument("--scrape-every", type=float, default=0.0)
    return parser.parse_args()


async def call_ids(base_url: str, token: str, count: int, ca: str = "") -> list[str]:
    """The calls to follow, from the API."""
    found: list[str] = []
    async with httpx.AsyncClient(
        headers={"Authorization": f"Bearer {token}"}, verify=ca or True, timeout=60.0
    ) as client:
        page = 1
        while len(found) < count:
            params = {"limit": "500", "page": str(page), "statusFilter": "active,in_progress"}
            answer = await client.get(f"{base_url}/conversation", params=params)
            logs = answer.json()["data"]["logs"]
            if not logs:
                break
            found += [log["callId"] for log in logs]
            page += 1
    return found[:count]


async def window(
    name: str,
    streams: int,
    seconds: float,
    *,
    connected: Callable[[], Awaitable[None]],
    events: Callable[[], int],
    rss_before: float,
    extra: Callable[[], dict[str, float]] = dict,
    on_begin: Callable[[], None] = lambda: None,
) -> Result:
    """Wait until connected, let it settle, then measure for ``seconds``."""
    began, cpu = time.perf_counter(), time.process_time()
    await connected()
    connect_seconds, connect_cpu = time.perf_counter() - began, time.process_time() - cpu
    await asyncio.sleep(SETTLE_SECONDS)
    on_begin()
    first, cpu, began = events(), time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    last = events()
    return Result(
        name,
        streams,
        time.perf_counter() - began,
        last - first,
        time.process_time() - cpu,
        connect_seconds,
        connect_cpu,
        rss_before,
        rss_kib(),
        extra(),
    )


def report(result: Result) -> None:
    """For the runner."""
    json.dump(asdict(result), sys.stdout)
    sys.stdout.write("\n")
    sys.stdout.flush()


def many_files() -> None:
    """A stream is a file descriptor."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(main: Callable[[], Awaitable[None]]) -> None:
    """On uvloop, like the exporter."""
    import uvloop

    many_files()

    async def entry() -> None:
        await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(entry())
