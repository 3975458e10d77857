"""What comes from outside and is wrong: each against the real process."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from exporter.simulator import parse_faults, signature
from tests.system.books import differences, report
from tests.system.world import SECRET, World, clean_environment, free_port, until, world

CALL = "CALL-1758124225863-80752e"


class Upstream:
    """An API that answers as the test says; it remembers what it was asked for, undecoded."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.events: list[bytes] = []
        self.history: dict[str, Any] | None = None
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        if "/events" in request.path and self.events:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            for frame in self.events:
                await response.write(frame)
            await asyncio.sleep(3600)
        if "/conversation/" in request.path and self.history is not None:
            return web.json_response({"status": True, "data": self.history})
        if request.path.endswith("/conversation"):
            return web.json_response({"status": True, "data": {"logs": [], "pagination": {"hasMore": False}}})
        return web.json_response({"status": False, "errors": ["not found"]}, status=404)


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    made = Upstream()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/atoms/v1"
    try:
        yield made
    finally:
        await runner.cleanup()


def frame(event: dict[str, Any] | str) -> bytes:
    return f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode()


async def metric(here: World, name: str, **labels: str) -> float:
    return (await here.lives[-1].page()).total(name, **labels)


async def test_a_wrong_token_is_said_once_shows_as_down_and_is_tried_slowly(tmp_path: Path) -> None:
    async with world(tmp_path, token="another", calls=1, total_calls=1) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        await until(lambda: "the API refuses the token" in exporter.log)
        await until(lambda: "ATOMS_API_KEY" in exporter.log)
        assert await metric(here, "atoms_exporter_up") == 0
        await until(lambda: metric(here, "atoms_exporter_discovery_requests_total", outcome="unauthorized"))
        asked = sum(here.ledger["wire"]["requests"]["conversation"].values())
        await asyncio.sleep(3)
        again = sum(here.ledger["wire"]["requests"]["conversation"].values())
        assert again - asked <= 2, "it is tried slowly"
        assert exporter.log.count("the API refuses the token") == 1
        assert "another" not in exporter.log
        assert "simulated-key" not in exporter.log
        ready = await exporter.get("/-/ready")
        assert ready.status_code == 503
        assert (await exporter.get("/-/healthy")).status_code == 200
        assert await exporter.stop() == 0


async def test_an_api_that_cannot_be_reached_shows_as_down_until_it_can(tmp_path: Path) -> None:
    port = free_port()
    async with world(tmp_path, calls=3, total_calls=3, webhooks=False) as here:
        simulator_url, here.simulator.base_url = here.simulator.base_url, f"http://127.0.0.1:{port}/atoms/v1"
        exporter = await here.exporter(history__attempts="3")
        await until(lambda: metric(here, "atoms_exporter_discovery_requests_total", source="poll", outcome="error"))
        assert await metric(here, "atoms_exporter_up") == 0
        assert (await exporter.get("/-/ready")).status_code == 503
        here.simulator.base_url = simulator_url
        async with _forwarded(port, simulator_url):
            here.simulator.begin()
            await until(lambda: metric(here, "atoms_exporter_up"))
            assert (await exporter.get("/-/ready")).status_code == 200
        assert await exporter.stop() == 0


@asynccontextmanager
async def _forwarded(port: int, url: str) -> AsyncIterator[None]:
    """The simulator at a second port, from now on."""
    target = httpx.URL(url)
    pipes: set[asyncio.Task[None]] = set()

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(target.host, target.port)
        for work in (pipe(reader, there_writer), pipe(there_reader, writer)):
            task = asyncio.ensure_future(work)
            pipes.add(task)
            task.add_done_callback(pipes.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for task in list(pipes):
            task.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)


async def test_an_api_that_answers_html_shows_as_down_and_asks_for_the_base_url(tmp_path: Path) -> None:
    faults = parse_faults("html=1:on=any")
    async with world(tmp_path, faults=faults, calls=2, total_calls=2) as here:
        exporter = await here.exporter("--call", CALL, log__level="debug")
        here.simulator.begin()
        await until(lambda: metric(here, "atoms_exporter_stream_failures_total", status="content_type"))
        assert await metric(here, "atoms_exporter_up") == 0
        await until(lambda: "is the base URL right?" in exporter.log)
        assert await exporter.stop() == 0


async def test_a_call_that_does_not_exist_is_given_up_and_leaves_no_trace(tmp_path: Path) -> None:
    async with world(tmp_path, calls=1, total_calls=1, webhooks=False) as here:
        exporter = await here.exporter("--call", CALL)
        await until(lambda: f"call_id={CALL}" in exporter.log and "not a call we can see" in exporter.log, 40)
        page = await exporter.page()
        assert page.total("atoms_exporter_stream_failures_total", status="404") >= 1
        assert page.total("atoms_calls_started_total") == 0
        assert page.total("atoms_calls_ended_total") == 0
        assert await exporter.calls() == []
        assert page.total("atoms_exporter_up") == 1, "the API works"
        assert await exporter.stop() == 0


@pytest.mark.parametrize("call_id", ["../agent?page=1", "a#b"])
async def test_a_call_id_that_is_none_cannot_be_asked_for(call_id: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "exporter", "run", "--call", call_id, "--web.listen-address", "127.0.0.1:0"]
    process = await asyncio.create_subprocess_exec(
        *command, env=clean_environment(ATOMS_API_KEY="x"), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2, said
    assert b"discovery.calls" in said
    assert b"Traceback" not in said


async def test_call_ids_with_slashes_and_query_characters_reach_the_api_as_one_value(tmp_path: Path) -> None:
    strange = "../agent?page=1&callId=x#y%2F z"
    async with world(tmp_path, calls=1, total_calls=1) as here, upstream() as api:
        here.simulator.base_url, api.events = api.url, []
        exporter = await here.exporter(web__allow_unauthenticated_api="true")
        body = json.dumps(
            {"event": "a1.pre-conversation", "metadata": {"callId": strange, "agentId": "../../x"}}
        ).encode()
        async with httpx.AsyncClient(base_url=exporter.url, trust_env=False) as client:
            signed = {"X-Signature": signature(SECRET, body)}
            assert (await client.post("/webhooks/atoms", content=body, headers=signed)).status_code == 202
            answer = await client.post("/api/v1/calls", json={"callId": strange})
            assert answer.status_code == 400
        await until(lambda: [path for path in api.asked if "/events" in path])
        for path in api.asked:
            url = httpx.URL(f"http://x{path}")
            if "/events" in path:
                assert url.path == "/atoms/v1/events"
                assert url.params.get_list("callId") == [strange]
            if "/agent/" in path:
                assert path.startswith("/atoms/v1/agent/")
                assert path.count("/") == 4, "one segment"
        assert await exporter.stop() == 0


async def test_what_no_event_looks_like_is_counted_and_harms_nothing(tmp_path: Path) -> None:
    stamp = "2026-03-02T10:00:0{}.000Z"
    base = {"call_id": CALL, "observer_class": "EventObserver", "source": "orchestrator"}
    turn = {**base, "event_type": "turn_latency", "interrupted": False}
    async with world(tmp_path, calls=1, total_calls=1, webhooks=False) as here, upstream() as api:
        here.simulator.base_url = api.url
        api.history = {"callId": CALL, "status": "active", "agentId": "a1", "agent": {"_id": "a1", "name": "Anna"}}
        api.events = [
            frame({"event_type": "sse_init", "event_time": stamp.format(0)}),
            frame({**base, "event_type": "call_start", "event_id": "e1", "timestamp": stamp.format(1)}),
            frame('{"event_type": "turn_latency", "turn_lat'),
            frame("[1, 2]"),
            frame("null"),
            frame("\u0000\ufffd"),
            b"data: \xff\xfe\n\n",
            frame('{"event_type":"turn_latency","event_id":"e2","turn_latency":NaN,"timestamp":1772445602.5}'),
            frame({**turn, "event_id": "e3", "turn_latency": -250, "timestamp": stamp.format(3)}),
            frame({**turn, "event_id": "e4", "turn_latency": "soon", "timestamp": stamp.format(4)}),
            frame({**turn, "event_id": "e5", "turn_latency": 1e300, "timestamp": stamp.format(4)}),
            frame(
                {**turn, "event_id": "e6", "call_id": "CALL-other", "turn_latency": 900, "timestamp": stamp.format(4)}
            ),
            frame({**turn, "event_id": "e7", "turn_latency": 1690, "timestamp": stamp.format(5)}),
        ]
        exporter = await here.exporter("--call", CALL)
        await until(lambda: metric(here, "atoms_exporter_events_rejected_total", reason="wrong_call"))
        await until(lambda: metric(here, "atoms_exporter_events_total", event_type="turn_latency"))
        page = await exporter.page()
        rejected = {
            reason: page.total("atoms_exporter_events_rejected_total", reason=reason)
            for reason in ("malformed_json", "not_an_object", "wrong_call")
        }
        assert rejected["wrong_call"] == 1
        assert rejected["malformed_json"] + rejected["not_an_object"] == 5
        skipped = {
            reason: page.total("atoms_exporter_samples_skipped_total", reason=reason)
            for reason in ("non_finite", "negative", "wrong_type", "implausible")
        }
        assert skipped["negative"] == skipped["implausible"] == 1
        assert skipped["non_finite"] + skipped["wrong_type"] >= 2
        assert await exporter.stop() == 0
        assert "Traceback" not in exporter.log


async def test_a_line_of_fifty_megabytes_is_skipped_and_takes_no_memory(tmp_path: Path) -> None:
    faults = parse_faults("oversize=0.05:size=50m:times=1")
    async with world(tmp_path, faults=faults, calls=3, total_calls=3) as here:
        exporter = await here.exporter()
        before = exporter.rss
        most = before
        here.simulator.begin()
        ended = asyncio.ensure_future(here.played())
        while not ended.done():
            most = max(most, exporter.rss)
            await asyncio.sleep(0.05)
        await ended
        page = await exporter.settled()
        struck = here.ledger["garbage"].get("oversize", 0)
        assert struck == 1
        assert page.total("atoms_exporter_events_rejected_total", reason="oversize") == struck
        assert not (unequal := differences(here.ledger, page)), report(unequal)
        assert most - before < 30 << 20
        assert await exporter.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["--set", "api.idle_timeout=soon"], "api.idle_timeout"),
        (["--set", "api.idel_timeout=5s"], "api.idel_timeout"),
        (["--config.file", "/nonexistent/config.yml"], "/nonexistent/config.yml"),
        (["--state.path", "/nonexistent/state.db"], "state.path"),
    ],
)
async def test_a_configuration_that_cannot_work_names_its_key(arguments: list[str], key: str) -> None:
    command = [sys.executable, "-m", "exporter", "run", "--web.listen-address", "127.0.0.1:0", *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, env=clean_environment(ATOMS_API_KEY="x"), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2, said
    assert key in said.decode()
    assert b"Traceback" not in said


async def test_without_a_token_it_says_which_variable_to_set() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "run"), env=clean_environment(), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"ATOMS_API_KEY" in said


async def test_a_port_that_is_taken_is_a_configuration_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "exporter", "run", "--web.listen-address", address),
            env=clean_environment(ATOMS_API_KEY="x", ATOMS_BASE_URL="http://127.0.0.1:9"),
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"web.listen_address" in said
    assert address.encode() in said
    assert time.monotonic() - began < 25
