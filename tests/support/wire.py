"""Calls written down in no dialect, and rendered in either: an independent reading of the vendor's documentation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Dialect = Literal["2025", "2026"]
DIALECTS: tuple[Dialect, ...] = ("2025", "2026")

CALL_ID = "CALL-1758124225863-80752e"
BEGUN_MS = 1_758_124_305_000
"""When these calls begin."""


@dataclass(frozen=True)
class Ms:
    """A duration whose notation is the dialect's business: whole milliseconds, below a minute."""

    ms: int


@dataclass(frozen=True)
class Step:
    """One event: milliseconds after the call began, its type, its payload."""

    at_ms: int
    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    event_id: str | None = None


def step(at_ms: int, kind: str, /, **fields: Any) -> Step:
    """An event of a call."""
    return Step(at_ms, kind, fields)


def rendered(steps: Iterable[Step], dialect: Dialect, call_id: str = CALL_ID) -> list[dict[str, Any]]:
    """The call's events as JSON objects."""
    return [_event(number, each, dialect, call_id) for number, each in enumerate(steps, 1)]


def payloads(steps: Iterable[Step], dialect: Dialect = "2025", call_id: str = CALL_ID) -> list[bytes]:
    """The call's events as they come over the wire."""
    return [encoded(event) for event in rendered(steps, dialect, call_id)]


def encoded(event: Mapping[str, Any]) -> bytes:
    """One event's bytes."""
    return json.dumps(event, separators=(",", ":")).encode()


def unix(at_ms: int) -> float:
    """A moment of these calls as Unix seconds."""
    return (BEGUN_MS + at_ms) / 1000


def _event(number: int, each: Step, dialect: Dialect, call_id: str) -> dict[str, Any]:
    at_ms = BEGUN_MS + each.at_ms
    newer = dialect == "2026"
    stamp = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {
        "event_type": each.kind,
        "event_id": each.event_id or (f"evt_{number:020x}" if newer else f"{call_id}_{number}_{at_ms}"),
        "timestamp": stamp if newer else at_ms / 1000,
        "observer_class": "EventObserver",
        "call_id": call_id,
        "source": "orchestrator",
    }
    for name, value in each.fields.items():
        event[name] = _value(value, newer)
    if newer and isinstance(latency := each.fields.get("turn_latency"), Ms):
        event["total_turn_ms"] = latency.ms
    return event


def _value(value: Any, newer: bool) -> Any:
    match value:
        case Ms(ms):
            return ms if newer else ms / 1000
        case Mapping():
            return {name: _value(inner, newer) for name, inner in value.items()}
        case list():
            return [_value(inner, newer) for inner in value]
        case _:
            return value


# -- events, by the name of what happens


def greeting(at_ms: int, took: int = 0) -> Step:
    """Speech was synthesised."""
    return step(at_ms, "tts_completed", tts_latency=Ms(took or at_ms), tts_text="Hi, who am I speaking with?")


def node(at_ms: int, node_id: str, name: str, kind: str = "default") -> Step:
    """A node has answered."""
    context = {"user_response": "Hello?", "agent_response": "Hi."}
    return step(at_ms, "agent_node_state", node_id=node_id, node_name=name, node_type=kind, context=context)


def hop(at_ms: int, origin: str | None, target: str) -> Step:
    """The agent moves on."""
    return step(at_ms, "hopping", from_node_id=origin, to_node_id=target)


def turn(at_ms: int, took: int, *, interrupted: bool | None = None, index: int | None = None, **stages: int) -> Step:
    """The caller was answered; ``stages`` by name without ``_ms``, in milliseconds."""
    fields: dict[str, Any] = {"turn_latency": Ms(took)}
    fields |= {f"{name}_ms": ms for name, ms in stages.items()}
    if interrupted is not None:
        fields["interrupted"] = interrupted
    if index is not None:
        fields["turn_index"] = index
    return Step(at_ms, "turn_latency", fields)


def heard(at_ms: int, text: str = "Yes, I am.") -> Step:
    """The caller said something."""
    return step(at_ms, "user_transcription", user_transcription_text=text)


def measured(at_ms: int, *records: Mapping[str, Any]) -> Step:
    """The pipeline reported."""
    return step(at_ms, "metrics", metrics=list(records))


def record(processor: str, value: Any, model: str | None = None) -> dict[str, Any]:
    """One entry of ``metrics[]``: a duration in Pipecat's seconds in either dialect."""
    return {"processor": processor, "model": model, "value": value.ms / 1000 if isinstance(value, Ms) else value}


def tokens(prompt: int | None, completion: int | None, **details: int | None) -> dict[str, Any]:
    """Token usage of a model; ``details`` by their wire names."""
    total = (prompt or 0) + (completion or 0)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    return record("LLM#0", usage | details, "gpt-4o")
