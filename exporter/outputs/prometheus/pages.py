"""Pages for whoever asks: rendered once for many, off the loop, and given out only when what they show is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from math import inf
from typing import NamedTuple, Protocol

from prometheus_client import Metric

from exporter.outputs.prometheus.exposition import OPENMETRICS, TEXT, render, wants_openmetrics
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.prometheus.scrapers import Scrape, Scrapers, Visit
from exporter.outputs.prometheus.series import View

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
    """What is answered. Call ``went_out`` when all of it was sent."""

    content_type: str
    body: bytes
    went_out: Callable[[], None]


class _Rendering(NamedTuple):
    edition: int
    task: asyncio.Task[tuple[str, bytes, bool]]


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
        self._selections = asyncio.Semaphore(1)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def page(self, accept: str, names: tuple[str, ...] = (), scrape: Scrape | None = None) -> Page:
        """One page at a time for each format: whoever asks meanwhile, and has seen as much, gets the same page."""
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
            task = asyncio.ensure_future(self._kept_page(accept, names, view, kept, wait))
            rendering = self._rendering[key] = _Rendering(moment.edition, task)
            task.add_done_callback(lambda _: self._done(key, rendering))
        content_type, body, current = await asyncio.shield(rendering.task)
        whole = floor == -1 and not names
        patience = scrape.timeout_seconds if scrape is not None else None
        until = asked_at + _SURELY_WAITS * patience if patience is not None else inf
        return Page(content_type, body, self._receipt(visit if current else None, rendering.edition, whole, until))

    def _done(self, key: _Key, rendering: _Rendering | None) -> None:
        if self._rendering.get(key) is rendering:
            del self._rendering[key]

    def _receipt(self, visit: Visit | None, edition: int, whole: bool, until: float) -> Callable[[], None]:
        def went_out() -> None:
            if visit is not None:
                self._scrapers.got(visit, edition, whole=whole, in_time=time.monotonic() < until)

        return went_out

    async def _kept_page(
        self, accept: str, names: tuple[str, ...], view: View, kept: View, wait_seconds: float
    ) -> tuple[str, bytes, bool]:
        """Content type and body, and whether it shows everything there is (or only what was last kept)."""
        content_type, body = await self._render(accept, names, view)
        keeper = self._keeper
        if keeper is None or await keeper.keep(wait_seconds) or await keeper.may_go_ahead():
            return content_type, body, True
        return *await self._render(accept, names, kept), False

    async def _render(self, accept: str, names: tuple[str, ...], view: View) -> tuple[str, bytes]:
        metrics = self._metrics
        metrics.refresh()
        async with self._selections if names else nullcontext():  # each selection of names is a page of its own
            began = time.perf_counter()
            page = await asyncio.to_thread(render, metrics.store, metrics.others, accept, names, view)
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
