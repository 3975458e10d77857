"""The pushing transport is a good httpx transport, and its push tells an end from a cut."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from upstream import Exchange, Upstream, api_for, until

from exporter.network.trust import Trust
from exporter.receivers.transport import PushTransport

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")


@pytest.fixture(params=["uvloop", "asyncio"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


@asynccontextmanager
async def client_for(upstream: Upstream, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    timeout = options.pop("timeout", 10)
    transport = PushTransport(**options)
    async with httpx.AsyncClient(transport=transport, base_url=upstream.url, timeout=timeout) as client:
        yield client


def raw(*parts: bytes, hang: bool = False) -> Callable[[Exchange], Awaitable[None]]:
    async def play(exchange: Exchange) -> None:
        for part in parts:
            await exchange.send(part)
            await asyncio.sleep(0.01)
        if hang:
            await exchange.hang()

    return play


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        ((OK + b"Content-Length: 5\r\n\r\nhello",), b"hello"),
        ((OK + b"Content-Length: 0\r\n\r\n",), b""),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",), b"hello"),
        ((OK + b"transfer-encoding: Chunked\r\n\r\n", b"2;x=y\r\nhe\r\n3\r", b"\nllo\r\n0\r\nT: r\r\n\r\n"), b"hello"),
        ((OK + b"Connection: close\r\n\r\nhel", b"lo"), b"hello"),
        ((b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK, b"Content-Length: 5\r\n\r\nhello"), b"hello"),
        ((b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"Content-Length: 5\r\n\r\nhello", b"and more"), b"hello"),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), b""),
        ((b"HTTP/1.0 200 OK\r\n\r\nhello",), b"hello"),
    ],
)
async def test_every_way_to_say_how_long_a_body_is(answer: tuple[bytes, ...], body: bytes) -> None:
    upstream = Upstream(raw(*answer))
    async with upstream.serving(), client_for(upstream) as client:
        assert (await client.get("/x")).content == body
        pieces: list[bytes] = []
        async with client.stream("GET", "/x") as response:
            await response.extensions["drain_into"](pieces.append)
        assert b"".join(pieces) == body
        await until(lambda: upstream.open == 0)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 50\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX5\r\nworld\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzzz\r\n",
    ],
)
async def test_a_cut_or_broken_body_is_an_error_after_what_arrived(answer: bytes) -> None:
    upstream = Upstream(raw(answer))
    async with upstream.serving(), client_for(upstream) as client:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.get("/x")
        pieces: list[bytes] = []
        async with client.stream("GET", "/x") as response:
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await response.extensions["drain_into"](pieces.append)
        assert b"hello".startswith(b"".join(pieces))
        assert pieces


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
    ],
)
async def test_what_is_no_answer_is_a_protocol_error(answer: bytes) -> None:
    upstream = Upstream(raw(answer))
    async with upstream.serving(), client_for(upstream) as client:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await client.get("/x")
        await until(lambda: upstream.open == 0)


async def test_a_body_nobody_reads_is_held_within_bounds() -> None:
    sent = 0

    async def play(exchange: Exchange) -> None:
        nonlocal sent
        exchange.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        await exchange.send(OK + b"Connection: close\r\n\r\n")
        for _ in range(640):
            await exchange.send(b"x" * 65_536)
            sent += 65_536

    upstream = Upstream(play)
    async with upstream.serving(), client_for(upstream) as client, client.stream("GET", "/x") as response:
        before = -1
        while before != sent:  # until the kernel's buffers are full
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 1 << 20, "ours, and both kernels' buffers"
        received = 0

        def count(piece: bytes) -> None:
            nonlocal received
            received += len(piece)

        await response.extensions["drain_into"](count)
        assert received == 640 * 65_536


async def test_what_the_sink_raises_comes_out_and_the_connection_is_closed() -> None:
    def broken(piece: bytes) -> None:
        raise ZeroDivisionError(piece)

    async def late(exchange: Exchange) -> None:
        await exchange.send(OK + b"Connection: close\r\n\r\n")
        await asyncio.sleep(0.1)
        await exchange.send(b"now")
        await exchange.hang()

    upstream = Upstream(raw(OK + b"Content-Length: 9\r\n\r\nhello", hang=True), late)
    async with upstream.serving(), client_for(upstream) as client:
        for _ in range(2):
            async with client.stream("GET", "/x") as response:
                with pytest.raises(ZeroDivisionError):
                    await response.extensions["drain_into"](broken)
            await until(lambda: upstream.open == 0)


async def test_a_body_is_read_once() -> None:
    upstream = Upstream(raw(OK + b"Content-Length: 5\r\n\r\nhello"))
    async with upstream.serving(), client_for(upstream) as client, client.stream("GET", "/x") as response:
        await response.extensions["drain_into"](lambda piece: None)
        with pytest.raises(httpx.StreamConsumed):
            await response.extensions["drain_into"](lambda piece: None)
        with pytest.raises(httpx.StreamConsumed):
            await response.aread()


async def test_cancelling_the_reader_closes_the_connection() -> None:
    upstream = Upstream(raw(OK + b"Connection: close\r\n\r\nhello", hang=True))
    async with upstream.serving(), client_for(upstream) as client:
        async with client.stream("GET", "/x") as response:
            got = asyncio.Event()
            task = asyncio.ensure_future(response.extensions["drain_into"](lambda piece: got.set()))
            await asyncio.wait_for(got.wait(), 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await until(lambda: upstream.open == 0)


async def test_closing_the_transport_ends_every_stream() -> None:
    upstream = Upstream(raw(OK + b"Connection: close\r\n\r\nhello", hang=True))
    async with upstream.serving(), client_for(upstream) as client:
        responses = [await client.send(client.build_request("GET", "/x"), stream=True) for _ in range(3)]
        tasks = [asyncio.ensure_future(r.extensions["drain_into"](lambda piece: None)) for r in responses]
        await asyncio.sleep(0)
        await client.aclose()
        assert all(isinstance(r, httpx.ReadError) for r in await asyncio.gather(*tasks, return_exceptions=True))
        await until(lambda: upstream.open == 0)


async def test_silence_is_a_read_timeout_for_who_iterates() -> None:
    upstream = Upstream(raw(hang=True), raw(OK + b"Content-Length: 9\r\n\r\nhello", hang=True))
    async with upstream.serving(), client_for(upstream, timeout=0.2) as client:
        for _ in range(2):
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/x")
        await until(lambda: upstream.open == 0)


async def test_only_so_many_connections_are_opened_at_a_time() -> None:
    async with Upstream(raw(OK + b"Content-Length: 0\r\n\r\n")).serving() as upstream:
        loop = asyncio.get_running_loop()
        opening = most = 0
        open_connection = loop.create_connection

        async def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal opening, most
            opening += 1
            most = max(most, opening)
            try:
                return await open_connection(*args, **kwargs)
            finally:
                opening -= 1

        class Loop:
            def __getattr__(self, name: str) -> Any:
                return counted if name == "create_connection" else getattr(loop, name)

        async with client_for(upstream, connect_concurrency=3) as client:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("exporter.receivers.transport.asyncio.get_running_loop", Loop)
                await asyncio.gather(*(client.get("/x") for _ in range(20)))
    assert most == 3
    assert len(upstream.requests) == 20


async def test_a_header_cannot_smuggle_another_one() -> None:
    upstream = Upstream(raw(OK + b"Content-Length: 0\r\n\r\n"))
    async with upstream.serving(), client_for(upstream) as client:
        with pytest.raises(httpx.LocalProtocolError, match="line break in header"):
            await client.get("/x", headers={"Authorization": "Bearer a\r\nX-Evil: 1"})
    assert not upstream.requests


async def test_other_schemes_are_refused_by_name() -> None:
    async with httpx.AsyncClient(transport=PushTransport()) as client:
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get("ftp://example.org/")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    return folder / "cert.pem", folder / "key.pem"


def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


async def test_tls_is_verified_against_the_environments_certificates(certificate: tuple[Path, Path]) -> None:
    upstream = Upstream(raw(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n"))
    async with upstream.serving(server_tls(certificate)):
        async with client_for(upstream) as client:
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                await client.get("/x")
        async with client_for(upstream, trust=Trust({"SSL_CERT_FILE": str(certificate[0])})) as client:
            assert (await client.get("/x")).text == "hello"
            pieces: list[bytes] = []
            async with client.stream("GET", "/x") as response:
                await response.extensions["drain_into"](pieces.append)
            assert b"".join(pieces) == b"hello"
        await until(lambda: upstream.open == 0)


async def test_a_tls_stream_that_is_cut_is_a_cut(certificate: tuple[Path, Path]) -> None:
    async def play(exchange: Exchange) -> None:
        await exchange.send(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await asyncio.sleep(0.05)
        exchange.writer.transport.abort()

    upstream = Upstream(play)
    trust = Trust({"SSL_CERT_FILE": str(certificate[0])})
    async with upstream.serving(server_tls(certificate)), client_for(upstream, trust=trust) as client:
        pieces: list[bytes] = []
        async with client.stream("GET", "/x") as response:
            with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                await response.extensions["drain_into"](pieces.append)
        assert pieces == [b"hello"]


@pytest.mark.parametrize(
    ("greeting", "error"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", httpx.ConnectError), (b"", httpx.ConnectTimeout)],
)
async def test_a_handshake_that_fails_or_never_ends_is_a_failure_to_connect(
    greeting: bytes, error: type[Exception]
) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1024)
            writer.write(greeting)
            while await reader.read(1024):
                pass
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    timeout = httpx.Timeout(10, connect=10 if greeting else 0.3)
    try:
        async with httpx.AsyncClient(transport=PushTransport(), timeout=timeout) as client:
            with pytest.raises(error):
                await client.get(url)
    finally:
        server.close()


async def test_a_configured_proxy_carries_the_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play(exchange: Exchange) -> None:
        await exchange.stream(b'data: {"event_type": "sse_init"}\n\n', finish=True)

    proxy = Upstream(play)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with proxy.serving():
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/api/v1"))
        async with api_for("http://atoms.example/api/v1", env=os.environ) as (api, _):
            response = await api.open_stream("CALL-1")
            assert "drain_into" not in response.extensions
            await response.aclose()
        assert proxy.requests[0].target == "http://atoms.example/api/v1/events?callId=CALL-1"
        monkeypatch.setenv("no_proxy", "127.0.0.1,other.example")
        direct = Upstream(play)
        async with direct.serving(), api_for(direct.url, env=os.environ) as (api, _):
            response = await api.open_stream("CALL-1")
            assert "drain_into" in response.extensions
            await response.aclose()
        assert len(proxy.requests) == 1
