"""Observations to spans: one trace per call, with ids and times that follow from the events alone.

    call                          from the first event to the call's end
    ├─ hop <node name>            one per visit to a node
    │   ├─ turn                   [timestamp − latency, timestamp]
    │   │   ├─ stt | chat <model> | tts …   one per reported stage, end to end
    │   ├─ text_to_speech, execute_tool <function>, knowledgebase, variable_extraction, pre_call_api, …

Span identities are built from event times in whole milliseconds, not from event ids: those differ between the
dialects of the same call. Attributes follow OpenTelemetry's GenAI conventions where these exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec

from exporter.calls.identity import milliseconds_of, span_id, trace_id
from exporter.calls.observations import (
    AgentFailed,
    ApiCalled,
    CallEnded,
    KnowledgebaseQueried,
    NodeLeft,
    Observation,
    Shown,
    SpeechSynthesised,
    ToolCalled,
    TurnAnswered,
    VariablesExtracted,
    Where,
)

Attribute = str | int | float | bool
Attributes = dict[str, Attribute]


class SpanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A finished span, independent of any SDK.

    ``kind`` is ``internal``, ``client`` or ``server``. ``error`` is the description of an ERROR status, ``None`` for
    no error. Times are Unix nanoseconds of the events' own clock.
    """

    trace_id: int
    span_id: int
    parent_id: int | None
    name: str
    start_ns: int
    end_ns: int
    attributes: Attributes
    kind: str = "internal"
    error: str | None = None


_STAGES = {
    "stt_api": ("stt", "speech_to_text"),
    "llm_api": ("chat", "chat"),
    "tts_api": ("tts", "text_to_speech"),
}
"""Stages that are somebody's work have the name and operation of it; the others go by their own."""
_TIMED_FACTS = (KnowledgebaseQueried, VariablesExtracted, ApiCalled, AgentFailed)
SHOWN = (TurnAnswered, SpeechSynthesised, NodeLeft, ToolCalled, *_TIMED_FACTS, CallEnded)
"""The observations that have a span. All others are only counted."""


def span_count(fact: Observation) -> int:
    """How many spans ``spans_of`` makes of an observation, without making them."""
    match fact:
        case TurnAnswered():
            return 1 + len(fact.stages)
        case NodeLeft():
            return 1 if fact.where.visit else 0
        case CallEnded():
            return 0 if fact.first_at is None else 1
        case _:
            return 1 if isinstance(fact, SHOWN) else 0


def trace_of(fact: Observation) -> int:
    """The trace id of an observation in ``SHOWN``."""
    if isinstance(fact, CallEnded):
        return trace_id(fact.call_id)
    return int(cast(Shown, fact).where.trace_id, 16)


def spans_of(fact: Observation) -> Sequence[SpanRecord]:
    """The spans an observation completes: none for most."""
    match fact:
        case TurnAnswered():
            return _turn(fact)
        case SpeechSynthesised():
            attributes: Attributes = {"gen_ai.operation.name": "text_to_speech", "atoms.tts.latency": fact.seconds}
            return (_within(fact, "text_to_speech", "tts", fact.seconds, attributes | dict(fact.content or {})),)
        case NodeLeft():
            return (_hop(fact),) if fact.where.visit else ()
        case ToolCalled():
            return (_tool(fact),)
        case KnowledgebaseQueried():
            return (_lookup(fact, "knowledgebase", fact.seconds, fact.failed, dict(fact.content or {})),)
        case VariablesExtracted():
            return (_lookup(fact, "variable_extraction", fact.seconds, fact.failed, dict(fact.content or {})),)
        case ApiCalled():
            method: Attributes = {"http.request.method": fact.method}
            return (_lookup(fact, f"{fact.phase}_call_api", None, fact.failed, method),)
        case AgentFailed():
            failure: Attributes = {"error.type": fact.code, "atoms.error.severity": fact.severity}
            error = fact.code if fact.severity != "warning" else None
            return (_within(fact, "agent_error", "agent_error", 0.0, failure, error=error),)
        case CallEnded():
            return (_call(fact),) if fact.first_at is not None else ()
        case _:
            return ()


def turn_span_id(fact: Shown) -> int:
    """The span of a turn: also the exemplar of its latency."""
    return span_id(fact.where.call_id, "turn", _moment(fact))


def speech_span_id(fact: Shown) -> int:
    """The span of a synthesis: also the exemplar of its latency."""
    return span_id(fact.where.call_id, "tts", _moment(fact))


def _moment(fact: Shown) -> str:
    """What tells a fact from others of its kind: its millisecond, and its place in it if it was not the first."""
    return f"{milliseconds_of(fact.at)}.{fact.nth}" if fact.nth else str(milliseconds_of(fact.at))


def nanoseconds(at: float) -> int:
    """Unix nanoseconds, by way of the microseconds that a float of 2026 can hold."""
    return max(0, round(at * 1e6)) * 1000


def _within(
    fact: Shown, name: str, kind: str, took: float | None, attributes: Attributes, *, error: str | None = None
) -> SpanRecord:
    """A span that ended when its event was stamped."""
    return SpanRecord(
        trace_id=int(fact.where.trace_id, 16),
        span_id=span_id(fact.where.call_id, kind, _moment(fact)),
        parent_id=int(fact.where.span_id, 16),
        name=name,
        start_ns=nanoseconds(fact.at - (took or 0.0)),
        end_ns=nanoseconds(fact.at),
        attributes=_identified(fact.where) | attributes,
        error=error,
    )


def _identified(where: Where) -> Attributes:
    return {
        "gen_ai.conversation.id": where.call_id,
        "gen_ai.agent.id": where.place.agent_id,
        "gen_ai.agent.name": where.place.agent_name,
        "atoms.node.id": where.place.node_id,
        "atoms.node.name": where.place.node_name,
    }


def _turn(fact: TurnAnswered) -> list[SpanRecord]:
    """The turn and its stages: the most frequent spans by far."""
    where, at, moment = fact.where, fact.at, _moment(fact)
    call_id, identified, trace = where.call_id, _identified(where), int(where.trace_id, 16)
    turn_id = span_id(call_id, "turn", moment)
    end_ns = nanoseconds(at)
    begins = at - fact.seconds
    begin_ns = nanoseconds(begins)
    attributes: Attributes = {
        **identified,
        "atoms.turn.latency": fact.seconds,
        "atoms.turn.interrupted": fact.interrupted,
    }
    if fact.index is not None:
        attributes["atoms.turn.index"] = fact.index
    if fact.unreported_seconds is not None:
        attributes["atoms.turn.unreported"] = fact.unreported_seconds
    spans = [
        SpanRecord(
            trace_id=trace,
            span_id=turn_id,
            parent_id=int(where.span_id, 16),
            name="turn",
            start_ns=begin_ns,
            end_ns=end_ns,
            attributes=attributes,
        )
    ]
    usage = _usage(fact)
    for stage, took in fact.stages:
        begins = min(begins + took, at)
        stage_end_ns = nanoseconds(begins)
        shown, operation = _STAGES.get(stage, (stage, None))
        said: Attributes = {**identified, "atoms.stage": stage}
        if operation is not None:
            said["gen_ai.operation.name"] = operation
        if stage == "llm_api":
            said |= usage
            usage = {}
            shown = f"chat {fact.model}" if fact.model else shown
        spans.append(
            SpanRecord(
                trace_id=trace,
                span_id=span_id(call_id, f"stage {stage}", moment),
                parent_id=turn_id,
                name=shown,
                start_ns=begin_ns,
                end_ns=stage_end_ns,
                attributes=said,
                kind="client" if operation is not None else "internal",
            )
        )
        begin_ns = stage_end_ns
    attributes |= usage  # where no stage shows the model
    return spans


def _usage(fact: TurnAnswered) -> Attributes:
    usage: Attributes = {"gen_ai.request.model": fact.model} if fact.model else {}
    return usage | _tokens(fact)


def _tokens(fact: TurnAnswered | NodeLeft | CallEnded) -> Attributes:
    """The usage, as the counters have it: all of a request's tokens, those of neither side by a name of ours."""
    spent: Attributes = {}
    if fact.prompt_tokens or fact.completion_tokens:
        spent["gen_ai.usage.input_tokens"] = fact.prompt_tokens
        spent["gen_ai.usage.output_tokens"] = fact.completion_tokens
    if fact.other_tokens:
        spent["atoms.usage.other_tokens"] = fact.other_tokens
    return spent


def _hop(fact: NodeLeft) -> SpanRecord:
    where = fact.where
    attributes: Attributes = {"gen_ai.operation.name": "invoke_agent", "atoms.hop.index": where.visit_index}
    if fact.node_type is not None:
        attributes["atoms.node.type"] = fact.node_type
    if fact.from_node_id is not None:
        attributes["atoms.hop.from_node.id"] = fact.from_node_id
        attributes["atoms.hop.from_node.name"] = fact.from_node_name or "unknown"
    attributes |= _tokens(fact)
    if fact.error is not None:
        attributes["error.type"] = fact.error
    start = nanoseconds(fact.entered_at)
    return SpanRecord(
        trace_id=int(where.trace_id, 16),
        span_id=int(where.span_id, 16),
        parent_id=span_id(where.call_id, "call"),
        name=f"hop {where.place.node_name}",
        start_ns=start,
        end_ns=max(start, nanoseconds(fact.at)),
        attributes=_identified(where) | attributes,
        error=fact.error,
    )


def _tool(fact: ToolCalled) -> SpanRecord:
    attributes: Attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": fact.function}
    if fact.tool_call_id is not None:
        attributes["gen_ai.tool.call.id"] = fact.tool_call_id
    if fact.failed:
        attributes["error.type"] = "tool_error"
    if fact.unfinished:
        attributes["atoms.tool.unfinished"] = True
    identity = fact.tool_call_id or _moment(fact)
    start = fact.started_at if fact.seconds is None else fact.at - fact.seconds
    return SpanRecord(
        trace_id=int(fact.where.trace_id, 16),
        span_id=span_id(fact.where.call_id, "tool", identity),
        parent_id=int(fact.where.span_id, 16),
        name=f"execute_tool {fact.function}",
        start_ns=nanoseconds(min(start, fact.at)),
        end_ns=nanoseconds(fact.at),
        attributes=_identified(fact.where) | attributes | cast(Attributes, dict(fact.content or {})),
        error="the tool failed" if fact.failed else None,
    )


def _lookup(fact: Shown, kind: str, took: float | None, failed: bool, attributes: Attributes) -> SpanRecord:
    if failed:
        attributes = {"error.type": f"{kind}_error", **attributes}
    return _within(fact, kind, kind, took, attributes, error=f"{kind} failed" if failed else None)


def _call(fact: CallEnded) -> SpanRecord:
    attributes: Attributes = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.conversation.id": fact.call_id,
        "gen_ai.agent.id": fact.agent.agent_id,
        "gen_ai.agent.name": fact.agent.name,
        "atoms.call.channel": fact.channel,
        "atoms.call.outcome": fact.outcome,
        "atoms.call.hops": fact.hops,
        "atoms.call.turns": fact.turns,
    }
    if fact.account.end_reason != "unknown":
        attributes["atoms.call.end_reason"] = fact.account.end_reason
    if fact.telephony_id is not None:
        attributes["atoms.telephony_id"] = fact.telephony_id
    attributes |= _tokens(fact)
    if fact.unfinished:
        attributes["atoms.call.unfinished"] = True
    failed = fact.outcome in ("failed", "lost")
    if failed:
        attributes["error.type"] = fact.outcome
    start = nanoseconds(fact.first_at or 0.0)
    return SpanRecord(
        trace_id=trace_id(fact.call_id),
        span_id=span_id(fact.call_id, "call"),
        parent_id=None,
        name="call",
        start_ns=start,
        end_ns=max(start, nanoseconds(fact.ended_at or 0.0)),
        attributes=attributes,
        kind="server",
        error=f"call {fact.outcome}" if failed else None,
    )
