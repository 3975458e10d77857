"""httpx's API over an aiohttp transport, doing nothing but reading: what a faster transport alone would give."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from benchmarks.measuring import arguments, call_ids, obey, rss_kib, run, until

frames = 0
open_streams = 0


async def follow(client: httpx.AsyncClient, base_url: str, call_id: str) -> None:
    global frames, open_streams
    async with client.stream("GET", f"{base_url}/events", params={"callId": call_id}) as response:
        open_streams += 1
        async for chunk in response.aiter_raw():
            frames += chunk.count(b"\n\n")


async def main() -> None:
    given = arguments()
    calls = await call_ids(given.base_url, given.token, given.streams, given.ca)
    before = rss_kib()
    tls = ssl.create_default_context(cafile=given.ca) if given.ca else True
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls), timeout=aiohttp.ClientTimeout(total=None)
    )
    client = httpx.AsyncClient(
        headers={"Authorization": f"Bearer {given.token}", "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(None),
        transport=AiohttpTransport(client=session),
    )
    tasks: list[asyncio.Task[None]] = []

    async def connected() -> None:
        for start in range(0, len(calls), 50):
            tasks.extend(
                asyncio.ensure_future(follow(client, given.base_url, call)) for call in calls[start : start + 50]
            )
            await until(lambda: open_streams >= min(start + 50, len(calls)))  # noqa: B023 - awaited at once

    await obey(
        "httpx over aiohttp, reading only",
        len(calls),
        connected=connected,
        events=lambda: frames,
        rss_before=before,
    )


run(main)
