"""From an open response to payloads: pushed where the transport can, else the portable way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import httpx

from exporter.protocol.frames import FrameParser
from exporter.receivers.portable import PortableReader
from exporter.receivers.transport import Sink


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

    async def drain(self, take: Callable[[bytes], None]) -> None:
        """Hand over each event's payload until the body ends, then close.

        Raises httpx.ReadError or httpx.RemoteProtocolError when it was cut; what ``take`` raises comes out too.
        """


class PushedReader:
    """Payloads straight from the socket's callback: no task wakes up for an event."""

    __slots__ = ("_drain_into", "_frames", "_take", "fed")

    def __init__(self, drain_into: Callable[[Sink], Awaitable[None]], *, max_event_bytes: int) -> None:
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

    async def drain(self, take: Callable[[bytes], None]) -> None:
        """Hand over each event's payload until the body ends, then close."""
        self._take = take
        await self._drain_into(self._push)

    def _push(self, chunk: bytes) -> None:
        # A method, and no closure: thousands of streams take turns, and each object on the way is cold by then.
        self.fed += 1
        for payload in self._frames.feed(chunk):
            self._take(payload)


def _nobody(payload: bytes) -> None:
    """Nobody drains it yet."""


def reader_for(response: httpx.Response, max_event_bytes: int) -> Reader:
    """The fastest reader the response allows: a body that came compressed all the same must be decoded first."""
    drain_into = response.extensions.get("drain_into")
    if drain_into is None or response.headers.get("content-encoding", "identity").lower() != "identity":
        return PortableReader(response, max_event_bytes=max_event_bytes)
    return PushedReader(drain_into, max_event_bytes=max_event_bytes)
