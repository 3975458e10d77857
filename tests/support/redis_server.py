"""Fixtures of a real Redis on the loopback, one a session; each test gets a namespace nobody else uses."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from exporter.fleet.connecting import Redis
from exporter.fleet.facts import Row, found
from exporter.fleet.seat import Seat
from tests.support.peers import redis_in

LEASE_SECONDS = 2.0


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis server."""
    with redis_in(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture
def namespace() -> str:
    """A fleet of its own."""
    return uuid4().hex[:8]


def reached(port: int, namespace: str) -> Redis:
    """A connection of one fleet."""
    return Redis(f"redis://127.0.0.1:{port}/0", namespace)


def seated(redis: Redis, name: str, *, lease: float = LEASE_SECONDS, settled: bool = True) -> Seat:
    """A seat taken for a test. ``settled``: Redis has been there for longer than a lease, as far as the fleet knows."""
    answer = redis.run("join", name, int(lease * 1000), b"", uuid4().hex)
    assert answer[0] == b"joined", answer
    _, epoch, fleet_id, version, founded = answer
    if settled:
        redis.client.hset(f"{redis.prefix}fleet", "back_at", "1")
    return Seat(name, epoch.decode(), fleet_id.decode(), version, founded == 1)


def lapsed(redis: Redis, name: str) -> None:
    """Its lease is over, as if time had passed."""
    redis.client.zadd(f"{redis.prefix}leases", {name: 1})


def claimed(redis: Redis, seat: Seat, *call_ids: str) -> None:
    """The seat owns these calls, however they came to be."""
    for call_id in call_ids:
        if ":" not in call_id:  # an identity of a delivery, which nobody owns
            redis.run("publish", call_id, found(Row("listed", call_id)), "new")
            answer = redis.run("claim", seat.name, seat.epoch, int(LEASE_SECONDS * 1000), call_id)
            assert answer[0] == b"claimed", answer
