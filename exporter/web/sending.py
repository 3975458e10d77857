"""Large answers and large bodies: what one slow client may hold, and what all of them may hold together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

__all__ = ["Bodies", "BodyTooLarge", "NoRoomForBody", "Pages"]

PIECE_BYTES: Final = 64 << 10
"""A larger page goes out piece by piece."""
MOST_PAGE_BYTES: Final = 64 << 20
"""Of all different pages that are being sent; two may always be."""
MOST_READERS: Final = 64

SMALL_BODY_BYTES: Final = 64 << 10
"""So much of a body is always taken."""
MOST_BODY_BYTES: Final = 32 << 20
"""Of all larger bodies that are being received."""


@dataclass(eq=False, frozen=True, slots=True)
class _Reader:
    """A client to whom a page is being sent."""

    request: web.Request
    page: bytes


class Pages:
    """Pages on their way to clients. Whoever reads slowly keeps one alive: when they become too many, the client that
    has been reading for the longest is let go.

    :param bound_hit: told ``page_readers`` of each.
    """

    def __init__(self, bound_hit: Callable[[str], None] = lambda _: None) -> None:
        self._bound_hit = bound_hit
        self._readers: list[_Reader] = []

    async def send(
        self,
        request: web.Request,
        page: bytes,
        headers: Mapping[str, str],
        went_out: Callable[[], None] = lambda: None,
    ) -> web.StreamResponse:
        """The page, in pieces when it is large: a slow reader costs one piece more, and the loop is never held up.

        :param went_out: called when all of it is on its way to the client.
        """
        if request.method == "HEAD":
            return web.Response(body=page, headers=headers)
        self._make_room(page)
        reader = _Reader(request, page)
        self._readers.append(reader)
        try:
            response = await _in_pieces(request, page, headers)
            went_out()
            return response
        finally:
            if reader in self._readers:
                self._readers.remove(reader)

    def _make_room(self, page: bytes) -> None:
        while self._readers:
            pages = {id(one): len(one) for one in [*(reader.page for reader in self._readers), page]}
            few = len(self._readers) < MOST_READERS
            if few and (len(pages) <= 2 or sum(pages.values()) <= MOST_PAGE_BYTES):
                return
            slowest = self._readers.pop(0).request.transport
            if isinstance(slowest, asyncio.Transport):
                slowest.abort()
            self._bound_hit("page_readers")


async def _in_pieces(request: web.Request, page: bytes, headers: Mapping[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    response.content_length = len(page)
    await response.prepare(request)
    view = memoryview(page)
    for start in range(0, len(page), PIECE_BYTES):
        await response.write(view[start : start + PIECE_BYTES])
    await response.write_eof()
    return response


class BodyTooLarge(Exception):
    """More bytes than allowed; the rest is not read."""


class NoRoomForBody(Exception):
    """Others are sending large bodies at the moment."""


class Bodies:
    """Bodies on their way in, unproven as they are: each bounded, and together.

    :param bound_hit: told ``bodies`` of each for which there was no room.
    """

    def __init__(self, seconds: float, bound_hit: Callable[[str], None] = lambda _: None) -> None:
        self._seconds = seconds
        self._bound_hit = bound_hit
        self._held = 0

    async def receive(self, request: web.Request, limit: int) -> bytes:
        """The body as it came over the wire. Raises BodyTooLarge, NoRoomForBody, or TimeoutError when it comes too
        slowly."""
        if request.content_length is not None and request.content_length > limit:
            raise BodyTooLarge
        body = bytearray()
        held = 0
        try:
            async with asyncio.timeout(self._seconds):
                async for piece in request.content.iter_any():
                    body += piece
                    if len(body) > limit:
                        raise BodyTooLarge
                    if len(body) > SMALL_BODY_BYTES:
                        self._held += len(body) - held
                        held = len(body)
                        if self._held > MOST_BODY_BYTES:
                            self._bound_hit("bodies")
                            raise NoRoomForBody
        finally:
            self._held -= held
        return bytes(body)
