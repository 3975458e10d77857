"""The API's JSON answers, read leniently: a field that is missing or surprises costs itself, never the record."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from exporter.errors import Malformed
from exporter.protocol.dispositions import Disposition, dispositions_of
from exporter.protocol.fields import Fields, answer_data
from exporter.protocol.units import LONGEST_CALL_SECONDS, Skip, milliseconds, unix_seconds

UNKNOWN: Final = "unknown"

LONGEST_CALL_ID: Final = 128
"""A list's entry whose id is longer is none."""

_CALL_ID: Final = re.compile(r"CALL-(\d{13})-[0-9a-f]+")

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
    "dialnoanswer": "no_answer",
    "busy": "busy",
    "blocked": "blocked",
    "canceled": "cancelled",
    "cancelled": "cancelled",
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer has: how many of its members were there and could not be read, rows among them."""

    surprises: int = 0


class AgentInfo(msgspec.Struct, frozen=True):
    """What the API tells about an agent. ``workflow_type`` is ``workflow_graph`` or ``single_prompt``."""

    agent_id: str
    name: str | None = None
    workflow_type: str | None = None


class AgentPage(Answer, frozen=True):
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
    version: str | None = None
    is_test: bool | None = None


class CallPage(Answer, frozen=True):
    """One page of ``GET /conversation``; ``unreadable`` entries had no call id. ``total`` counts all pages' calls."""

    calls: list[CallSummary]
    has_more: bool
    unreadable: int = 0
    total: int | None = None


class LoggedTurn(NamedTuple):
    """A turn as the call's own statistics have it: seconds until the answer; when it came, as Unix time or as seconds
    after the call's beginning, if either is known."""

    seconds: float
    at: float | None = None
    after_seconds: float | None = None


class CallLog(Answer, frozen=True):
    """``GET /conversation/{id}``: everything the API keeps about one call.

    ``events`` are the raw bytes of the call's events in the order of the answer; ``taken`` of them are here no more.
    ``outcome`` is None while the call goes on. ``turn_latencies`` are the turns in order. ``size_bytes`` is what the
    answer had.
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
    turn_latencies: list[LoggedTurn] = []
    events: list[msgspec.Raw] = []
    dispositions: list[Disposition] = []
    end_reason: str | None = None
    cost: float | None = None
    version: str | None = None
    is_test: bool | None = None
    retry: int | None = None
    taken: int = 0
    size_bytes: int = 0

    @property
    def event_count(self) -> int:
        """How many events the answer had."""
        return len(self.events) + self.taken


def without_events(log: CallLog) -> CallLog:
    """The same, its events let go: they can be as large as all the rest of the process."""
    return msgspec.structs.replace(log, events=[], taken=log.event_count)


def created_at_in(call_id: str) -> float | None:
    """When a call was created, as its id tells: ``CALL-<13 digits of milliseconds>-<6 hex digits>``."""
    told = _CALL_ID.fullmatch(call_id)
    return unix_seconds(int(told[1])) if told is not None else None


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
    has_more = pagination.field("hasMore", bool) or False
    unreadable = len(logs) - len(calls)
    return CallPage(calls, has_more, unreadable, pagination.field("total", int), surprises=data.surprises)


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
        duration_seconds=duration_of(log, "duration"),
        version=_version(log),
        is_test=log.field("isTest", bool),
    )


def _version(log: Fields) -> str | None:
    return log.text("versionNumber") or log.text("versionId")


def duration_of(fields: Fields, name: str) -> float | None:
    """How long a call lasted, in seconds; None where it is not told: 0 is what a call that has no end yet says."""
    seconds = fields.field(name, float)
    return seconds if seconds is not None and 0 < seconds <= LONGEST_CALL_SECONDS else None


def decode_call_log(body: bytes, call_id: str) -> CallLog:
    """The answer about one call. Raises Malformed when it is not one, or about another call."""
    log = answer_data(body)
    found = log.text("callId") or call_id
    if found != call_id:
        raise Malformed("the answer is about another call", reason="wrong_call")
    agent = log.inside("agent")
    call_log = CallLog(
        call_id=call_id,
        agent_id=agent.text("_id") or log.text("agentId"),
        agent_name=agent.text("name"),
        workflow_type=agent.text("workflowType"),
        status=log.text("status"),
        outcome=_outcome(log),
        channel=channel_of(log.text("type")),
        created_at=log.time("createdAt"),
        duration_seconds=duration_of(log, "duration"),
        ended_at=log.time("endTime") or log.time("endedAt"),
        turn_latencies=_turns(log.inside("turnLatencyMetrics")),
        events=log.raws("events"),
        dispositions=dispositions_of(log.inside("postCallAnalytics")),
        end_reason=log.text("disconnectionReason") or log.text("callFailureReason"),
        cost=log.field("callCost", float),
        version=_version(log),
        is_test=log.field("isTest", bool),
        retry=log.field("retryAttemptNumber", int),
        size_bytes=len(body),
    )
    return msgspec.structs.replace(call_log, surprises=log.surprises)


def _outcome(log: Fields) -> str | None:
    """Statuses know no ``busy`` and not everybody's ``no_answer``: such a call has failed, and its reason says how."""
    outcome = outcome_of(log.text("status"))
    if outcome == "failed":
        for reason in (log.text("callFailureReason"), log.text("disconnectionReason")):
            if (named := outcome_of(reason)) in ("busy", "no_answer", "cancelled", "blocked"):
                return named
    return outcome


def _turns(metrics: Fields) -> list[LoggedTurn]:
    """``latencies[]`` is what the vendor counts; ``transitions[]`` tells the times where it has as many entries."""
    transitions = metrics.objects("transitions")
    latencies = metrics.items("latencies", float) or [entry.field("latency", float) for entry in transitions]
    times = [_time_of(entry) for entry in transitions]
    if len(times) != len(latencies):
        times = [(None, None)] * len(latencies)
    turns = []
    for latency, time in zip(latencies, times, strict=True):
        seconds = Skip.MISSING if latency is None else milliseconds(latency)
        if not isinstance(seconds, Skip):
            turns.append(LoggedTurn(seconds, *time))
    return turns


def _time_of(transition: Fields) -> tuple[float | None, float | None]:
    """When an answer came, as Unix time or as seconds after the call's beginning: which of them the numbers are is not
    documented, but no call lasts for years, and none has been answered in the seventies."""
    told = transition.scalar("bot_start")
    if isinstance(told, bool) or not isinstance(told, int | float):
        return transition.time("bot_start"), None
    at = unix_seconds(told)
    if at is None and 0 <= told <= LONGEST_CALL_SECONDS * 1000:
        return None, told / 1000
    return at, None


def decode_agent_page(body: bytes) -> AgentPage:
    """A page of ``GET /agent``. Raises Malformed for what is no such page at all."""
    data = answer_data(body)
    if not data.has("agents"):
        raise Malformed("a list of agents without agents", reason="no_agents")
    agents = [agent for entry in data.objects("agents") if (agent := _agent(entry)) is not None]
    return AgentPage(agents, data.field("total", int), surprises=data.surprises)


def decode_agent(body: bytes, agent_id: str) -> AgentInfo:
    """The answer about one agent. Raises Malformed when it is none."""
    data = answer_data(body)
    return _agent(data) or AgentInfo(agent_id, data.text("name"), data.text("workflowType"))


def _agent(fields: Fields) -> AgentInfo | None:
    agent_id = fields.text("_id") or fields.text("id")
    return AgentInfo(agent_id, fields.text("name"), fields.text("workflowType")) if agent_id else None
