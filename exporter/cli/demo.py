"""The demo: simulator and exporter in one process, and life in the terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from exporter.address import ListenAddress
from exporter.calls.observations import CallEnded, Observation, TurnAnswered
from exporter.cli.options import FLAGS
from exporter.cli.printing import CannotSay, say
from exporter.cli.signals import in_order
from exporter.config import load
from exporter.errors import ConfigError
from exporter.logs import set_up_logs
from exporter.outputs.otlp.settings import describe_endpoints
from exporter.service import Service
from exporter.simulator import AGENTS, Fault, Simulator, SimulatorOptions
from exporter.web import RunningWeb

_DEFAULT_LISTEN = "127.0.0.1:9464"
_FREE_PORT = "127.0.0.1:0"
_MOST_ROWS = 14
_OTHER_LINES = 12
_FRAMES_PER_SECOND = 2
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_TO_THE_FIRST_LINE = 2.0
_GOOD_SECONDS = 0.9
_ACCEPTABLE_SECONDS = 2.0
_INCIDENT_SECONDS = 30.0
_INCIDENT_FACTOR = 6.0


class Demo:
    """One demonstration.

    :param listen: where to serve; ``None`` for port 9464 of loopback, or any free one when that is taken.
    :param duration: seconds, ``None`` until interrupted.
    :param incident: slow one node down after half a minute of the calls' time.
    """

    def __init__(
        self,
        options: SimulatorOptions,
        *,
        listen: str | None,
        level: str,
        duration: float | None = None,
        incident: bool = False,
    ) -> None:
        self._options = options
        self._listen = listen
        self._level = level
        self._duration = duration
        self._incident = incident
        self._console = Console(stderr=True)
        self._latest: dict[str, float] = {}
        self._turns = 0
        self._ended = 0
        self._api = ""
        self._links: list[tuple[str, str]] = []
        self._stop: Callable[[], None] = lambda: None

    async def run(self, env: Mapping[str, str]) -> None:
        """Until interrupted, or the duration is over."""
        simulator = Simulator(self._options)
        self._api = base_url = await simulator.start()
        trouble = asyncio.ensure_future(self._slow_a_node_down(simulator)) if self._incident else None
        try:
            await self._serve(base_url, env)
        finally:
            if trouble is not None:
                trouble.cancel()
            await simulator.stop()

    async def _serve(self, base_url: str, env: Mapping[str, str]) -> None:
        flags = {
            "log.level": self._level,
            "api.base_url": base_url,
            "api.api_key": self._options.token,
            "api.max_streams": max(4000, 2 * self._options.calls),
            "discovery.poll.interval": max(1.0, 2.0 / self._options.speed),
            "discovery.poll.limit": 500,
            "web.listen_address": self._listen or _first_free(),
            "shutdown_timeout": 5.0,
            "state.path": "",
        }
        config = load(flags, {}, None, spelled=FLAGS)
        set_up_logs(config.log.level, config.log.format)
        began = time.monotonic()
        service = Service(
            config,
            env,
            structlog.get_logger("exporter"),
            api_env={},  # the simulator is in this process: no proxy of this machine stands in between
            on_started=self._started,
            watch=self._watch,
        )
        self._stop = service.stop
        self._otlp = describe_endpoints(env)["otlp.traces"]
        show = asyncio.ensure_future(self._show(service, began))
        stop = asyncio.get_running_loop().call_later(self._duration, service.stop) if self._duration else None
        try:
            in_order(service.stop)
            await service.run()
        finally:
            if stop is not None:
                stop.cancel()
            show.cancel()
            with suppress(asyncio.CancelledError):
                await show

    async def _slow_a_node_down(self, simulator: Simulator) -> None:
        """What a demo is for: a node becomes slow, and everything that ships with the exporter says which."""
        await asyncio.sleep(_INCIDENT_SECONDS / self._options.speed)
        agent = max((agent for agent in AGENTS if agent.workflow_type == "workflow_graph"), key=lambda each: each.share)
        node = agent.nodes[0]
        simulator.change_faults((Fault("slow_node", node_id=node.id, agent_id=agent.id, factor=_INCIDENT_FACTOR),))
        began = f"{datetime.now(UTC):%H:%M:%S} UTC"
        says = f"since {began} {agent.name} takes {_INCIDENT_FACTOR:.0f} times as long in {node.name}"
        self._links.append(("incident", says))
        if not self._console.is_terminal:
            self._tell(f"incident: {says}")

    def _watch(self, facts: Sequence[Observation]) -> None:
        for fact in facts:
            if isinstance(fact, TurnAnswered):
                self._latest[fact.where.call_id] = fact.seconds
                self._turns += 1
            elif isinstance(fact, CallEnded):
                self._latest.pop(fact.call_id, None)
                self._ended += 1

    def _started(self, web: RunningWeb) -> None:
        url = web.urls[0]
        explain = f"ATOMS_API_KEY={self._options.token} atoms-exporter explain --api.base-url {self._api} CALL-…"
        self._links = [
            ("metrics", f"{url}/metrics"),
            ("are callers suffering?", f"{url}/"),
            ("turn latency by node", f"curl -s {url}/metrics | grep '^atoms_turn_latency_seconds_count'"),
            ("one call", explain),
            ("traces", self._otlp.replace("not pushed: OTEL", "not exported: OTEL")),
        ]
        if not self._console.is_terminal:
            self._tell("\n".join(f"{name}: {value}" for name, value in self._links))

    async def _show(self, service: Service, began: float) -> None:
        if not self._console.is_terminal:
            await asyncio.sleep(_SECONDS_TO_THE_FIRST_LINE)
            while True:
                self._tell(self._line(service, began))
                await asyncio.sleep(_SECONDS_BETWEEN_LINES)
        with Live(console=self._console, refresh_per_second=_FRAMES_PER_SECOND, auto_refresh=False) as live:
            while True:
                live.update(self._page(service, began), refresh=True)
                await asyncio.sleep(1 / _FRAMES_PER_SECOND)

    def _tell(self, lines: str) -> None:
        """On a pipe: whoever has read enough has seen enough. A stdout that is closed or full is no loss."""
        try:
            say(lines)
        except BrokenPipeError:
            self._stop()
        except CannotSay:
            pass

    def _line(self, service: Service, began: float) -> str:
        return (
            f"{time.monotonic() - began:.0f} s: {len(service.following)} calls followed, {self._ended} ended, "
            f"{self._turns} turns answered"
        )

    def _page(self, service: Service, began: float) -> RenderableType:
        links = Table.grid(padding=(0, 2))
        for name, value in self._links:
            links.add_row(Text(name, style="bold"), Text(value, style="cyan"))
        table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
        table.add_column("call", no_wrap=True, min_width=25)
        table.add_column("agent", no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column("node", no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column("events", justify="right", no_wrap=True, min_width=6)
        table.add_column("last turn", justify="right", no_wrap=True, min_width=9)
        going_on = [call for call in service.overview.going_on() if call.events]
        calls = sorted(going_on, key=lambda call: call.since_at)
        for call in calls[-min(_MOST_ROWS, max(1, self._console.height - _OTHER_LINES)) :]:
            turn = self._latest.get(call.call_id)
            table.add_row(call.call_id, call.agent_name or "…", call.node_name or "…", str(call.events), _latency(turn))
        hint = Text(self._line(service, began) + " · Ctrl-C ends it", style="dim")
        return Group(Padding(links, (1, 0)), table, Padding(hint, (1, 0, 0, 0)))


def _first_free() -> str:
    """The usual port if nobody has it."""
    from exporter.address import listening_socket

    try:
        listening_socket(ListenAddress.parse(_DEFAULT_LISTEN)).close()
    except ConfigError:
        return _FREE_PORT
    return _DEFAULT_LISTEN


def _latency(seconds: float | None) -> Text:
    if seconds is None:
        return Text("–", style="dim")
    style = "green" if seconds < _GOOD_SECONDS else "yellow" if seconds <= _ACCEPTABLE_SECONDS else "red"
    return Text(f"{seconds:.2f} s", style=style)
