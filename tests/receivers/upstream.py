"""An upstream for the receivers' tests: a real server on a real socket that plays what a test tells it to.

It writes bytes, not HTTP objects: what a well-behaved framework would never send can be sent too.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import structlog

from exporter.receivers.client import AtomsApi

Play = Callable[["Exchange"], Awaitable[None]]


class Exchange:
    """One request and the means to answer it."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ")
        self.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if line)}
        self.path = urlsplit(self.target).path
        self.segments = [unquote(part) for part in self.path.split("/")]
        self.query = {k: v[0] for k, v in parse_qs(urlsplit(self.target).query).items()}
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: int, body: bytes = b"", kind: str = "application/json", **headers: str) -> None:
        extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
        await self.send(head.encode() + body)

    async def stream(self, *frames: bytes, kind: str = "text/event-stream", finish: bool = False) -> None:
        await self.send(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        await self.chunks(*frames)
        if finish:
            await self.finish()

    async def chunks(self, *frames: bytes) -> None:
        for frame in frames:
            await self.send(f"{len(frame):x}\r\n".encode() + frame + b"\r\n")

    async def finish(self) -> None:
        await self.send(b"0\r\n\r\n")

    async def hang(self) -> None:
        """Say nothing more, until the client goes."""
        while await self.reader.read(1024):
            pass


class Upstream:
    """Plays one script per request, in order; the last one again and again."""

    def __init__(self, *plays: Play) -> None:
        self.plays = list(plays)
        self.requests: list[Exchange] = []
        self.url = ""
        self.open = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            exchange = Exchange(head[:-4], reader, writer)
            play = self.plays[min(len(self.requests), len(self.plays) - 1)]
            self.requests.append(exchange)
            await play(exchange)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    @asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Upstream]:
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._serve(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/api/v1"
        try:
            yield self
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class Heard:
    """A telemetry that remembers what it was told."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[Any, ...]] = Counter()
        self.states: list[str | None] = []
        self.up: bool | None = None
        self.why = ""

    def stream_state(self, before: str | None, after: str | None) -> None:
        assert before == (self.states[-1] if self.states else None)
        self.states.append(after)

    def stream_reconnected(self, reason: str) -> None:
        self.counts["reconnected", reason] += 1

    def stream_failed(self, status: str) -> None:
        self.counts["failed", status] += 1

    def discovery_request(self, source: str, outcome: str) -> None:
        self.counts["request", source, outcome] += 1

    def api_answered(self, good: bool, why: str = "") -> None:
        self.up, self.why = good, why

    def webhook(self, event: str, outcome: str) -> None:
        self.counts["webhook", event, outcome] += 1

    def event_rejected(self, reason: str) -> None:
        self.counts["rejected", reason] += 1

    def bound_hit(self, what: str, n: int = 1) -> None:
        self.counts["bound", what] += n

    def unknown_value(self, field: str) -> None:
        self.counts["unknown", field] += 1

    def answer_surprised(self, n: int) -> None:
        self.counts["surprised"] += n


class Naps:
    """A sleep that takes no time and remembers how long it should have been."""

    def __init__(self, limit: int = 1000) -> None:
        self.asked: list[float] = []
        self.limit = limit

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        if len(self.asked) > self.limit:
            raise AssertionError("slept too often")
        await asyncio.sleep(0)


class MostlyOne(random.Random):
    """Jitter that always takes the upper end, so that delays can be told exactly."""

    def uniform(self, a: float, b: float) -> float:
        return b


@asynccontextmanager
async def api_for(url: str, **options: Any) -> AsyncIterator[tuple[AtomsApi, Heard]]:
    heard = Heard()
    log = options.pop("log", structlog.get_logger())
    api = AtomsApi(url, options.pop("token", "secret-token"), telemetry=heard, log=log, **options)
    try:
        yield api, heard
    finally:
        await api.aclose()


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for is another thread of events, which sets no Event
            await asyncio.sleep(0.005)
