"""Several replicas on one simulated account: each a process with a name of its own, real sockets between all of them.

What happens to them happens by name: killed, paused, woken, asked to end, started again. Webhooks go through one
address in front of them, as through a Kubernetes Service.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from exporter.simulator import LABELS, Simulator, SimulatorOptions
from tests.system.world import QUICK, SECRET, TOKEN, Exporter, clean_environment, free_port, until

LOOPBACK = "127.0.0.1"


_PATIENCE_SECONDS = 10.0
"""Longer than a replica waits until it has kept what a webhook brought: it has answered by then, or is not there."""


class FrontDoor:
    """Where webhooks arrive: each goes to the next replica that takes it, or, with ``everybody``, to all of them.

    The platform does not try again. A proxy that is told to (nginx: proxy_next_upstream) passes on what was refused or
    not answered.
    """

    def __init__(self, *, everybody: bool = False) -> None:
        self.everybody = everybody
        self.port = free_port()
        self.behind: list[Replica] = []
        self.lost = 0
        self._turn = 0

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[FrontDoor]:
        app = web.Application(client_max_size=2 << 20)
        app.router.add_post("/webhooks/atoms", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        async with ClientSession(timeout=ClientTimeout(total=_PATIENCE_SECONDS)) as self._session:
            try:
                await web.TCPSite(runner, LOOPBACK, self.port).start()
                yield self
            finally:
                await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body, signed = await request.read(), {"X-Signature": request.headers["X-Signature"]}
        if self.everybody:
            answers = [await self._pass_on(replica, body, signed) for replica in list(self.behind)]
            return web.Response(status=202 if 202 in answers else 503)
        for _ in range(len(self.behind)):
            self._turn += 1
            if await self._pass_on(self.behind[self._turn % len(self.behind)], body, signed) == 202:
                return web.Response(status=202)
        self.lost += 1
        return web.Response(status=503)

    async def _pass_on(self, replica: Replica, body: bytes, headers: Mapping[str, str]) -> int:
        if not replica.url:
            return 0
        try:
            async with self._session.post(f"{replica.url}/webhooks/atoms", data=body, headers=headers) as answer:
                return answer.status
        except (ClientError, TimeoutError):
            return 0


@dataclasses.dataclass
class Replica:
    """One name and its lives; ``settings`` are its own."""

    name: str
    settings: dict[str, str]
    lives: list[Exporter] = dataclasses.field(default_factory=list)
    paused: bool = False
    wanted: bool = False
    """It should run: whoever ends all the same is started again by a supervisor."""
    exits: list[int] = dataclasses.field(default_factory=list)
    """How lives ended that nobody had asked to."""

    @property
    def life(self) -> Exporter:
        """The last one."""
        return self.lives[-1]

    @property
    def alive(self) -> bool:
        """A process is there and may answer."""
        return bool(self.url) and self.life.process.poll() is None and not self.paused

    @property
    def url(self) -> str:
        """Of the last life; empty before it serves."""
        return self.lives[-1].url if self.lives else ""


@dataclasses.dataclass
class Fleet:
    """A simulator that waits with its first call until ``begin``, and the replicas that share its calls."""

    simulator: Simulator
    folder: Path
    settings: dict[str, str]
    env: dict[str, str]
    door: FrontDoor
    replicas: dict[str, Replica] = dataclasses.field(default_factory=dict)

    def add(self, name: str, **settings: str) -> Replica:
        """A replica that is not started yet; ``settings`` are configuration keys with ``__`` for the dots."""
        own = {key.replace("__", "."): value for key, value in settings.items()}
        made = self.replicas[name] = Replica(name, own)
        self.door.behind.append(made)
        return made

    async def start(self, *names: str, listening: bool = True) -> None:
        """Begin a life of each of these (of all, without names), and wait until they serve."""
        wanted = [self.replicas[name] for name in names or self.replicas]
        for replica in wanted:
            given = self.settings | replica.settings
            command = [sys.executable, "-m", "exporter", "run"]
            command += ["--api.base-url", self.simulator.base_url]
            command += ["--web.listen-address", f"{LOOPBACK}:0"]  # what it had may be taken by now
            command += [part for key, value in given.items() for part in ("--set", f"{key}={value}")]
            replica.lives.append(Exporter(command, self.env, self.folder / f"{replica.name}.log"))
            replica.paused, replica.wanted = False, True
        if listening:
            for replica in wanted:
                await replica.life.listening()

    def kill(self, name: str) -> None:
        """SIGKILL: no farewell."""
        self.replicas[name].wanted = False
        self.replicas[name].life.kill()

    def pause(self, name: str) -> None:
        """SIGSTOP: it is there, and does nothing."""
        self.replicas[name].paused = True
        self.replicas[name].life.signal(signal.SIGSTOP)

    def wake(self, name: str) -> None:
        """SIGCONT: it does not know that it slept."""
        self.replicas[name].life.signal(signal.SIGCONT)
        self.replicas[name].paused = False

    async def stop(self, name: str) -> int:
        """SIGTERM; its exit code."""
        self.replicas[name].wanted = False
        return await self.replicas[name].life.stop()

    async def leave(self, name: str) -> int:
        """SIGTERM for good: nobody sends it webhooks any more; its exit code."""
        self.door.behind.remove(self.replicas[name])
        return await self.stop(name)

    async def supervise(self) -> None:
        """Start whoever ended and should run, until cancelled."""
        while True:
            await asyncio.sleep(0.1)
            for name, replica in self.replicas.items():
                if replica.wanted and (code := replica.life.process.poll()) is not None:
                    replica.exits.append(code)
                    await self.start(name, listening=False)
            for replica in self.replicas.values():
                if replica.wanted and not replica.life.url and replica.life.process.poll() is None:
                    replica.life.look_for_url()

    @property
    def alive(self) -> list[Replica]:
        return [replica for replica in self.replicas.values() if replica.alive]

    @property
    def log(self) -> str:
        """What all of them have said, for a failure."""
        said = [f"--- {name}\n{life.log[-2500:]}" for name, each in self.replicas.items() for life in each.lives]
        return "\n".join(said)

    @property
    def ledger(self) -> dict[str, Any]:
        """The simulator's books, with what its webhooks told of dispositions."""
        told = self.simulator.postman.dispositions
        families = [family for family in LABELS if family.startswith("atoms_disposition")]
        ledger = self.simulator.control.ledger(so_far=True)
        return ledger | {"dispositions": {family: told.counts(family) for family in families}}

    async def played(self, seconds: float = 120.0) -> None:
        """Wait until the simulator has played all its calls."""
        async with asyncio.timeout(seconds):
            await self.simulator.drained()

    async def settled(self, seconds: float = 60.0) -> None:
        """Wait until none of them follows a call any more."""

        async def none_left() -> bool:
            return not any([await replica.life.calls() for replica in self.alive])

        try:
            await until(none_left, seconds, "no call followed")
        except AssertionError as late:
            raise AssertionError(f"{late}\n{self.log}") from None


@contextlib.asynccontextmanager
async def fleet(
    folder: Path,
    *,
    webhooks: bool = True,
    everybody: bool = False,
    settings: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[Fleet]:
    """A paused simulator with these options; whatever was started ends with the block.

    :param everybody: each webhook reaches every replica.
    """
    defaults: dict[str, Any] = {"calls": 12, "total_calls": 24, "speed": 20.0, "paused": True}
    # Calls that were listed as begun before the process did would be taken for an earlier life's.
    defaults["starts_at"] = time.time() + 3600
    async with FrontDoor(everybody=everybody).open() as door:
        if webhooks:
            defaults["webhook_url"] = f"http://{LOOPBACK}:{door.port}/webhooks/atoms"
        simulator = Simulator(SimulatorOptions(**(defaults | options)))
        await simulator.start()
        secrets = {"ATOMS_API_KEY": TOKEN} | ({"ATOMS_WEBHOOK_SECRET": SECRET} if webhooks else {})
        given = dict(QUICK) | dict(settings or {})
        made = Fleet(simulator, folder, given, clean_environment(**(secrets | dict(env or {}))), door)
        try:
            yield made
        finally:
            for replica in made.replicas.values():
                for life in replica.lives:
                    life.kill()
            await simulator.stop()
