"""Counting what was missed without counting anything twice: the arithmetic of folding a call again.

A call is a fold over its events, so its history can be folded at any time to say what should have been said by now.
Most facts belong to one event and are muted with it. Some follow from the order of several events: a visit to a node
that only a lost hop led to, the answer to that hop. For those, what the counted events alone have led to is taken
away from what all events lead to; the rest is news.

After a restart the state is rebuilt from the history. Until it holds all that earlier lives counted, what an event
leads to cannot be known: such facts are held back, and their events marked (``UNTOLD``), so that whoever folds the
call again, in this life or the next, knows that nothing of the kind was said of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

from exporter.calls.identity import SeenEvents
from exporter.calls.observations import (
    HopAnswered,
    LoopClosed,
    NodeEntered,
    NodeLeft,
    Observation,
    ToolCalled,
    ToolFailed,
    ToolTimed,
)
from exporter.protocol import events as wire
from exporter.protocol.api import LoggedTurn
from exporter.protocol.units import unix_seconds

Derived = NodeEntered | NodeLeft | LoopClosed | HopAnswered | ToolCalled | ToolTimed | ToolFailed
DERIVED = frozenset(kind.__name__ for kind in Derived.__args__)
"""The facts that follow from more than one event, by name."""
UNTOLD = "untold"
"""Among the kinds of facts that wait: all that are derived from this event and others."""
_LEADING = (
    wire.AgentNodeState,
    wire.Hopping,
    wire.ToolCallEnd,
    wire.ToolCallError,
    wire.ToolCallStart,
    wire.TTSCompleted,
    wire.TurnLatency,
)


def leads_to_more(event: wire.Event) -> bool:
    """Whether facts may be derived from this event and others."""
    return isinstance(event, _LEADING)


def is_derived(kind: str) -> bool:
    """Whether facts of this kind follow from more than one event."""
    return kind == UNTOLD or kind.partition(" ")[0] in DERIVED


class ReadEvent(NamedTuple):
    """An event of a history: its identity, the fields that did not fit, and when it happened, as far as one can tell
    (one without a time happened with the one before it)."""

    event: wire.Event
    identity: int
    misfits: int
    at: float


def in_order_of_time(read: Iterable[tuple[wire.Event, int, int]]) -> list[ReadEvent]:
    """Events by their own time, those of one moment in the order of the history."""
    latest = 0.0
    timed: list[ReadEvent] = []
    for event, identity, misfits in read:
        at = unix_seconds(event.timestamp)
        latest = at if at is not None else latest
        timed.append(ReadEvent(event, identity, misfits, latest))
    timed.sort(key=lambda entry: entry.at)
    return timed


def holds(read: Sequence[ReadEvent], seen: SeenEvents) -> bool:
    """Whether the history has every event that was counted."""
    return len({entry.identity for entry in read if entry.identity in seen}) >= len(seen)


def unknown_turns(told: Sequence[LoggedTurn], known_milliseconds: Sequence[int]) -> list[LoggedTurn]:
    """Of the turns that a call's statistics tell, those that are none of the known ones: each of those stands for one
    of the same length, to the millisecond."""
    known = sorted(known_milliseconds)
    missing: list[int] = []
    for place in sorted(range(len(told)), key=lambda place: told[place].seconds):
        took = told[place].seconds * 1000
        while known and known[0] < took - 1.01:
            known.pop(0)
        if known and known[0] <= took + 1.01:
            known.pop(0)
        else:
            missing.append(place)
    return [told[place] for place in sorted(missing)]


def unsaid(facts: Sequence[Observation], said: Sequence[Observation]) -> list[Observation]:
    """``facts`` less what of them was said before.

    A derived fact was said when it was said of the same visit or tool; failing that, one that was said of the same
    node stands for it; failing that, one of its kind. So sums stay exact even where a lost hop had put a fact on the
    wrong node.
    """
    news, budget = list(facts), [fact for fact in said if isinstance(fact, Derived)]
    for identity in (_itself, _its_node, _its_kind):
        news, budget = _less(news, budget, identity)
    return news


def _itself(fact: Derived) -> Hashable:
    if not isinstance(fact, ToolCalled | ToolTimed | ToolFailed):
        return type(fact), fact.where.visit
    if fact.tool_call_id is not None:
        return type(fact), fact.tool_call_id
    return type(fact), fact.at, fact.function  # nothing matches its events: it is one event's fact


def _its_node(fact: Derived) -> Hashable:
    return type(fact), fact.where.place.node_id


def _its_kind(fact: Derived) -> Hashable:
    return type(fact)


def _less(
    facts: list[Observation], said: list[Derived], identity: Callable[[Derived], Hashable]
) -> tuple[list[Observation], list[Derived]]:
    """Facts without one for each of ``said`` that has the same identity; and those of ``said`` that found none."""
    waiting: defaultdict[Hashable, list[Derived]] = defaultdict(list)
    for each in said:
        waiting[identity(each)].append(each)
    kept: list[Observation] = []
    for fact in facts:
        if isinstance(fact, Derived) and (same := waiting.get(identity(fact))):
            same.pop()
        else:
            kept.append(fact)
    return kept, [each for same in waiting.values() for each in same]
