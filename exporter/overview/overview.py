"""Answers what the web server asks about calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from exporter.calls.observations import Agent
from exporter.calls.tracker import Tracker, natural_outcome
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recent import Recent
from exporter.outputs.recorder import SpansOnly
from exporter.outputs.spans import SpanRecord
from exporter.overview.calls import ended_view, followed_view, trace_of
from exporter.overview.front import Gathered
from exporter.overview.health import capacity, health
from exporter.protocol.api import CallLog
from exporter.protocol.labels import name_label
from exporter.protocol.units import UnitRules
from exporter.receivers.following import Followed, Following
from exporter.web import CallPage, CallView, FrontView

_MOST_PAGES_KEPT: Final = 64
_FETCHES: Final = 2
_GOING_ON_KEPT_SECONDS: Final = 10.0
_ENDED_KEPT_SECONDS: Final = 600.0


class _Kept(NamedTuple):
    """A page that was fetched, until ``until`` on the monotonic clock."""

    page: CallPage
    until: float


class Overview:
    """Answers what the web server asks about calls.

    :param fetch: a call's log from the API; raises AtomsExporterError.
    :param ready: whether the exporter does its job, and if not, why.
    :param state_says: where what is kept is kept, or None when nothing is.
    """

    def __init__(
        self,
        following: Following,
        recent: Recent,
        metrics: Metrics,
        *,
        version: str,
        fetch: Callable[[str], Awaitable[CallLog]],
        ready: Callable[[], tuple[bool, str]],
        units: UnitRules,
        clock: Callable[[], float],
        state_says: str | None,
        traces_on: bool,
    ) -> None:
        self._following = following
        self._recent = recent
        self._metrics = metrics
        self._version = version
        self._fetch = fetch
        self._ready = ready
        self._units = units
        self._clock = clock
        self._state_says = state_says
        self._traces_on = traces_on
        self._slots = asyncio.Semaphore(_FETCHES)
        self._kept: dict[str, _Kept] = {}

    def calls(self) -> list[CallView]:
        """Every call being followed, then those that ended within the hour."""
        now = self._clock()
        going_on = [self._followed(each, now) for each in self._following.calls()]
        return [*going_on, *(ended_view(each) for each in self._recent.ended())]

    def front(self, page: int, nodes_page: int) -> Callable[[], FrontView]:
        """The page at ``/`` as it is now: gathered here, in a moment, and worked out when it is called, in a thread."""
        ready = self._ready()
        gathered = Gathered(
            self._version,
            self._clock(),
            ready,
            self._recent.look(),
            self._following.calls(),
            capacity(self._metrics),
            health(self._metrics, ready, self._state_says, traces_on=self._traces_on),
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
            log = await self._fetch(view.call_id)
            spans = await asyncio.to_thread(spans_of_log, log, self._units, view.ended_at is not None)
            page = CallPage(view, spans, self._clock())
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
        if call_id is None:
            return None
        return next((ended_view(each) for each in self._recent.ended() if each.call_id == call_id), None)

    def _followed(self, followed: Followed, now: float) -> CallView:
        return followed_view(followed, self._recent.turns_of(followed.found.call_id), now)


def spans_of_log(log: CallLog, units: UnitRules, over: bool) -> Sequence[SpanRecord]:
    """The spans of a call log, without anything that was said; of one that goes on, those that have ended."""
    spans: list[SpanRecord] = []
    tracker = Tracker(SpansOnly(spans.append), units=units, remember=0)
    agent = Agent()
    if log.agent_id is not None:
        agent = Agent(log.agent_id, name_label(log.agent_name), log.workflow_type == "single_prompt")
    tracked = tracker.open(log.call_id, agent=agent, channel=log.channel)
    tracker.replay_history(tracked, log.events)
    if over:
        tracker.end(log.call_id, log.outcome or natural_outcome(tracked.call), at=log.ended_at, log=log)
    return spans
