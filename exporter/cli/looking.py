"""Commands about calls that are over: replay, explain, backfill, trace-id."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from structlog.typing import FilteringBoundLogger

from exporter.calls.identity import trace_id
from exporter.calls.observations import Agent
from exporter.cli.options import BaseUrl, ConfigFile, LogLevel, Settings, configured, logging_as
from exporter.cli.printing import fail, remark, say
from exporter.cli.signals import in_order
from exporter.config import Config, environment
from exporter.errors import AtomsExporterError, ConfigError
from exporter.offline.backfill import Backfill
from exporter.offline.delivery import BackendAway
from exporter.offline.explain import explained
from exporter.offline.fetching import history_of, spans_of_call
from exporter.offline.replay import by_trace, replay, spans_of_file
from exporter.offline.traces import TRACE_ID, call_of_trace, own_address
from exporter.outputs.prometheus.catalogue import CHANNELS
from exporter.outputs.spans import SpanRecord

_PIPED_WIDTH = 10_000
_MOST_NAMED = 20
_CALL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def replay_command(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE", help="JSON lines, a raw SSE capture, or a saved call log; `-` for standard input."
        ),
    ],
    agent_id: Annotated[str, typer.Option("--agent-id", help="Where the recording does not say.")] = "unknown",
    agent_name: Annotated[str, typer.Option("--agent-name", help="Where the recording does not say.")] = "unknown",
    single_prompt: Annotated[bool, typer.Option("--single-prompt", help="That agent has no workflow.")] = False,
    channel: Annotated[str, typer.Option("--channel", help=f"One of {', '.join(CHANNELS)}.")] = "unknown",
    file: ConfigFile = None,
    settings: Settings = None,
    level: LogLevel = "warning",
) -> None:
    """Recorded events through the same pipeline, offline: prints OpenMetrics text.

    Same input, same bytes out. With `OTEL_EXPORTER_OTLP_ENDPOINT` set the traces are exported, too.
    """
    if channel not in CHANNELS:
        raise ConfigError("--channel", f"must be one of {', '.join(CHANNELS)}")
    config = configured(file, settings, log__level=level)
    agent = Agent(agent_id, agent_name, single_prompt)
    text, arrived = replay(files, config, environment(), agent, channel, logging_as(config))
    say(text)
    if not arrived:
        raise typer.Exit(1)


def explain_command(
    call: Annotated[
        str,
        typer.Argument(
            metavar="CALL_ID|TRACE_ID|FILE", help="A call, its trace's id, or a recording of one; `-` for stdin."
        ),
    ],
    exporter: Annotated[
        str | None,
        typer.Option(
            "--exporter",
            metavar="URL",
            help="The running exporter, which knows trace ids; by default on this machine.",
            show_default=False,
        ),
    ] = None,
    base_url: BaseUrl = None,
    file: ConfigFile = None,
    settings: Settings = None,
    level: LogLevel = "warning",
) -> None:
    """One call as a person reads it: hops, turns, stages, tools with their times, the slowest turn marked.

    A call id is fetched from the API and needs `ATOMS_API_KEY`. A trace id is looked up at the running exporter, which
    knows the calls it follows and those that ended within the hour.
    """
    config = configured(file, settings, api__base_url=base_url, log__level=level)
    if call == "-" or (call and os.path.exists(call)):  # Path's raises for a name that is too long
        traces = spans_of_file(call, config)
    elif "/" in call or call.endswith((".json", ".jsonl", ".txt", ".sse", ".gz")):
        raise ConfigError("FILE", f"{call} does not exist")
    else:
        asked = _asked_for(call)
        traces = by_trace(asyncio.run(_spans(asked, exporter, config)))
    if not traces:
        fail("no events of a call in there")
        raise typer.Exit(1)
    width = None if sys.stdout is not None and sys.stdout.isatty() else _PIPED_WIDTH
    console = Console(width=width, highlight=False)
    with console.capture() as shown:
        for spans in traces.values():
            console.print(explained(spans))
    say(shown.get())


async def _spans(asked: str, exporter: str | None, config: Config) -> list[SpanRecord]:
    """The spans of a call, by its id or its trace's."""
    env = environment()
    if TRACE_ID.fullmatch(asked):
        where = exporter or own_address(config.web.listen_address, tls=config.web.config_file is not None)
        asked = await call_of_trace(asked, where, env)
    return await spans_of_call(asked, config, env, logging_as(config))


def backfill_command(
    calls: Annotated[list[str] | None, typer.Argument(metavar="CALL_ID", help="Finished calls.")] = None,
    last: Annotated[
        int | None,
        typer.Option("--last", metavar="N", min=1, help="The N that changed last.", show_default=False),
    ] = None,
    base_url: BaseUrl = None,
    file: ConfigFile = None,
    settings: Settings = None,
    level: LogLevel = "warning",
) -> None:
    """Fetch finished calls and export their traces (never counters).

    Needs `ATOMS_API_KEY` and `OTEL_EXPORTER_OTLP_ENDPOINT`. Ids are derived from the call, so doing it twice gives the
    same traces.
    """
    if not calls and last is None:
        raise ConfigError("CALL_ID", "name calls, or give --last N")
    named = [_asked_for(call) for call in calls or ()]
    config = configured(file, settings, api__base_url=base_url, log__level=level)
    log = logging_as(config)
    backfill = Backfill(config, environment())
    if not asyncio.run(_backfill(backfill, named, last, config, log)):
        raise typer.Exit(1)


async def _backfill(
    backfill: Backfill, calls: list[str], last: int | None, config: Config, log: FilteringBoundLogger
) -> bool:
    """Whether everything asked for has arrived. The first signal ends it in order: what was fetched is still sent."""
    work = asyncio.ensure_future(_fetch_and_send(backfill, calls, last, config, log))
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        backfill.delivery.stop_waiting()
        work.cancel()

    in_order(stop)
    problem: AtomsExporterError | None = None
    try:
        await work
    except asyncio.CancelledError:
        remark("stopped; what was fetched is still sent")
    except BackendAway as away:
        problem = away
    finally:
        lost = await asyncio.to_thread(backfill.delivery.close, config.shutdown_timeout if stopped else 0.0)
    return _told(backfill, len(calls), lost, problem) and not stopped


async def _fetch_and_send(
    backfill: Backfill, calls: list[str], last: int | None, config: Config, log: FilteringBoundLogger
) -> None:
    async with history_of(config, environment(), log) as history:
        if last is not None:
            calls += [call.call_id async for call in history.recent(last) if call.call_id not in calls]
        with _progress() as progress:
            task = progress.add_task("calls", total=len(calls))
            await backfill.export_all(history, calls, lambda: progress.advance(task))


def _told(backfill: Backfill, calls: int, lost: int, problem: AtomsExporterError | None) -> bool:
    """Say what became of it; whether all is well."""
    if problem is not None:
        fail(str(problem))
    remark(f"{backfill.exported} of {calls} calls exported to {backfill.endpoint}")
    if backfill.going_on:
        remark(f"{len(backfill.going_on)} still going on, left alone: {_some(backfill.going_on)}")
    for call_id, why in list(backfill.failed.items())[:_MOST_NAMED]:
        fail(f"{call_id}: {why}")
    if lost:
        missing = backfill.undelivered()
        fail(f"{lost} spans were not delivered to {backfill.endpoint}, of {len(missing)} calls: {_some(missing)}")
    return not (lost or backfill.failed or problem)


def _some(calls: Sequence[str]) -> str:
    more = len(calls) - _MOST_NAMED
    return ", ".join(calls[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _asked_for(call: str) -> str:
    """An id that may become a part of a URL."""
    if not _CALL_ID.fullmatch(call):
        raise ConfigError("CALL_ID", "must be a call id such as CALL-1758124225863-80752e")
    return call


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def trace_id_command(
    call: Annotated[str, typer.Argument(metavar="CALL_ID", help="Such as CALL-1758124225863-80752e.")],
) -> None:
    """The trace id of a call: 32 hex digits, to paste into Tempo or Jaeger."""
    if not call.strip():
        raise ConfigError("CALL_ID", "is empty; it must be a call id such as CALL-1758124225863-80752e")
    say(f"{trace_id(call):032x}")
