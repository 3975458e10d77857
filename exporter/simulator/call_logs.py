"""The answers of the REST endpoints: call lists, one call with its history, agents, concurrency."""

from __future__ import annotations

from hashlib import sha256
from statistics import fmean, median
from typing import Any

from .agents import AGENTS, agent_by_id
from .dialects import Dialect, call_id, events_of, iso
from .happenings import CallScript
from .live import agent_of
from .workflow import Agent

STATUSES = (
    "pending",
    "in_progress",
    "in_queue",
    "processing",
    "active",
    "completed",
    "failed",
    "no_answer",
    "cancelled",
)
CALL_TYPES = ("telephony_inbound", "telephony_outbound", "webcall")


def log_entry(
    script: CallScript,
    call: str,
    started_ms: int,
    created_ms: int,
    status: str,
    updated_ms: int,
    published: int,
) -> dict[str, Any]:
    """One call as ``GET /conversation`` lists it; ``created_ms`` is when the API says it was created."""
    over = status not in ("in_progress", "active", "in_queue")
    return {
        "_id": sha256(call.encode()).hexdigest()[:24],
        "callId": call,
        "status": status,
        "agentId": script.agent_id,
        "type": script.channel,
        "duration": max(0, script.ended_ms - script.answered_ms) / 1000 if over else 0,
        "from": script.from_phone,
        "to": script.to_phone,
        "createdAt": iso(created_ms),
        "updatedAt": iso(updated_ms),
        "disconnectionReason": script.reason or None if over else None,
        "callFailureReason": script.failure or None if over else None,
        "callCost": script.cost if over else 0,
        "versionId": sha256(f"{script.agent_id}/{script.version}".encode()).hexdigest()[:24],
        "versionNumber": script.version,
        "isTest": script.is_test,
        "retryCount": script.attempt,
        "retryAttemptNumber": script.attempt,
        "turnLatencyMetrics": turn_latency_metrics(script, started_ms, published),
    }


def turn_latency_metrics(script: CallScript, started_ms: int, published: int) -> dict[str, Any] | None:
    """The vendor's own statistics of a call's turns, milliseconds; None when there was none."""
    turns = [
        (started_ms + happening.at_ms, happening.facts["turn_latency"].ms)
        for happening in script.happenings[:published]
        if happening.kind == "turn_latency" and happening.facts["turn_latency"].ms >= 0
    ]
    if not turns:
        return None
    latencies = [ms for _, ms in turns]
    return {
        "avgLatency": round(fmean(latencies), 2),
        "medianLatency": median(latencies),
        "minLatency": min(latencies),
        "maxLatency": max(latencies),
        "turns": len(turns),
        "latencies": latencies,
        "transitions": [
            {"turn": number, "user_end": at_ms - ms, "bot_start": at_ms, "latency": ms}
            for number, (at_ms, ms) in enumerate(turns, 1)
        ],
        "processedAt": iso(turns[-1][0]),
    }


def transcript(script: CallScript, started_ms: int, published: int) -> list[dict[str, str]]:
    """Who said what, as the call log and the webhook give it."""
    said = {"user_transcription": ("user", "user_transcription_text"), "tts_completed": ("agent", "tts_text")}
    return [
        {
            "role": said[happening.kind][0],
            "content": happening.facts[said[happening.kind][1]].strip(),
            "timestamp": iso(started_ms + happening.at_ms),
        }
        for happening in script.happenings[:published]
        if happening.kind in said
    ]


def recording_url(script: CallScript, published: int) -> str | None:
    """Where the recording is, once there is one."""
    for happening in reversed(script.happenings[:published]):
        if happening.kind == "call_recording":
            return str(happening.facts["recording_url"])
    return None


def analytics(script: CallScript) -> dict[str, Any]:
    """Post-call analytics as the call log has them: every value as text, of five types."""
    words = {"STRING": "ENUM"}
    metrics = [
        {
            "identifier": metric["identifier"],
            "value": str(metric["value"]).lower(),
            "dispositionMetricType": words.get(metric["dispositionMetricType"], metric["dispositionMetricType"]),
            **({"choices": ["positive", "neutral", "negative"]} if metric["dispositionMetricType"] == "STRING" else {}),
            "reasoning": metric["reasoning"],
        }
        for metric in script.analytics
    ]
    if metrics:
        metrics.append({"identifier": "said", "value": metrics[0]["reasoning"], "dispositionMetricType": "STRING"})
        metrics.append(
            {"identifier": "call_back", "value": "2026-03-02T10:00:00Z", "dispositionMetricType": "DATETIME"}
        )
    return {"dispositionMetrics": metrics}


def conversation(
    script: CallScript, entry: dict[str, Any], started_ms: int, events: list[dict[str, Any]]
) -> dict[str, Any]:
    """One call as ``GET /conversation/{id}`` answers it; ``events`` are those that have happened."""
    agent = agent_of(script.agent_id)
    data = {
        **entry,
        "agent": agent_entry(agent),
        "variables": dict(script.variables),
        "transcript": transcript(script, started_ms, len(events)),
        "events": events,
    }
    data["recordingUrl"] = recording_url(script, len(events))
    return {"status": True, "data": data}


def call_log(script: CallScript, started_ms: int, dialect: Dialect, skew_ms: int = 0) -> dict[str, Any]:
    """The ``GET /conversation/{id}`` answer about a call that is over."""
    events = events_of(script, started_ms, dialect, skew_ms)
    call = call_id(script.seed, script.number, started_ms)
    ended_ms = started_ms + script.ended_ms
    entry = log_entry(script, call, started_ms, started_ms + skew_ms, script.status, ended_ms, len(events))
    return conversation(script, entry, started_ms, events)


def agent_entry(agent: Agent) -> dict[str, Any]:
    """One agent as ``GET /agent`` lists it."""
    return {
        "_id": agent.id,
        "name": agent.name,
        "description": f"Simulated agent with {len(agent.nodes)} nodes" if agent.shows_nodes else "Simulated agent",
        "organization": "66f0a1c2d3e4f5a6b7c8d000",
        "workflowId": sha256(agent.id.encode()).hexdigest()[:24],
        "workflowType": agent.workflow_type,
        "createdAt": "2025-06-01T08:00:00.000Z",
        "updatedAt": "2026-01-10T08:00:00.000Z",
    }


def agents_page(page: int, size: int, search: str) -> dict[str, Any]:
    """The ``GET /agent`` answer; ``size`` is its ``offset`` parameter, the number of agents on a page."""
    found = [agent for agent in AGENTS if search.lower() in agent.name.lower()]
    shown = found[(page - 1) * size : page * size]
    return {"status": True, "data": {"agents": [agent_entry(agent) for agent in shown], "total": len(found)}}


def one_agent(agent_id: str) -> dict[str, Any] | None:
    """The ``GET /agent/{id}`` answer, None when there is no such agent."""
    agent = agent_by_id(agent_id)
    return {"status": True, "data": agent_entry(agent)} if agent else None


def concurrency(limit: int) -> dict[str, Any]:
    """The ``GET /concurrency`` answer."""
    reserved = [
        {"agentId": agent.id, "agentName": agent.name, "webcall": 1, "outbound": 2, "inbound": 2, "chat": 0}
        for agent in AGENTS
    ]
    total = 5 * len(AGENTS)
    data = {
        "orgLimit": limit,
        "totalReserved": total,
        "unreservedPool": max(0, limit - total),
        "agents": reserved,
    }
    return {"success": True, "data": data}
