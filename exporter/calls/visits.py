"""Visits to nodes, and the facts that wait until it is known where they belong.

A node is often known later than what happens in it: the first events of a call arrive before any node is named, and
a hop gives only the id of the next one. Whatever belongs to such a visit waits for its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from msgspec.structs import replace

from exporter.calls.identity import span_id, trace_id
from exporter.calls.observations import Agent, Hopped, Located, NodeEntered, Place, Where

NO_NODE = "none"
UNKNOWN_NAME = "unknown"
NOWHERE = Where("", Place("", "", "", ""), "", 0)
"""The place of a fact that still waits for its own."""

LONGEST_QUEUE = 512
"""Facts a call keeps waiting. More than that, and no name is coming: the agent has no workflow."""


_place = lru_cache(maxsize=16_384)(Place)  # one object for every visit to a node: found by identity, not by its strings


class Spent:
    """Tokens used so far: of prompts, of answers, and of neither as far as one can tell."""

    __slots__ = ("completion", "other", "prompt")

    def __init__(self) -> None:
        self.prompt = self.completion = self.other = 0

    def add(self, prompt: int, completion: int, other: int) -> None:
        """What one request used."""
        self.prompt += prompt
        self.completion += completion
        self.other += other


class Visit:
    """One stay at a node. ``where`` is ``NOWHERE`` until the node's name is known."""

    __slots__ = (
        "awaits_answer_since",
        "came_from",
        "entered_at",
        "error",
        "index",
        "key",
        "node_id",
        "node_type",
        "spent",
        "where",
    )

    def __init__(self, index: int, node_id: str | None, entered_at: float, key: str) -> None:
        self.index = index
        self.node_id = node_id
        self.entered_at = entered_at
        self.key = key
        self.where = NOWHERE
        self.node_type: str | None = None
        self.came_from: str | None = None  # the node's id: the visit itself would keep every visit before it alive
        self.awaits_answer_since: float | None = None
        self.spent = Spent()
        self.error: str | None = None

    def settle(self, call_id: str, agent: Agent, node_id: str, name: str) -> None:
        """From now on it is known where this is."""
        place = _place(agent.agent_id, agent.name, node_id, name, agent.version)
        visit = "" if node_id == NO_NODE else self.key
        span = span_id(call_id, "hop", visit) if visit else span_id(call_id, "call")
        self.where = Where(call_id, place, visit, self.index, f"{trace_id(call_id):032x}", f"{span:016x}")

    def nameless(self) -> Where:
        """Where this is, as far as it is known."""
        return Where("", Place("", "", self.node_id or "", ""), self.key, self.index)


class _Entry:
    """A fact and what it waits for. Not a tuple: a quarter of a call's facts come by here, and this is cheaper."""

    __slots__ = ("fact", "identity", "muted", "origin", "visit")

    def __init__(self, visit: Visit, origin: Visit | None, fact: Located | Hopped, identity: int, muted: bool) -> None:
        self.visit = visit
        self.origin = origin  # of a hop: the visit it came from
        self.fact = fact
        self.identity = identity
        self.muted = muted


class WaitingRoom:
    """Facts whose visit has no name yet, in the order they came."""

    __slots__ = ("_entries", "size")

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self.size = 0

    def add(self, visit: Visit, origin: Visit | None, fact: Located | Hopped, identity: int, muted: bool) -> None:
        """Keep a fact until ``visit`` (and ``origin``) are settled."""
        self._entries.append(_Entry(visit, origin, fact, identity, muted))
        self.size += 1

    def visits(self) -> list[Visit]:
        """The visits that facts wait for."""
        found: dict[int, Visit] = {}
        for entry in self._entries:
            for visit in (entry.visit, entry.origin):
                if visit is not None and visit.where is NOWHERE:
                    found[id(visit)] = visit
        return list(found.values())

    def kinds(self) -> dict[int, frozenset[str]]:
        """The kinds of the facts that are still waiting, by the identity of their event."""
        found: dict[int, set[str]] = {}
        for entry in self._entries:
            if not entry.muted:
                found.setdefault(entry.identity, set()).add(_kind(entry))
        return {identity: frozenset(names) for identity, names in found.items()}

    def facts(self) -> list[Located | Hopped]:
        """What waits, in order, as it will be said, but for the names."""
        return [_nameless(entry) for entry in self._entries]

    def facts_but(self, kinds: Mapping[int, frozenset[str]]) -> list[Located | Hopped]:
        """The same, but for facts of these kinds, by the identity of their event."""
        return [_nameless(entry) for entry in self._entries if _kind(entry) not in kinds.get(entry.identity, ())]

    def mute(self, places: Iterable[int]) -> None:
        """Never to be said: the facts at these places of ``facts()``."""
        for place in places:
            self._entries[place].muted = True

    def release(self) -> list[Located | Hopped]:
        """The facts whose visits are settled by now, in their order, those that are muted left out."""
        ready: list[Located | Hopped] = []
        waiting: list[_Entry] = []
        for entry in self._entries:
            if entry.visit.where is NOWHERE or (entry.origin is not None and entry.origin.where is NOWHERE):
                waiting.append(entry)
            elif not entry.muted:
                ready.append(_settled(entry))
        self._entries = waiting
        self.size = len(waiting)
        return ready


def _kind(entry: _Entry) -> str:
    """What tells a fact from the others of its event: its class; a hop may enter two nodes."""
    name = type(entry.fact).__name__
    return f"{name} {entry.visit.key}" if isinstance(entry.fact, NodeEntered) else name


def _nameless(entry: _Entry) -> Located | Hopped:
    return entry.fact if isinstance(entry.fact, Hopped) else replace(entry.fact, where=entry.visit.nameless())


def _settled(entry: _Entry) -> Located | Hopped:
    if isinstance(entry.fact, Hopped):
        origin = entry.origin.where.place if entry.origin is not None else entry.fact.origin
        return Hopped(origin, entry.visit.where.place)
    return replace(entry.fact, where=entry.visit.where)
