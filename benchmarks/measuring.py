"""What every candidate measures in the same way, on the runner's command.

A candidate is a process. It opens all its streams while the source is silent, says so, and obeys on stdin:

    measure SECONDS     events, CPU time of the whole process (threads included), RSS, lag where it is known
    stalls SECONDS      the same, with a probe that wakes every 5 ms and notes how late it was
    quit

Every answer is one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx

PROBE_SECONDS = 0.005
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") / 1024


def rss_kib() -> float:
    """Resident memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_KIB


def arguments() -> argparse.Namespace:
    """What the runner gives every candidate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("base_url")
    parser.add_argument("--token", default="simulated-key")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--ca", default="", help="the certificate authority of an https source")
    parser.add_argument("--otlp", default="", help="where the exporter sends its traces")
    parser.add_argument("--series", type=int, default=0, help="fill the exporter's registry with so many series first")
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


async def until(reached: Callable[[], bool]) -> None:
    """Look every 2 ms: what is waited for happens in other tasks, thousands of times, and must not pay for it."""
    while not reached():  # noqa: ASYNC110 - an event would cost every candidate something, and each a different sum
        await asyncio.sleep(0.002)


def quantile(values: list[float], q: float) -> float:
    """The nearest rank; 0 of nothing."""
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else 0.0


class Stalls:
    """How late the loop was to wake a task that asked to be woken every 5 ms."""

    def __init__(self) -> None:
        self.late: list[float] = []

    async def watch(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PROBE_SECONDS
            await asyncio.sleep(PROBE_SECONDS)
            self.late.append(loop.time() - due)


async def obey(
    name: str,
    streams: int,
    *,
    connected: Callable[[], Awaitable[None]],
    events: Callable[[], int],
    rss_before: float,
    metrics_url: str = "",
    begin: Callable[[], None] = lambda: None,
    extra: Callable[[], dict[str, float]] = dict,
) -> None:
    """Connect, report, then do what the runner says until it says ``quit``.

    :param events: how many events were counted so far.
    :param begin: told when a window begins, ``extra`` asked when it ends.
    """
    began, cpu = time.perf_counter(), time.process_time()
    await connected()
    _say(
        {
            "candidate": name,
            "streams": streams,
            "connect_seconds": time.perf_counter() - began,
            "connect_cpu_seconds": time.process_time() - cpu,
            "rss_before_kib": rss_before,
            "rss_connected_kib": rss_kib(),
            "metrics_url": metrics_url,
        }
    )
    loop = asyncio.get_running_loop()
    while command := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        if command[0] == "quit":
            break
        probe = Stalls()
        watching = loop.create_task(probe.watch()) if command[0] == "stalls" else None
        begin()
        first, cpu, began = events(), time.process_time(), time.perf_counter()
        await asyncio.sleep(float(command[1]))
        said: dict[str, Any] = {
            "seconds": time.perf_counter() - began,
            "events": events() - first,
            "cpu_seconds": time.process_time() - cpu,
            "rss_kib": rss_kib(),
            "load": os.getloadavg()[0],
            **extra(),
        }
        if watching is not None:
            watching.cancel()
            said["stall_p50"], said["stall_p99"] = quantile(probe.late, 0.5), quantile(probe.late, 0.99)
            said["stall_max"] = max(probe.late, default=0.0)
        _say(said)
    os._exit(0)  # thousands of open connections need no farewell


def _say(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def many_files() -> None:
    """A stream is a file descriptor."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def in_loop(main: Coroutine[Any, Any, None]) -> None:
    """On uvloop, like the exporter."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """A candidate's life."""
    many_files()
    in_loop(main())
