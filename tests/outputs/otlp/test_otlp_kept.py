"""What is pushed was kept before; while nothing can be kept, a backend gets what last was, for a while."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from exporter.outputs.otlp import metric_push
from exporter.outputs.otlp.retry import Backoff
from exporter.outputs.prometheus.pages import Showing
from tests.support.desk import Desk
from tests.system.world import until

CALLS = "atoms_calls_started_total"
UP = "atoms_exporter_state_up"


def pushes(backend: Any) -> list[tuple[float, float]]:
    """Of each push: the calls in it, and whether it says that the store is well."""
    found = []
    for request in list(backend.requests):
        metrics = {
            metric.name: metric
            for resource in request.message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }
        calls = sum(point.as_double for point in metrics[CALLS].sum.data_points) if CALLS in metrics else 0.0
        found.append((calls, sum(point.as_double for point in metrics[UP].gauge.data_points)))
    return found


@asynccontextmanager
async def pushing(desk: Desk, backend: Any) -> AsyncIterator[None]:
    """The desk's metrics, pushed every 50 ms as the service does it."""
    desk.metrics.state = lambda: (not desk.keeping.failing, desk.keeping.age_seconds)
    showing = Showing(desk.metrics, desk.scrapers, desk.keeping, clock=lambda: desk.now)
    showing.attach(asyncio.get_running_loop())
    push = metric_push(backend.env, showing, desk.metrics, backoff=Backoff(random.Random(1), first_seconds=0.02))
    assert push is not None
    try:
        yield
    finally:
        await asyncio.to_thread(push.close, 10.0)


async def three_more(backend: Any) -> list[tuple[float, float]]:
    """The next pushes: the first may have been on its way."""
    before = len(backend.requests)
    await until(lambda: len(backend.requests) >= before + 4)
    return pushes(backend)[before + 1 :]


async def test_nothing_is_pushed_before_it_is_kept(http_backend: Any) -> None:
    desk = Desk()
    async with pushing(desk, http_backend):
        await until(lambda: http_backend.requests)
        desk.paper.gate = threading.Event()
        desk.feed("one", 100)
        await until(lambda: desk.paper.inside)
        assert {calls for calls, _ in pushes(http_backend)} == {0.0}, "its commit is being written"
        desk.paper.gate.set()
        await until(lambda: (1.0, 1.0) in pushes(http_backend))


async def test_while_nothing_can_be_kept_a_backend_gets_what_last_was(http_backend: Any) -> None:
    desk = Desk(max_stale=3600.0)
    desk.feed("one", 100)
    async with pushing(desk, http_backend):
        await until(lambda: (1.0, 1.0) in pushes(http_backend))
        desk.paper.failing = True
        await until(lambda: desk.keeping.failing)
        desk.feed("two", 100)
        assert set(await three_more(http_backend)) == {(1.0, 0.0)}
        assert not desk.paper.flag
        desk.paper.failing = False
        await until(lambda: (2.0, 1.0) in pushes(http_backend))


async def test_after_max_stale_pushes_go_ahead_and_the_next_life_is_told_before(http_backend: Any) -> None:
    desk = Desk(max_stale=0.3)
    desk.feed("one", 100)
    async with pushing(desk, http_backend):
        await until(lambda: (1.0, 1.0) in pushes(http_backend))
        desk.paper.failing = True
        await until(lambda: desk.keeping.failing)
        desk.feed("two", 100)
        await until(lambda: (2.0, 0.0) in pushes(http_backend))
        assert desk.paper.flag
        desk.paper.failing = False
        await until(lambda: (2.0, 1.0) in pushes(http_backend))
        await until(lambda: not desk.paper.flag)
    assert [calls for calls, _ in pushes(http_backend)] == sorted(calls for calls, _ in pushes(http_backend))


async def test_where_the_next_life_cannot_be_told_pushes_stay_as_kept(http_backend: Any) -> None:
    desk = Desk(max_stale=0.0)
    desk.feed("one", 100)
    async with pushing(desk, http_backend):
        await until(lambda: (1.0, 1.0) in pushes(http_backend))
        desk.paper.failing = desk.paper.flag_fails = True
        await until(lambda: desk.keeping.failing)
        desk.feed("two", 100)
        assert set(await three_more(http_backend)) == {(1.0, 0.0)}
