"""The state of one call, and how its transitions speak.

``Call`` is a fold over the call's events in their order: the same events give the same observations, whoever
delivers them. The transitions themselves are in ``state`` and the modules it lists.
"""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple

import msgspec

from exporter.calls.identity import milliseconds_of
from exporter.calls.observations import Agent, Content, Hopped, Located, Observation, SampleSkipped
from exporter.calls.signs import STOCK_LIMITS, Limits, Signs
from exporter.calls.stages import NO_STAGES, Stages
from exporter.calls.visits import NO_NODE, NOWHERE, Spent, Visit, WaitingRoom
from exporter.protocol.units import Skip, UnitRules

_LONGEST_CONTENT = 4096
_MOST_NAMES_PER_AGENT = 10_000


class OpenTool(NamedTuple):
    """A tool call that has not answered yet."""

    function: str
    started_at: float
    visit: Visit
    arguments: Content


class ClosedTool(NamedTuple):
    """What was said of a tool call that is over."""

    timed: bool
    failed: bool
    ended_at: float | None = None
    """Of one whose latency is not known yet: its start may come late."""


class Call:
    """One call, as far as its events have told it.

    :param capture_content: let what was said travel on observations, for span attributes.
    :param limits: what counts as unanswered and as dead air, and which names may become labels.
    :param agent_names: names of the agent's nodes, shared by its calls: each adds what it learns, and takes from it,
        at its end, what it never learnt.
    """

    __slots__ = (
        "agent",
        "agent_names",
        "call_id",
        "cancelled",
        "capture_content",
        "channel",
        "closed_tools",
        "connected_at",
        "end_at",
        "first_at",
        "hops",
        "identity",
        "latest_at",
        "left_before",
        "limits",
        "model",
        "moments",
        "muted",
        "names",
        "open_tools",
        "out",
        "signs",
        "spent",
        "stages",
        "started",
        "telephony_id",
        "turn_milliseconds",
        "turn_spent",
        "turns",
        "units",
        "unmuted",
        "visit",
        "visits",
        "waiting",
    )

    def __init__(
        self,
        call_id: str,
        agent: Agent,
        channel: str,
        units: UnitRules,
        *,
        capture_content: bool = False,
        agent_names: dict[str, str] | None = None,
        limits: Limits = STOCK_LIMITS,
    ) -> None:
        self.call_id = call_id
        self.agent = agent
        self.channel = channel
        self.capture_content = capture_content
        self.first_at: float | None = None
        self.connected_at: float | None = None
        self.latest_at = 0.0
        self.end_at: float | None = None
        self.cancelled = False
        self.started = False
        self.telephony_id: str | None = None
        self.names: dict[str, str] = {}
        self.agent_names = agent_names if agent_names is not None else {}
        self.left_before: str | None = None
        self.hops = self.turns = 0
        self.spent = Spent()
        self.turn_spent = Spent()
        self.turn_milliseconds = array("L")
        self.model: str | None = None
        self.visits: dict[str, int] = {}
        self.moments: dict[str, tuple[int, int]] = {}
        self.visit = Visit(0, None, 0.0, "")
        if agent.single_prompt:
            self.visit.node_id = NO_NODE
            self.visit.settle(call_id, agent, NO_NODE, NO_NODE)
        self.units = units
        self.open_tools: dict[str, OpenTool] = {}
        self.closed_tools: dict[str, ClosedTool] = {}
        self.waiting = WaitingRoom()
        self.out: list[Observation] = []
        self.muted = False
        self.unmuted: frozenset[str] = frozenset()
        self.identity = 0
        self.limits = limits
        self.signs = Signs(limits)
        self.stages = Stages() if limits.explain_turns else NO_STAGES

    @property
    def ended(self) -> bool:
        """The call said so itself."""
        return self.end_at is not None

    @property
    def node_name(self) -> str:
        """Where the call is now, for a person."""
        if self.visit.where is not NOWHERE:
            return self.visit.where.place.node_name
        return self.visit.node_id or ""

    def waiting_facts(self) -> dict[int, frozenset[str]]:
        """Facts that still wait for a node's name: their kinds, by the identity of their event."""
        return self.waiting.kinds() if self.waiting.size else {}

    def learn(self, node_id: str, name: str) -> None:
        """What a node is called, by an event of this call."""
        self.names[node_id] = name
        if len(self.agent_names) < _MOST_NAMES_PER_AGENT:
            self.agent_names[node_id] = name

    def next_visit(self, node_id: str) -> str:
        """Identity of a new visit: the how-manieth to this node. Not the time of the hop, because who missed the hop
        sees the same visit begin later."""
        number = self.visits[node_id] = self.visits.get(node_id, 0) + 1
        return f"{node_id}#{number}"

    def nth(self, kind: str, at: float) -> int:
        """Tells facts of one kind in one millisecond apart: 0, unless the millisecond is not a new one."""
        moment = milliseconds_of(at)
        latest, repeats = self.moments.get(kind, (-1, 0))
        if moment > latest:
            self.moments[kind] = moment, repeats
            return 0
        self.moments[kind] = latest, repeats + 1
        return repeats + 1

    def say(self, fact: Located, visit: Visit | None = None) -> None:
        """A fact of the visit the call is in, or of ``visit``."""
        if fact.where is NOWHERE:
            self.wait(visit or self.visit, None, fact)
        elif not self.muted or type(fact).__name__ in self.unmuted:
            self.out.append(fact)

    def spend(self, prompt: int, completion: int, other: int, model: str) -> None:
        """Tokens of a model request, for the spans of the visit, the turn and the call."""
        for spent in (self.visit.spent, self.spent, self.turn_spent):
            spent.add(prompt, completion, other)
        if model:
            self.model = model

    def skip(self, reason: Skip) -> None:
        if not self.muted:
            self.out.append(SampleSkipped(reason.value))

    def wait(self, visit: Visit, origin: Visit | None, fact: Located | Hopped) -> None:
        """Keep a fact until its visit (and, of a hop, the visit it came from) has a name."""
        muted = self.muted and type(fact).__name__ not in self.unmuted
        self.waiting.add(visit, origin, fact, self.identity, muted)

    def take(self) -> list[Observation]:
        out, self.out = self.out, []
        return out

    def content_of(self, **said: Any) -> Content:
        if not self.capture_content:
            return None
        return {name: _text(value) for name, value in said.items() if value not in (None, "", {}, [])} or None


def _text(value: Any) -> str:
    if isinstance(value, str):
        text = value
    else:
        try:
            text = msgspec.json.encode(value).decode()
        except (UnicodeEncodeError, RecursionError):
            return "(cannot be shown)"
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= _LONGEST_CONTENT else text[: _LONGEST_CONTENT - 1] + "…"
