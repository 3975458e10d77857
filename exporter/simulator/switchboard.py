"""All calls of the simulated organisation: keeps so many going, plays them in time, remembers those that are over.

``advance(now_ms)`` does all that is due; there is no clock and no socket in here. Times are the simulated clock's.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass
from typing import Any, Literal

from .book import Book
from .call_logs import log_entry
from .dialects import call_id, connection_frame
from .faults import Faults
from .happenings import CallScript
from .live import Call, ScriptedCall
from .oddities import Oddities
from .options import SimulatorOptions
from .queueing import Queue, Queued
from .scenario import PLAIN
from .steady import SteadyCall
from .streams import Stream

_STALE_LISTING_MS = 30_000
_LIVE_STATUS = ("in_progress", "active")
_FRESH = 64
"""Ended calls whose script is still at hand, for webhooks and for the history everybody fetches now."""
_NO_CALLS_MS = 5_000
"""How long a call that must not begin waits before it tries again."""
_RINGS_MS = 30_000
"""How long somebody rings for whom there is no room."""
_AT_ONCE = 2_000
"""Events published before the loop gets a breath."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """Something a webhook tells: ``pre-conversation``, ``post-conversation`` or ``analytics-completed``."""

    event: Literal["pre-conversation", "post-conversation", "analytics-completed"]
    call: Call
    due_ms: int
    premature: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """A call that is over, since when, and its line in the call log."""

    call: Call
    at_ms: int
    entry: dict[str, Any]


class Switchboard:
    """Calls in progress and calls that are over; ``announcements`` is what webhooks have to tell, oldest first."""

    def __init__(
        self, options: SimulatorOptions, faults: Faults, begins_ms: int, oddities: Oddities | None = None
    ) -> None:
        self.live: dict[str, Call] = {}
        self.past: OrderedDict[str, Ended] = OrderedDict()
        self.announcements: list[Announcement] = []
        self.totals = Book()
        self.queue = Queue(faults)
        self.dropped: Counter[tuple[str, str]] = Counter()
        """Callers over the limit, by agent and channel: no event and no log tells of them."""
        self.begun = 0
        self.ended = 0
        self.published = 0
        self.garbage: Counter[str] = Counter()
        self.drain = False
        self._options = options
        self._faults = faults
        self._oddities = oddities or Oddities(faults, options.speed)
        self._numbered = 0
        self._streams: dict[str, list[Stream]] = {}
        self._unreached: dict[str, int] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._pushed = 0
        self._conditions = faults.conditions()
        self._fresh: deque[Call] = deque()
        step = options.ramp_seconds * 1000 / max(1, options.calls)
        ramp = options.events_rate is None
        self._beginnings = [begins_ms + (int(slot * step) if ramp else 0) for slot in range(options.calls)]
        heapq.heapify(self._beginnings)

    @property
    def idle(self) -> bool:
        """Whether nothing is going on (never-ending calls aside) and nothing will begin."""
        nothing_begins = self.drain or ((self._exhausted() or not self._beginnings) and not self.queue)
        return nothing_begins and not self._heap and not self._unreached

    def advance(self, now_ms: int, loop_time: float = 0.0) -> int | None:
        """Do all that is due; returns when the next thing is (None: nothing is planned)."""
        while self._beginnings and self._beginnings[0] <= now_ms:
            due = heapq.heappop(self._beginnings)
            if self._faults.strikes("no_calls", self._faults.rng("no_calls", self.begun, due)):
                heapq.heappush(self._beginnings, max(due, now_ms) + _NO_CALLS_MS)
            elif not self.drain and not self._exhausted():
                self._arrive(due)
        while not self.drain and self._has_room() and (queued := self.queue.take(now_ms)) is not None:
            self._begin(queued.number, now_ms, now_ms - queued.since_ms)
        heap, rest = self._heap, _AT_ONCE
        while heap and heap[0][0] <= now_ms and rest:
            rest -= 1
            due_ms, _, call_id = heapq.heappop(heap)
            call = self.live.get(call_id)
            if call is not None:
                self._play(call, due_ms, loop_time)
        for call_id in [call_id for call_id, until in self._unreached.items() if until <= now_ms]:
            self.over_before_connect(call_id, now_ms)
        waiting = [queue[0] for queue in (self._beginnings,) if queue] + [entry[0] for entry in heap[:1]]
        if self.queue and self._has_room():
            waiting.append(self.queue.may_dial_ms)
        return min([*waiting, *self._unreached.values()], default=None)

    def call(self, call_id: str) -> Call | None:
        """The call with this id, in progress or over."""
        if call_id in self.live:
            return self.live[call_id]
        found = self.past.get(call_id)
        return found.call if found else None

    def entry(self, call: Call) -> dict[str, Any]:
        """The call's line in the call log, as it is now."""
        found = self.past.get(call.call_id)
        return found.entry if found else self._entry(call, self.status(call), call.started_ms)

    @staticmethod
    def _entry(call: Call, status: str, updated_ms: int) -> dict[str, Any]:
        created_ms = call.started_ms - call.waited_ms + call.skew_ms
        return log_entry(
            call.outline(), call.call_id, call.started_ms, created_ms, status, updated_ms, call.published()
        )

    def status(self, call: Call) -> str:
        """As the API's call log has it now."""
        if call.call_id in self.live:
            return _LIVE_STATUS[call.number % 2]
        return str(self.entry(call)["status"])

    def updated_ms(self, call: Call) -> int:
        """When the call log was last written: when the call began or ended."""
        found = self.past.get(call.call_id)
        return found.at_ms if found else call.started_ms

    def ended_ms(self, call: Call) -> int | None:
        """When the call ended; None while it goes on."""
        found = self.past.get(call.call_id)
        return found.at_ms if found else None

    def is_over(self, call_id: str, now_ms: int) -> bool:
        """Whether a stream is refused: the call has ended (and is not lingering)."""
        if call_id in self._unreached:
            return True
        found = self.past.get(call_id)
        return found is not None and now_ms > found.at_ms + self._options.linger_seconds * 1000

    def over_before_connect(self, call_id: str, now_ms: int) -> None:
        """Somebody has found out that a call which was listed as active is over."""
        if self._unreached.pop(call_id, None) is not None:
            self._end(self.live[call_id], now_ms)

    def connect(self, call: Call, stream: Stream, now_ms: int, *, after: int | None = None) -> None:
        """A client follows this call from now on. ``after``: it has all events up to this one, and says so."""
        again = call.connections > 0
        call.connected(now_ms)
        replays = not again or call.replay_next or self._options.reconnect == "replay"
        if after is not None:
            stream.replay(call.frames()[after:])
        elif replays:
            stream.replay(call.frames())
        call.replay_next = False
        if call.call_id not in self.live:
            stream.finish(connection_frame("sse_close", now_ms))
            return
        self._streams.setdefault(call.call_id, []).append(stream)
        if isinstance(call, SteadyCall) and not again:
            self._schedule(call)

    def disconnect(self, call: Call, stream: Stream) -> None:
        """The connection is gone."""
        streams = self._streams.get(call.call_id, [])
        if stream in streams:
            streams.remove(stream)
            if not streams:
                del self._streams[call.call_id]
        call.replay_next = call.replay_next or stream.replay_next

    def weather(self, now_ms: int) -> None:
        """The faults have changed: calls in progress feel it from their next turn on."""
        conditions = self._faults.conditions()
        if conditions == self._conditions:
            return
        self._conditions = conditions
        for call in self.live.values():
            if call.call_id not in self._unreached:
                call.weather(now_ms, conditions)

    def end_all(self) -> None:
        """Let go of all streams."""
        for streams in list(self._streams.values()):
            for stream in list(streams):
                stream.end("shutdown")

    # -- the life of a call

    def _exhausted(self) -> bool:
        most = self._options.total_calls
        return most is not None and self._numbered >= most

    def _has_room(self) -> bool:
        limit = self._faults.limit
        return limit is None or len(self.live) < limit

    def _arrive(self, now_ms: int) -> None:
        """A call wants to begin; over the limit it must wait, or is dropped; a slow carrier lets it wait."""
        number = self._numbered
        self._numbered += 1
        slowly = self._faults.dialling_ms is not None
        if slowly and (script := self._planned(number)).channel == "telephony_outbound":
            self._faults.struck["slow_carrier"] += 1
            self.queue.wait(self._queued(number, now_ms, script), holds_its_place=False)
            heapq.heappush(self._beginnings, now_ms + script.last_ms)
            return
        if self._has_room() and (slowly or not self.queue):
            self._begin(number, now_ms)
            return
        self._faults.struck["limit"] += 1
        script = self._planned(number)
        if script.channel == "telephony_outbound":
            self.queue.wait(self._queued(number, now_ms, script))
        else:
            self.dropped[script.agent_id, script.channel] += 1
            heapq.heappush(self._beginnings, now_ms + _RINGS_MS)

    def _queued(self, number: int, now_ms: int, script: CallScript) -> Queued:
        return Queued(number, now_ms, script, call_id(self._options.seed, number, now_ms))

    def _planned(self, number: int) -> CallScript:
        options = self._options
        return ScriptedCall(options.seed, number, 0, options.dialect, ((0, self._faults.conditions()),)).script()

    def _begin(self, number: int, now_ms: int, waited_ms: int = 0) -> None:
        options = self._options
        self.begun += 1
        if options.events_rate is not None:
            steady = SteadyCall(options.seed, number, now_ms, options.dialect, options.events_rate)
            self.live[steady.call_id] = steady
            self._announce("pre-conversation", steady, now_ms)
            return
        rng = self._faults.rng("call", number)
        skewed = self._faults.strikes("clock_skew", rng)
        unreached = self._faults.strikes("over_before_connect", rng)
        schedule = ((0, self._faults.conditions()),)
        began_ms = now_ms
        if unreached:
            began_ms -= self._planned(number).last_ms + 1000
        skew_ms = int(skewed.hours * 3_600_000) if skewed else 0
        plain = schedule[0][1] == PLAIN[0][1]
        call = ScriptedCall(
            options.seed, number, began_ms, options.dialect, PLAIN if plain else schedule, skew_ms, waited_ms
        )
        self.live[call.call_id] = call
        if call.script().outcome != "blocked":  # it is said when a call connects
            self._announce("pre-conversation", call, now_ms)
        if self._faults.strikes("webhook_premature", rng):
            planned_ms = call.script().last_ms
            self._announce("post-conversation", call, now_ms + int(planned_ms * 0.4), premature=True)
        if unreached:
            while (due_ms := call.due_ms) is not None and due_ms <= now_ms and call.take():
                self.published += 1
            self._unreached[call.call_id] = now_ms + _STALE_LISTING_MS
        else:
            self._schedule(call)

    def _schedule(self, call: Call) -> None:
        due_ms = call.due_ms
        if due_ms is not None:
            self._pushed += 1
            heapq.heappush(self._heap, (due_ms, self._pushed, call.call_id))

    def _play(self, call: Call, due_ms: int, loop_time: float) -> None:
        taken = call.take() if call.due_ms is not None and call.due_ms <= due_ms else ()
        if taken is None:
            self._end(call, due_ms)
            return
        if taken:
            happening, data = taken
            self.published += 1
            if happening.kind == "sentiment_shift":
                self.garbage["unknown_event"] += 1
            elif happening.kind == "turn_latency" and happening.facts["turn_latency"].ms < 0:
                self.garbage["negative_latency"] += 1
            for stream in self._streams.get(call.call_id, ()):
                stream.deliver(happening.kind, data, loop_time)
        self._schedule(call)

    def _end(self, call: Call, now_ms: int) -> None:
        del self.live[call.call_id]
        if not call.over:
            call.take()
        self.ended += 1
        self.totals.add_book(call.book())
        self.past[call.call_id] = Ended(call, now_ms, self._entry(call, self._final_status(call), now_ms))
        self._fresh.append(call)
        if len(self._fresh) > _FRESH:
            self._fresh.popleft().forget()
        while len(self.past) > self._options.history:
            self.past.popitem(last=False)
        for stream in self._streams.pop(call.call_id, []):
            stream.finish(connection_frame("sse_close", now_ms))
        self._announce("post-conversation", call, now_ms + 400)
        if call.script().analytics:
            self._announce("analytics-completed", call, now_ms + 1500)
        if self.queue.held_a_place(call.number):
            heapq.heappush(self._beginnings, now_ms + 200 + call.number * 7919 % 1800)

    def _final_status(self, call: Call) -> str:
        return self._oddities.status_of(call, call.script().status)

    def _announce(
        self,
        event: Literal["pre-conversation", "post-conversation", "analytics-completed"],
        call: Call,
        due_ms: int,
        *,
        premature: bool = False,
    ) -> None:
        if self._options.webhook_url:
            self.announcements.append(Announcement(event, call, due_ms, premature))
