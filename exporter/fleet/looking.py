"""The fleet as anybody may look at it: who is a member, and which calls nobody follows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from exporter.fleet.connecting import Redis, meaning
from exporter.fleet.membership import About

_MOST_NAMED = 1_000


@dataclass(frozen=True)
class MemberSeen:
    """One that holds a seat. ``since`` is Unix time; ``lease_seconds`` is how much of its lease is left: below 0 it is
    over."""

    name: str
    since: float
    calls: int
    room: int
    version: str
    lease_seconds: float
    polls: bool


@dataclass(frozen=True)
class GoneSeen:
    """One that holds none, though it has left calls or numbers. ``last`` is when it was last there, Unix time."""

    name: str
    calls: int
    why: str
    last: float


@dataclass(frozen=True)
class FleetSeen:
    """All of it at one moment. ``waiting`` names calls that were found and not claimed yet, a thousand at the most."""

    members: tuple[MemberSeen, ...]
    gone: tuple[GoneSeen, ...]
    waiting: tuple[str, ...]
    waiting_calls: int
    left_calls: tuple[str, ...]


def seen(redis: Redis) -> FleetSeen:
    """Look. Raises Interrupted."""
    p = redis.prefix
    with meaning():
        asked = redis.client.pipeline(transaction=True)
        asked.time()
        asked.hgetall(f"{p}epochs")
        asked.zrange(f"{p}leases", 0, -1, withscores=True)
        asked.hgetall(f"{p}about")
        asked.get(f"{p}poller")
        asked.zrange(f"{p}names", 0, -1, withscores=True)
        asked.hgetall(f"{p}went")
        asked.zrange(f"{p}waiting", 0, _MOST_NAMED - 1)
        asked.zcard(f"{p}waiting")
        (seconds, microseconds), epochs, leases, about, poller, names, went, waiting, many = asked.execute()
        calls = _counted(redis, [name for name, _ in names])
        members = tuple(
            _member(name, ends / 1000 - seconds - microseconds / 1e6, about.get(name, b""), calls, name == poller)
            for name, ends in sorted(leases)
        )
        gone = tuple(
            GoneSeen(name.decode(), calls.get(name, 0), went.get(name, b"").decode(), at / 1000)
            for name, at in sorted(names)
            if name not in epochs
        )
        left = [call for each in gone if each.calls for call in _some(redis, each.name)]
    return FleetSeen(members, gone, _texts(waiting), many, tuple(left[:_MOST_NAMED]))


def _counted(redis: Redis, names: list[bytes]) -> dict[bytes, int]:
    """How many calls each of them owns."""
    asked = redis.client.pipeline(transaction=False)
    for name in names:
        asked.scard(f"{redis.prefix}calls:{name.decode()}")
    return dict(zip(names, asked.execute(), strict=True)) if names else {}


def _some(redis: Redis, name: str) -> tuple[str, ...]:
    return _texts(redis.client.srandmember(f"{redis.prefix}calls:{name}", _MOST_NAMED))


def _member(name: bytes, left: float, about: bytes, calls: dict[bytes, int], polls: bool) -> MemberSeen:
    try:
        said = msgspec.msgpack.decode(about, type=About)
    except msgspec.DecodeError:
        said = About(0.0, 0, 0, "")
    return MemberSeen(name.decode(), said.since, calls.get(name, 0), said.room, said.version, left, polls)


def _texts(parts: Iterable[Any]) -> tuple[str, ...]:
    return tuple(part.decode() for part in parts)
