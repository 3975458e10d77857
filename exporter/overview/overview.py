"""Answers what the web server asks about calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from exporter.calls.observations import Agent
from exporter.calls.tracker import Steps, Tracker, natural_outcome
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recent import EndedCall, Recent
from exporter.outputs.recorder import SpansOnly
from exporter.outputs.spans import SpanRecord
from exporter.overview.calls import ended_view, followed_view, found_view, trace_of
from exporter.overview.front import CALLS_ON_A_PAGE, Gathered, within
from exporter.overview.health import capacity, health
from exporter.protocol.api import CallLog
from exporter.protocol.labels import name_label
from exporter.protocol.units import UnitRules
from exporter.receivers.discovery import FoundCall
from exporter.receivers.following import Followed, Following
from exporter.receivers.places import PENDING
from exporter.receivers.shares import Shares
from exporter.web import CallPage, CallsView, CallView, FrontView

_MOST_PAGES_KEPT: Final = 64
_FETCHES: Final = 2
SPANS_ON_A_PAGE: Final = 2_500
"""More than the page has rows."""
_GOING_ON_KEPT_SECONDS: Final = 10.0
_ENDED_KEPT_SECONDS: Final = 600.0


class _Kept(NamedTuple):
    """A page that was fetched, until ``until`` on the monotonic clock."""

    page: CallPage
    until: float


class Overview:
    """Answers what the web server asks about calls.

    :param log_of: a call's log from the API, for as long as it is needed; raises AtomsExporterError.
    :param ready: whether the exporter does its job, and if not, why.
    :param state_says: where what is kept is kept, or None when nothing is.
    :param shares: the loop's time: long lists of calls are gathered in slices, one at a time.
    """

    def __init__(
        self,
        following: Following,
        recent: Recent,
        metrics: Metrics,
        *,
        version: str,
        log_of: Callable[[str], AbstractAsyncContextManager[CallLog]],
        ready: Callable[[], tuple[bool, str]],
        units: UnitRules,
        clock: Callable[[], float],
        state_says: str | None,
        traces_on: bool,
        shares: Shares,
        max_streams: int,
    ) -> None:
        self._following = following
        self._recent = recent
        self._metrics = metrics
        self._version = version
        self._log_of = log_of
        self._ready = ready
        self._units = units
        self._clock = clock
        self._state_says = state_says
        self._traces_on = traces_on
        self._shares = shares
        self._max_streams = max_streams
        self._one = asyncio.Lock()
        self._slots = asyncio.Semaphore(_FETCHES)
        self._kept: dict[str, _Kept] = {}

    def going_on(self) -> list[CallView]:
        """The calls being followed."""
        now = self._clock()
        return [self._followed(each, now) for each in self._following.calls()]

    async def calls(self, page: int, size: int) -> CallsView:
        """Some of the calls: those being followed, then those that wait to be, then those that ended within the hour.
        A page out of range is the nearest there is."""
        async with self._one:
            return await self._shares.run(self._calls(page, size))

    def _calls(self, page: int, size: int) -> Steps[CallsView]:
        now = self._clock()
        followed, ended, waiting = self._following.calls(), self._recent.ended(), len(self._following.waiting)
        total = len(followed) + waiting + len(ended)
        page, pages = within(page, total, size)
        begin, end = (page - 1) * size, page * size
        found: list[Followed | FoundCall | EndedCall] = list(followed[begin:end])
        begin, end = max(0, begin - len(followed)), max(0, end - len(followed))
        found += islice(self._following.waiting, begin, end)
        found += ended[max(0, begin - waiting) : max(0, end - waiting)]
        views = []
        for each in found:
            views.append(self._view(each, now))
            yield
        return CallsView(views, page, pages, total)

    def front(self, page: int, nodes_page: int) -> Callable[[], FrontView]:
        """The page at ``/`` as it is now: gathered here, in a moment, and worked out when it is called, in a thread."""
        ready, look, followed = self._ready(), self._recent.look(), self._following.calls()
        waiting, known = len(self._following.waiting), len(followed) + len(look.ended)
        begin = max(0, (within(page, known + waiting, CALLS_ON_A_PAGE)[0] - 1) * CALLS_ON_A_PAGE - known)
        gathered = Gathered(
            self._version,
            self._clock(),
            ready,
            look,
            followed,
            waiting,
            list(islice(self._following.waiting, begin, begin + CALLS_ON_A_PAGE)),
            capacity(self._metrics),
            health(
                self._metrics,
                ready,
                self._state_says,
                traces_on=self._traces_on,
                max_streams=self._max_streams,
                now=self._clock(),
            ),
        )
        return partial(gathered.front, page, nodes_page)

    async def call(self, name: str) -> CallPage | None:
        """One call by its id or trace id, with its spans from the API; None for one that is not known here.

        Only calls that are followed or ended within the hour: nobody makes us ask the API for any other. What was
        fetched is kept for a while. Raises AtomsExporterError when the API does not answer.
        """
        view = self._named(name)
        if view is None:
            return None
        loop = asyncio.get_running_loop()
        async with self._slots:
            kept = self._kept.get(view.call_id)
            if kept is not None and loop.time() < kept.until and kept.page.call.state == view.state:
                return kept.page
            async with self._log_of(view.call_id) as log:
                spans, left_out = await asyncio.to_thread(first_spans, log, self._units, view.ended_at is not None)
            page = CallPage(view, spans, self._clock(), left_out)
            keep = _GOING_ON_KEPT_SECONDS if view.ended_at is None else _ENDED_KEPT_SECONDS
            self._kept.pop(view.call_id, None)
            self._kept[view.call_id] = _Kept(page, loop.time() + keep)
            while len(self._kept) > _MOST_PAGES_KEPT:
                del self._kept[next(iter(self._kept))]
        return page

    def _named(self, name: str) -> CallView | None:
        now = self._clock()
        call_id = self._recent.call_named(name)
        for each in self._following.calls():
            found = each.found.call_id
            if found in (call_id, name) or (call_id is None and len(name) == 32 and trace_of(found) == name.lower()):
                return self._followed(each, now)
        waiting = self._following.waiting.get(call_id or name)
        if waiting is not None:
            return found_view(waiting, PENDING, now)
        if call_id is None:
            return None
        return next((ended_view(each) for each in self._recent.ended() if each.call_id == call_id), None)

    def _view(self, each: Followed | FoundCall | EndedCall, now: float) -> CallView:
        if isinstance(each, EndedCall):
            return ended_view(each)
        return found_view(each, PENDING, now) if isinstance(each, FoundCall) else self._followed(each, now)

    def _followed(self, followed: Followed, now: float) -> CallView:
        return followed_view(followed, self._recent.turns_of(followed.found.call_id), now)


def first_spans(log: CallLog, units: UnitRules, over: bool) -> tuple[Sequence[SpanRecord], int]:
    """Of the spans of a call log the first and the root, without anything that was said; how many there are besides.

    Pages are kept, and a log may have a million. Of a call that goes on, those that have ended.
    """
    first: list[SpanRecord] = []
    number = 0

    def show(span: SpanRecord) -> None:
        nonlocal number
        number += 1
        if len(first) < SPANS_ON_A_PAGE or span.parent_id is None:
            first.append(span)

    tracker = Tracker(SpansOnly(show), units=units, remember=0)
    agent = Agent()
    if log.agent_id is not None:
        agent = Agent(log.agent_id, name_label(log.agent_name), log.workflow_type == "single_prompt")
    tracked = tracker.open(log.call_id, agent=agent, channel=log.channel)
    tracker.replay_history(tracked, log.events)
    if over:
        tracker.end(log.call_id, log.outcome or natural_outcome(tracked.call), at=log.ended_at, log=log)
    return first, number - len(first)
