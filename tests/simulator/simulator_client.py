"""A plain client for the simulator's tests: it knows HTTP and JSON, nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from aiohttp import web

from exporter.simulator import Simulator, SimulatorOptions, simulating

FAST = {"calls": 4, "total_calls": 4, "speed": 400.0, "ramp_seconds": 0.0, "starts_at": 1_767_225_600.0}
"""Four whole calls in a fraction of a second."""


@asynccontextmanager
async def api(**options: Any):
    """A simulator and an authorised client, whose base URL is the API's."""
    async with simulating(SimulatorOptions(**options)) as simulator:
        headers = {"Authorization": f"Bearer {simulator.options.token}"}
        async with httpx.AsyncClient(base_url=simulator.base_url, headers=headers, timeout=20) as client:
            yield simulator, client


async def until(true: Callable[[], Any] | Callable[[], Awaitable[Any]], seconds: float = 20.0) -> Any:
    """Poll until it is; AssertionError when it is not in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = true()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert asyncio.get_running_loop().time() < deadline, "not in time"
        await asyncio.sleep(0.01)


async def a_live_call(simulator: Simulator, events: int = 1) -> str:
    """The id of a call in progress that has come so far."""
    call = await until(
        lambda: next((c for c in simulator.switchboard.live.values() if c.published() >= events and not c.over), None)
    )
    return call.call_id


async def frames(client: httpx.AsyncClient, call_id: str) -> list[dict[str, Any]]:
    """All events of one connection until it ends, however it ends; JSON that cannot be read is left out."""
    found: list[dict[str, Any]] = []
    try:
        async with client.stream("GET", "/events", params={"callId": call_id}) as answer:
            assert answer.status_code == 200, await answer.aread()
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    try:
                        found.append(json.loads(line[5:]))
                    except json.JSONDecodeError:
                        found.append({"event_type": "?"})
    except httpx.RemoteProtocolError:
        found.append({"event_type": "!cut"})
    return found


async def raw_stream(simulator: Simulator, call_id: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bare TCP connection that has asked for the stream."""
    where = urlsplit(simulator.base_url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    request = (
        f"GET {where.path}/events?callId={call_id} HTTP/1.1\r\nHost: {where.netloc}\r\n"
        f"Authorization: Bearer {simulator.options.token}\r\n\r\n"
    )
    writer.write(request.encode())
    return reader, writer


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_type"] for event in events]


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_id"] for event in events if "event_id" in event]


class Receiver:
    """A webhook endpoint that remembers what it got."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, str, dict]] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.got.append((raw, request.headers["X-Signature"], json.loads(raw)))
        return web.json_response({}, status=202)

    async def __aenter__(self) -> Receiver:
        app = web.Application()
        app.router.add_post("/hook", self.take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
