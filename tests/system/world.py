"""A small world: the simulated API in this process, the exporter as a process of its own, real sockets between them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from exporter.simulator import LABELS, Simulator, SimulatorOptions
from tests.system.books import Page

TOKEN = "simulated-key"
SECRET = "simulated-secret"
QUICK: Mapping[str, str] = {
    "discovery.poll.interval": "1s",
    "discovery.poll.limit": "500",
    "history.delay": "100ms",
    "shutdown_timeout": "10s",
    "state.path": "",
    "log.level": "debug",
    "metrics.disposition_values": '{"sentiment": ["positive", "neutral", "negative"]}',
}
"""Waits that are right for a real API and long for a simulated one."""


_ALL_CALLS = "/api/v1/calls?limit=5000"
"""Those that are followed come first: no test follows so many."""


def free_port() -> int:
    """A port of loopback that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without anything that configures the exporter or a proxy."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not re.match(r"(ATOMS|SMALLEST|OTEL|COVERAGE)|(?i:.*_proxy$)", name)
    }
    nowhere = {"HOME": "/dev/null", "XDG_STATE_HOME": "", "STATE_DIRECTORY": ""}  # no test leaves a state file
    return kept | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"} | nowhere | more


async def until(true: Callable[[], Any], seconds: float = 30.0, what: str = "") -> Any:
    """Poll until it is (awaiting what must be awaited), and return it; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = true()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or true}"
        await asyncio.sleep(0.03)


class Exporter:
    """One life of the exporter: ``atoms-exporter run`` as a process."""

    def __init__(self, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self.log_file = log
        self._out = log.open("ab")
        self._began_at = log.stat().st_size
        self.process = subprocess.Popen(command, env=dict(env), stdout=self._out, stderr=self._out)
        self.url = ""

    @property
    def log(self) -> str:
        """What this life has written so far, stdout and stderr."""
        with self.log_file.open("rb") as file:
            file.seek(self._began_at)
            return file.read().decode("utf-8", "replace")

    async def listening(self, seconds: float = 120.0) -> Exporter:
        """Wait until it serves. Fails with its log when it ends instead."""

        def found() -> bool:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log}"
            return self.look_for_url()

        await until(found, seconds, "listening")
        return self

    def look_for_url(self) -> bool:
        """Whether it has said where it listens."""
        if (said := re.search(r"listening .*?url=\"?(http://[^\s\"]+)", self.log)) is not None:
            self.url = said.group(1)
        return bool(self.url)

    async def get(self, path: str, **how: Any) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            return await client.get(self.url + path, **how)

    async def page(self) -> Page:
        """Its metrics now, as OpenMetrics."""
        return Page(await self.text())

    def page_now(self) -> Page:
        """The same without yielding to the event loop."""
        with httpx.Client(trust_env=False, timeout=20) as client:
            return Page(client.get(self.url + "/metrics").text)

    async def text(self) -> str:
        answer = await self.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert answer.status_code == 200, answer.text
        return answer.text

    def calls_now(self) -> list[dict[str, Any]]:
        """The calls being followed, without yielding to the event loop."""
        with httpx.Client(trust_env=False, timeout=20) as client:
            found = client.get(self.url + _ALL_CALLS).json()
        return [call for call in found["calls"] if call["ended_at"] is None]

    async def calls(self) -> list[dict[str, Any]]:
        """The calls being followed."""
        found = (await self.get(_ALL_CALLS)).json()
        return [call for call in found["calls"] if call["ended_at"] is None]

    async def settled(self, seconds: float = 60.0) -> Page:
        """Wait until no call is being followed any more; its metrics then."""

        async def none_left() -> bool:
            return not await self.calls()

        try:
            await until(none_left, seconds, "no call followed")
        except AssertionError:
            raise AssertionError(f"still followed: {await self.calls()}\n{self.log[-3000:]}") from None
        return await self.page()

    @property
    def rss(self) -> int:
        """Resident memory, bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def most_rss(self) -> int:
        """The most resident memory it ever had, bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024

    @property
    def files(self) -> int:
        """Open file descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float = 30.0) -> int:
        """Wait for its end; the exit code."""
        await until(lambda: self.process.poll() is not None, seconds, "the end of the process")
        return self.process.returncode

    async def stop(self) -> int:
        """End it the polite way; the exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return await self.ended()

    def kill(self) -> None:
        """SIGKILL, and wait."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._out.close()


@dataclasses.dataclass
class World:
    """A simulator that waits with its first call until ``begin``, and exporters that follow it."""

    simulator: Simulator
    port: int
    folder: Path
    settings: dict[str, str]
    env: dict[str, str]
    arguments: tuple[str, ...] = ()
    through: tuple[str, ...] = ()
    """A command that starts the exporter, its arguments following."""
    lives: list[Exporter] = dataclasses.field(default_factory=list)

    async def exporter(self, *arguments: str, env: Mapping[str, str] | None = None, **settings: str) -> Exporter:
        """Start a life. ``settings`` are configuration keys with ``__`` for the dots."""
        given = self.settings | {key.replace("__", "."): value for key, value in settings.items()}
        command = [*self.through, sys.executable, "-m", "exporter", "run"]
        command += ["--api.base-url", self.simulator.base_url, "--web.listen-address", f"127.0.0.1:{self.port}"]
        command += [part for key, value in given.items() for part in ("--set", f"{key}={value}")]
        command += [*self.arguments, *arguments]
        life = Exporter(command, self.env | dict(env or {}), self.folder / "exporter.log")
        self.lives.append(life)
        return await life.listening()

    @property
    def ledger(self) -> dict[str, Any]:
        """The simulator's books, calls that never end included, with what its webhooks told of dispositions."""
        told = self.simulator.postman.dispositions
        families = [family for family in LABELS if family.startswith("atoms_disposition")]
        ledger = self.simulator.control.ledger(so_far=True)
        return ledger | {"dispositions": {family: told.counts(family) for family in families}}

    def hold_breath(self, life: Exporter, *, seconds: float = 0.0, until_quiet: bool = True) -> Page:
        """Let nothing more happen (this blocks the simulator's loop) until the exporter has counted all that was
        sent, and ``seconds`` longer; what it has counted."""
        deadline = time.monotonic() + 10
        page = life.page_now()
        while until_quiet:
            time.sleep(0.1)
            before, page = page, life.page_now()
            if page.events == before.events or time.monotonic() > deadline:
                break
        time.sleep(seconds)
        return life.page_now() if seconds else page

    async def played(self, seconds: float = 90.0) -> None:
        """Wait until the simulator has played all its calls."""
        async with asyncio.timeout(seconds):
            await self.simulator.drained()


@contextlib.asynccontextmanager
async def world(
    folder: Path,
    *,
    webhooks: bool = True,
    polls: bool = True,
    settings: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[World]:
    """A paused simulator with these options; whatever was started ends with the block."""
    port = free_port()
    defaults: dict[str, Any] = {"calls": 12, "total_calls": 24, "speed": 20.0, "paused": True}
    # Calls that were listed as begun before the process did would be taken for an earlier life's.
    defaults["starts_at"] = time.time() + 3600
    if webhooks:
        defaults["webhook_url"] = f"http://127.0.0.1:{port}/webhooks/atoms"
    simulator = Simulator(SimulatorOptions(**(defaults | options)))
    await simulator.start()
    given = dict(QUICK) | {"discovery.poll.enabled": "true" if polls else "false"} | dict(settings or {})
    secrets = {"ATOMS_API_KEY": TOKEN} | ({"ATOMS_WEBHOOK_SECRET": SECRET} if webhooks else {})
    made = World(simulator, port, folder, given, clean_environment(**(secrets | dict(env or {}))))
    try:
        yield made
    finally:
        for life in made.lives:
            life.kill()
        await simulator.stop()
