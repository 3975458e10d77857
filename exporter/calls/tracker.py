"""All calls being followed: who they are, which of their events were counted, when they are forgotten.

An event counts once, whatever reconnects, replays, restarts or second deliveries bring. Recovery is the same fold
again: the history of a call is put in the order of its time and what was counted before is muted.
"""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import count
from typing import TypeVar

import msgspec

from exporter.calls.account import UNKNOWN_ACCOUNT, account_of
from exporter.calls.answers import turn_filled
from exporter.calls.call import Call
from exporter.calls.dispositions import Analyses
from exporter.calls.identity import ConnectionFrame, SeenEvents, event_identity
from exporter.calls.observations import Agent, CallResumed, Observation
from exporter.calls.recovery import (
    DERIVED,
    UNTOLD,
    Derived,
    ReadEvent,
    holds,
    in_order_of_time,
    is_derived,
    leads_to_more,
    unknown_turns,
    unsaid,
)
from exporter.calls.signs import STOCK_LIMITS, Limits
from exporter.calls.state import advance, finish
from exporter.calls.tracked import Progress, Recorder, TrackedCall
from exporter.errors import Malformed
from exporter.protocol import events as wire
from exporter.protocol.api import CallLog, created_at_in
from exporter.protocol.decode import content_identity, decode_event
from exporter.protocol.dispositions import Disposition
from exporter.protocol.units import Skip, UnitRules, unix_seconds

__all__ = [
    "UNKNOWN_CHANNEL",
    "Progress",
    "Recorder",
    "Source",
    "TrackedCall",
    "Tracker",
    "natural_outcome",
]

UNKNOWN_CHANNEL = "unknown"
_NOBODY = Agent().agent_id


Result = TypeVar("Result")
Steps = Generator[None, None, Result]
"""Work on a long history that stops now and then, so that others have their turn."""


def at_once(steps: Steps[Result]) -> Result:
    """All of it, without a stop."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: Result = done.value
            return result


class Source(Enum):
    """Where an event came from."""

    LIVE = "live"
    HISTORY = "history"
    RECORDING = "recording"
    FOLDED = "folded"
    """From a history that is folded from its beginning."""


# Looking a member up in its enum takes 0.1 µs (Python 3.11), several times for each event.
_LIVE, _HISTORY, _RECORDING, _FOLDED = Source.LIVE, Source.HISTORY, Source.RECORDING, Source.FOLDED
_STREAMED = (_LIVE, _RECORDING)
_GOING_ON, _CALL_ENDED, _STREAM_CLOSED = Progress.GOING_ON, Progress.CALL_ENDED, Progress.STREAM_CLOSED


class Tracker:
    """Follows any number of calls.

    :param record: where facts go.
    :param remember: how many finished calls to know again, so that none is followed twice.
    :param analyses: which results of post-call analytics are counted, and as what.
    """

    def __init__(
        self,
        record: Recorder,
        *,
        units: UnitRules | None = None,
        capture_content: bool = False,
        limits: Limits = STOCK_LIMITS,
        remember: int = 200_000,
        analyses: Analyses | None = None,
    ) -> None:
        self._record = record
        self.analyses = analyses or Analyses()
        self._event_received = record.event_received  # bound once: for each event it would cost as much as to count
        self._units = units or UnitRules()
        self._capture_content = capture_content
        self._limits = limits
        self._calls: dict[str, TrackedCall] = {}
        self._finished: dict[str, None] = {}
        self._remember = remember
        self._names: dict[str, dict[str, str]] = {}
        self._replaying: TrackedCall | None = None
        self._held_id = "unknown"
        self._frames: list[int] = []

    def analysed(self, call_id: str, agent: Agent, dispositions: Iterable[Disposition]) -> bool:
        """What post-call analytics say of a call, by whoever brings it: each result counts once. Whether any is new."""
        facts = self.analyses.facts(call_id, agent, dispositions)
        if facts:
            self._record.observed(facts)
        return bool(facts)

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[TrackedCall]:
        return iter(list(self._calls.values()))

    def known(self, call_id: str) -> bool:
        """The call is being followed, or was."""
        return call_id in self._calls or call_id in self._finished

    def finished(self) -> list[str]:
        """The calls that are remembered as done."""
        return list(self._finished)

    def get(self, call_id: str) -> TrackedCall | None:
        """A call being followed."""
        return self._calls.get(call_id)

    def open(
        self, call_id: str, *, agent: Agent, channel: str = UNKNOWN_CHANNEL, now: float = 0.0, durable: bool = False
    ) -> TrackedCall:
        """Begin to follow a call; the one already followed, if it is.

        :param durable: collect the identities of counted events for a checkpoint.
        """
        tracked = self._calls.get(call_id)
        if tracked is None:
            call = Call(
                call_id,
                agent,
                channel,
                self._units,
                capture_content=self._capture_content,
                limits=self._limits,
                agent_names=self._names.setdefault(agent.agent_id, {}) if agent.agent_id != _NOBODY else None,
            )
            tracked = self._calls[call_id] = TrackedCall(call, now)
            if durable:
                tracked.uncommitted = array("Q")
        return tracked

    def feed(self, tracked: TrackedCall, payload: bytes, now: float) -> Progress:
        """One payload from a live stream; ``now`` is Unix time."""
        try:
            event, misfits = decode_event(payload)
            identity = event_identity(event, payload)
        except ConnectionFrame:
            self._frame(tracked.frames, event, payload)
            return _STREAM_CLOSED if isinstance(event, wire.SSEClose) else _GOING_ON
        except Malformed as malformed:
            self._record.event_rejected(malformed.reason)
            return _GOING_ON
        self._take(tracked, event, identity, misfits, now, _LIVE)
        return _GOING_ON if tracked.call.end_at is None else _CALL_ENDED

    def replay(
        self,
        payload: bytes | msgspec.Raw,
        *,
        agent: Agent,
        channel: str = UNKNOWN_CHANNEL,
        held: Mapping[str, list[bytes | msgspec.Raw]] | None = None,
    ) -> None:
        """One payload of a recording. Calls are opened as they appear; what names no call belongs to the last one.

        :param held: payloads of these calls are put there, for ``replay_history``.
        """
        try:
            event, misfits = decode_event(payload)
            identity = event_identity(event, payload)
        except ConnectionFrame:
            self._frame(self._frames, event, payload)
            return
        except Malformed as malformed:
            self._record.event_rejected(malformed.reason)
            return
        tracked = self._replaying
        call_id = event.call_id
        if held:
            self._held_id = call_id or self._held_id
            if (waiting := held.get(self._held_id)) is not None:
                waiting.append(payload)
                return
        if tracked is None or (call_id != tracked.takes and call_id is not None and tracked.call.call_id != call_id):
            tracked = self._replaying = self.open(call_id or "unknown", agent=agent, channel=channel)
        self._take(tracked, event, identity, misfits, 0.0, _RECORDING)

    def _frame(self, known: list[int], event: wire.Event, payload: bytes | msgspec.Raw) -> None:
        """No event of the call: the first and last frame of a connection are counted, and once, too; heartbeats and
        errors, which name neither an event nor a call, are not."""
        if event.call_id is None and isinstance(event, wire.Unknown):
            return
        identity = content_identity(payload)
        if identity in known:
            self._record.event_duplicate()
            return
        known.append(identity)
        del known[:-_MOST_FRAMES]
        self._record.event_received(type(event), None)

    def replay_history(
        self,
        tracked: TrackedCall,
        payloads: Sequence[bytes | msgspec.Raw],
        stream: Sequence[bytes | msgspec.Raw] = (),
    ) -> None:
        """The history of a call that is over, and what was recorded of its stream, in the order of time; of the stream
        alone, where the two bear different ids."""
        read, streamed = self._read_all(payloads), self._read_all(stream)
        for entry in streamed:
            tracked.first.streamed(entry.event, entry.identity, unix_seconds(entry.event.timestamp))
        if streamed and self._tells_the_same(tracked, read):
            read = streamed
        elif streamed:
            read = self._read_all([*payloads, *stream])
        tracked.looking = False
        for entry in read:
            self._take(tracked, entry.event, entry.identity, entry.misfits, 0.0, _RECORDING)

    def _take(
        self, tracked: TrackedCall, event: wire.Event, identity: int, misfits: int, now: float, source: Source
    ) -> bool:
        """Whether this is an event of this call and new; then it is counted as an event, and happens to the call (one
        that is folded does that elsewhere)."""
        if event.call_id != tracked.takes and not self._is_its_own(tracked, event):
            return False
        if not tracked.seen.add(identity):
            self._record.event_duplicate()
            return False
        at = unix_seconds(event.timestamp)
        if tracked.looking and source in _STREAMED and not self._is_news(tracked, event, identity, at):
            return False
        if tracked.uncommitted is not None:
            tracked.uncommitted.append(identity)
        if misfits:
            for _ in range(misfits):
                self._record.sample_skipped(Skip.WRONG_TYPE.value)
        call = tracked.call
        if at is not None and source in _STREAMED:
            self._event_received(type(event), now - at if source is _LIVE else None)
        else:
            self._event_received(type(event), None)
            if source not in _STREAMED:
                self._record.event_recovered()
                tracked.recovered += 1
            if at is None:
                tracked.untimed += 1
                at = call.latest_at or now or created_at_in(call.call_id) or 0.0
            if source is _FOLDED:
                return True
        facts = advance(call, event, at, identity=identity)
        if tracked.held is not None:
            facts = self._sayable(tracked, event, identity, facts)
        if facts:
            self._record.observed(facts)
        return True

    def _sayable(
        self, tracked: TrackedCall, event: wire.Event, identity: int, facts: Sequence[Observation]
    ) -> list[Observation]:
        """Of what an event led to in a state that is not whole, that which is true all the same."""
        held, owed = tracked.held, tracked.owed
        assert held is not None, "what is derived is said where the state is whole"
        assert owed is not None, "it is None with it"
        if leads_to_more(event):
            owed[identity] = owed.get(identity, _NONE) | _ALL_DERIVED
        held.extend(fact for fact in facts if isinstance(fact, Derived))
        sayable = [fact for fact in facts if not isinstance(fact, Derived)]
        if len(owed) > _MOST_OWED:  # no history is coming: what is known must do
            sayable += held
            tracked.held = None
            tracked.owed = {key: kinds - _ALL_DERIVED for key, kinds in owed.items() if kinds != _ALL_DERIVED} or None
        return sayable

    def _is_its_own(self, tracked: TrackedCall, event: wire.Event) -> bool:
        """Whether an event that does not name this call, or comes when it is over, is one of its own all the same."""
        if not self._belongs(tracked, event):
            self._record.event_rejected("wrong_call")
            return False
        if tracked.takes is None:
            self._record.event_rejected("after_end")
            return False
        return True

    def _is_news(self, tracked: TrackedCall, event: wire.Event, identity: int, at: float | None) -> bool:
        """Whether the history has not told this event of the stream under another id."""
        first = tracked.first
        if first.streamed(event, identity, at):
            tracked.looking = not first.complete
            return True
        tracked.other_ids = True
        self._record.event_rejected("other_ids")
        return False

    def _tells_the_same(self, tracked: TrackedCall, read: list[ReadEvent]) -> bool:
        """Whether this history tells what was counted from the stream, under other ids."""
        first, known = tracked.first, tracked.other_ids
        if not first.other_ids_in(read, tracked.seen, resumed=tracked.partial, known=known):
            first.history_came(read)
            return False
        tracked.other_ids = True
        if not known:
            for _ in read:
                self._record.event_rejected("other_ids")
        return True

    def recover(
        self,
        tracked: TrackedCall,
        payloads: Iterable[bytes | msgspec.Raw],
        now: float,
        *,
        only_after_first: bool = False,
    ) -> int:
        """``recovering``, all at once."""
        return at_once(self.recovering(tracked, payloads, now, only_after_first=only_after_first))

    def recovering(
        self,
        tracked: TrackedCall,
        payloads: Iterable[bytes | msgspec.Raw],
        now: float,
        *,
        only_after_first: bool = False,
    ) -> Steps[int]:
        """Take the call's history, in steps; returns how many events the stream had missed.

        Nothing, if it bears other ids than the stream does (``tracked.other_ids``).
        Events that come after everything seen are appended. Where one is missing in the middle, and the history
        holds all that was counted, the call is folded again from its beginning with the counted events muted, so
        that what was missed lands on the node the call was in then. So is a call that was resumed, of which it says
        what earlier lives held back.

        :param only_after_first: leave out what happened before the first event seen here.
        """
        read = yield from self._reading(payloads)
        if self._tells_the_same(tracked, read):
            return 0
        before = tracked.recovered
        for tries in count():  # again where the stream has brought something between two steps
            if only_after_first:
                first = next((place for place, entry in enumerate(read) if entry.identity in tracked.seen), 0)
                read = read[first:]
            missing = [entry for entry in read if entry.identity not in tracked.seen]
            if (not missing and tracked.owed is None) or tracked.finished:
                break
            whole, hurry = holds(read, tracked.seen), tries >= _PATIENCE
            latest, is_blank = tracked.call.latest_at, tracked.call.first_at is None
            behind = tracked.owed is not None or is_blank or any(entry.at < latest for entry in missing)
            if len(tracked.seen) and behind and (whole or (tracked.held is not None and is_blank)):
                done = yield from self._fold_again(tracked, read, now, whole=whole, hurry=hurry)
            else:
                done = yield from self._append(tracked, missing, now, hurry=hurry)
            if done:
                break
        return tracked.recovered - before

    def _append(self, tracked: TrackedCall, missing: list[ReadEvent], now: float, *, hurry: bool) -> Steps[bool]:
        """Events behind all that were counted; ``False``: something else was counted meanwhile."""
        counted = len(tracked.seen)
        for place, entry in enumerate(missing, 1):
            self._take(tracked, entry.event, entry.identity, entry.misfits, now, _HISTORY)
            counted = counted + 1 if len(tracked.seen) > counted else counted
            if place % _STEP_EVENTS == 0 and not hurry:
                yield
                if len(tracked.seen) != counted:
                    return False
        return True

    def _read_all(self, payloads: Iterable[bytes | msgspec.Raw]) -> list[ReadEvent]:
        return at_once(self._reading(payloads))

    def _reading(self, payloads: Iterable[bytes | msgspec.Raw]) -> Steps[list[ReadEvent]]:
        read: dict[int, tuple[wire.Event, int, int]] = {}
        for place, payload in enumerate(payloads, 1):
            if place % _STEP_EVENTS == 0:
                yield
            try:
                event, misfits = decode_event(payload)
                identity = event_identity(event, payload)
            except ConnectionFrame:
                continue
            except Malformed as malformed:
                self._record.event_rejected(malformed.reason)
                continue
            read.setdefault(identity, (event, identity, misfits))
        return in_order_of_time(read.values())

    def resume(self, tracked: TrackedCall, counted: SeenEvents, waiting: Mapping[int, frozenset[str]]) -> None:
        """A call of which an earlier life of this process counted events: these are not counted again. Its state comes
        with its history; until then nothing is said that follows from more than one event.

        :param waiting: facts the earlier life had not counted yet although their events were, by event.
        """
        tracked.seen = counted
        if len(counted):
            tracked.owed, tracked.held = dict(waiting), []
            tracked.partial = True
            tracked.call.started = True
            self._record.observed([CallResumed(tracked.call.call_id, tracked.call.agent, tracked.call.channel)])

    def _fold_again(
        self, tracked: TrackedCall, read: list[ReadEvent], now: float, *, whole: bool, hurry: bool
    ) -> Steps[bool]:
        """What the events not seen so far add, and what they change about those that were.

        All of it is worked out beside the call, in steps, and takes effect in one; ``False``, and no effect, where
        something else was counted meanwhile.

        :param whole: this is all that was counted, and more. Otherwise what is derived is still held back.
        :param hurry: in one step: nothing happens meanwhile.
        """
        counted, waiting = len(tracked.seen), tracked.waiting_facts()
        now = now or created_at_in(tracked.call.call_id) or 0.0
        said: list[Observation] = []
        before, call = self._blank(tracked.call), self._blank(tracked.call)
        facts: list[Observation] = []
        fresh: list[ReadEvent] = []
        for place, (event, identity, _, at) in enumerate(read, 1):
            if place % _STEP_EVENTS == 0 and not hurry:
                yield
            if identity in tracked.seen and UNTOLD not in waiting.get(identity, _NONE):
                said.extend(advance(before, event, at or before.latest_at or now, identity=identity))
        said.extend(before.waiting.facts_but(waiting))
        for place, entry in enumerate(read, 1):
            if place % _STEP_EVENTS == 0 and not hurry:
                yield
            event, identity, _, at = entry
            muted = identity in tracked.seen
            if not muted:
                fresh.append(entry)
                if not self._belongs(tracked, event):
                    continue
            unmuted = waiting.get(identity, _NONE) | DERIVED
            at = at or call.latest_at or now
            facts.extend(advance(call, event, at, identity=identity, muted=muted, unmuted=unmuted))
        if len(tracked.seen) != counted or tracked.finished:
            return tracked.finished
        for entry in fresh:
            self._take(tracked, entry.event, entry.identity, entry.misfits, now, _FOLDED)
        held = call.waiting.facts()
        news = {id(fact): fact for fact in unsaid([*facts, *held], said)}
        call.waiting.mute(place for place, fact in enumerate(held) if id(fact) not in news)
        facts = [fact for fact in facts if id(fact) in news]
        tracked.call = call
        if whole:
            tracked.owed = tracked.held = None
            tracked.partial = False
            tracked.untimed = sum(unix_seconds(entry.event.timestamp) is None for entry in read)
        else:
            tracked.owed = _still_owed(waiting, read, fresh)
            tracked.held = [fact for fact in facts if isinstance(fact, Derived)]
            facts = [fact for fact in facts if not isinstance(fact, Derived)]
        self._record.observed(facts)
        return True

    @staticmethod
    def _belongs(tracked: TrackedCall, event: wire.Event) -> bool:
        return event.call_id is None or event.call_id == tracked.call.call_id

    def _blank(self, call: Call) -> Call:
        blank = Call(
            call.call_id,
            call.agent,
            call.channel,
            self._units,
            capture_content=self._capture_content,
            limits=self._limits,
            agent_names=call.agent_names,
        )
        blank.started = call.started
        return blank

    def fill_turns(self, tracked: TrackedCall, log: CallLog, now: float) -> int:
        """Turns that only the call's statistics know; returns how many were counted.

        Where the log has the call's events, they are all there is, if there is any turn among them. Without events,
        those the stream gave are left out, by value.
        """
        call = tracked.call
        if tracked.finished or tracked.partial or (log.event_count and call.turns > len(tracked.filled)):
            return 0
        begun_at = call.connected_at or call.first_at or log.created_at or created_at_in(call.call_id)
        before = call.turns
        for turn in unknown_turns(log.turn_latencies, [*call.turn_milliseconds, *tracked.filled]):
            at = turn.at
            if at is None and turn.after_seconds is not None and begun_at is not None:
                at = begun_at + turn.after_seconds
            counted = call.turns
            at = at or call.latest_at or log.ended_at or begun_at or now
            self._record.observed(turn_filled(call, turn.seconds, at))
            if call.turns > counted:
                tracked.filled.append(round(turn.seconds * 1000))
        return call.turns - before

    def mute_before(self, tracked: TrackedCall, payloads: Iterable[bytes | msgspec.Raw], now: float) -> None:
        """``muting``, all at once."""
        at_once(self.muting(tracked, payloads, now))

    def muting(self, tracked: TrackedCall, payloads: Iterable[bytes | msgspec.Raw], now: float) -> Steps[None]:
        """A call that was under way before this process knew of anything: an earlier life may have counted what its
        history holds, so it becomes state, in steps, and is not counted."""
        read = yield from self._reading(payloads)
        if not read or tracked.finished:
            return
        if len(tracked.seen):  # the stream was faster: what came before its first event is not counted either
            yield from self.recovering(tracked, payloads, now, only_after_first=True)
            return
        tracked.first.history_came(read)
        for entry in read:
            if tracked.seen.add(entry.identity) and tracked.uncommitted is not None:
                tracked.uncommitted.append(entry.identity)  # or the next life would count it
        tracked.call.started = True
        self._record.observed([CallResumed(tracked.call.call_id, tracked.call.agent, tracked.call.channel)])
        counted = len(tracked.seen)
        call = self._blank(tracked.call)
        for place, (event, identity, _, at) in enumerate(read, 1):
            if place % _STEP_EVENTS == 0:
                yield
            advance(call, event, at or call.latest_at or now, identity=identity, muted=True)
        call.stages.forget_turns()
        if len(tracked.seen) == counted:  # else the stream's own state is the newer one
            tracked.call = call

    def end(
        self,
        call_id: str,
        outcome: str,
        *,
        at: float | None = None,
        log: CallLog | None = None,
        began_at: float | None = None,
        lasted_seconds: float | None = None,
    ) -> None:
        """The call is over: everything that waits is settled and counted, and the call is remembered as done.

        ``log`` is what the API keeps of it. ``at``, ``began_at`` and ``lasted_seconds`` are what the call log or a
        webhook says, for what its events do not.
        """
        tracked = self._calls.pop(call_id, None)
        if tracked is None:
            return
        tracked.takes = None
        if tracked.held:
            self._record.observed(tracked.held)
        timed = tracked.call.first_at is not None and tracked.untimed < len(tracked.seen)
        if not timed and began_at is None and (at is not None or tracked.untimed):
            began_at = created_at_in(call_id)
        self._record.observed(
            finish(
                tracked.call,
                outcome=outcome,
                at=at,
                account=account_of(log, tracked.call.connected_at) if log is not None else UNKNOWN_ACCOUNT,
                began_at=began_at,
                lasted_seconds=lasted_seconds,
                timed=timed,
            )
        )
        self.forget(call_id)

    def end_all(self) -> None:
        """The recording is over, and with it every call in it."""
        for tracked in self:
            self.end(tracked.call.call_id, natural_outcome(tracked.call))

    def drop(self, call_id: str) -> None:
        """Let go of a call that turned out to be none, so far: it may be opened again."""
        self._calls.pop(call_id, None)

    def forget(self, call_id: str) -> None:
        """Remember a call as done without following it."""
        self._calls.pop(call_id, None)
        self._finished[call_id] = None
        if len(self._finished) > self._remember:
            del self._finished[next(iter(self._finished))]


_MOST_FRAMES = 16
_STEP_EVENTS = 64
"""Events of a history between two chances to do something else: some milliseconds."""
_PATIENCE = 3
"""So many times a history is begun again because the stream went on meanwhile; then it is taken in one step."""
_NONE: frozenset[str] = frozenset()
_ALL_DERIVED = frozenset((UNTOLD,))
_MOST_OWED = 2048
"""So many events of a resumed call come without a history: an hour of conversation."""


def _still_owed(
    waiting: Mapping[int, frozenset[str]], read: Sequence[ReadEvent], fresh: Sequence[ReadEvent]
) -> dict[int, frozenset[str]]:
    """What is not said yet of events, after a fold that did not hold all of them: nothing that is derived, and nothing
    of those it did not hold."""
    held = {entry.identity for entry in read}
    owed = {
        identity: frozenset(filter(is_derived, kinds)) if identity in held else kinds
        for identity, kinds in waiting.items()
    }
    owed |= {entry.identity: _ALL_DERIVED for entry in fresh if leads_to_more(entry.event)}
    return {identity: kinds for identity, kinds in owed.items() if kinds}


def natural_outcome(call: Call) -> str:
    """How a call ended, as far as its own events say."""
    if call.cancelled:
        return "cancelled"
    return "completed" if call.ended else "lost"
