"""What happens in a call, said in no dialect: times are whole milliseconds from the call's beginning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OBSERVER = "EventObserver"
FACTORY = "generic_event_factory"

_FACTORY_KINDS = frozenset(
    {
        "call_start",
        "call_end",
        "call_cancelled",
        "call_recording",
        "agent_node_state",
        "hopping",
        "tool_call_start",
        "tool_call_end",
        "tool_call_error",
        "knowledgebase",
        "variable_extraction",
        "pre_call_api",
        "post_call_api",
        "agent_error",
        "agent_log",
    }
)


@dataclass(frozen=True, slots=True)
class Duration:
    """A measured time whose notation is the dialect's business."""

    ms: float


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one request to a language model used, whatever its provider tells of it.

    ``prompt`` includes what came from a cache, ``completion`` what the model thought; ``details`` are parts of them by
    wire name. ``told`` is how it is written: ``whole``, ``net_of_cache`` or ``net_of_thought`` (left out of the counts,
    but not of the total), or ``total`` alone.
    """

    prompt: int
    completion: int
    details: Mapping[str, int | None] = field(default_factory=dict)
    told: str = "whole"


@dataclass(frozen=True, slots=True)
class Happening:
    """One event of a call. ``facts`` is its payload; a Duration in it is rendered by the dialect."""

    at_ms: int
    kind: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def observer(self) -> str:
        """The observer class that reports this kind of event; event numbers count per class."""
        return FACTORY if self.kind in _FACTORY_KINDS else OBSERVER


@dataclass(frozen=True, slots=True)
class Slowdown:
    """Every latency of one node (``*``: of any) times ``factor``; an empty ``agent_id`` means that of any agent."""

    node_id: str
    factor: float
    agent_id: str = ""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the world does to calls, beyond chance. All defaults: nothing.

    The rates are probabilities: per tool call (``tool_failure``, replaces the tool's own rate when set), per call
    (``call_failure``, ``call_without_end``, ``never_ends``), per turn (``negative_latency``, ``unknown_event``,
    ``silent_agent``, ``agent_error``, ``dead_air``, ``custom_event``); ``recording_failure``, ``new_version`` and
    ``quiet_agents``, ``no_greeting``, ``late_greeting`` (by ``greeting_late_ms``), ``broken_end``, ``blocked`` and
    ``dear`` (by ``dear_factor``) are per call. ``slow_tools`` are factors on the latency of tools, by function (``*``:
    of any).
    ``canary`` is appended to every free text, header, body, number, URL and variable of events and webhooks.
    """

    slow: tuple[Slowdown, ...] = ()
    tool_failure: float | None = None
    call_failure: float = 0.0
    call_without_end: float = 0.0
    never_ends: float = 0.0
    negative_latency: float = 0.0
    unknown_event: float = 0.0
    silent_agent: float = 0.0
    agent_error: float = 0.0
    dead_air: float = 0.0
    custom_event: float = 0.0
    recording_failure: float = 0.0
    new_version: float = 0.0
    slow_tools: tuple[tuple[str, float], ...] = ()
    quiet_agents: float = 0.0
    no_greeting: float = 0.0
    late_greeting: float = 0.0
    greeting_late_ms: int = 0
    broken_end: float = 0.0
    blocked: float = 0.0
    dear: float = 0.0
    dear_factor: float = 1.0
    canary: str = ""

    def pace_of(self, agent_id: str, node_id: str) -> float:
        """The factor on this node's latencies."""
        factor = 1.0
        for slowdown in self.slow:
            if slowdown.node_id in ("*", node_id) and slowdown.agent_id in ("", agent_id):
                factor *= slowdown.factor
        return factor

    def pace_of_tool(self, function: str) -> float:
        """The factor on this tool's latency."""
        factor = 1.0
        for name, times in self.slow_tools:
            if name in ("*", function):
                factor *= times
        return factor


Schedule = tuple[tuple[int, Conditions], ...]
"""Conditions by the call's own clock: (from ms, conditions), ascending, the first from 0."""


def conditions_at(schedule: Schedule, at_ms: int) -> Conditions:
    """The conditions in force at this moment of the call."""
    current = schedule[0][1]
    for since_ms, conditions in schedule:
        if since_ms > at_ms:
            break
        current = conditions
    return current


@dataclass(frozen=True, slots=True)
class CallScript:
    """One whole call. A pure function of seed, number and conditions gives it.

    ``outcome`` is the truth (completed, failed, no_answer, busy, blocked, cancelled), ``status`` what the API's call
    log says (it knows no ``busy``), ``reason`` the disconnection reason: none for a blocked one, of which there may be
    no event at all. ``never_ends``: nothing ever says that it is over.
    ``attempt`` is 0 for a first one and how-manieth it is for a retry; ``version`` is the agent's.
    """

    seed: int
    number: int
    agent_id: str
    channel: str
    outcome: str
    status: str
    reason: str
    failure: str
    from_phone: str
    to_phone: str
    variables: Mapping[str, Any]
    analytics: tuple[Mapping[str, Any], ...]
    happenings: tuple[Happening, ...]
    answered_ms: int
    ended_ms: int
    never_ends: bool
    attempt: int = 0
    version: int = 3
    is_test: bool = False
    dear: float = 1.0
    """How many times the usual price it costs."""

    @property
    def last_ms(self) -> int:
        """When its last event happens, or when it ends without any."""
        return self.happenings[-1].at_ms if self.happenings else self.ended_ms

    @property
    def cost(self) -> float:
        """What the call log says it cost when it is over."""
        return round(self.ended_ms / 60_000 * 0.07 * self.dear, 4)
