"""Reads gather: when the loop rests between its turns, and when it must not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from exporter.receivers.gathering import (
    BUSY_PER_SECOND,
    EVENTS_IN_A_TURN,
    HURRY_SECONDS,
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    Gathering,
)


class Loop:
    """What a loop under test is made to see, and how long it was sent to sleep."""

    def __init__(self) -> None:
        self.events = 0
        self.more = 0
        self.rests: list[float] = []
        self.looks = 0

    def count(self) -> int:
        self.looks += 1
        self.events += self.more
        return self.events

    def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)


@asynccontextmanager
async def gathering(loop: Loop, clock: Callable[[], float] = time.perf_counter) -> AsyncIterator[None]:
    running = asyncio.ensure_future(Gathering(loop.count, look_seconds=0.001, sleep=loop.sleep, clock=clock).run())
    try:
        yield
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110  # every turn of the loop is what the test is about
            await asyncio.sleep(0)


async def _looks(loop: Loop, number: int) -> None:
    wanted = loop.looks + number
    await _until(lambda: loop.looks >= wanted)


async def test_many_events_make_it_rest_and_never_longer_than_a_turn() -> None:
    loop = Loop()
    loop.more = 1_000
    async with gathering(loop):
        await _until(lambda: len(loop.rests) > 20)
    assert all(0 < rest <= LONGEST_SECONDS for rest in loop.rests)


@pytest.mark.parametrize(
    ("per_second", "turn"),
    [
        (BUSY_PER_SECOND, LONGEST_SECONDS),
        (EVENTS_IN_A_TURN / 0.01, 0.01),
        (EVENTS_IN_A_TURN / SHORTEST_SECONDS, SHORTEST_SECONDS),
        (1_000_000, SHORTEST_SECONDS),
    ],
)
async def test_a_turn_waits_for_about_as_many_events_whatever_their_rate(per_second: float, turn: float) -> None:
    loop, now = Loop(), [0.0]

    def sleep(seconds: float) -> None:
        loop.rests.append(seconds)
        now[0] += seconds

    def events() -> int:
        loop.looks += 1
        return int(now[0] * per_second * 1.01) + 1

    reader = Gathering(events, look_seconds=0.001, sleep=sleep, clock=lambda: now[0])
    running = asyncio.ensure_future(reader.run())
    while len(loop.rests) < 50 and now[0] < 100:
        now[0] += 0.0001
        await asyncio.sleep(0)
    running.cancel()
    assert turn * 0.9 <= loop.rests[-1] <= turn


async def test_few_events_never_make_it_rest() -> None:
    loop = Loop()
    async with gathering(loop):
        await _looks(loop, 20)
    assert loop.rests == []


async def test_it_stops_resting_when_the_events_stop() -> None:
    loop = Loop()
    loop.more = 1_000
    async with gathering(loop):
        await _until(lambda: bool(loop.rests))
        loop.more = 0
        await _looks(loop, 4)
        rests = len(loop.rests)
        await _looks(loop, 20)
        assert len(loop.rests) == rests
        loop.more = 1_000
        await _until(lambda: len(loop.rests) > rests)


async def test_nothing_keeps_the_loop_turning_once_it_is_cancelled() -> None:
    loop = Loop()
    loop.more = 1_000
    async with gathering(loop):
        await _until(lambda: bool(loop.rests))
    await asyncio.sleep(0)
    rests = len(loop.rests)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(loop.rests) == rests


async def test_an_overloaded_loop_never_rests() -> None:
    loop = Loop()
    loop.more = 1_000_000
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 2 * LONGEST_SECONDS  # whatever happens between two looks at it takes longer than a turn
        return now

    async with gathering(loop, clock):
        await _looks(loop, 20)
    assert loop.rests == []


async def test_it_does_not_rest_while_somebody_waits_for_an_answer() -> None:
    loop, now = Loop(), [0.0]
    loop.more = 1_000
    reader = Gathering(loop.count, look_seconds=0.001, sleep=loop.sleep, clock=lambda: now[0])
    reader.hurry()
    running = asyncio.ensure_future(reader.run())
    await _looks(loop, 5)
    assert loop.rests == []
    now[0] = HURRY_SECONDS
    await _until(lambda: bool(loop.rests))
    running.cancel()
