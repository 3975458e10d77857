"""What a call leaves behind in the exporter's counters."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from .harness import HOUR, World

TURN_BOUNDS = (1.0, 2.0, 4.0)
"""Buckets enough for the default objectives."""
WORD_BOUNDS = (1.0, 2.0, 4.0, 7.0)


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent under the name it has now."""

    id: str
    name: str

    @property
    def labels(self) -> dict[str, str]:
        return {"agent_id": self.id, "agent_name": self.name}


@dataclass(frozen=True, slots=True)
class Call:
    """One call: ``turns`` of ``latency_seconds`` each, every ``pace_seconds``, at one node."""

    turns: int = 8
    latency_seconds: float = 0.8
    pace_seconds: float = 20.0
    outcome: str = "completed"
    node: str = "start"
    answered: bool = True
    """Whether what the caller says is answered at all."""
    errors: int = 0
    channel: str = "telephony_inbound"
    reason: str = ""
    """Why it ended, as its call log says; without one nobody knows."""
    first_word_seconds: float | None = None
    """None: it is not counted, or nothing was said."""
    cost: float | None = None

    def but(self, **changes: object) -> Call:
        return replace(self, **changes)  # type: ignore[arg-type] # fields by name


def at_a_steady_pace(per_hour: float, begin: float, end: float) -> Iterator[float]:
    """Beginnings of calls, one like the other."""
    step = HOUR / per_hour
    count = int((end - begin) / step)
    yield from (begin + (n + 0.5) * step for n in range(count))


def at_random(per_hour: float, begin: float, end: float, seed: int) -> Iterator[float]:
    """Beginnings of calls that know nothing of each other."""
    chance, at = random.Random(seed), begin
    while (at := at + chance.expovariate(per_hour / HOUR)) < end:
        yield at


def place(world: World, agent: Agent, at: float, call: Call) -> None:
    """A call begins at ``at``, and all that follows from it."""
    who = agent.labels
    node = {**who, "node_id": call.node, "node_name": call.node.capitalize()}
    world.count(at, "atoms_calls_started_total", **who, channel=call.channel)
    world.count(at + 1, "atoms_node_visits_total", **node)
    for turn in range(call.turns):
        spoken = at + (turn + 0.5) * call.pace_seconds
        world.count(spoken, "atoms_user_turns_total", **node)
        if call.answered:
            _answer(world, spoken + call.latency_seconds, call.latency_seconds, node)
    over = at + call.turns * call.pace_seconds + call.latency_seconds
    for _ in range(call.errors):
        world.count(over - 1, "atoms_agent_errors_total", **node, code="E1", severity="fatal")
    world.count(over, "atoms_calls_ended_total", **who, channel=call.channel, outcome=call.outcome)
    _told_when_over(world, over, call, node)


def traffic(world: World, agent: Agent, begins: Iterator[float], call: Call | Callable[[float], Call]) -> None:
    """Calls of one kind, or of the kind that ``call`` says for their beginning."""
    for at in begins:
        place(world, agent, at, call(at) if callable(call) else call)


def _told_when_over(world: World, over: float, call: Call, node: dict[str, str]) -> None:
    where = {name: node[name] for name in ("agent_id", "agent_name")} | {"channel": call.channel}
    if not call.answered:
        world.count(over, "atoms_unanswered_turns_total", float(call.turns), **node)
    if call.reason:
        world.count(over, "atoms_call_end_reasons_total", **where, reason=call.reason)
    if call.cost is not None:
        world.count(over, "atoms_call_cost_total", call.cost, **where)
    if call.first_word_seconds is not None:
        world.count(over, "atoms_first_word_seconds_count", **where)
        for bound in WORD_BOUNDS:
            early = float(call.first_word_seconds <= bound)
            world.count(over, "atoms_first_word_seconds_bucket", early, **where, le=f"{bound:.1f}")
        world.count(over, "atoms_first_word_seconds_bucket", **where, le="+Inf")


def _answer(world: World, at: float, latency: float, node: dict[str, str]) -> None:
    turn = {**node, "interrupted": "false"}
    world.count(at, "atoms_turn_latency_seconds_count", **turn)
    for bound in TURN_BOUNDS:
        world.count(at, "atoms_turn_latency_seconds_bucket", float(latency <= bound), **turn, le=f"{bound:.1f}")
    world.count(at, "atoms_turn_latency_seconds_bucket", **turn, le="+Inf")
