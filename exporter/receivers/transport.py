"""HTTP for event streams: httpx's transport API over a bare ``asyncio.Protocol``.

A stream lives for minutes and carries small chunks, several a second, on thousands of connections at once. httpcore
wakes a task for each chunk and scans its pool for each connect (76 µs of CPU per event, 7 ms per connect at 4,000
streams, measured); here the bytes go from the socket through the HTTP parser straight into a callback.

It fits any ``httpx.AsyncClient(transport=…)``. What it leaves out, because one connection per stream needs none of it:
connection reuse, HTTP/2, proxies (``network.transport`` serves those) and upgrades.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Final

import httpx

from exporter.network.addresses import connected_socket
from exporter.network.trust import Trust
from exporter.receivers.connection import Connection
from exporter.receivers.shares import Shares

_CONNECTION_SPECIFIC: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection"})


class PushTransport(httpx.AsyncBaseTransport):
    """One connection per request, opened a few at a time, closed when the body ends or is let go.

    Responses carry an extension beside the usual stream: ``response.extensions["drain_into"]`` is the coroutine
    function ``drain_into(sink, falls_behind)``, which hands each piece of the body to ``sink`` as it arrives and
    returns at the end of the body. It raises ``httpx.ReadError`` or ``httpx.RemoteProtocolError`` when that was cut.
    """

    def __init__(
        self, *, connect_concurrency: int = 50, trust: Trust | None = None, shares: Shares | None = None
    ) -> None:
        self._shares = shares or Shares()
        self._opening = asyncio.Semaphore(connect_concurrency)
        self._connections: set[Connection] = set()
        self._trust = trust or Trust({})

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"not a URL to stream from: {request.url.scheme!r}", request=request)
        timeouts = request.extensions.get("timeout", {})
        message = await _message(request)
        connection = await self._connect(request, timeouts.get("connect"))
        try:
            connection.write(message)
            try:
                async with asyncio.timeout(timeouts.get("read")):
                    status, headers = await connection.head()
            except TimeoutError as error:
                raise httpx.ReadTimeout("no answer in time", request=request) from error
        except BaseException:
            connection.close()
            raise
        return httpx.Response(
            status,
            headers=headers,
            stream=_Body(connection, timeouts.get("read")),
            extensions={"http_version": b"HTTP/1.1", "drain_into": connection.drain_into},
        )

    async def _connect(self, request: httpx.Request, seconds: float | None) -> Connection:
        host = request.url.raw_host.decode("ascii")
        async with self._opening:
            try:
                async with asyncio.timeout(seconds):
                    return await self._connected(request.url, host)
            except TimeoutError as error:
                raise httpx.ConnectTimeout(f"no connection to {host} in time", request=request) from error
            except (OSError, UnicodeError) as error:  # UnicodeError: a name no resolver would take
                raise httpx.ConnectError(str(error) or type(error).__name__, request=request) from error

    async def _connected(self, url: httpx.URL, host: str) -> Connection:
        """A connection, with certificates as they are now: a handshake that fails looks whether they were renewed."""
        if url.scheme == "http":
            return await self._open_connection(host, url.port or 80, None)
        tls = self._trust.context()
        try:
            return await self._open_connection(host, url.port or 443, tls)
        except ssl.SSLError:
            renewed = self._trust.context(now=True)
            if renewed is tls:
                raise
        return await self._open_connection(host, url.port or 443, renewed)

    async def _open_connection(self, host: str, port: int, tls: ssl.SSLContext | None) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, self._connections, self._shares)
        opened = await connected_socket(host, port)
        try:
            await loop.create_connection(
                lambda: connection, sock=opened, ssl=tls, server_hostname=host if tls is not None else None
            )
        except BaseException:
            connection.close()
            opened.close()
            raise
        return connection

    async def aclose(self) -> None:
        """Close every connection; who still reads from one gets ``httpx.ReadError``."""
        for connection in list(self._connections):
            connection.close()


async def _message(request: httpx.Request) -> bytes:
    """The request as HTTP/1.1 sends it. The connection serves this request only, and says so."""
    head = [request.method.encode("ascii") + b" " + request.url.raw_path + b" HTTP/1.1"]
    for name, value in request.headers.raw:
        if b"\r" in value or b"\n" in value or b"\0" in value:
            raise httpx.LocalProtocolError(f"line break in header {name.decode('latin-1')}", request=request)
        if name.lower() not in _CONNECTION_SPECIFIC:
            head.append(name + b": " + value)
    head.append(b"Connection: close")
    body = (
        b"".join([part async for part in request.stream]) if isinstance(request.stream, httpx.AsyncByteStream) else b""
    )
    return b"\r\n".join([*head, b"", body])


class _Body(httpx.AsyncByteStream):
    """The body for who wants httpx's own iteration."""

    def __init__(self, connection: Connection, read_timeout: float | None) -> None:
        self._connection = connection
        self._read_timeout = read_timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._connection.next_chunk(self._read_timeout)) is not None:
            yield chunk

    async def aclose(self) -> None:
        self._connection.close()
