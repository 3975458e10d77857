"""One exchange on one socket: the head as a value, the body pushed to whoever reads it.

An event of a stream goes from the socket's callback straight to its reader. What is more than a share of one turn of
the loop is kept as it came, the socket is not read meanwhile, and the reader takes it in slices (``shares``).
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, cast

import httptools
import httpx

from exporter.receivers.shares import MOST_HELD_BYTES, SHARE_BYTES, Shares

Sink = Callable[[bytes], None]
"""Takes a piece of the body, at once and on the loop: it must not block, and what it raises ends the stream."""

HOLD_BYTES: Final = 64 * 1024
"""Bytes kept for a reader who is not there yet; above this the socket is not read."""

SOCKET_BYTES: Final = 64 * 1024
"""What the system keeps of a stream, and so the most that one read brings."""

LONGEST_HEAD_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 64 * 1024
_SIZES: Final = {b"%x" % size: size for size in range(1, 4096)}
"""Looking a size up takes a third of what reading it takes; whatever is written otherwise goes to the parser."""


def _whole_chunk(data: bytes) -> bytes | None:
    """The body of exactly one chunk below 4 KiB, None for anything else. Nearly every read of a stream is one: an
    event."""
    end = data.find(b"\r\n", 0, 5)
    size = _SIZES.get(data[:end])
    return data[end + 2 : -2] if size == len(data) - end - 4 and data[-2:] == b"\r\n" else None


def _nothing() -> None:
    """Nobody wants to know."""


class Connection(asyncio.Protocol):
    """One exchange on one socket.

    :param everyone: open connections; it enters itself, and leaves when it is closed.
    """

    __slots__ = (
        "_between_chunks",
        "_delimited",
        "_end",
        "_ended",
        "_head_bytes",
        "_headers",
        "_held",
        "_late",
        "_loop",
        "_lost",
        "_open",
        "_parser",
        "_paused",
        "_shares",
        "_sink",
        "_status",
        "_taken",
        "_taken_bytes",
        "_transport",
        "_unread",
        "_unread_bytes",
        "_waiter",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, everyone: set[Connection], shares: Shares | None = None
    ) -> None:
        self._loop = loop
        self._open = everyone
        self._shares = shares or Shares()
        self._late = self._shares.late
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._status: int | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._delimited = False  # the body says itself where it ends, so that a cut can be told from an end
        self._between_chunks = False  # the parser waits for the first byte of a chunk's head
        self._unread: deque[bytes] = deque()  # as it came from the socket
        self._unread_bytes = 0
        self._taken_bytes = 0  # of the first of these
        self._held: deque[bytes] = deque()  # pieces of the body that nobody has taken
        self._paused = False
        self._taken = False
        self._sink: Sink | None = None  # set while nothing waits before what comes next
        self._lost: tuple[Exception | None] | None = None  # the socket is gone, and there is still something to read
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
            self._raise_its_end()
            raise httpx.ReadError("connection closed")
        headers, self._headers = self._headers, []
        return self._status, headers

    async def drain_into(self, sink: Sink, falls_behind: Callable[[], None] = _nothing) -> None:
        """Hand every piece of the body to ``sink`` until it ends; closes the connection whatever happens.

        :param falls_behind: told when more comes than this reader's share of the loop, and does not cease to.
        """
        if self._taken:
            raise httpx.StreamConsumed
        self._taken = True
        pace = self._shares.pace(falls_behind)
        try:
            while True:
                if self._unread_bytes > SHARE_BYTES:
                    await self._shares.turn()
                async for piece in pace.through(self._pieces()):
                    sink(piece)
                self._conclude_if_lost()
                if self._ended:
                    break
                self._sink = sink
                self._resume()
                await self._progress()
        finally:
            self.close()
            self._sink = None  # it holds who reads, who holds us: only the cycle collector would free both
        self._raise_its_end()

    def _raise_its_end(self) -> None:
        """Raise why it ended, and forget it: a traceback holds its frames, and these hold us."""
        end, self._end = self._end, None
        try:
            if end is not None:
                raise end
        finally:
            del end

    def _pieces(self) -> Iterator[bytes]:
        """What waits, as pieces of the body."""
        while True:
            while self._held:
                yield self._held.popleft()
            if not self._unread or self._ended:
                return
            self._parse(self._next_unread(SHARE_BYTES))

    async def next_chunk(self, seconds: float | None) -> bytes | None:
        """The next piece of the body, None at its end."""
        if self._taken:
            raise httpx.StreamConsumed
        while not self._held:
            if self._unread and not self._ended:
                self._parse(self._next_unread(_PIECE_BYTES))
                continue
            self._conclude_if_lost()
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
        held = b"".join(self._held)
        self._held.clear()
        return held

    def close(self) -> None:
        self._forget_unread()
        self._held.clear()
        if not self._ended:
            self._finish(httpx.ReadError("connection closed on this side"))
        elif self._transport is not None:
            self._transport.abort()
        self._parser = None

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
        self._forget_unread()
        self._wake()
        if self._transport is not None:
            self._transport.abort()  # close() would wait for the peer's TLS farewell, which may never come

    # -- what waits to be read ------------------------------------------------------------------------------------

    def _keep(self, data: bytes) -> None:
        """More than a share, or nobody is there to take it: it waits, and the socket is not read meanwhile."""
        self._sink = None
        self._unread.append(data)
        self._unread_bytes += len(data)
        self._shares.held_bytes += len(data)
        if self._shares.held_bytes > MOST_HELD_BYTES:
            self._shares.bound_hit("stream_held")
            self._finish(httpx.ReadError("more has come than there is room for"))
            return
        if self._transport is not None and not self._paused and (self._taken or self._unread_bytes > HOLD_BYTES):
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def _next_unread(self, most: int) -> bytes:
        """The next bytes that wait, at most so many; they wait no longer."""
        first = self._unread[0]
        piece = first[self._taken_bytes : self._taken_bytes + most]
        self._taken_bytes += len(piece)
        if self._taken_bytes >= len(first):
            self._unread.popleft()
            self._taken_bytes = 0
        self._unread_bytes -= len(piece)
        self._shares.held_bytes -= len(piece)
        return piece

    def _forget_unread(self) -> None:
        self._shares.held_bytes -= self._unread_bytes
        self._unread_bytes = self._taken_bytes = 0
        self._unread.clear()

    # -- what the socket brings -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not derived from it
        self._open.add(self)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        if self._ended:  # given up while it was being opened
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        late = self._late
        if late.waiting or late.clock() > late.ends_at:
            late.wait(self._received, data, len(data))
        else:
            self._received(data)

    def _received(self, data: bytes) -> None:
        if self._between_chunks and self._sink is not None and not self._ended:
            body = _whole_chunk(data)
            if body is not None:  # the parser need not know: it is between two chunks, before and after
                try:
                    self._sink(body)
                except Exception as error:  # noqa: BLE001  # whatever the sink raises comes out of drain_into
                    self._finish(error)
                return
        if self._ended:
            return
        if self._status is None:
            data = self._parse_head(data)
        if data:
            if self._sink is None or len(data) > SHARE_BYTES:
                self._keep(data)
            else:
                self._parse(data)

    def _parse_head(self, data: bytes) -> bytes:
        """Parses up to the end of the head, or a little further; gives what is behind."""
        at = 0
        while at < len(data) and self._status is None and not self._ended:
            piece = data[at : at + SHARE_BYTES]
            at += len(piece)
            self._head_bytes += len(piece)
            self._parse(piece)
            if self._status is None and self._head_bytes > LONGEST_HEAD_BYTES:
                self._finish(httpx.RemoteProtocolError("response head too long"))
        return b"" if self._ended else data[at:]

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        if self._ended or parser is None:
            return
        try:
            parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._finish(error.__context__ or error)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._finish(httpx.RemoteProtocolError(f"not HTTP: {error}"))
        if data[-2:] != b"\r\n":
            self._between_chunks = False  # a head may have begun

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._open.discard(self)
        if self._late.waiting:
            self._late.wait(self._gone, exc)
        else:
            self._gone(exc)

    def _gone(self, exc: Exception | None) -> None:
        self._lost = (exc,)
        if not self._unread:
            self._conclude_if_lost()
        self._wake()

    def _conclude_if_lost(self) -> None:
        """Nothing more will come, and all that came was read: whether that was the end or a cut."""
        if self._lost is None:
            return
        exc = self._lost[0]
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
        else:
            self._held.append(chunk)
            self._wake()

    def on_message_complete(self) -> None:
        if self._status is not None:
            self._finish(None)
