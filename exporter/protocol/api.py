"""The API's JSON answers, read leniently: a field that is missing or surprises costs itself, never the record."""

from __future__ import annotations

from typing import Final

import msgspec

from exporter.errors import Malformed
from exporter.protocol.fields import Fields, answer_data
from exporter.protocol.units import Skip, milliseconds

UNKNOWN: Final = "unknown"

LONGEST_CALL_ID: Final = 128
"""A list's entry whose id is longer is none."""

_CHANNELS: Final = {
    "telephonyinbound": "telephony_inbound",
    "telephonyoutbound": "telephony_outbound",
    "webcall": "webcall",
    "chat": "chat",
}
_OUTCOMES: Final = {
    "completed": "completed",
    "failed": "failed",
    "noanswer": "no_answer",
    "busy": "busy",
    "canceled": "cancelled",
    "cancelled": "cancelled",
}


class AgentInfo(msgspec.Struct, frozen=True):
    """What the API tells about an agent. ``workflow_type`` is ``workflow_graph`` or ``single_prompt``."""

    agent_id: str
    name: str | None = None
    workflow_type: str | None = None


class AgentPage(msgspec.Struct, frozen=True):
    """One page of ``GET /agent``; ``total`` counts all pages' agents."""

    agents: list[AgentInfo]
    total: int | None


class CallSummary(msgspec.Struct, frozen=True):
    """One entry of ``GET /conversation``."""

    call_id: str
    agent_id: str | None = None
    status: str | None = None
    channel: str = UNKNOWN
    created_at: float | None = None
    duration_seconds: float | None = None


class CallPage(msgspec.Struct, frozen=True):
    """One page of ``GET /conversation``; ``unreadable`` entries had no call id."""

    calls: list[CallSummary]
    has_more: bool
    unreadable: int = 0


class CallLog(msgspec.Struct, frozen=True):
    """``GET /conversation/{id}``: everything the API keeps about one call.

    ``events`` are the raw bytes of the call's events in the order of the answer. ``outcome`` is None while the call
    goes on. ``turn_latencies`` are the turns in order: seconds until the answer, and when the answer came, if known.
    """

    call_id: str
    agent_id: str | None = None
    agent_name: str | None = None
    workflow_type: str | None = None
    status: str | None = None
    outcome: str | None = None
    channel: str = UNKNOWN
    created_at: float | None = None
    duration_seconds: float | None = None
    ended_at: float | None = None
    turn_latencies: list[tuple[float, float | None]] = []
    events: list[msgspec.Raw] = []


def channel_of(conversation_type: str | None) -> str:
    """The ``channel`` label: ``telephonyInbound`` and ``telephony_inbound`` are the same."""
    return _CHANNELS.get(_folded(conversation_type), UNKNOWN)


def outcome_of(status: str | None) -> str | None:
    """The ``outcome`` label of a final status (``no-answer``, ``no_answer`` …), None for one that is not final."""
    return _OUTCOMES.get(_folded(status))


def _folded(word: str | None) -> str:
    return (word or "").replace("_", "").replace("-", "").replace(" ", "").lower()


def decode_call_page(body: bytes) -> CallPage:
    """A page of ``GET /conversation``. Raises Malformed for what is no such page at all."""
    data = answer_data(body)
    if not data.has("logs"):
        raise Malformed("a list of conversations without logs", reason="no_logs")
    logs = data.objects("logs")
    calls = [summary for log in logs if (summary := _summary(log)) is not None]
    pagination = data.inside("pagination")
    return CallPage(calls, pagination.field("hasMore", bool) or False, len(logs) - len(calls))


def _summary(log: Fields) -> CallSummary | None:
    call_id = log.text("callId")
    if not call_id or len(call_id) > LONGEST_CALL_ID:
        return None
    return CallSummary(
        call_id=call_id,
        agent_id=log.text("agentId") or log.inside("agent").text("_id"),
        status=log.text("status"),
        channel=channel_of(log.text("type")),
        created_at=log.time("createdAt"),
        duration_seconds=log.field("duration", float),
    )


def decode_call_log(body: bytes, call_id: str) -> CallLog:
    """The answer about one call. Raises Malformed when it is not one, or about another call."""
    log = answer_data(body)
    found = log.text("callId") or call_id
    if found != call_id:
        raise Malformed("the answer is about another call", reason="wrong_call")
    agent = log.inside("agent")
    return CallLog(
        call_id=call_id,
        agent_id=agent.text("_id") or log.text("agentId"),
        agent_name=agent.text("name"),
        workflow_type=agent.text("workflowType"),
        status=log.text("status"),
        outcome=_outcome(log),
        channel=channel_of(log.text("type")),
        created_at=log.time("createdAt"),
        duration_seconds=log.field("duration", float),
        ended_at=log.time("endTime") or log.time("endedAt"),
        turn_latencies=_turns(log.inside("turnLatencyMetrics")),
        events=log.field("events", list[msgspec.Raw]) or [],
    )


def _outcome(log: Fields) -> str | None:
    """The list of statuses knows no ``busy``: such a call has failed, and its reason says how."""
    outcome = outcome_of(log.text("status"))
    if outcome == "failed":
        for reason in (log.text("callFailureReason"), log.text("disconnectionReason")):
            if (named := outcome_of(reason)) in ("busy", "no_answer", "cancelled"):
                return named
    return outcome


def _turns(metrics: Fields) -> list[tuple[float, float | None]]:
    """``latencies[]`` is what the vendor counts; ``transitions[]`` tells the times where it has as many entries."""
    latencies = metrics.items("latencies", float)
    starts = [entry.time("bot_start") for entry in metrics.objects("transitions")]
    if len(starts) != len(latencies):
        starts = [None] * len(latencies)
    turns = []
    for latency, at in zip(latencies, starts, strict=True):
        seconds = Skip.MISSING if latency is None else milliseconds(latency)
        if not isinstance(seconds, Skip):
            turns.append((seconds, at))
    return turns


def decode_agent_page(body: bytes) -> AgentPage:
    """A page of ``GET /agent``. Raises Malformed for what is no such page at all."""
    data = answer_data(body)
    if not data.has("agents"):
        raise Malformed("a list of agents without agents", reason="no_agents")
    agents = [agent for entry in data.objects("agents") if (agent := _agent(entry)) is not None]
    return AgentPage(agents, data.field("total", int))


def decode_agent(body: bytes, agent_id: str) -> AgentInfo:
    """The answer about one agent. Raises Malformed when it is none."""
    data = answer_data(body)
    return _agent(data) or AgentInfo(agent_id, data.text("name"), data.text("workflowType"))


def _agent(fields: Fields) -> AgentInfo | None:
    agent_id = fields.text("_id") or fields.text("id")
    return AgentInfo(agent_id, fields.text("name"), fields.text("workflowType")) if agent_id else None
