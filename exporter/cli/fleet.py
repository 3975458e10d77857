"""Commands about replicas that share an account: who is there, and moving what is kept to them and back."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from exporter.cli.options import ConfigFile, Settings, configured
from exporter.cli.printing import remark, say
from exporter.config import Config
from exporter.errors import ConfigError
from exporter.fleet.connecting import SCHEMES, Redis, shown_url
from exporter.fleet.copying import Place, copied, taken_seat
from exporter.fleet.looking import FleetSeen, seen
from exporter.fleet.member import Settings as FleetSettings
from exporter.service import fleet_settings
from exporter.state.sqlite import SQLiteStore

_MOST_NAMED = 20


def fleet_command(
    file: ConfigFile = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: everything, as JSON.")] = False,
) -> None:
    """Who is a member of the fleet, since when, with how many calls; which calls nobody follows.

    Needs `fleet.redis_url`, and asks Redis only.
    """
    where = _fleet_of(configured(file, settings))
    redis = Redis(where.url, where.namespace, password=where.password)
    try:
        found = seen(redis)
    finally:
        redis.close()
    say(json.dumps(asdict(found), indent=2) if as_json else _table(found, time.time()))


def _fleet_of(config: Config, url: str | None = None) -> FleetSettings:
    where = fleet_settings(config, url)
    if where is None:
        raise ConfigError("fleet.redis_url", "is required: it says where the fleet's Redis is")
    return where


def _table(found: FleetSeen, now: float) -> str:
    """For people."""
    rows = [("REPLICA", "SINCE", "CALLS", "ROOM", "LEASE", "VERSION", "")]
    for each in found.members:
        lease = f"{each.lease_seconds:.0f}s left" if each.lease_seconds > 0 else f"over for {-each.lease_seconds:.0f}s"
        since = _ago(now - each.since) if each.since else "?"
        rows.append(
            (each.name, since, str(each.calls), str(each.room), lease, each.version, "polls" if each.polls else "")
        )
    for gone in found.gone:
        how = {"dead": "taken for dead", "left": "left"}.get(gone.why, "gone")
        rows.append((gone.name, "", str(gone.calls), "", f"{how} {_ago(now - gone.last)} ago", "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", *_unowned("found and not claimed yet", found.waiting, found.waiting_calls)]
    left = sum(gone.calls for gone in found.gone)
    lines += _unowned("left by replicas that are gone", found.left_calls, left)
    return "\n".join(lines)


def _unowned(which: str, calls: tuple[str, ...], many: int) -> list[str]:
    lines = [f"calls {which}: {many}"]
    lines += [f"  {call_id}" for call_id in calls[:_MOST_NAMED]]
    return [*lines, f"  and {many - _MOST_NAMED} more"] if many > _MOST_NAMED else lines


def _ago(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


# -- moving what is kept

state = typer.Typer(
    help="What is kept of an account.", no_args_is_help=True, rich_markup_mode=None, add_completion=False
)


@state.callback()
def _state() -> None:
    """What is kept of an account."""


def state_copy_command(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A state file, or `redis`: as fleet.redis_url says.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The other way round; a file must be a new one.")],
    file: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Move what is kept between a file and a fleet's Redis, so that no count is lost on the way.

    Neither may be in use: stop the exporter first. Counters go to, or come from, the replica that `fleet.name` names.
    """
    config = configured(file, settings)
    if _is_redis(source) == _is_redis(target):
        raise ConfigError("TO", "one of FROM and TO is a state file, the other is Redis")
    with ExitStack() as stack:
        both = [_opened(each, config, stack, new=each == target) for each in (source, target)]
        moved = copied(*both)
    remark(f"{moved.series} series, {moved.calls} calls, {moved.finished} calls that are over")


def _is_redis(where: str) -> bool:
    return where == "redis" or where.partition("://")[0] in SCHEMES


def _opened(where: str, config: Config, stack: ExitStack, *, new: bool) -> Place:
    if not _is_redis(where):
        path = Path(where)
        if new and path.exists() and path.stat().st_size:
            raise ConfigError("TO", f"{path} exists already: name a new file, or remove it")
        if not new and not path.exists():
            raise ConfigError("FROM", f"{path} does not exist")
        store = SQLiteStore(path)
        stack.callback(store.close)
        return store
    settings = _fleet_of(config, None if where == "redis" else where)
    redis = Redis(settings.url, settings.namespace, password=settings.password)
    stack.callback(redis.close)
    replica = f"replica {settings.name}"
    remark(replica if where == "redis" else f"{shown_url(where)}: {replica}")
    return stack.enter_context(taken_seat(redis, settings.name))
