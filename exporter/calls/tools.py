"""Tools and look-ups: what the agent asks of others while it talks."""

from __future__ import annotations

import re
from functools import lru_cache

from exporter.calls.call import Call, ClosedTool, OpenTool
from exporter.calls.observations import (
    AgentFailed,
    ApiCalled,
    KnowledgebaseQueried,
    ToolCalled,
    ToolFailed,
    ToolTimed,
    VariablesExtracted,
)
from exporter.calls.stages import RAN
from exporter.protocol import events as wire
from exporter.protocol.labels import code_label, error_severity_label, label, method_label, name_label
from exporter.protocol.units import Skip, Unit, milliseconds, plausible, seconds, seconds_between

_MOST_TOOLS = 1024
_KNOWLEDGEBASE, _EXTRACTION = RAN.index("knowledgebase"), RAN.index("variable_extraction")
_CONSTANT = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_closed = lru_cache(maxsize=4)(ClosedTool)  # a call of an hour has hundreds, of four kinds


def tool_started(call: Call, event: wire.ToolCallStart, at: float) -> None:
    """Remembered until its end; a tool without an id cannot be matched and is known by its end alone."""
    key = _key(event.tool_call_id)
    if key is not None:
        call.stages.tool_began(key, at)
    if key is None or key in call.open_tools or len(call.open_tools) >= _MOST_TOOLS:
        return
    if (closed := call.closed_tools.get(key)) is not None:
        _timed_late(call, key, closed, _function(event.function_name), at)
        return
    arguments = call.content_of(**{"gen_ai.tool.call.arguments": event.context})
    call.open_tools[key] = OpenTool(_function(event.function_name), at, call.visit, arguments)


def _timed_late(call: Call, key: str, closed: ClosedTool, function: str, started_at: float) -> None:
    """The start of a tool call came after its end."""
    if closed.ended_at is None or started_at > closed.ended_at:
        return
    took = _counted(call, plausible(seconds_between(started_at, closed.ended_at)))
    if took is not None:
        call.closed_tools[key] = _closed(True, closed.failed)
        call.say(ToolTimed(call.visit.where, closed.ended_at, function, key, took))


def tool_ended(call: Call, event: wire.ToolCallEnd | wire.ToolCallError, at: float) -> None:
    """A tool is over once: with its end or its error, whichever comes first. What the other adds is taken, too."""
    key = _key(event.tool_call_id)
    known = call.closed_tools.get(key) if key is not None else None
    opened = call.open_tools.pop(key, None) if key is not None else None
    function = _function(event.function_name or (opened.function if opened is not None else None))
    told = None if event.latency_ms is None else milliseconds(event.latency_ms)
    call.stages.tool_ended(key, at, None if isinstance(told, Skip) else told)
    took = _took(call, told, opened, at) if known is None or not known.timed else None
    failed = isinstance(event, wire.ToolCallError) or event.success is False or bool(event.error)
    if known is None:
        result = event.response if isinstance(event, wire.ToolCallEnd) else None
        said = call.content_of(**{"gen_ai.tool.call.result": result, "error.message": event.error})
        call.say(
            ToolCalled(
                where=call.visit.where,
                at=at,
                function=function,
                tool_call_id=key,
                started_at=opened.started_at if opened is not None else at - (took or 0.0),
                seconds=took,
                failed=failed,
                unfinished=False,
                content={**((opened.arguments if opened is not None else None) or {}), **(said or {})} or None,
                nth=call.nth("tool", at) if key is None else 0,
            )
        )
    if took is not None:
        call.say(ToolTimed(call.visit.where, at, function, key, took))
    if failed and not (known is not None and known.failed):
        call.say(ToolFailed(call.visit.where, at, function, key))
    if key is not None:
        _remember(call, key, known, at, timed=took is not None, failed=failed)


def _took(call: Call, told: float | Skip | None, opened: OpenTool | None, at: float) -> float | None:
    """Seconds from a tool's start to its end: as its end says, else as the two events are apart."""
    if told is not None:
        return _counted(call, told)
    if opened is not None:
        return _counted(call, plausible(seconds_between(opened.started_at, at)))
    return None


def _remember(call: Call, key: str, known: ClosedTool | None, at: float, *, timed: bool, failed: bool) -> None:
    """What is said of a tool by now; the time of its first end, while its start may still come."""
    if known is None and len(call.closed_tools) >= _MOST_TOOLS:
        del call.closed_tools[next(iter(call.closed_tools))]
    before = known or _closed(False, False)
    timed, failed = before.timed or timed, before.failed or failed
    call.closed_tools[key] = _closed(True, failed) if timed else ClosedTool(False, failed, before.ended_at or at)


def tools_abandoned(call: Call, ended_at: float) -> None:
    """The call is over and its open tools never answered: called, not failed, of no known latency."""
    for tool_call_id, (function, started_at, visit, arguments) in call.open_tools.items():
        at = max(started_at, ended_at)
        fact = ToolCalled(visit.where, at, function, tool_call_id, started_at, None, False, True, arguments)
        call.say(fact, visit)
    call.open_tools.clear()


def looked_up(call: Call, event: wire.Knowledgebase | wire.VariableExtraction, at: float) -> None:
    """A knowledge base was searched, or variables were extracted."""
    took = None
    if event.latency is not None:
        took = _counted(call, seconds(event.latency, Unit.AUTO, event.timestamp))
    failed = bool(event.error)
    if took is not None:
        call.stages.ran(_KNOWLEDGEBASE if isinstance(event, wire.Knowledgebase) else _EXTRACTION, at, took)
    if isinstance(event, wire.Knowledgebase):
        said = call.content_of(
            **{
                "atoms.knowledgebase.query": event.user_transcript,
                "atoms.knowledgebase.response": event.response,
                "error.message": event.error,
            }
        )
        call.say(KnowledgebaseQueried(call.visit.where, at, took, failed, said, nth=call.nth("lookup", at)))
    else:
        said = call.content_of(**{"atoms.variables": event.variables, "error.message": event.error})
        call.say(VariablesExtracted(call.visit.where, at, took, failed, said, nth=call.nth("extraction", at)))


def api_called(call: Call, event: wire.PreCallApi | wire.PostCallApi, at: float) -> None:
    """The workflow called the customer's own API."""
    phase = "pre" if isinstance(event, wire.PreCallApi) else "post"
    failed = event.success is False or bool(event.error)
    nth = call.nth(phase, at)
    call.stages.api_called(at)
    call.say(ApiCalled(call.visit.where, at, phase, method_label(event.method), failed, nth=nth))


def agent_failed(call: Call, event: wire.AgentError, at: float) -> None:
    """The agent reported an error: its code is a label, its message content. A warning is no failure of the visit."""
    code = _code(event)
    severity = error_severity_label(
        event.severity or _member(event.metadata, "severity") or _member(event.payload, "severity")
    )
    if severity != "warning":
        call.visit.error = code
    call.say(AgentFailed(call.visit.where, at, code, severity, nth=call.nth("error", at)))


def _code(event: wire.AgentError) -> str:
    """What an error is called, wherever it is told; a text that is plainly a constant is a code, too."""
    told = (
        _member(event.metadata, "code"),
        _member(event.error, "code"),
        _member(event.payload, "error_class"),
        _member(event.metadata, "error_class"),
        event.error_class,
        event.error if isinstance(event.error, str) and _CONSTANT.fullmatch(event.error) else None,
    )
    return code_label(next((code for code in told if code is not None and code != ""), None))


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _counted(call: Call, value: float | Skip) -> float | None:
    if isinstance(value, Skip):
        call.skip(value)
        return None
    return value


def _key(tool_call_id: wire.Identifier) -> str | None:
    return None if tool_call_id is None or tool_call_id == "" else label(str(tool_call_id))


def _function(name: str | None) -> str:
    return name_label(name)
