"""A call while it takes place: what is due when, and its frames. No clock, no sockets: `now` is an argument.

Times that end in ``_ms`` are the simulated clock's, Unix milliseconds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol

from .agents import agent_by_id
from .book import Book
from .dialects import Dialect, Renderer, call_id, events_of, frame
from .happenings import CallScript, Conditions, Happening, Schedule
from .ledger import book_of
from .scenario import PLAIN, script
from .workflow import Agent

_CLOSING_MS = 60
"""From the last event to the end of the stream."""


@lru_cache(maxsize=64)
def _script(seed: int, number: int, schedule: Schedule) -> CallScript:
    return script(seed, number, schedule)


def agent_of(agent_id: str) -> Agent:
    """The agent of a generated call, which always exists."""
    agent = agent_by_id(agent_id)
    if agent is None:
        raise KeyError(agent_id)
    return agent


class Call(Protocol):
    """What the switchboard, the call log and the streams need to know of a call."""

    call_id: str
    number: int
    started_ms: int
    waited_ms: int
    agent_id: str
    channel: str
    skew_ms: int
    connections: int
    replay_next: bool
    attempt: int
    version: int
    is_test: bool

    @property
    def due_ms(self) -> int | None:
        """When the next thing happens; None: not before something else changes."""

    @property
    def over(self) -> bool:
        """Whether everything has happened."""

    def take(self) -> tuple[Happening, bytes] | None:
        """Publish the next event; None when what was due is the end."""

    def published(self) -> int:
        """How many events have happened."""

    def frames(self) -> list[tuple[str, bytes]]:
        """Everything that has happened, as (event type, frame)."""

    def script(self) -> CallScript:
        """The call as it is (so far) planned."""

    def outline(self) -> CallScript:
        """The same, perhaps without its events: for lists."""

    def events(self) -> list[dict[str, Any]]:
        """The events so far, as the call log shows them."""

    def book(self) -> Book:
        """What a perfect consumer has counted by now."""

    def weather(self, at_ms: int, conditions: Conditions) -> None:
        """The conditions have changed at this moment."""

    def connected(self, now_ms: int) -> None:
        """A client has connected."""

    def forget(self) -> None:
        """It is long over: keep only what is needed to make it again."""


class ScriptedCall:
    """A believable call: a script, played in time. Cheap once over: the script is made again when somebody asks."""

    def __init__(
        self,
        seed: int,
        number: int,
        started_ms: int,
        dialect: Dialect,
        schedule: Schedule = PLAIN,
        skew_ms: int = 0,
        waited_ms: int = 0,
    ) -> None:
        self.call_id = call_id(seed, number, started_ms - waited_ms)
        self.waited_ms = waited_ms
        self.number = number
        self.started_ms = started_ms
        self.skew_ms = skew_ms
        self.connections = 0
        self.replay_next = False
        self.over = False
        self._seed = seed
        self._dialect = dialect
        self._schedule = schedule
        self._current: CallScript | None = script(seed, number, schedule)
        self._stale = False
        self._renderer: Renderer | None = Renderer(self._current, started_ms, dialect, skew_ms, waited_ms)
        self._next = 0
        self._frames: list[tuple[str, bytes]] = []
        self.attempt, self.version = self._current.attempt, self._current.version
        self.is_test = self._current.is_test
        self.agent_id = self._current.agent_id
        self.channel = self._current.channel

    @property
    def due_ms(self) -> int | None:
        """When the next event happens, or the stream ends; None once over, or when it never ends."""
        script = self.script()
        if self._next < len(script.happenings):
            return self.started_ms + script.happenings[self._next].at_ms
        if self.over or script.never_ends:
            return None
        return self.started_ms + script.last_ms + _CLOSING_MS

    def take(self) -> tuple[Happening, bytes] | None:
        """Publish the next event; None: the call is over now."""
        happenings = self.script().happenings
        if self._next == len(happenings) or self._renderer is None:
            self.over = True
            return None
        happening = happenings[self._next]
        self._next += 1
        data = frame(self._renderer.event(happening))
        self._frames.append((happening.kind, data))
        return happening, data

    def published(self) -> int:
        """How many events have happened."""
        return self._next

    def frames(self) -> list[tuple[str, bytes]]:
        """Everything that has happened, as (event type, frame)."""
        if self._renderer is not None:
            return self._frames
        return [(event["event_type"], frame(event)) for event in self.events()]

    def script(self) -> CallScript:
        """The whole call; its future changes with the conditions, its past does not."""
        if self._current is None:
            return _script(self._seed, self.number, self._schedule)
        if self._stale:
            self._current = script(self._seed, self.number, self._schedule)
            self._stale = False
        return self._current

    def outline(self) -> CallScript:
        """The script is at hand."""
        return self.script()

    def events(self) -> list[dict[str, Any]]:
        """The events so far, as the call log shows them."""
        return events_of(self.script(), self.started_ms, self._dialect, self.skew_ms, self.waited_ms)[: self._next]

    def book(self) -> Book:
        """What a perfect consumer has counted by now."""
        happened = None if self.over else self.script().happenings[: self._next]
        return book_of(self.script(), happened, self.waited_ms)

    def weather(self, at_ms: int, conditions: Conditions) -> None:
        """Turns that begin from now on are under these conditions."""
        if not self.over:
            self._schedule = (*self._schedule, (max(0, at_ms - self.started_ms), conditions))
            self._stale = True

    def connected(self, now_ms: int) -> None:
        """A client has connected; the call goes on regardless."""
        self.connections += 1

    def forget(self) -> None:
        """It is long over: the script and the frames are made again when somebody asks."""
        self._current = None
        self._renderer = None
        self._frames = []
