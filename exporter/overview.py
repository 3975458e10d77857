"""What the pages and the calls API show, gathered from the parts: calls being followed, the last hour, the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from exporter.calls.identity import trace_id
from exporter.calls.observations import Agent
from exporter.calls.tracker import Tracker, natural_outcome
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recent import EndedCall, Recent
from exporter.outputs.recorder import SpansOnly
from exporter.outputs.spans import SpanRecord
from exporter.protocol.api import CallLog
from exporter.protocol.labels import name_label
from exporter.protocol.units import UnitRules
from exporter.receivers.following import Followed, Following
from exporter.web import CallPage, CallView, FrontView, Health

CALLS_ON_A_PAGE: Final = 50
NODES_ON_A_PAGE: Final = 12
"""The first screen holds them, and the slowest calls below."""
_LATELY_MINUTES: Final = 15
_MOST_PAGES_KEPT: Final = 64
_FETCHES: Final = 2
_GOING_ON_KEPT_SECONDS: Final = 10.0
_ENDED_KEPT_SECONDS: Final = 600.0


_T = TypeVar("_T")


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
        return [*going_on, *(_ended(each) for each in self._recent.ended())]

    def front(self, page: int, nodes_page: int) -> FrontView:
        """What the page at ``/`` shows; pages out of range are the nearest there are."""
        now = self._clock()
        followed, ended = self._following.calls(), self._recent.ended()
        known: list[Followed | EndedCall] = [*followed, *ended]
        known.sort(key=lambda each: -self._slowest(each))
        nodes = self._recent.nodes()
        page, pages = _within(page, len(known), CALLS_ON_A_PAGE)
        nodes_page, nodes_pages = _within(nodes_page, len(nodes), NODES_ON_A_PAGE)
        return FrontView(
            version=self._version,
            now_at=now,
            ready=self._ready(),
            slow_seconds=self._recent.slow_seconds,
            troubles=self._recent.troubles(),
            lately=self._recent.nodes(_LATELY_MINUTES),
            nodes=_piece(nodes, nodes_page, NODES_ON_A_PAGE),
            nodes_page=nodes_page,
            nodes_pages=nodes_pages,
            outcomes_lately=self._recent.outcomes(_LATELY_MINUTES),
            outcomes_hour=self._recent.outcomes(),
            going_on=len(followed),
            ended=len(ended),
            lines=[
                _ended(each) if isinstance(each, EndedCall) else self._followed(each, now)
                for each in _piece(known, page, CALLS_ON_A_PAGE)
            ],
            page=page,
            pages=pages,
            health=self._health(),
        )

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
            if found in (call_id, name) or (call_id is None and len(name) == 32 and _trace(found) == name.lower()):
                return self._followed(each, now)
        if call_id is None:
            return None
        return next((_ended(each) for each in self._recent.ended() if each.call_id == call_id), None)

    def _slowest(self, each: Followed | EndedCall) -> float:
        if isinstance(each, EndedCall):
            return each.slowest.seconds if each.slowest is not None else 0.0
        turns = self._recent.turns_of(each.found.call_id)
        return turns.slowest.seconds if turns is not None and turns.slowest is not None else 0.0

    def _followed(self, followed: Followed, now: float) -> CallView:
        found, tracked = followed.found, followed.tracked
        if tracked is None:
            return CallView(
                found.call_id,
                followed.state,
                found.created_at or now,
                agent_id=found.agent_id,
                trace_id=_trace(found.call_id),
            )
        call, turns = tracked.call, self._recent.turns_of(found.call_id)
        slowest = turns.slowest if turns is not None else None
        return CallView(
            call_id=found.call_id,
            state=followed.state,
            since_at=call.first_at if call.first_at is not None else tracked.opened_at,
            events=len(tracked.seen),
            last_event_age_seconds=followed.quiet_seconds,
            agent_id=call.agent.agent_id,
            agent_name=call.agent.name,
            node_id=call.visit.node_id,
            node_name=call.node_name or None,
            trace_id=_trace(found.call_id),
            turns=call.turns,
            last_turn_seconds=turns.last_seconds if turns is not None and slowest is not None else None,
            slowest_turn_seconds=slowest.seconds if slowest is not None else None,
            slowest_node_name=slowest.place.node_name if slowest is not None else None,
        )

    # -- the exporter itself

    def _health(self) -> list[Health]:
        ready, reason = self._ready()
        streams = {labels["state"]: value for labels, value in self._metrics.samples("atoms_exporter_streams")}
        told = ", ".join(f"{round(number)} {state}" for state, number in streams.items() if number) or "none"
        waiting = streams.get("waiting", 0) + streams.get("refused", 0)
        return [
            Health("Atoms API", ready, reason if not ready else "the list of calls can be read"),
            Health("Streams", not waiting or waiting < 0.1 * sum(streams.values()), told),
            self._state_health(),
            self._otlp_health(),
        ]

    def _state_health(self) -> Health:
        if self._state_says is None:
            return Health("State", None, "nothing is kept: counters begin at 0 with each start")
        failures = self._total("atoms_exporter_checkpoint_failures_total")
        if failures:
            return Health("State", False, f"{self._state_says}; {round(failures)} times it could not be written")
        return Health("State", True, self._state_says)

    def _otlp_health(self) -> Health:
        if not self._traces_on:
            return Health("OTLP traces", None, "no endpoint is set")
        sent = self._total("atoms_exporter_spans_exported_total")
        dropped = self._total("atoms_exporter_spans_dropped_total")
        waiting = self._total("atoms_exporter_span_queue")
        says = f"{round(sent)} spans delivered, {round(waiting)} wait, {round(dropped)} dropped"
        return Health("OTLP traces", not dropped, says)

    def _total(self, name: str) -> float:
        return sum(value for _, value in self._metrics.samples(name))


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


def _ended(call: EndedCall) -> CallView:
    slowest = call.slowest
    began = call.ended_at - call.duration_seconds if call.duration_seconds is not None else call.ended_at
    return CallView(
        call_id=call.call_id,
        state="ended",
        since_at=began,
        agent_id=call.agent_id,
        agent_name=call.agent_name,
        trace_id=_trace(call.call_id),
        turns=call.turns,
        last_turn_seconds=call.last_turn_seconds,
        slowest_turn_seconds=slowest.seconds if slowest is not None else None,
        slowest_node_name=slowest.place.node_name if slowest is not None else None,
        outcome=call.outcome,
        end_reason=call.end_reason,
        ended_at=call.ended_at,
    )


def _trace(call_id: str) -> str:
    return f"{trace_id(call_id):032x}"


def _within(page: int, number: int, size: int) -> tuple[int, int]:
    pages = max(1, -(-number // size))
    return min(max(1, page), pages), pages


def _piece(things: Sequence[_T], page: int, size: int) -> Sequence[_T]:
    return things[(page - 1) * size : page * size]
