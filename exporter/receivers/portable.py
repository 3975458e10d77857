"""Event streams by httpx and httpx-sse alone: for what cannot take the pushed path, such as a proxy.

httpx-sse decodes; the guard in front of it takes away what it would stumble over: it loses the first event behind a
byte order mark, never bounds its buffers, and yields an event without data for a heartbeat once an ``id:`` was seen.
(Status and content type, which it checks too late and by case, were checked when the stream was opened.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import httpx
from httpx_sse import EventSource

from exporter.network.codings import BrokenCoding, Decoder
from exporter.network.transport import close
from exporter.receivers.shares import SHARE_BYTES, Shares

_BOM: Final = b"\xef\xbb\xbf"
_LONGEST_ID: Final = 1024  # it becomes a request header
_TOO_LONG: Final = "\x00 too long"  # an event name of ours: no server can send a NUL that survives the guard


class PortableReader:
    """Reads one response. ``fed`` grows with whatever arrives, ``oversize`` counts the events dropped for length;
    ``retry_seconds`` is the reconnection time the server asked for, ``last_event_id`` what it wants to hear when we
    reconnect, if it said so.
    """

    def __init__(
        self, response: httpx.Response, decoder: Decoder | None, shares: Shares, *, max_event_bytes: int = 1 << 20
    ) -> None:
        self._response = response
        self._decoder = decoder
        self._shares = shares
        self._max = max_event_bytes
        self._falls_behind: Callable[[], None] = lambda: None
        self.fed = 0
        self.oversize = 0
        self.retry_seconds: float | None = None
        self.last_event_id: bytes | None = None

    async def drain(self, take: Callable[[bytes], None], falls_behind: Callable[[], None]) -> None:
        """Hand over each event's payload until the body ends. httpx's errors tell of a cut."""
        self._falls_behind = falls_behind
        # SSE is UTF-8, whatever charset the server named: httpx would believe it.
        guard = _Guard(self._chunks(), self._max)
        guarded = httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=guard)
        try:
            async for event in EventSource(guarded).aiter_sse():
                if event.retry is not None and event.retry >= 0:
                    self.retry_seconds = event.retry / 1000
                if event.id:
                    self.last_event_id = event.id.encode("utf-8", "surrogatepass")[:_LONGEST_ID]
                if event.event == _TOO_LONG:
                    self.oversize += 1
                elif event.data:
                    take(event.data.encode())
        except BrokenCoding as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        finally:
            await close(self._response)

    async def _chunks(self) -> AsyncIterator[bytes]:
        """The body, undone and in small pieces: neither a flood nor a bomb keeps the event loop."""
        pace = self._shares.pace(self._falls_behind)
        async for raw in self._response.aiter_raw():
            self.fed += 1
            undone = self._decoder.feed(raw) if self._decoder is not None else iter((raw,))
            async for piece in pace.through(_small(undone)):
                yield piece
        if self._decoder is not None:
            self._decoder.end()


def _small(pieces: Iterator[bytes]) -> Iterator[bytes]:
    return (piece[at : at + SHARE_BYTES] for piece in pieces for at in range(0, len(piece), SHARE_BYTES))


class _Guard(httpx.AsyncByteStream):
    """The same stream with LF line ends, without byte order mark and NUL, and with bounded events.

    Of an event that grows beyond the bound, the rest is swallowed and a marker put in its place.
    """

    def __init__(self, chunks: AsyncIterator[bytes], max_event_bytes: int) -> None:
        self._chunks = chunks
        self._max = max_event_bytes
        self._start: bytes | None = b""
        self._after_cr = False
        self._event_bytes = 0
        self._line_empty = True
        self._swallowing = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            if guarded := self._guard(chunk):
                yield guarded

    def _guard(self, chunk: bytes) -> bytes:
        if self._start is not None:
            self._start += chunk
            if len(self._start) < len(_BOM) and _BOM.startswith(self._start):
                return b""
            chunk, self._start = self._start.removeprefix(_BOM), None
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
        if not chunk:
            self._after_cr = False
            return b""
        self._after_cr = chunk[-1:] == b"\r"
        lines = chunk.replace(b"\0", b"").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        out = bytearray()
        for place, line in enumerate(lines):
            if place:
                self._end_line(out)
            self._part(line, out)
        return bytes(out)

    def _part(self, part: bytes, out: bytearray) -> None:
        if not part:
            return
        self._event_bytes += len(part)
        if self._event_bytes > self._max and not self._swallowing:
            self._swallowing = True
            out += (b"" if self._line_empty else b"\n") + b"event: " + _TOO_LONG.encode() + b"\n\n"
        self._line_empty = False
        if not self._swallowing:
            out += part

    def _end_line(self, out: bytearray) -> None:
        if not self._swallowing:
            out += b"\n"
        if self._line_empty:
            self._swallowing = False
            self._event_bytes = 0
        self._line_empty = True
