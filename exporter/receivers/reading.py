"""From an open response to payloads: pushed where the transport can, else the portable way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import httpx

from exporter.network.codings import decoder_for
from exporter.network.transport import unbind
from exporter.protocol.frames import FrameParser
from exporter.receivers.connection import Sink
from exporter.receivers.portable import PortableReader
from exporter.receivers.shares import Shares


class Reader(Protocol):
    """Reads the events of one response."""

    fed: int
    """Grows whenever bytes arrive, comments included: a sign of life."""

    @property
    def oversize(self) -> int:
        """Events dropped because they were too long."""

    @property
    def retry_seconds(self) -> float | None:
        """The reconnection time the server asked for."""

    @property
    def last_event_id(self) -> bytes | None:
        """What the server wants to hear when we reconnect."""

    async def drain(self, take: Callable[[bytes], None], falls_behind: Callable[[], None]) -> None:
        """Hand over each event's payload until the body ends, then close.

        ``falls_behind`` is told when more comes than a reader's share of the event loop, and does not cease to.
        Raises httpx.ReadError or httpx.RemoteProtocolError when it was cut; what ``take`` raises comes out too.
        """


class PushedReader:
    """Payloads straight from the socket's callback: no task wakes up for an event."""

    __slots__ = ("_drain_into", "_frames", "_take", "fed")

    def __init__(
        self, drain_into: Callable[[Sink, Callable[[], None]], Awaitable[None]], *, max_event_bytes: int
    ) -> None:
        self._drain_into = drain_into
        self._frames = FrameParser(max_event_bytes)
        self._take: Callable[[bytes], None] = _nobody
        self.fed = 0

    @property
    def oversize(self) -> int:
        """Events dropped because they were too long."""
        return self._frames.oversize

    @property
    def retry_seconds(self) -> float | None:
        """The reconnection time the server asked for."""
        return self._frames.retry_seconds

    @property
    def last_event_id(self) -> bytes | None:
        """What the server wants to hear when we reconnect."""
        return self._frames.last_event_id

    async def drain(self, take: Callable[[bytes], None], falls_behind: Callable[[], None]) -> None:
        """Hand over each event's payload until the body ends, then close."""
        self._take = take
        await self._drain_into(self._push, falls_behind)

    def _push(self, chunk: bytes) -> None:
        # A method, and no closure: thousands of streams take turns, and each object on the way is cold by then.
        self.fed += 1
        for payload in self._frames.feed(chunk):
            self._take(payload)


def _nobody(payload: bytes) -> None:
    """Nobody drains it yet."""


def reader_for(response: httpx.Response, max_event_bytes: int, shares: Shares) -> Reader:
    """The fastest reader the response allows: a body that came compressed all the same must be decoded first.

    Raises UnknownCoding for a coding that cannot be undone within bounds.
    """
    drain_into = response.extensions.get("drain_into")
    decoder = decoder_for(response.headers.get("content-encoding", ""))
    if drain_into is None or decoder is not None:
        return PortableReader(response, decoder, shares, max_event_bytes=max_event_bytes)
    unbind(response)
    return PushedReader(drain_into, max_event_bytes=max_event_bytes)
