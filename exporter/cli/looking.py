"""Commands about calls that are over: replay, explain, backfill, trace-id."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from exporter import __version__
from exporter.calls.identity import trace_id
from exporter.calls.observations import Agent
from exporter.cli.options import BaseUrl, ConfigFile, LogLevel, Settings, configured, logging_as
from exporter.cli.printing import fail, remark, say
from exporter.config import Config, environment
from exporter.errors import ConfigError
from exporter.offline.backfill import Backfill, trace_export_or_error
from exporter.offline.explain import explained
from exporter.offline.fetching import history_of, spans_of_call
from exporter.offline.replay import by_trace, replay, spans_of_file, undelivered
from exporter.outputs.prometheus.catalogue import CHANNELS
from exporter.outputs.prometheus.metrics import Metrics

_PIPED_WIDTH = 100
_FLUSH_SECONDS = 60.0


def replay_command(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE…", help="JSON lines, a raw SSE capture, or a saved call log; `-` for standard input."
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
    say(replay(files, config, environment(), agent, channel, logging_as(config)))


def explain_command(
    call: Annotated[str, typer.Argument(metavar="CALL_ID|FILE", help="A call, or a recording of one; `-` for stdin.")],
    base_url: BaseUrl = None,
    file: ConfigFile = None,
    settings: Settings = None,
    level: LogLevel = "warning",
) -> None:
    """One call as a person reads it: hops, turns, stages, tools with their times, the slowest turn marked.

    A call id is fetched from the API and needs `ATOMS_API_KEY`.
    """
    config = configured(file, settings, api__base_url=base_url, log__level=level)
    if call == "-" or Path(call).exists():
        traces = spans_of_file(call, config)
    elif "/" in call or call.endswith((".json", ".jsonl", ".txt", ".sse")):
        raise ConfigError("FILE", f"{call} does not exist")
    else:
        traces = by_trace(asyncio.run(spans_of_call(call, config, environment(), logging_as(config))))
    console = Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH, highlight=False)
    for spans in traces.values():
        console.print(explained(spans))
    if not traces:
        fail("no events of a call in there")
        raise typer.Exit(1)


def backfill_command(
    calls: Annotated[list[str] | None, typer.Argument(metavar="[CALL_ID]…", help="Finished calls.")] = None,
    last: Annotated[
        int | None,
        typer.Option("--last", metavar="N", min=1, help="The N that changed last.", show_default=False),
    ] = None,
    base_url: BaseUrl = None,
    file: ConfigFile = None,
    settings: Settings = None,
    level: LogLevel = "warning",
) -> None:
    """Fetch finished calls and export their **traces** (never counters).

    Needs `ATOMS_API_KEY` and `OTEL_EXPORTER_OTLP_ENDPOINT`. Ids are derived from the call, so doing it twice gives the
    same traces.
    """
    if not calls and last is None:
        raise ConfigError("CALL_ID", "name calls, or give --last N")
    config = configured(file, settings, api__base_url=base_url, log__level=level)
    asyncio.run(_backfill(list(calls or ()), last, config))


async def _backfill(calls: list[str], last: int | None, config: Config) -> None:
    log = logging_as(config)
    metrics = Metrics(version=__version__)
    traces = trace_export_or_error(environment(), config, metrics)
    try:
        async with history_of(config, environment(), log) as history:
            backfill = Backfill(config, traces, history)
            if last is not None:
                calls += [call for call in await backfill.call_ids(last) if call not in calls]
            with _progress() as progress:
                task = progress.add_task("calls", total=len(calls))
                pending = [asyncio.ensure_future(backfill.export(call)) for call in calls]
                for done in asyncio.as_completed(pending):
                    await done
                    progress.advance(task)
    finally:
        await asyncio.to_thread(traces.close, _FLUSH_SECONDS)
    remark(f"{backfill.exported} of {len(calls)} calls exported")
    if backfill.going_on:
        remark(f"{len(backfill.going_on)} still going on, left alone: {', '.join(backfill.going_on[:5])}")
    for call_id, problem in list(backfill.failed.items())[:20]:
        fail(f"{call_id}: {problem}")
    if lost := undelivered(metrics):
        fail(f"{lost} spans were not delivered")
    if lost or backfill.failed:
        raise typer.Exit(1)


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
    say(f"{trace_id(call):032x}")
