"""Endless calls of a steady rate, for load tests: pre-rendered frames with holes for ids and times.

One cycle is two turns with the hops between two nodes; everything counts again in every cycle. A call begins with its
first connection, so that nothing is lost to a client that takes its time to connect to ten thousand of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any

from .agents import AGENTS
from .book import Book
from .conversation import Conversation
from .dialects import Dialect, Renderer, call_id, frame, iso
from .happenings import CallScript, Conditions, Happening
from .ledger import book_of
from .scenario import PLAIN

_TURN_INDEX = 987_654_321
_HOLES = {
    b'"@id@"': b'"%(id)b"',
    b'"@call@"': b'"%(call)b"',
    b'"@time@"': b"%(time)b",
    str(_TURN_INDEX).encode(): b"%(turn)d",
    b"@tool@": b"%(tool)b",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Cycle:
    """Happenings and frame templates of one agent's endless call: the first ``prefix`` once, the rest over and over."""

    agent_id: str
    channel: str
    prefix: int
    happenings: tuple[Happening, ...]
    templates: tuple[bytes, ...]
    turns: tuple[int, ...]

    def place(self, number: int) -> int:
        """Which happening is event ``number``."""
        prefix = self.prefix
        return number if number < prefix else prefix + (number - prefix) % (len(self.happenings) - prefix)

    def turn(self, number: int, place: int) -> int:
        """The turn to which event ``number``, being the happening at ``place``, belongs; a round has two turns."""
        return self.turns[place] + 2 * ((number - place) // (len(self.happenings) - self.prefix))

    def happening(self, number: int, at_ms: int) -> Happening:
        """Event ``number`` of the call, with its time."""
        found = self.happenings[self.place(number)]
        return Happening(at_ms, found.kind, found.facts)


@lru_cache(maxsize=64)
def _cycle(seed: int, agent_number: int, dialect: Dialect) -> _Cycle:
    agent = [agent for agent in AGENTS if agent.shows_nodes][agent_number]
    rng = Random(f"steady/{seed}/{agent.id}")
    talk = Conversation(agent, PLAIN, rng, Random(0))
    talk.metrics(5, *talk.pipeline.initial_zeros())
    talk.emit(190, "call_start", telephony_id="00000000000000000000000000000000")
    talk.now = 200
    talk.greet()
    first = agent.nodes[0]
    second = agent.node(first.ways[0][0])
    talk.turn(first)
    begins = len(talk.happenings)
    talk.turn(second)
    talk.turn(first)
    happenings = (
        *sorted(talk.happenings[:begins], key=lambda happening: happening.at_ms),
        *sorted(talk.happenings[begins:], key=lambda happening: happening.at_ms),
    )
    plain = CallScript(seed, 0, agent.id, "", "", "", "", "", "", "", {}, (), (), 0, 0, True)
    renderer = Renderer(plain, 0, dialect)
    templates, turns, turn = [], [], 0
    for happening in happenings:
        templates.append(_template(renderer.event(happening)))
        turns.append(turn)
        turn += happening.kind == "turn_latency"
    return _Cycle(agent.id, agent.channels[0][0], begins, happenings, tuple(templates), tuple(turns))


def _template(event: dict[str, Any]) -> bytes:
    event |= {"event_id": "@id@", "call_id": "@call@", "timestamp": "@time@"}
    if "turn_index" in event:
        event["turn_index"] = _TURN_INDEX
    if "tool_call_id" in event:
        event |= {"tool_call_id": "call_@tool@", "turn_id": "turn_@tool@"}
    data = frame(event).replace(b"%", b"%%")
    for marker, hole in _HOLES.items():
        data = data.replace(marker, hole)
    return data


class SteadyCall:
    """One endless call: the next event is due ``1 / rate`` seconds after the last."""

    over = False
    skew_ms = 0
    waited_ms = 0
    attempt = 0
    version = 3
    is_test = False
    replay_next = False

    def __init__(self, seed: int, number: int, created_ms: int, dialect: Dialect, rate: float) -> None:
        self._cycle = _cycle(seed, number % (len(AGENTS) - 1), dialect)
        self.call_id = call_id(seed, number, created_ms)
        self.number = number
        self.started_ms = created_ms
        self.agent_id = self._cycle.agent_id
        self.channel = self._cycle.channel
        self.connections = 0
        self._seed = seed
        self._newer = dialect == "2026"
        self._step_ms = 1000 / rate
        self._begun_ms: float | None = None
        self._count = 0
        self._call = self.call_id.encode()

    @property
    def due_ms(self) -> int | None:
        """None before the first connection."""
        return None if self._begun_ms is None else int(self._begun_ms + self._count * self._step_ms)

    def take(self) -> tuple[Happening, bytes]:
        """Publish the next event."""
        number, cycle = self._count, self._cycle
        at_ms = int((self._begun_ms or 0) + number * self._step_ms)
        self._count += 1
        return cycle.happenings[cycle.place(number)], self._frame(number, at_ms)

    def _frame(self, number: int, at_ms: int) -> bytes:
        newer, cycle = self._newer, self._cycle
        place = cycle.place(number)
        turn = cycle.turn(number, place)
        return cycle.templates[place] % {
            b"id": b"evt_%06x%014x" % (self.number, number) if newer else b"%b_%d_%d" % (self._call, number, at_ms),
            b"call": self._call,
            b"time": b'"%b"' % _iso_bytes(at_ms) if newer else b"%.3f" % (at_ms / 1000),
            b"turn": turn,
            b"tool": b"%d" % turn,
        }

    def published(self) -> int:
        """How many events have happened."""
        return self._count

    def frames(self) -> list[tuple[str, bytes]]:
        """Everything that has happened, made again."""
        begun = self._begun_ms or 0.0
        times = [int(begun + number * self._step_ms) for number in range(self._count)]
        return [
            (self._cycle.happenings[self._cycle.place(n)].kind, self._frame(n, at_ms)) for n, at_ms in enumerate(times)
        ]

    def script(self) -> CallScript:
        """The call so far."""
        begun, step = self._begun(), self._step_ms
        happenings = tuple(self._cycle.happening(n, begun + int(n * step)) for n in range(self._count))
        return replace(self.outline(), happenings=happenings)

    def outline(self) -> CallScript:
        """The call so far, without its events: there may be ten thousand such calls in a list."""
        begun = self._begun()
        return CallScript(
            seed=self._seed,
            number=self.number,
            agent_id=self.agent_id,
            channel=self.channel,
            outcome="completed",
            status="completed",
            reason="",
            failure="",
            from_phone="+15550100",
            to_phone="+15550101",
            variables={},
            analytics=(),
            happenings=(),
            answered_ms=begun,
            ended_ms=begun + int(self._count * self._step_ms),
            never_ends=True,
        )

    def _begun(self) -> int:
        return int((self._begun_ms or self.started_ms) - self.started_ms)

    def events(self) -> list[dict[str, Any]]:
        """The events so far."""
        return [json.loads(data[len(b"data: ") :]) for _, data in self.frames()]

    def book(self) -> Book:
        """What a perfect consumer has counted by now; calls of one agent that are equally far share it."""
        return _steady_book(self._cycle, self._count)

    def weather(self, at_ms: int, conditions: Conditions) -> None:
        """Nothing changes a steady call."""

    def forget(self) -> None:
        """It is never over."""

    def connected(self, now_ms: int) -> None:
        """The first connection begins the call; calls are spread over the step by their number."""
        self.connections += 1
        if self._begun_ms is None:
            self._begun_ms = now_ms + (self.number * 0.618034 % 1) * self._step_ms


@lru_cache(maxsize=4096)
def _steady_book(cycle: _Cycle, count: int) -> Book:
    happenings = [cycle.happening(number, number) for number in range(count)]
    plain = CallScript(0, 0, cycle.agent_id, cycle.channel, "", "", "", "", "", "", {}, (), (), 0, 0, True)
    return book_of(plain, happenings)


@lru_cache(maxsize=4096)
def _iso_bytes(at_ms: int) -> bytes:
    return iso(at_ms).encode()
