"""Tools matched start to end; look-ups; the customer's API; the agent's own errors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.lives import Life, lived
from tests.support.wire import Step, hop, node, payloads, step

HERE = node(1, "A", "Ask")
TOOL: dict[str, Any] = {"tool_call_id": "t1", "function_name": "look_up"}


def _life(*steps: Step) -> Life:
    return lived(payloads([HERE, *steps]))


def _tools(life: Life) -> tuple[float, float, float, float]:
    latency = "atoms_tool_call_latency_seconds"
    return (
        life.total("atoms_tool_calls_total"),
        life.total("atoms_tool_call_failures_total"),
        life.total(f"{latency}_count"),
        life.total(f"{latency}_sum"),
    )


START = step(1000, "tool_call_start", **TOOL)


@pytest.mark.parametrize(
    ("steps", "counted"),
    [
        ([START, step(1500, "tool_call_end", **TOOL, success=True, latency_ms=480)], (1, 0, 1, 0.48)),
        ([START, step(1500, "tool_call_end", **TOOL, success=True)], (1, 0, 1, 0.5)),
        ([step(1500, "tool_call_end", **TOOL, success=True)], (1, 0, 0, 0)),
        ([step(1500, "tool_call_end", **TOOL, success=False, latency_ms=480)], (1, 1, 1, 0.48)),
        ([step(1500, "tool_call_end", **TOOL, success=True, error="no", latency_ms=480)], (1, 1, 1, 0.48)),
        ([START, step(1500, "tool_call_error", **TOOL, error="no")], (1, 1, 1, 0.5)),
        ([START, step(1500, "tool_call_error", **TOOL), step(1501, "tool_call_end", **TOOL)], (1, 1, 1, 0.5)),
        ([START, step(1500, "tool_call_end", **TOOL), step(1501, "tool_call_error", **TOOL)], (1, 1, 1, 0.5)),
        ([START, START], (1, 0, 0, 0)),
        ([START, step(500, "tool_call_end", **TOOL)], (1, 0, 0, 0)),
        ([step(1500, "tool_call_end", **TOOL), START], (1, 0, 1, 0.5)),
        ([step(n, "tool_call_end", function_name="f", latency_ms=5) for n in (1500, 1600)], (2, 0, 2, 0.01)),
        ([step(1000, "tool_call_start", function_name="f")], (0, 0, 0, 0)),
    ],
)
def test_a_tool_call_is_one_whatever_its_events(steps: list[Step], counted: tuple[float, ...]) -> None:
    assert _tools(_life(*steps)) == counted


def test_a_tool_that_never_answers_is_a_call_of_the_node_it_was_called_in() -> None:
    life = _life(START, hop(2000, "A", "B"), node(3000, "B", "B"), step(4000, "call_end"))
    assert life.by("atoms_tool_calls_total", "node_id", "function") == {("A", "look_up"): 1}
    [span] = [span for span in life.spans if span.name == "execute_tool look_up"]
    assert span.attributes["atoms.tool.unfinished"] is True
    assert span.error is None
    assert (span.end_ns - span.start_ns) == 3_000_000_000


def test_a_tool_s_answer_belongs_to_the_node_it_arrives_in() -> None:
    life = _life(START, hop(1200, "A", "B"), node(1300, "B", "B"), step(1500, "tool_call_end", **TOOL))
    assert life.by("atoms_tool_calls_total", "node_id") == {"B": 1}


def test_the_function_is_known_from_the_start_when_the_end_does_not_say() -> None:
    life = _life(START, step(1500, "tool_call_end", tool_call_id="t1", success=True))
    assert life.by("atoms_tool_calls_total", "function") == {"look_up": 1}
    assert _life(step(9, "tool_call_end")).by("atoms_tool_calls_total", "function") == {"unknown": 1}


def test_every_function_that_was_called_has_a_failure_series_from_the_start() -> None:
    text = _life(START, step(1500, "tool_call_end", **TOOL, success=True)).text()
    assert 'atoms_tool_call_failures_total{agent_id="a1",agent_name="Agent",function="look_up"' in text


@pytest.mark.parametrize(
    ("kind", "calls", "failures", "latency"),
    [
        (
            "knowledgebase",
            "atoms_knowledgebase_queries_total",
            "atoms_knowledgebase_failures_total",
            "atoms_knowledgebase_latency_seconds",
        ),
        (
            "variable_extraction",
            "atoms_variable_extractions_total",
            "atoms_variable_extraction_failures_total",
            "atoms_variable_extraction_latency_seconds",
        ),
    ],
)
def test_look_ups_are_counted_failed_and_timed(kind: str, calls: str, failures: str, latency: str) -> None:
    life = _life(
        step(1000, kind, latency=0.13, error=None),
        step(2000, kind, latency=2.5, error="index unavailable"),
        step(3000, kind, error=""),
        step(4000, kind, latency=-1),
    )
    assert life.total(calls, node_id="A") == 4
    assert life.total(failures, node_id="A") == 1
    assert life.total(f"{latency}_sum") == 2.63
    assert life.by("atoms_exporter_samples_skipped_total", "reason") == {"negative": 1}


def test_the_customer_s_api_by_phase_and_method() -> None:
    life = _life(
        step(10, "pre_call_api", method="get", success=True),
        step(20, "post_call_api", method="POST", success=False),
        step(30, "post_call_api", method="Bearer secret", error="x"),
        step(40, "post_call_api"),
    )
    assert life.by("atoms_api_calls_total", "phase", "method") == {
        ("pre", "GET"): 1,
        ("post", "POST"): 1,
        ("post", "other"): 2,
    }
    assert life.by("atoms_api_call_failures_total", "phase", "method") == {("post", "POST"): 1, ("post", "other"): 1}


def test_an_error_s_code_is_a_label_and_prose_is_not() -> None:
    codes: list[Any] = ["LLM_TIMEOUT", 504, "Mr. Doe, +1 555 0100", None, "15550100", ["x"], True]
    steps = [step(10 * n, "agent_error", metadata={"code": code}) for n, code in enumerate(codes, 1)]
    life = _life(*steps, step(900, "agent_error"), step(910, "agent_error", metadata="no"))
    assert life.by("atoms_agent_errors_total", "code") == {
        "LLM_TIMEOUT": 1,
        "504": 1,
        "other": 3,
        "unknown": 3,
        "True": 1,
    }
    [visit] = [span for span in life.spans if span.name == "hop Ask"]
    assert visit.error == "unknown", "the last one"


@pytest.mark.parametrize(
    ("fields", "code", "severity"),
    [
        ({"metadata": {"code": "A"}, "error": {"code": "B"}}, "A", "unknown"),
        ({"metadata": {"code": None}, "error": {"code": "B", "message": "+1 555 0100"}}, "B", "unknown"),
        ({"error": "LLM_TIMEOUT"}, "LLM_TIMEOUT", "unknown"),
        ({"error": "late"}, "unknown", "unknown"),
        ({"payload": {"error_class": "TimeoutError"}, "severity": "warning"}, "TimeoutError", "warning"),
        ({"error_class": "TimeoutError", "severity": " Fatal "}, "TimeoutError", "fatal"),
        ({"metadata": {"severity": "fatal", "error_class": "E"}}, "E", "fatal"),
        ({"payload": {"severity": "warning"}, "severity": 7}, "unknown", "unknown"),
        ({"severity": "Mr. Doe"}, "unknown", "unknown"),
    ],
)
def test_an_error_s_code_and_severity_are_found_wherever_they_are_told(
    fields: dict[str, Any], code: str, severity: str
) -> None:
    life = _life(step(10, "agent_error", **fields))
    assert life.by("atoms_agent_errors_total", "code", "severity") == {(code, severity): 1}


def test_a_warning_makes_no_span_fail() -> None:
    life = _life(
        step(10, "agent_error", metadata={"code": "RETRIED"}, severity="warning"),
        step(20, "agent_error", metadata={"code": "RETRIED"}, severity="warning"),
    )
    assert [span.name for span in life.spans if span.error is not None] == []
    shown = [span.attributes["atoms.error.severity"] for span in life.spans if span.name == "agent_error"]
    assert shown == ["warning", "warning"]
    worse = _life(step(10, "agent_error", metadata={"code": "DOWN"}, severity="fatal"))
    assert [span.error for span in worse.spans if span.name in ("agent_error", "hop Ask")] == ["DOWN", "DOWN"]
