"""Pages for whoever asks: rendered once for many, off the loop, and given out only when what they show is kept."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import nullcontext
from math import inf
from typing import NamedTuple, Protocol

from prometheus_client import Metric

from exporter.outputs.prometheus.exposition import OPENMETRICS, TEXT, render, wants_openmetrics
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.prometheus.scrapers import Scrape, Scrapers, Visit
from exporter.outputs.prometheus.series import View
from exporter.waiting import Waiting

GZIP_FROM_BYTES = 1_400
"""Smaller pages fit into one packet as they are."""
_GZIP_LEVEL = 1
_USUAL_WAIT_SECONDS = 5.0
_LOOK_SECONDS = 0.05
_SHARE_OF_TIMEOUT = 0.4
"""Of what a scraper waits for its page, how much may be spent on a commit that does not come to an end."""
_SURELY_WAITS = 0.5
"""Of the same: who was answered before that had hardly given up."""


_Key = tuple[str, tuple[str, ...], int | None, int | None]
"""Of a page: format, metrics asked for, and from which edition on series are new; by what is kept, too."""


class Keeper(Protocol):
    """Who keeps what is counted."""

    async def keep(self, within_seconds: float | None = None) -> bool:
        """Whether everything counted up to now is kept."""

    async def may_go_ahead(self) -> bool:
        """Whether numbers that are not kept may be shown all the same."""


class Page(NamedTuple):
    """What is answered. Call ``went_out`` when all of it was sent. ``gzipped`` is the body compressed, if who asked
    first for this page takes it so."""

    content_type: str
    body: bytes
    went_out: Callable[[], None]
    gzipped: bytes | None = None


class _Rendered(NamedTuple):
    content_type: str
    body: bytes
    gzipped: bytes | None


_Made = tuple[_Rendered, bool]
"""A page, and whether it shows everything there is (or only what was last kept)."""


class _Rendering(NamedTuple):
    edition: int
    waiting: Waiting[_Made]


class Showing:
    """Gives out pages of everything that is counted.

    :param keeper: ``None`` where nothing is kept.
    """

    def __init__(
        self, metrics: Metrics, scrapers: Scrapers, keeper: Keeper | None, *, clock: Callable[[], float]
    ) -> None:
        self._metrics = metrics
        self._scrapers = scrapers
        self._keeper = keeper
        self._clock = clock
        self._rendering: dict[_Key, _Rendering] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._selections = asyncio.Semaphore(1)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def page(
        self, accept: str, names: tuple[str, ...] = (), scrape: Scrape | None = None, gzipped: bool = False
    ) -> Page:
        """One page at a time for each format: whoever asks meanwhile, and has seen as much, gets the same page.

        :param gzipped: who asks takes it compressed.
        """
        asked_at = time.monotonic()
        accept = OPENMETRICS if wants_openmetrics(accept) else TEXT  # a page for each header were one for each client
        visit = self._scrapers.visit(scrape, self._clock()) if scrape is not None else None
        moment = self._metrics.store.moment
        floor = kept_floor = None
        if visit is not None:
            # Nothing new to it: the page for all to whom nothing is new, less what appears while it is rendered.
            floor = visit.floor if moment.newest >= visit.floor else -1
            kept_floor = visit.kept_floor if moment.newest >= visit.kept_floor else -1
        key = (accept, names, floor, kept_floor)
        rendering = self._rendering.get(key)
        if rendering is None or (visit is not None and rendering.edition <= visit.scraper.last):
            moment.edition += 1
            wait = _USUAL_WAIT_SECONDS
            if scrape is not None and scrape.timeout_seconds is not None:
                wait = min(wait, _SHARE_OF_TIMEOUT * scrape.timeout_seconds)
            view = View(moment.edition if floor == -1 else floor)
            kept = View(moment.edition if kept_floor == -1 else kept_floor, kept=True)
            rendering = self._rendering[key] = _Rendering(moment.edition, Waiting())
            making = self._kept_page(accept, names, view, kept, wait, gzipped)
            task = asyncio.ensure_future(self._made(key, rendering, making))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        page, current = await rendering.waiting.join()
        whole = floor == -1 and not names
        patience = scrape.timeout_seconds if scrape is not None else None
        until = asked_at + _SURELY_WAITS * patience if patience is not None else inf
        receipt = self._receipt(visit if current else None, rendering.edition, whole, until)
        return Page(page.content_type, page.body, receipt, page.gzipped)

    async def _made(self, key: _Key, rendering: _Rendering, making: Coroutine[None, None, _Made]) -> None:
        """Make it, for all who wait."""
        try:
            rendering.waiting.answer(await making)
        except BaseException as problem:
            rendering.waiting.fail(problem)
            if not isinstance(problem, Exception):
                raise
        finally:
            if self._rendering.get(key) is rendering:
                del self._rendering[key]

    def _receipt(self, visit: Visit | None, edition: int, whole: bool, until: float) -> Callable[[], None]:
        def went_out() -> None:
            if visit is not None:
                self._scrapers.got(visit, edition, whole=whole, in_time=time.monotonic() < until)

        return went_out

    async def _kept_page(
        self, accept: str, names: tuple[str, ...], view: View, kept: View, wait_seconds: float, gzipped: bool
    ) -> _Made:
        page = await self._render(accept, names, view, gzipped)
        keeper = self._keeper
        if keeper is None or await keeper.keep(wait_seconds) or await keeper.may_go_ahead():
            return page, True
        return await self._render(accept, names, kept, gzipped), False

    async def _render(self, accept: str, names: tuple[str, ...], view: View, gzipped: bool) -> _Rendered:
        metrics = self._metrics
        metrics.refresh()
        async with self._selections if names else nullcontext():  # each selection of names is a page of its own
            began = time.perf_counter()
            page = await asyncio.to_thread(_page, metrics, accept, names, view, gzipped)
        metrics.scraped(time.perf_counter() - began)
        return page

    async def seen_by_all(self, within_seconds: float) -> int:
        """Wait until everybody who scrapes has seen the numbers as they are now; who has not when the time is over.

        A series that is new to a scraper is shown to it at 0 first: that takes two visits.
        """
        edition = self._metrics.store.moment.edition
        looks = int(within_seconds / _LOOK_SECONDS)
        for _ in range(looks):
            if not self._scrapers.expected(edition, self._clock()):
                break
            await asyncio.sleep(_LOOK_SECONDS)
        return self._scrapers.expected(edition, self._clock())

    # -- for those who push

    def collect(self) -> Iterable[Metric]:
        """The same for a push, which has a thread of its own: the families, when what they say is kept."""
        families = list(self._metrics.registry.collect())
        keeper, loop = self._keeper, self._loop
        if keeper is None or loop is None:
            return families
        asking = asyncio.run_coroutine_threadsafe(self._may_show(keeper), loop)
        try:
            current = asking.result(2 * _USUAL_WAIT_SECONDS)
        except TimeoutError:  # the loop is busy, or gone
            current = False
        return families if current else list(self._metrics.collect_kept())

    async def _may_show(self, keeper: Keeper) -> bool:
        return await keeper.keep(_USUAL_WAIT_SECONDS) or await keeper.may_go_ahead()

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop that counts; from now on a push waits for what it shows to be kept."""
        self._loop = loop


def _page(metrics: Metrics, accept: str, names: tuple[str, ...], view: View, gzipped: bool) -> _Rendered:
    """In a thread: the page, compressed at once, so that nobody waits for another turn of the loop, another thread."""
    content_type, body = render(metrics.store, metrics.others, accept, names, view)
    return _Rendered(content_type, body, compressed(body) if gzipped and len(body) >= GZIP_FROM_BYTES else None)


def compressed(page: bytes) -> bytes:
    """With gzip, as fast as it goes: pages shrink to a tenth all the same."""
    return gzip.compress(page, _GZIP_LEVEL, mtime=0)
