"""The paths the exporter answers, over real HTTP."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import struct
import subprocess
import time
from typing import Any

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from exporter.address import ListenAddress
from exporter.errors import ConfigError
from exporter.web import CallView, FollowAnswer, Limits, WebhookAnswer, build_app, serve
from tests.support.peers import needs
from tests.webserver import Backstage, site, until

CALL = "CALL-1758124225863-80752e"


async def test_metrics_are_prometheus_text_unless_openmetrics_is_asked_for() -> None:
    backstage = Backstage()
    backstage.count()
    async with site(backstage) as at:
        plain = await at.client.get("/metrics")
        assert plain.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert len(list(parse_text(plain.text))) >= 1
        modern = await at.client.get("/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
        assert modern.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert modern.text.endswith("# EOF\n")
        assert len(list(parse_openmetrics(modern.text))) >= 1


async def test_the_accept_header_prometheus_sends_gets_openmetrics() -> None:
    backstage = Backstage()
    backstage.count()
    accept = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.4"
    async with site(backstage) as at:
        answer = await at.client.get("/metrics", headers={"Accept": accept})
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")


@needs("promtool")
async def test_promtool_has_nothing_to_say_about_a_scraped_page() -> None:
    backstage = Backstage()
    backstage.count()
    async with site(backstage) as at:
        page = (await at.client.get("/metrics")).content
    checked = await asyncio.to_thread(subprocess.run, ["promtool", "check", "metrics"], input=page, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0.0, *", False),
        ("gzip;q=x", False),
        ("identity", False),
        ("br", False),
        ("", False),
    ],
)
async def test_a_page_is_compressed_when_the_client_takes_it(accepted: str, compressed: bool) -> None:
    backstage = Backstage()
    backstage.count(200)
    async with (
        site(backstage) as at,
        at.client.stream("GET", "/metrics", headers={"Accept-Encoding": accepted}) as answer,
    ):
        raw = b"".join([piece async for piece in answer.aiter_raw()])
        assert answer.headers.get("Content-Encoding") == ("gzip" if compressed else None)
        assert "Accept-Encoding" in answer.headers["Vary"]
        text = gzip.decompress(raw) if compressed else raw
        assert text.count(b"\n") > 200


async def test_a_small_page_is_not_worth_compressing() -> None:
    async with site() as at:
        answer = await at.client.get("/metrics", headers={"Accept-Encoding": "gzip"})
        assert "Content-Encoding" not in answer.headers


async def test_a_large_page_arrives_whole_compressed_or_not() -> None:
    backstage = Backstage()
    backstage.count(20_000)
    async with site(backstage) as at:
        plain = await at.client.get("/metrics", headers={"Accept-Encoding": "identity"})
        packed = await at.client.get("/metrics", headers={"Accept-Encoding": "gzip"})
        assert int(plain.headers["Content-Length"]) == len(plain.content) > 1_000_000
        assert int(packed.headers["Content-Length"]) < 300_000
        assert packed.content == plain.content


async def test_scrapes_at_once_all_get_their_page() -> None:
    backstage = Backstage()
    backstage.count(2_000)
    async with site(backstage) as at:
        answers = await asyncio.gather(*(at.client.get("/metrics") for _ in range(20)))
    assert len({answer.content for answer in answers}) == 1


async def test_names_asked_for_reach_the_renderer() -> None:
    backstage = Backstage()
    async with site(backstage) as at:
        await at.client.get("/metrics", params=[("name[]", "a"), ("name[]", "b"), ("name[]", "a")])
    assert backstage.asked_names == [("a", "b")]


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/calls"])
async def test_head_is_get_without_a_body(path: str) -> None:
    backstage = Backstage()
    backstage.count(20_000 if path == "/metrics" else 1)
    async with site(backstage) as at:
        head = await at.client.head(path)
        full = await at.client.get(path)
        assert head.status_code == full.status_code == 200
        assert head.content == b""
        assert int(head.headers["Content-Length"]) > 0


async def test_healthy_while_the_process_works_ready_while_it_does_its_job() -> None:
    backstage = Backstage(ready=(False, "the API answers 401"))
    async with site(backstage) as at:
        assert (await at.client.get("/-/healthy")).status_code == 200
        not_ready = await at.client.get("/-/ready")
        assert (not_ready.status_code, not_ready.text) == (
            503,
            "atoms-exporter is not ready: the API answers 401\n",
        )
        backstage.ready = (True, "")
        assert (await at.client.get("/-/ready")).status_code == 200


CALLS = [
    CallView(
        CALL, "open", time.time() - 90, 42, 1.23456, "a1", "Loan <b>&\"'", "10001", "Start </td><script>x</script>"
    ),
    CallView("CALL-2", "connecting", 0.0),
]


async def test_pages_carry_headers_that_keep_browsers_strict() -> None:
    async with site() as at:
        headers = (await at.client.get("/")).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "deny"
        assert headers["Server"] == "atoms-exporter"


async def test_a_path_that_does_not_exist_is_a_page_for_browsers_and_json_for_programs() -> None:
    async with site() as at:
        page = await at.client.get("/x<script>", headers={"Accept": "text/html,*/*"})
        assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
        assert "script" not in page.text
        answer = await at.client.get("/api/v2")
        assert (answer.status_code, answer.json()) == (404, {"error": "not found"})


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/metrics", {"GET", "HEAD"}),
        ("DELETE", "/", {"GET", "HEAD"}),
        ("PUT", "/api/v1/calls", {"GET", "HEAD", "POST"}),
        ("GET", "/webhooks/atoms", {"POST"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allowed: set[str]) -> None:
    async with site() as at:
        answer = await at.client.request(method, path)
        assert answer.status_code == 405
        assert set(answer.headers["Allow"].split(",")) == allowed
        assert answer.json() == {"error": "method not allowed"}


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (WebhookAnswer.ACCEPTED, 202),
        (WebhookAnswer.DUPLICATE, 202),
        (WebhookAnswer.BAD_SIGNATURE, 401),
        (WebhookAnswer.MALFORMED, 400),
        (WebhookAnswer.TOO_LARGE, 413),
        (WebhookAnswer.UNAVAILABLE, 503),
    ],
)
async def test_a_delivery_is_answered_by_what_became_of_it(outcome: WebhookAnswer, status: int) -> None:
    backstage = Backstage(webhook_answer=outcome)
    async with site(backstage) as at:
        answer = await at.client.post("/webhooks/atoms", content=b'{"a": 1}', headers={"X-Signature": "ab"})
        assert answer.status_code == status
        assert ("error" in answer.json()) == (status != 202)
    assert backstage.deliveries == [(b'{"a": 1}', "ab")]


async def test_a_delivery_without_a_signature_header_says_so_to_the_check() -> None:
    backstage = Backstage()
    async with site(backstage) as at:
        await at.client.post("/webhooks/atoms", content=b"x")
    assert backstage.deliveries == [(b"x", None)]


async def test_without_a_secret_there_is_no_webhook() -> None:
    async with site(webhook=False) as at:
        assert (await at.client.post("/webhooks/atoms", content=b"{}")).status_code == 404


async def test_the_body_of_a_delivery_is_left_as_it_was_signed() -> None:
    backstage = Backstage()
    packed = gzip.compress(b"{}")
    async with site(backstage) as at:
        await at.client.post("/webhooks/atoms", content=packed, headers={"Content-Encoding": "gzip"})
    assert backstage.deliveries[0][0] == packed


async def test_a_delivery_of_exactly_one_mebibyte_is_taken_and_one_byte_more_is_not() -> None:
    backstage = Backstage()
    async with site(backstage) as at:
        assert (await at.client.post("/webhooks/atoms", content=b"x" * (1 << 20))).status_code == 202
        assert (await at.client.post("/webhooks/atoms", content=b"x" * ((1 << 20) + 1))).status_code == 413
    assert len(backstage.deliveries) == 1
    assert backstage.turned_away == [WebhookAnswer.TOO_LARGE]


async def test_an_endless_delivery_is_cut_off_on_the_way() -> None:
    backstage = Backstage()
    async with site(backstage) as at:
        reader, writer = await at.raw()
        writer.write(b"POST /webhooks/atoms HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        answer = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
        while not answer.done() and sent < 64 << 20:
            try:
                writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
                await writer.drain()
            except ConnectionError:
                break
            sent += 65_536
            await asyncio.sleep(0)
        assert b"413" in await asyncio.wait_for(answer, 10)
        assert sent < 64 << 20
        writer.close()
    assert backstage.turned_away == [WebhookAnswer.TOO_LARGE]
    assert backstage.deliveries == []


async def test_a_delivery_that_drips_is_given_up() -> None:
    backstage = Backstage()
    async with site(backstage, slow_body_seconds=0.1) as at:
        reader, writer = await at.raw()
        writer.write(b"POST /webhooks/atoms HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
        assert b"408" in await asyncio.wait_for(reader.readline(), 20)
        writer.close()
    assert backstage.deliveries == []


async def test_calls_are_listed_as_json() -> None:
    async with site(Backstage(calls=CALLS)) as at:
        listed = (await at.client.get("/api/v1/calls")).json()["calls"]
    assert listed[0] == {
        "call_id": CALL,
        "state": "open",
        "since_at": CALLS[0].since_at,
        "events": 42,
        "last_event_age_seconds": 1.235,
        "agent_id": "a1",
        "agent_name": "Loan <b>&\"'",
        "node_id": "10001",
        "node_name": "Start </td><script>x</script>",
        "trace_id": None,
        "turns": 0,
        "last_turn_seconds": None,
        "slowest_turn_seconds": None,
        "slowest_node_name": None,
        "outcome": None,
        "end_reason": None,
        "ended_at": None,
    }
    assert listed[1]["last_event_age_seconds"] is None


async def test_following_by_request_is_off_until_someone_can_be_held_to_it() -> None:
    backstage = Backstage()
    async with site(backstage) as at:
        answer = await at.client.post("/api/v1/calls", json={"callId": CALL})
        assert answer.status_code == 403
        assert "web.allow_unauthenticated_api" in answer.json()["error"]
    assert backstage.followed == []


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (FollowAnswer.ACCEPTED, 202),
        (FollowAnswer.ALREADY, 409),
        (FollowAnswer.MALFORMED, 400),
        (FollowAnswer.UNAVAILABLE, 503),
    ],
)
async def test_a_call_can_be_followed_by_request(outcome: FollowAnswer, status: int) -> None:
    backstage = Backstage(follow_answer=outcome)
    async with site(backstage, allow_unauthenticated_api=True) as at:
        answer = await at.client.post("/api/v1/calls", content=json.dumps({"callId": CALL}))
        assert answer.status_code == status
        assert ("error" in answer.json()) == (status != 202)
    assert backstage.followed == [CALL]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"{}",
        b'{"callId": 5}',
        b'{"callId": null}',
        b'{"callId": "a", "x": 1}',
        b"\xff",
        b"[" * 9000,
    ],
)
async def test_a_malformed_wish_is_refused(body: bytes) -> None:
    backstage = Backstage()
    async with site(backstage, allow_unauthenticated_api=True) as at:
        assert (await at.client.post("/api/v1/calls", content=body)).status_code == 400
        assert (await at.client.post("/api/v1/calls", content=b"x" * 20_000)).status_code == 413
    assert backstage.followed == []


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
async def test_a_page_of_another_site_cannot_make_a_browser_ask(headers: dict[str, str]) -> None:
    async with site(allow_unauthenticated_api=True) as at:
        answer = await at.client.post("/api/v1/calls", json={"callId": CALL}, headers=headers)
        assert answer.status_code == 403
        own = {"Origin": f"http://127.0.0.1:{at.port}", "Sec-Fetch-Site": "same-origin"}
        assert (await at.client.post("/api/v1/calls", json={"callId": CALL}, headers=own)).status_code == 202


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"A%d: x\r\n" % n for n in range(500)) + b"\r\n",
    ],
    ids=["tls", "header", "line", "headers"],
)
async def test_what_is_not_http_or_too_large_is_refused_quietly(
    request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with site() as at:
        reader, writer = await at.raw()
        writer.write(request_bytes)
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 20)
        writer.close()
        assert (await at.client.get("/-/healthy")).status_code == 200
    assert "Traceback" not in caplog.text


async def gone(reader: asyncio.StreamReader) -> bool:
    """Whether the server ended this connection, after whatever it had sent."""
    try:
        async with asyncio.timeout(20):
            while await reader.read(1 << 20):
                pass
    except ConnectionError:
        pass
    return True


async def not_reading(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that takes a few kilobytes and then no more."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=sock, limit=1_024)


async def test_who_connects_and_says_nothing_is_sent_away() -> None:
    async with site(limits=Limits(look_every_seconds=3_600)) as at:
        now = asyncio.get_running_loop().time()
        assert (await at.client.get("/-/healthy")).status_code == 200  # this connection is kept, and may be silent
        silent, _silent = await at.raw()
        dripping, drip = await at.raw()
        drip.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        await until(lambda: at.web.connections == 3)
        assert at.web.turn_away_the_slow(now) == 0
        assert at.web.turn_away_the_slow(now + 14) == 0
        assert at.web.turn_away_the_slow(now + 16) == 2
        assert await gone(silent)
        assert await gone(dripping)
        assert (await at.client.get("/-/healthy")).status_code == 200


async def test_who_does_not_read_his_answer_is_sent_away() -> None:
    backstage = Backstage(page=b"x" * 64_000_000)
    async with site(backstage, limits=Limits(look_every_seconds=3_600)) as at:
        reader, writer = await not_reading(at.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: backstage.asked_names)
        now = asyncio.get_running_loop().time()
        assert at.web.turn_away_the_slow(now + 60) == 0
        assert at.web.turn_away_the_slow(now + 121) == 1
        assert await gone(reader)


async def test_who_does_not_read_a_small_answer_is_sent_away_too() -> None:
    backstage = Backstage(page=b"x" * 200_000)
    async with site(backstage, limits=Limits(look_every_seconds=3_600)) as at:
        reader, writer = await not_reading(at.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 60)
        await until(lambda: backstage.asked_names)
        now = asyncio.get_running_loop().time()
        await until(lambda: at.web.turn_away_the_slow(now + 300) == 1)
        assert await gone(reader)


async def test_a_failure_inside_is_a_500_that_tells_nothing_and_a_log_that_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backstage = Backstage()
    backstage.registry.register(Broken())
    async with site(backstage) as at:
        answer = await at.client.get("/metrics")
        assert answer.status_code == 500
        assert "inside" not in answer.text
        assert (await at.client.get("/-/healthy")).status_code == 200
    assert "RuntimeError: the inside" in caplog.text


class Broken(Collector):
    """A collector that fails when it is scraped."""

    def collect(self) -> list[Metric]:
        raise RuntimeError("the inside")


async def test_a_port_in_use_is_a_clear_error() -> None:
    async with site() as at:
        app = build_app(Backstage().ports())
        with pytest.raises(ConfigError, match=rf"web\.listen_address: cannot listen on 127\.0\.0\.1:{at.port}"):
            await serve(app, ListenAddress("127.0.0.1", at.port))


async def test_closing_lets_a_running_scrape_finish() -> None:
    backstage = Backstage(render_gate=asyncio.Event())
    backstage.count()
    assert backstage.render_gate is not None
    app = build_app(backstage.ports())
    web = await serve(app, ListenAddress("127.0.0.1", 0))
    async with httpx.AsyncClient(base_url=web.urls[0], trust_env=False) as client:
        scrape = asyncio.ensure_future(client.get("/metrics"))
        await until(lambda: backstage.asked_names)
        closing = asyncio.ensure_future(web.close(20))
        await asyncio.sleep(0)
        backstage.render_gate.set()
        assert (await scrape).status_code == 200
        await closing
        with pytest.raises(httpx.ConnectError):
            await client.get("/-/healthy")


async def test_closing_does_not_wait_for_ever() -> None:
    backstage = Backstage(render_gate=asyncio.Event())
    web = await serve(build_app(backstage.ports()), ListenAddress("127.0.0.1", 0))
    async with httpx.AsyncClient(base_url=web.urls[0], trust_env=False) as client:
        scrape = asyncio.ensure_future(client.get("/metrics"))
        await until(lambda: backstage.asked_names)
        started = time.monotonic()
        await web.close(0.4)
        assert time.monotonic() - started < 10
        outcome: Any = (await asyncio.gather(scrape, return_exceptions=True))[0]
        assert isinstance(outcome, httpx.TransportError) or outcome.status_code >= 500


@pytest.mark.parametrize("read_first", [0, 1000])
async def test_a_scraper_that_leaves_early_is_no_error(read_first: int, caplog: pytest.LogCaptureFixture) -> None:
    """With a reset, while a page of many pieces is on its way."""
    backstage = Backstage(page=b"x" * (64 << 20), render_gate=asyncio.Event())
    assert backstage.render_gate is not None
    caplog.set_level(logging.INFO)
    async with site(backstage) as at:
        reader, writer = await at.raw()
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        if read_first:
            backstage.render_gate.set()
            await reader.read(read_first)
        else:
            await until(lambda: backstage.asked_names)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        backstage.render_gate.set()
        await until(lambda: at.web.connections == 0)
    assert not [record for record in caplog.records if record.name.startswith(("exporter", "aiohttp", "asyncio"))]
