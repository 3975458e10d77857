"""Moving what is kept: from one process to a fleet, and back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import uuid4

from exporter.errors import ConfigError
from exporter.fleet.connecting import Redis, meaning
from exporter.fleet.seat import Seat
from exporter.fleet.store import RedisStore
from exporter.state.kept import CALL_FORM, CallNews, Commit, SavedState

_LEASE_SECONDS = 60.0


@dataclass(frozen=True)
class Moved:
    """What went over; how many of each."""

    series: int
    calls: int
    finished: int


class Place(Protocol):
    """A store, as it is copied from and to."""

    def load(self) -> SavedState:
        """What is kept there."""

    def save(self, commit: Commit) -> None:
        """Keep this."""

    def go_ahead(self) -> bool:
        """What is kept must not be gone on from."""


class WholeFleet:
    """A fleet in which only we have a seat: all its calls, and the numbers of the seat's name."""

    def __init__(self, redis: Redis, store: RedisStore) -> None:
        self._redis = redis
        self._store = store

    def load(self) -> SavedState:
        """The calls of all replicas there ever were."""
        with meaning():
            names = self._redis.client.zrange(f"{self._redis.prefix}names", 0, -1)
        calls = [call for name in names for call in self._store.calls_of(name.decode())]
        return replace(self._store.load_numbers(), calls=calls)

    def save(self, commit: Commit) -> None:
        """Whatever Redis had under this name goes."""
        self._store.save(replace(commit, in_full=True))

    def go_ahead(self) -> bool:
        """As the store does."""
        return self._store.go_ahead()


@contextmanager
def taken_seat(redis: Redis, name: str) -> Iterator[WholeFleet]:
    """A seat under this name while nobody else has one.

    :raises ConfigError: replicas are there.
    """
    seat = Seat.given(name, redis.run("join", name, int(_LEASE_SECONDS * 1000), b"", uuid4().hex))
    if seat is None:
        raise ConfigError("fleet.redis_url", f"replica {name} is there: stop all of them first")
    try:
        with meaning():
            others = [each.decode() for each in redis.client.hkeys(f"{redis.prefix}epochs") if each.decode() != name]
        if others:
            raise ConfigError("fleet.redis_url", f"replica {others[0]} is there: stop all of them first")
        yield WholeFleet(redis, RedisStore(redis, seat, lease_seconds=_LEASE_SECONDS))
    finally:
        redis.run("leave", seat.name, seat.epoch)


def copied(source: Place, target: Place) -> Moved:
    """Everything from one to the other, in one commit.

    :raises ConfigError: what is there is of an older version, or not to be read.
    """
    saved = source.load()
    if not saved.readable:
        raise ConfigError("FROM", f"cannot be read: {saved.trouble}")
    if any(call.form != CALL_FORM for call in saved.calls):
        raise ConfigError("FROM", "has calls of an older version: let this version run on it once")
    target.load()
    news = [
        CallNews(call.call_id, call.agent, call.channel, call.opened_at, tuple(call.counted), call.waiting)
        for call in saved.calls
    ]
    target.save(
        Commit(
            at=saved.committed_at or time.time(),
            calls=news,
            over=saved.finished,
            series=saved.series,
            layouts=saved.layouts,
            pages=saved.pages,
            instance_id=saved.instance_id,
            counts_since=saved.counts_since,
            anew=True,
        )
    )
    if saved.ahead:
        target.go_ahead()
    return Moved(len(saved.series), len(news), len(saved.finished))
