"""Pages for people over HTTP: rendered in a thread, once for all who ask within a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import MappingProxyType
from typing import Final

from aiohttp import web

from exporter.errors import AtomsExporterError
from exporter.web.pages import CONTENT_SECURITY_POLICY, call_page, front_page, message_page
from exporter.web.ports import WebPorts

__all__ = ["PAGE_HEADERS", "Browsing", "html"]

PAGE_HEADERS: Final = MappingProxyType(
    {
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "deny",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
)
_KEPT_SECONDS: Final = 1.0
_MOST_KEPT: Final = 16
_LONGEST_NAME: Final = 128
_WAITING_FOR_CALLS: Final = 8
_NOT_KNOWN: Final = (
    "No call of this id is being followed, and none ended within the hour. `atoms-exporter explain` knows older ones."
)
_NO_ANSWER: Final = "The Atoms API does not tell of this call now; try again in a moment."


def html(text: str, status: int = 200) -> web.Response:
    """A page with the headers that keep browsers strict."""
    return web.Response(status=status, text=text, content_type="text/html", headers=PAGE_HEADERS)


class Browsing:
    """The page at ``/`` and those of single calls."""

    def __init__(self, ports: WebPorts) -> None:
        self._ports = ports
        self._fronts: dict[tuple[int, int], tuple[float, asyncio.Task[str]]] = {}
        self._waiting = 0

    async def front(self, request: web.Request) -> web.Response:
        """Whether callers suffer now, and where."""
        pages = _number(request.query.get("page")), _number(request.query.get("nodes"))
        return html(await asyncio.shield(self._front(pages)))

    def _front(self, pages: tuple[int, int]) -> asyncio.Task[str]:
        now = asyncio.get_running_loop().time()
        kept = self._fronts.get(pages)
        if kept is not None and now - kept[0] < _KEPT_SECONDS:
            return kept[1]
        gathered = self._ports.front(*pages)
        rendering = asyncio.create_task(asyncio.to_thread(lambda: front_page(gathered())))
        self._fronts.pop(pages, None)
        self._fronts[pages] = now, rendering
        while len(self._fronts) > _MOST_KEPT:
            del self._fronts[next(iter(self._fronts))]
        return rendering

    async def call(self, request: web.Request) -> web.Response:
        """One call as a waterfall; by its id or its trace id."""
        name = request.match_info["call"]
        if len(name) > _LONGEST_NAME:
            return _only("Not found", "That is no call id.", 404)
        if self._waiting >= _WAITING_FOR_CALLS:
            return _only("Busy", "Several calls are being looked up; try again in a moment.", 503)
        self._waiting += 1
        try:
            return await _or_why_not(self._call(name))
        finally:
            self._waiting -= 1

    async def _call(self, name: str) -> web.Response:
        found = await self._ports.call(name)
        if found is None:
            return _only("Not found", _NOT_KNOWN, 404)
        return html(await asyncio.to_thread(call_page, found))


async def _or_why_not(answer: Awaitable[web.Response]) -> web.Response:
    try:
        return await answer
    except AtomsExporterError:
        return _only("Not now", _NO_ANSWER, 502)


def _only(title: str, says: str, status: int) -> web.Response:
    """In the place of a call's page."""
    return html(message_page(title, says, start="../"), status)


def _number(given: str | None) -> int:
    """A page's number; 1 for anything else."""
    if given is None or not given.isascii() or not given.isdigit() or len(given) > 6:
        return 1
    return max(1, int(given))
