"""The floor: a bare ``asyncio.Protocol`` that only reads and counts frames. No HTTP, no JSON, no metrics."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

from benchmarks.measuring import arguments, call_ids, obey, rss_kib, run


class Reader(asyncio.Protocol):
    """Counts the frame ends it sees."""

    frames = 0

    def __init__(self, request: bytes) -> None:
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]  # uvloop's is no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        Reader.frames += data.count(b"\n\n")


async def main() -> None:
    given = arguments()
    url = urlsplit(given.base_url)
    calls = await call_ids(given.base_url, given.token, given.streams, given.ca)
    tls = ssl.create_default_context(cafile=given.ca) if given.ca else None
    loop, before, gate = asyncio.get_running_loop(), rss_kib(), asyncio.Semaphore(50)

    async def connect(call_id: str) -> None:
        request = (
            f"GET {url.path}/events?callId={call_id} HTTP/1.1\r\nHost: {url.netloc}\r\n"
            f"Authorization: Bearer {given.token}\r\nAccept: text/event-stream\r\n\r\n"
        ).encode()
        async with gate:
            await loop.create_connection(
                lambda: Reader(request), url.hostname, url.port, ssl=tls, server_hostname=url.hostname if tls else None
            )

    async def connected() -> None:
        await asyncio.gather(*(connect(call_id) for call_id in calls))

    await obey("floor", len(calls), connected=connected, events=lambda: Reader.frames, rss_before=before)


run(main)
