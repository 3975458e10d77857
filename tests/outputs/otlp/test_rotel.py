"""A real collector takes what we send, over both protocols."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from exporter.outputs.otlp import metric_push, trace_export
from tests.support.peers import Rotel, rotel_in

TRACE, SPAN = 0x0123456789ABCDEF0123456789ABCDEF, 0x1122334455667788


@pytest.fixture
def rotel(tmp_path: Path, until: Callable[..., Any]) -> Iterator[Rotel]:
    agent = rotel_in(tmp_path)
    try:
        until(agent.listening)
        yield agent
    finally:
        agent.stop()


@pytest.fixture(params=["http/protobuf", "grpc"])
def env(request: pytest.FixtureRequest, rotel: Any) -> dict[str, str]:
    port = rotel.grpc_port if request.param == "grpc" else rotel.http_port
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": request.param,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_SERVICE_NAME": "voice",
    }


def test_a_collector_takes_a_trace(
    env: dict[str, str], rotel: Any, record: Any, counts: Any, until: Callable[..., Any]
) -> None:
    traces = trace_export(env, counts)
    assert traces is not None
    attributes = {"gen_ai.conversation.id": "CALL-1", "atoms.turn.index": 3, "atoms.turn.latency": 1.69, "b": True}
    traces.put(record("hop greeting", trace_id=TRACE, number=0x99))
    traces.put(
        record(
            "turn",
            trace_id=TRACE,
            number=SPAN,
            parent_id=0x99,
            attributes=attributes,
            kind="client",
            error="the tool failed",
        )
    )
    assert traces.close(20) == 0
    assert (counts.exported, dict(counts.dropped), dict(counts.failed)) == (2, {}, {})
    said = until(lambda: rotel.printed() if "the tool failed" in rotel.printed() else "")
    hop, turn = re.split(r"Span #\d", said)[1:3]
    assert "Name           : hop greeting" in hop
    assert "STATUS_CODE_ERROR" not in hop
    for line in (
        "Trace ID       : 0123456789abcdef0123456789abcdef",
        "Parent ID      : 0000000000000099",
        "ID             : 1122334455667788",
        "Kind           : SPAN_KIND_CLIENT",
        "Start time: 1758124305194836000",
        "End time: 1758124306194836001",
        "Status code    : STATUS_CODE_ERROR",
        "-> gen_ai.conversation.id: Str(CALL-1)",
        "-> atoms.turn.index: Int(3)",
        "-> atoms.turn.latency: Double(1.69)",
        "-> b: Bool(true)",
    ):
        assert line in turn
    assert "-> service.name: Str(voice)" in said
    assert "InstrumentationScope atoms-exporter" in said


def test_a_collector_takes_metrics_with_exemplars(
    env: dict[str, str], rotel: Any, counts: Any, until: Callable[..., Any]
) -> None:
    registry = CollectorRegistry()
    latency = Histogram(
        "atoms_turn_latency_seconds", "Latency.", ["node_name"], registry=registry, buckets=[1, 2, 5]
    ).labels("greeting")
    tokens = Counter("atoms_llm_tokens", "Tokens.", registry=registry)
    Gauge("atoms_calls_active", "Calls.", registry=registry).set(7)
    pushing = metric_push(env, registry, counts)
    assert pushing is not None
    latency.observe(1.69, {"trace_id": f"{TRACE:032x}", "span_id": f"{SPAN:016x}"})
    tokens.inc(1338)
    assert pushing.close(20)
    assert not counts.failed
    said = until(lambda: rotel.printed() if "atoms_calls_active" in rotel.printed() else "")
    by_name = {
        part.split("Name: ")[1].split("\n")[0]: part for part in re.split(r"Metric #\d", said)[1:] if "Name: " in part
    }
    histogram = by_name["atoms_turn_latency_seconds"]
    for line in (
        "Unit: s",
        "DataType: Histogram",
        "AGGREGATION_TEMPORALITY_CUMULATIVE",
        "-> node_name: Str(greeting)",
        "Count: 1",
        "Sum: 1.69",
        "Buckets #1, Count: 1",
        "-> Trace ID: 0123456789abcdef0123456789abcdef",
        "-> Span ID: 1122334455667788",
    ):
        assert line in histogram
    assert "IsMonotonic: true" in by_name["atoms_llm_tokens_total"]
    assert "Value: 1338" in by_name["atoms_llm_tokens_total"]
    assert "DataType: Gauge" in by_name["atoms_calls_active"]
    assert "Value: 7" in by_name["atoms_calls_active"]
