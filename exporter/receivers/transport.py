"""HTTP for event streams: httpx's transport API over a bare ``asyncio.Protocol``.

A stream lives for minutes and carries small chunks, several a second, on thousands of connections at once. httpcore
wakes a task for each chunk and scans its pool for each connect (76 µs of CPU per event, 7 ms per connect at 4,000
streams, measured); here the bytes go from the socket through the HTTP parser straight into a callback.

It fits any ``httpx.AsyncClient(transport=…)``. What it leaves out, because one connection per stream needs none of it:
connection reuse, HTTP/2, proxies (see ``client.environment_proxies``) and upgrades.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Final, cast

import httptools
import httpx

Sink = Callable[[bytes], None]
"""Takes a piece of the body, at once and on the loop: it must not block, and what it raises ends the stream."""

_HOLD_BYTES: Final = 64 * 1024
"""Bytes of body kept for a reader who is not there yet; above this the socket is not read."""

_LONGEST_HEAD_BYTES: Final = 64 * 1024
_HEX_DIGITS: Final = b"0123456789abcdefABCDEF"
_CONNECTION_SPECIFIC: Final = frozenset({b"connection", b"keep-alive", b"proxy-connection"})


def _whole_chunk(data: bytes) -> bytes | None:
    """The body of exactly one chunk, None for anything else. Nearly every read of a stream is one: an event."""
    end = data.find(b"\r\n", 0, 10)
    size = data[: max(end, 0)]
    if not size or size.strip(_HEX_DIGITS) or data[-2:] != b"\r\n":  # int() would take a sign and 0x, too
        return None
    return data[end + 2 : -2] if 0 < int(size, 16) == len(data) - end - 4 else None


class PushTransport(httpx.AsyncBaseTransport):
    """One connection per request, opened a few at a time, closed when the body ends or is let go.

    Responses carry an extension beside the usual stream: ``response.extensions["drain_into"]`` is the coroutine
    function ``drain_into(sink)``, which hands each piece of the body to ``sink`` as it arrives and returns at the end
    of the body. It raises ``httpx.ReadError`` or ``httpx.RemoteProtocolError`` when the body was cut.
    """

    def __init__(self, *, connect_concurrency: int = 50, tls: ssl.SSLContext | None = None) -> None:
        self._opening = asyncio.Semaphore(connect_concurrency)
        self._connections: set[_Connection] = set()
        self._tls = tls or httpx.create_ssl_context()
        self._tls.set_alpn_protocols(["http/1.1"])

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

    async def _connect(self, request: httpx.Request, seconds: float | None) -> _Connection:
        url = request.url
        host = url.raw_host.decode("ascii")
        tls = self._tls if url.scheme == "https" else None
        loop = asyncio.get_running_loop()
        connection = _Connection(loop, self._connections)
        async with self._opening:
            try:
                async with asyncio.timeout(seconds):
                    await loop.create_connection(
                        lambda: connection,
                        host,
                        url.port or (443 if tls else 80),
                        ssl=tls,
                        server_hostname=host if tls else None,
                    )
            except BaseException as error:
                connection.close()
                if isinstance(error, TimeoutError):
                    raise httpx.ConnectTimeout(f"no connection to {host} in time", request=request) from error
                if isinstance(error, OSError | UnicodeError):  # UnicodeError: a name no resolver would take
                    raise httpx.ConnectError(str(error) or type(error).__name__, request=request) from error
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

    def __init__(self, connection: _Connection, read_timeout: float | None) -> None:
        self._connection = connection
        self._read_timeout = read_timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._connection.next_chunk(self._read_timeout)) is not None:
            yield chunk

    async def aclose(self) -> None:
        self._connection.close()


class _Connection(asyncio.Protocol):
    """One exchange on one socket: the head as a value, the body as pushes or as held chunks."""

    __slots__ = (
        "_between_chunks",
        "_delimited",
        "_end",
        "_ended",
        "_head_bytes",
        "_headers",
        "_held",
        "_held_bytes",
        "_loop",
        "_open",
        "_parser",
        "_paused",
        "_sink",
        "_status",
        "_transport",
        "_waiter",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, everyone: set[_Connection]) -> None:
        self._loop = loop
        self._open = everyone
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._status: int | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._delimited = False  # the body says itself where it ends, so that a cut can be told from an end
        self._between_chunks = False  # the parser waits for the first byte of a chunk's head
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._paused = False
        self._sink: Sink | None = None
        self._ended = False
        self._end: BaseException | None = None  # why it ended, None when it ended well

    # -- what the one side wants ----------------------------------------------------------------------------------

    def write(self, message: bytes) -> None:
        if self._transport is not None:
            self._transport.write(message)

    async def head(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        while self._status is None and not self._ended:
            await self._progress()
        if self._status is None:
            raise self._end or httpx.ReadError("connection closed")
        headers, self._headers = self._headers, []
        return self._status, headers

    async def drain_into(self, sink: Sink) -> None:
        """Hand every piece of the body to ``sink`` until it ends; closes the connection whatever happens."""
        if self._sink is not None:
            raise httpx.StreamConsumed
        try:
            held, self._held, self._held_bytes = self._held, [], 0
            self._sink = sink
            for chunk in held:
                sink(chunk)
            del held
            self._resume()
            while not self._ended:
                await self._progress()
        finally:
            self.close()
        if self._end is not None:
            raise self._end

    async def next_chunk(self, seconds: float | None) -> bytes | None:
        """The next held piece of the body, None at its end."""
        if self._sink is not None:
            raise httpx.StreamConsumed
        while not self._held:
            if self._ended:
                if self._end is not None:
                    raise self._end
                return None
            self._resume()
            try:
                async with asyncio.timeout(seconds):
                    await self._progress()
            except TimeoutError as error:
                self.close()
                raise httpx.ReadTimeout("silence") from error
        held, self._held, self._held_bytes = self._held, [], 0
        return b"".join(held)

    def close(self) -> None:
        if not self._ended:
            self._finish(httpx.ReadError("connection closed on this side"))
        elif self._transport is not None:
            self._transport.abort()

    async def _progress(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _finish(self, error: BaseException | None) -> None:
        """The exchange is over; nothing that still arrives is of interest."""
        if self._ended:
            return
        self._ended = True
        self._end = error
        self._wake()
        if self._transport is not None:
            self._transport.abort()  # close() would wait for the peer's TLS farewell, which may never come

    # -- what the socket brings -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not derived from it
        self._open.add(self)
        if self._ended:  # given up while it was being opened
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._between_chunks and self._sink is not None and not self._ended:
            body = _whole_chunk(data)
            if body is not None:  # the parser need not know: it is between two chunks, before and after
                try:
                    self._sink(body)
                except Exception as error:  # noqa: BLE001  # whatever the sink raises comes out of drain_into
                    self._finish(error)
                return
        parser = self._parser
        if self._ended or parser is None:
            return
        if self._status is None:
            self._head_bytes += len(data)
        try:
            parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._finish(error.__context__ or error)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._finish(httpx.RemoteProtocolError(f"not HTTP: {error}"))
        if data[-2:] != b"\r\n":
            self._between_chunks = False  # a head may have begun
        if self._status is None and self._head_bytes > _LONGEST_HEAD_BYTES:
            self._finish(httpx.RemoteProtocolError("response head too long"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._ended:
            pass
        elif exc is not None:
            self._finish(httpx.ReadError(str(exc) or type(exc).__name__))
        elif self._status is None:
            self._finish(httpx.RemoteProtocolError("server disconnected without sending a response"))
        elif self._delimited:
            self._finish(httpx.RemoteProtocolError("connection closed inside the body"))
        else:
            self._finish(None)
        self._parser = None  # it holds our methods: without this only the cycle collector would free both
        self._transport = None
        self._open.discard(self)

    # -- what the HTTP parser finds -------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        if 100 <= status < 200:  # an interim answer; the real one follows
            self._headers.clear()
            return
        self._delimited = any(
            name.lower() == b"content-length" or (name.lower() == b"transfer-encoding" and b"chunked" in value.lower())
            for name, value in self._headers
        )
        self._status = status
        self._wake()

    def on_chunk_header(self) -> None:
        self._between_chunks = False

    def on_chunk_complete(self) -> None:
        self._between_chunks = True

    def on_body(self, chunk: bytes) -> None:
        if self._sink is not None:
            self._sink(chunk)
            return
        self._held.append(chunk)
        self._held_bytes += len(chunk)
        if self._held_bytes > _HOLD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if self._status is not None:
            self._finish(None)
