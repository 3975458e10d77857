"""What one reader may take of the event loop while others have something to read, too."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable
from itertools import count

import httpx
import pytest
from upstream import Exchange, Upstream, api_for, until

from exporter.errors import Interrupted
from exporter.receivers import connection as connections
from exporter.receivers.reading import reader_for
from exporter.receivers.shares import FLOOD_SECONDS, SHARE_BYTES, Shares
from exporter.receivers.transport import PushTransport

FRAME = b"data: 0\n\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


def pouring(times: int, piece: bytes, head: bytes = STREAM + b"\r\n") -> Callable[[Exchange], Awaitable[None]]:
    async def play(exchange: Exchange) -> None:
        await exchange.send(head)
        for _ in range(times):
            await exchange.send(piece)

    return play


class Clock:
    """Tells a time that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_readers_with_more_than_a_slice_take_turns() -> None:
    clock = Clock()
    shares = Shares(slice_seconds=1.0, clock=clock)
    order: list[str] = []

    async def read(name: str) -> None:
        pace = shares.pace(lambda: None)
        async for _ in pace.through(iter(range(3))):
            clock.now += 1.0
            order.append(name)

    await asyncio.gather(*(read(name) for name in "abc"))
    assert order == ["a", "b", "c"] * 3


async def test_a_turn_is_not_lost_with_the_reader_who_waited_for_it() -> None:
    shares = Shares()
    leaving, staying = asyncio.ensure_future(shares.turn()), asyncio.ensure_future(shares.turn())
    await asyncio.sleep(0)
    leaving.cancel()
    async with asyncio.timeout(10):
        await staying
        await shares.turn()


async def test_a_reader_who_takes_a_second_of_ten_is_told_once_and_a_replay_is_not() -> None:
    clock = Clock()
    told: list[float] = []
    pace = Shares(clock=clock).pace(lambda: told.append(clock.now))

    async def work(seconds: float) -> None:
        async for _ in pace.through(iter(range(round(seconds / 0.01)))):
            clock.now += 0.01

    await work(0.6 * FLOOD_SECONDS)
    clock.now += 11 * FLOOD_SECONDS
    await work(0.6 * FLOOD_SECONDS)
    assert told == []
    await work(0.6 * FLOOD_SECONDS)
    await work(3 * FLOOD_SECONDS)
    assert len(told) == 1


@pytest.mark.parametrize("coding", ["identity", "gzip", "deflate", "chunks of one byte"])
async def test_other_streams_are_read_while_one_floods(coding: str) -> None:
    """By order: whatever the others send is read before the flood is, and they began after it."""
    flood = FRAME * 120_000
    if coding == "gzip":
        packed = gzip.compress(flood)
        play = pouring(1, packed, STREAM + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed))
    elif coding == "deflate":
        packed = zlib.compress(flood)
        play = pouring(1, packed, STREAM + b"Content-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(packed))
    elif coding == "identity":
        play = pouring(1, flood)
    else:
        chunked = b"".join(b"1\r\n%c\r\n" % byte for byte in FRAME * 20_000)
        play = pouring(1, chunked + b"0\r\n\r\n", STREAM + b"Transfer-Encoding: chunked\r\n\r\n")

    async def quiet(exchange: Exchange) -> None:
        await exchange.stream()
        for number in range(20):
            await exchange.chunks(b"data: %d\n\n" % number)
            await asyncio.sleep(0)
        await exchange.finish()

    upstream = Upstream(play, quiet)
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        flooded, heard = count(), 0
        begun = asyncio.Event()

        def pour(payload: bytes) -> None:
            next(flooded)
            begun.set()

        async def read(take: Callable[[bytes], None]) -> None:
            reader = reader_for(await api.open_stream("CALL-1"), 1 << 20, api.shares)
            await reader.drain(take, lambda: None)

        def hear(payload: bytes) -> None:
            nonlocal heard
            heard += 1

        flooding = asyncio.ensure_future(read(pour))
        await begun.wait()
        await asyncio.gather(*(read(hear) for _ in range(5)))
        assert heard == 100
        assert not flooding.done(), "the flood was read to its end first"
        await flooding
        assert next(flooded) == (20_000 if coding == "chunks of one byte" else 120_000)


async def test_a_coding_that_was_not_asked_for_and_cannot_be_bounded_is_refused_and_counted() -> None:
    upstream = Upstream(pouring(1, b"x", STREAM + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\n"))
    async with upstream.serving(), api_for(upstream.url) as (api, heard):
        with pytest.raises(Interrupted):
            await api.open_stream("CALL-1")
    assert heard.counts["bound", "stream_coding"] == 1


async def test_what_waits_to_be_read_is_bounded_over_all_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_HELD_BYTES", 100_000)
    hits: list[str] = []
    shares = Shares(hits.append)
    upstream = Upstream(pouring(200, FRAME * 10_000))
    transport = PushTransport(shares=shares)
    async with upstream.serving(), httpx.AsyncClient(transport=transport, base_url=upstream.url) as client:
        responses = [await client.send(client.build_request("GET", "/x"), stream=True) for _ in range(6)]
        await until(lambda: hits != [])
        assert set(hits) == {"stream_held"}
        assert shares.held_bytes <= 100_000
        for response in responses:
            await response.aclose()
        assert shares.held_bytes == 0


async def test_more_than_a_share_comes_whole_and_in_order_and_the_end_after_it() -> None:
    upstream = Upstream(pouring(1, b"".join(b"%07d" % number for number in range(10 * SHARE_BYTES))))
    transport = PushTransport()
    async with upstream.serving(), httpx.AsyncClient(transport=transport, base_url=upstream.url) as client:
        got = bytearray()
        async with client.stream("GET", "/x") as response:
            await response.extensions["drain_into"](got.extend)
        assert bytes(got) == b"".join(b"%07d" % number for number in range(10 * SHARE_BYTES))
        assert transport._shares.held_bytes == 0
