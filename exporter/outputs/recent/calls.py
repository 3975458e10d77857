"""Calls by their slowest turn: those going on, and those that ended within the hour."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from exporter.calls.identity import trace_id
from exporter.calls.observations import CallEnded, Place, TurnAnswered

KEPT_SECONDS: Final = 3600.0


class SlowTurn(NamedTuple):
    """The slowest turn of a call, as far as it has gone."""

    seconds: float
    place: Place
    at: float
    """When it ended: Unix seconds of the event's own clock."""


class EndedCall(NamedTuple):
    """A call that is over. ``ended_at`` is Unix time by our clock, ``heard_at`` the same on one that never steps."""

    call_id: str
    agent_id: str
    agent_name: str
    channel: str
    outcome: str
    ended_at: float
    heard_at: float
    duration_seconds: float | None
    turns: int
    last_turn_seconds: float | None
    slowest: SlowTurn | None
    end_reason: str | None = None
    cost: float | None = None
    """In the API's own unit."""


class TurnsOf:
    """What is kept of one call that goes on."""

    __slots__ = ("channel", "last_seconds", "slowest", "turns")

    def __init__(self, channel: str = "unknown") -> None:
        self.channel = channel
        self.turns = 0
        self.last_seconds = 0.0
        self.slowest: SlowTurn | None = None

    def add(self, fact: TurnAnswered) -> None:
        """A turn was answered; one that the caller cut off says nothing of how long he would have waited."""
        self.turns += 1
        if fact.interrupted:
            return
        self.last_seconds = fact.seconds
        if self.slowest is None or fact.seconds > self.slowest.seconds:
            self.slowest = SlowTurn(fact.seconds, fact.where.place, fact.at)


class Calls:
    """Calls in progress and calls that ended lately, both bounded: the longest known go first.

    :param most: calls of either kind.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._going_on: OrderedDict[str, TurnsOf] = OrderedDict()
        self._ended: OrderedDict[str, EndedCall] = OrderedDict()

    def begun(self, call_id: str, channel: str) -> TurnsOf:
        """A call goes on; nothing of its turns is known yet."""
        turns = self._going_on[call_id] = TurnsOf(channel)
        if len(self._going_on) > self._most:
            self._going_on.popitem(last=False)
        return turns

    def answered(self, fact: TurnAnswered) -> TurnsOf:
        """A turn of a call that goes on; what is known of the call now."""
        turns = self._going_on.get(fact.where.call_id) or self.begun(fact.where.call_id, "unknown")
        turns.add(fact)
        return turns

    def ended(self, fact: CallEnded, now: float, wall: float) -> None:
        """A call is over; ``wall`` is Unix time, for people, ``now`` what ages are told by."""
        turns = self._going_on.pop(fact.call_id, None) or TurnsOf()
        self._ended.pop(fact.call_id, None)
        self._ended[fact.call_id] = EndedCall(
            fact.call_id,
            fact.agent.agent_id,
            fact.agent.name,
            fact.channel,
            fact.outcome,
            wall,
            now,
            fact.duration_seconds,
            fact.turns,
            turns.last_seconds if turns.slowest is not None else None,
            turns.slowest,
            None if fact.account.end_reason == "unknown" else fact.account.end_reason,
            fact.account.cost,
        )
        self._forget(now)

    def turns_of(self, call_id: str) -> TurnsOf | None:
        """What is known of a call that goes on."""
        return self._going_on.get(call_id)

    def going_on(self) -> dict[str, TurnsOf]:
        """What is known of the calls that go on, by id."""
        return dict(self._going_on)

    def lately(self, now: float) -> list[EndedCall]:
        """The calls that ended within the hour, newest first."""
        self._forget(now)
        return list(reversed(self._ended.values()))

    def named(self, name: str) -> str | None:
        """The id of a call known here, by its id or its trace id (32 hex digits)."""
        if name in self._going_on or name in self._ended:
            return name
        if len(name) != 32:
            return None
        known = (call_id for calls in (self._ended, self._going_on) for call_id in calls)
        return next((call_id for call_id in known if f"{trace_id(call_id):032x}" == name.lower()), None)

    def _forget(self, now: float) -> None:
        while self._ended:
            oldest = next(iter(self._ended.values()))
            if len(self._ended) <= self._most and now - oldest.heard_at <= KEPT_SECONDS:
                return
            self._ended.popitem(last=False)
