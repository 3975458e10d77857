"""Commands that stay: run, demo, simulate."""

from __future__ import annotations

import asyncio
import platform
import re
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from structlog.typing import FilteringBoundLogger

from exporter import __version__
from exporter.cli.demo import Demo
from exporter.cli.options import (
    BaseUrl,
    ConfigFile,
    ListenAddress,
    LogFormat,
    LogLevel,
    Settings,
    WebConfig,
    configured,
    logging_as,
)
from exporter.cli.printing import say
from exporter.cli.signals import in_order
from exporter.config import Config, environment
from exporter.descriptors import raise_limit
from exporter.errors import ConfigError
from exporter.outputs.otlp.settings import describe_endpoints
from exporter.service import prepared
from exporter.simulator import Simulator, SimulatorOptions, parse_faults, serve
from exporter.simulator.faults import FAULTS
from exporter.web import ListenAddress as Address
from exporter.web import RunningWeb


def run_command(
    file: ConfigFile = None,
    calls: Annotated[
        list[str] | None,
        typer.Option("--call", metavar="CALL_ID", help="Follow this call from the start. May be repeated."),
    ] = None,
    base_url: BaseUrl = None,
    poll: Annotated[
        bool | None,
        typer.Option("--discovery.poll/--no-discovery.poll", help="Ask the API for live calls.", show_default=False),
    ] = None,
    listen: ListenAddress = None,
    web_config: WebConfig = None,
    state: Annotated[
        str | None,
        typer.Option("--state.path", metavar="FILE", help="Where counters survive; '' keeps nothing."),
    ] = None,
    level: LogLevel = None,
    style: LogFormat = None,
    settings: Settings = None,
) -> None:
    """The main job: find calls, follow their streams, serve `/metrics`, push OTLP.

    Needs `ATOMS_API_KEY`. Traces and metrics are pushed when `OTEL_EXPORTER_OTLP_ENDPOINT` is set. SIGTERM drains and
    exits 0; a second signal exits at once. SIGHUP reads configuration and secrets again.
    """

    def read() -> Config:
        return configured(
            file,
            settings,
            discovery__calls=calls,
            api__base_url=base_url,
            discovery__poll__enabled=poll,
            web__listen_address=listen,
            web__config_file=web_config,
            state__path=state,
            log__level=level,
            log__format=style,
        )

    config = read()
    log = logging_as(config)
    _say_starting(log, config, file, environment())

    in_loop(_run(config, log, read))


def _give_up(waiting: asyncio.Task[None]) -> None:
    waiting.cancel()


async def _run(config: Config, log: FilteringBoundLogger, read: Callable[[], Config]) -> None:
    waiting: asyncio.Task[None] | None = asyncio.current_task()
    assert waiting is not None, "a coroutine runs in a task"
    in_order(partial(_give_up, waiting))  # it may be long until a replica has joined
    said = partial(_say_listening, log)
    try:
        async with prepared(config, environment(), log, reread=read, on_started=said) as service:
            in_order(service.stop, service.reload)
            await service.run()
    except asyncio.CancelledError:
        log.info("stopped before it joined the fleet")


def _say_starting(log: FilteringBoundLogger, config: Config, file: Path | None, env: Mapping[str, str]) -> None:
    """One line that says what runs here, with what, and where to."""
    pushed = describe_endpoints(env)
    log.info(
        "starting",
        version=__version__,
        python=platform.python_version(),
        configuration=str(file or env.get("ATOMS_EXPORTER_CONFIG_FILE", "").strip() or "no file"),
        api=config.api.base_url,
        state=str(config.state.path or "none") if config.fleet.redis_url is None else "redis",
        traces=pushed["otlp.traces"],
        metrics=pushed["otlp.metrics"],
    )


def _say_listening(log: FilteringBoundLogger, web: RunningWeb) -> None:
    log.info("listening", url=web.urls[0], metrics="/metrics")


def demo_command(
    calls: Annotated[int, typer.Option("--calls", metavar="N", min=1, max=20_000, help="Concurrent calls.")] = 12,
    speed: Annotated[float, typer.Option("--speed", metavar="X", min=0.1, max=1000, help="Times real time.")] = 1.0,
    duration: Annotated[
        float | None,
        typer.Option("--duration", metavar="SECONDS", min=0.1, max=1e9, help="Stop after so long.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Another seed, other calls.")] = 1,
    dialect: Annotated[str, typer.Option("--dialect", metavar="YEAR", help="2025 or 2026.")] = "2026",
    listen: Annotated[
        str | None,
        typer.Option(
            "--web.listen-address",
            metavar="HOST:PORT",
            help="Where to listen.",
            show_default="127.0.0.1:9464, or a free port when that is taken",
        ),
    ] = None,
    incident: Annotated[
        bool, typer.Option("--incident", help="Half a minute in, one node becomes slow: see what tells you so.")
    ] = False,
    level: LogLevel = "warning",
) -> None:
    """The same exporter against the built-in simulator: no account, no configuration, no network.

    Shows what to open, and the calls as they go. Set `OTEL_EXPORTER_OTLP_ENDPOINT` to see their traces, too.
    """
    if dialect not in ("2025", "2026"):
        raise ConfigError("--dialect", "must be 2025 or 2026")
    options = SimulatorOptions(
        calls=calls, speed=speed, seed=seed, dialect="2025" if dialect == "2025" else "2026", ramp_seconds=5.0 * speed
    )
    demo = Demo(options, listen=listen, level=level or "warning", duration=duration, incident=incident)
    in_loop(demo.run(environment()))


def simulate_command(
    listen: Annotated[
        str, typer.Option("--web.listen-address", metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
    ] = "127.0.0.1:9465",
    calls: Annotated[int, typer.Option("--calls", metavar="N", min=1, max=20_000, help="Concurrent calls.")] = 50,
    speed: Annotated[float, typer.Option("--speed", metavar="X", min=0.1, max=1000, help="Times real time.")] = 1.0,
    duration: Annotated[
        float | None,
        typer.Option("--duration", metavar="SECONDS", min=0.1, max=1e9, help="Stop after so long.", show_default=False),
    ] = None,
    total_calls: Annotated[
        int | None,
        typer.Option("--total-calls", metavar="N", min=0, help="Begin no more than these.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Same seed, same calls.")] = 1,
    dialect: Annotated[str, typer.Option("--dialect", metavar="YEAR", help="2025 or 2026.")] = "2026",
    token: Annotated[str, typer.Option("--token", help="The bearer token it accepts.")] = "simulated-key",
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="NAME=P[:KEY=VALUE…]",
            help="Misbehave with probability P; comma-separated or repeated. `--fault list` names them.",
        ),
    ] = None,
    reconnect: Annotated[
        str, typer.Option("--reconnect", metavar="HOW", help="What a returning client gets: `live` or `replay`.")
    ] = "live",
    webhook_url: Annotated[str, typer.Option("--webhook-url", metavar="URL", help="Post webhooks there.")] = "",
    webhook_secret: Annotated[str, typer.Option("--webhook-secret", help="Signs them.")] = "simulated-secret",
    events_rate: Annotated[
        float | None,
        typer.Option(
            "--events-rate", metavar="N", min=0.001, max=1e6, help="Endless calls of N events a second, for load tests."
        ),
    ] = None,
) -> None:
    """Only the simulator: an Atoms API on a port, for trying `run` and for tests. It can misbehave on demand.

    Then: `ATOMS_API_KEY=simulated-key atoms-exporter run --api.base-url http://127.0.0.1:9465/atoms/v1`. What it sent
    is at `/_simulator/ledger`; `POST /_simulator/faults` changes its faults while it runs.
    """
    if fault == ["list"]:
        for name, meaning in FAULTS.items():
            say(f"{name:24} {meaning}")
        return
    if dialect not in ("2025", "2026"):
        raise ConfigError("--dialect", "must be 2025 or 2026")
    if not token.strip():
        raise ConfigError("--token", "is empty")
    if webhook_url and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", webhook_url):
        raise ConfigError("--webhook-url", "must be a URL such as http://127.0.0.1:9464/webhooks/atoms")
    if reconnect not in ("live", "replay"):
        raise ConfigError("--reconnect", "must be live or replay")
    try:
        address = Address.parse(listen)
    except ValueError as problem:
        raise ConfigError("--web.listen-address", str(problem)) from None
    try:
        faults = tuple(each for text in fault or () for each in parse_faults(text))
    except ValueError as problem:
        raise ConfigError("--fault", str(problem)) from None
    options = SimulatorOptions(
        calls=calls,
        speed=speed,
        seed=seed,
        dialect="2025" if dialect == "2025" else "2026",
        token=token,
        faults=faults,
        webhook_url=webhook_url,
        webhook_secret=webhook_secret,
        duration=duration,
        total_calls=total_calls,
        reconnect="replay" if reconnect == "replay" else "live",
        events_rate=events_rate,
    )
    in_loop(_simulate(options, address))


async def _simulate(options: SimulatorOptions, address: Address) -> None:
    stop = asyncio.Event()
    in_order(stop.set)
    started = False

    def announce(simulator: Simulator) -> None:
        nonlocal started
        started = True
        say(simulator.base_url)

    try:
        await serve(options, address.host or "127.0.0.1", address.port, announce, stop)
    except OSError as problem:
        if started:
            raise
        why = problem.strerror or str(problem)
        raise ConfigError("--web.listen-address", f"{address} cannot be had: {why}") from problem


def in_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run in an event loop of its own: uvloop where there is one, with as many open files as allowed."""
    raise_limit()
    try:
        from uvloop import new_event_loop
    except ImportError:  # not for this platform
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)
