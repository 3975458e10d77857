"""What the API's answers are taken for: what counts as up, what is said in the log, how long is waited."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog
from upstream import Exchange, MostlyOne, Upstream, api_for

from exporter.errors import AtomsExporterError, Interrupted, Malformed
from exporter.receivers.backoff import Backoff
from exporter.receivers.discovery import Poll

LISTED = json.dumps({"data": {"logs": [{"callId": "c1"}], "pagination": {"hasMore": False}}}).encode()


def answering(status: int, body: bytes = LISTED, kind: str = "application/json", **headers: str) -> Any:
    async def play(exchange: Exchange) -> None:
        await exchange.answer(status, body, kind, **headers)

    return play


def drip(head: bytes, rest: bytes) -> Callable[[Exchange], Awaitable[None]]:
    """A byte now and then, for ever: never silent for long, never done."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(head)
        while True:
            await exchange.send(rest)
            await asyncio.sleep(0.02)

    return play


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def looking(api: Any, found: Callable[[Any], object] = lambda call: None, **options: Any) -> Poll:
    options = {"backoff": Backoff(MostlyOne()), "log": structlog.get_logger(), **options}
    return Poll(api, found, **options)


@pytest.mark.parametrize(
    ("play", "outcome", "why"),
    [
        (answering(404), "not_found", "the API answered 404"),
        (answering(403), "unauthorized", "403"),
        (answering(401), "unauthorized", "401"),
        (answering(400), "error", "400"),
        (answering(405), "error", "405"),
        (answering(500), "error", "500"),
        (answering(429), "rate_limited", "429"),
        (answering(302, location="https://login.example/?next=secret"), "error", "a redirect to login.example"),
        (answering(308, location="/v2/conversation"), "error", "a redirect to another path"),
        (answering(200, b"<html>", "text/html"), "unreadable", "text/html instead of json"),
        (answering(200, b"{}"), "unreadable", "without logs"),
        (answering(200, b'{"data": {"logs": null}}'), "unreadable", "without logs"),
        (answering(200, b"[]"), "unreadable", "not a JSON object"),
        (answering(200, b"{"), "unreadable", "not JSON"),
        (answering(200, b"\x1b", content_encoding="br"), "unreadable", "content coding br, which was not asked for"),
        (answering(200, b"\x1b", content_encoding="zstd"), "unreadable", "content coding zstd"),
        (answering(200, b"{}", content_encoding="gzip"), "unreadable", "a compressed body that is broken"),
        (answering(200, gzip.compress(LISTED, mtime=0)[:-9], content_encoding="gzip"), "unreadable", "ends too early"),
        (drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "timeout", "no complete answer in time"),
        (drip(OK + b"Content-Length: 100000\r\n\r\n", b" "), "timeout", "no complete answer in time"),
        (drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"), "timeout", "no complete answer in time"),
        (Exchange.hang, "timeout", "in time"),
    ],
)
async def test_an_api_whose_list_cannot_be_read_is_down_and_the_reason_is_told(
    play: Any, outcome: str, why: str
) -> None:
    upstream = Upstream(play)
    seconds = 0.5 if outcome == "timeout" else 20.0
    async with upstream.serving(), api_for(upstream.url, read_timeout=seconds) as (api, heard):
        with pytest.raises((AtomsExporterError, Malformed)):
            await asyncio.wait_for(looking(api).once(), 10)
    assert heard.up is False
    assert why in heard.why
    assert "secret" not in heard.why
    asked = 2 if "400" in why else 1  # once more, without the filter it may not know
    assert heard.counts == {("request", "poll", outcome): asked}


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(LISTED, mtime=0)),
        ("x-gzip", gzip.compress(LISTED, mtime=0)),
        ("gzip", gzip.compress(LISTED[:20]) + gzip.compress(LISTED[20:])),
        ("deflate", zlib.compress(LISTED)),
        ("deflate", zlib.compress(LISTED)[2:-4]),
        ("identity", LISTED),
    ],
)
async def test_codings_that_can_be_read_are_read(coding: str, body: bytes) -> None:
    upstream = Upstream(answering(200, body, content_encoding=coding))
    async with upstream.serving(), api_for(upstream.url) as (api, heard):
        assert await looking(api).once() == 1
    assert heard.up is True


async def test_what_is_said_about_one_call_does_not_make_the_api_good_or_bad() -> None:
    upstream = Upstream(answering(404), answering(200), answering(404), answering(500))
    async with upstream.serving(), api_for(upstream.url) as (api, heard):
        with pytest.raises(AtomsExporterError):
            await api.get("conversation", "c1", source="history", read=bytes)
        assert heard.up is None, "an answer about a call is no look at the list"
        await looking(api).once()
        for _ in range(2):
            with pytest.raises(AtomsExporterError):
                await api.get("conversation", "c1", source="history", read=bytes)
    assert heard.up is True


async def test_where_no_list_is_read_every_answer_tells() -> None:
    upstream = Upstream(answering(404), answering(401))
    async with upstream.serving(), api_for(upstream.url, judged_by_list=False) as (api, heard):
        for up in (True, False):
            with pytest.raises(AtomsExporterError):
                await api.open_stream("c1")
            assert heard.up is up


async def test_the_log_says_which_list_cannot_be_read_and_why_without_what_is_secret() -> None:
    async with api_for("http://user:hunter2@127.0.0.1:9/api/v1?key=hunter3", connect_timeout=1) as (api, _):
        with structlog.testing.capture_logs() as logs:
            poll = looking(api, log=structlog.get_logger())
            await poll._look()
    (told,) = [log for log in logs if log["event"] == "calls cannot be listed"]
    assert told["reason"] == "connect"
    assert told["url"] == "http://127.0.0.1:9/api/v1/conversation"
    assert "ConnectError" in told["cause"]
    assert "hunter" not in str(told)


async def test_a_pause_of_days_is_kept_for_minutes() -> None:
    upstream = Upstream(answering(429, retry_after="999999"))
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        assert await looking(api)._look() <= 330


async def test_streams_that_cannot_be_opened_are_a_warning_once_and_good_news_once() -> None:
    async def stream(exchange: Exchange) -> None:
        await exchange.stream(b'data: {"event_type": "sse_init"}\n\n', finish=True)

    upstream = Upstream(*[answering(502)] * 12, stream, stream)
    with structlog.testing.capture_logs() as logs:
        async with upstream.serving(), api_for(upstream.url) as (api, _):
            for _ in range(12):
                with pytest.raises(Interrupted):
                    await api.open_stream("c1")
            for _ in range(2):
                await (await api.open_stream("c1")).aclose()
    told = [(log["log_level"], log["event"]) for log in logs]
    assert told == [("warning", "streams cannot be opened"), ("info", "streams can be opened again")]
    assert logs[0]["url"].endswith("/api/v1/events")
    assert "502" in logs[0]["cause"]


async def test_a_request_whose_kept_connection_the_server_just_closed_goes_out_again_at_once() -> None:
    """The server closes each connection after its first answer without a word, at the very moment it is used again."""
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        try:
            for turn in range(2):
                await reader.readuntil(b"\r\n\r\n")
                requests += 1
                if turn == 0:
                    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(LISTED)}\r\n\r\n"
                    writer.write(head.encode() + LISTED)
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/v1"
    async with api_for(url) as (api, heard):
        poll = looking(api)
        for _ in range(10):
            await poll.once()
    server.close()
    assert heard.counts == {("request", "poll", "ok"): 10}
    assert requests > 10, "some went out twice"


async def test_a_server_that_never_answers_on_a_new_connection_is_asked_once() -> None:
    async def hang_up(exchange: Exchange) -> None:
        exchange.writer.close()

    upstream = Upstream(hang_up)
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        with pytest.raises(Interrupted):
            await looking(api).once()
    assert len(upstream.requests) == 1
