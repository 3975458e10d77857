"""Spans against backends that are well, slow, away, full, strict or gone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from exporter.calls.observations import Agent
from exporter.calls.tracker import Tracker
from exporter.outputs.otlp.retry import Backoff
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recorder import Outputs
from exporter.outputs.spans import span_count, spans_of, trace_of
from exporter.simulator import recorded


def names(n: int, prefix: str = "span") -> list[str]:
    return [f"{prefix}-{i}" for i in range(n)]


def test_a_span_arrives_with_its_ids_times_attributes_kind_and_status(
    backend: Any, export: Any, counts: Any, record: Any
) -> None:
    traces = export(backend.env | {"OTEL_SERVICE_NAME": "voice", "OTEL_RESOURCE_ATTRIBUTES": "team=a%20b"})
    attributes = {"text": "ü", "whole": 2, "real": 1.5, "true": True}
    traces.put(record("call", number=7, parent_id=9, attributes=attributes, kind="client", error="no answer"))
    assert traces.close(20) == 0
    (request,) = backend.requests
    (resource,) = request.message.resource_spans
    (scope,) = resource.scope_spans
    (span,) = scope.spans
    described = {item.key: item.value.string_value for item in resource.resource.attributes}
    assert (described["service.name"], described["team"]) == ("voice", "a b")
    assert described["telemetry.sdk.language"] == "python"
    assert scope.scope.name == "atoms-exporter"
    assert scope.scope.version
    assert int.from_bytes(span.trace_id, "big") == 0xA1 << 100
    assert int.from_bytes(span.span_id, "big") == 7
    assert int.from_bytes(span.parent_span_id, "big") == 9
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (
        1_758_124_305_194_836_000,
        1_758_124_306_194_836_001,
    )
    assert {item.key for item in span.attributes} == set(attributes)
    assert span.kind == 3
    assert (span.status.code, span.status.message) == (2, "no answer")
    assert counts.exported == 1
    assert not counts.dropped


def test_a_backend_that_is_down_for_a_while_gets_everything_once(
    backend: Any, export: Any, counts: Any, record: Any, until: Callable[..., Any]
) -> None:
    port = backend.port
    backend.stop()
    backend.stopping.clear()
    traces = export(backend.env)
    for name in names(50):
        traces.put(record(name))
    until(lambda: sum(counts.failed.values()) >= 3)
    assert traces.pending == 50
    assert counts.exported == 0
    backend.start(port)
    until(lambda: counts.exported == 50)
    assert backend.span_names() == names(50)
    assert not counts.dropped


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_these_statuses_are_tried_again(
    http_backend: Any, export: Any, counts: Any, record: Any, misbehaviour: Any, status: int
) -> None:
    http_backend.script.extend([misbehaviour(status), misbehaviour(status)])
    traces = export(http_backend.env)
    traces.put(record("a"))
    assert traces.flush(20) == 0
    assert http_backend.span_names() == ["a"]
    assert counts.failed == {("traces", "rate_limited" if status == 429 else "unavailable"): 2}
    assert not counts.dropped


@pytest.mark.parametrize(
    "code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "OUT_OF_RANGE", "DATA_LOSS"]
)
def test_these_codes_are_tried_again(
    grpc_backend: Any, export: Any, counts: Any, record: Any, misbehaviour: Any, code: str
) -> None:
    grpc_backend.script.append(misbehaviour(code))
    traces = export(grpc_backend.env)
    traces.put(record("a"))
    assert traces.flush(20) == 0
    assert grpc_backend.span_names() == ["a"]
    assert counts.failed == {("traces", "timeout" if code == "DEADLINE_EXCEEDED" else "unavailable"): 1}
    assert not counts.dropped


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 500, 501, 308, 302])
def test_these_statuses_drop_the_spans_and_count_them(
    http_backend: Any, export: Any, counts: Any, record: Any, misbehaviour: Any, status: int
) -> None:
    http_backend.script.append(misbehaviour(status, headers={"Location": "/elsewhere"}))
    traces = export(http_backend.env)
    traces.put(record("refused"))
    assert traces.flush(20) == 0
    traces.put(record("next"))
    assert traces.flush(20) == 0
    assert http_backend.span_names() == ["next"]
    assert [request.path for request in http_backend.requests] == ["/v1/traces"] * 2
    assert counts.failed == {("traces", f"http_{status // 100}xx"): 1}
    assert counts.dropped == {"permanent": 1}
    assert counts.exported == 1


@pytest.mark.parametrize(
    "code", ["INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "INTERNAL"]
)
def test_these_codes_drop_the_spans_and_count_them(
    grpc_backend: Any, export: Any, counts: Any, record: Any, misbehaviour: Any, code: str
) -> None:
    grpc_backend.script.append(misbehaviour(code))
    traces = export(grpc_backend.env)
    traces.put(record("refused"))
    assert traces.flush(20) == 0
    assert counts.failed == {("traces", "rejected"): 1}
    assert counts.dropped == {"permanent": 1}


def test_retry_after_is_respected(http_backend: Any, export: Any, counts: Any, record: Any, misbehaviour: Any) -> None:
    http_backend.script.append(misbehaviour(429, headers={"Retry-After": "1"}))
    traces = export(http_backend.env)
    traces.put(record("a"))
    assert traces.flush(20) == 0
    first, second = http_backend.requests
    assert second.at - first.at >= 1.0
    assert counts.exported == 1


def test_retry_info_is_respected_and_resource_exhausted_without_it_is_final(
    grpc_backend: Any, export: Any, counts: Any, record: Any, misbehaviour: Any
) -> None:
    grpc_backend.script.append(misbehaviour("RESOURCE_EXHAUSTED", retry_seconds=1))
    traces = export(grpc_backend.env)
    traces.put(record("a"))
    assert traces.flush(20) == 0
    first, second = grpc_backend.requests
    assert second.at - first.at >= 1.0
    grpc_backend.script.append(misbehaviour("RESOURCE_EXHAUSTED"))
    traces.put(record("b"))
    assert traces.flush(20) == 0
    assert counts.dropped == {"permanent": 1}
    assert grpc_backend.span_names() == ["a"]


def test_a_partial_success_counts_what_was_rejected(
    backend: Any, export: Any, counts: Any, record: Any, misbehaviour: Any
) -> None:
    backend.script.append(misbehaviour(partial=(2, "too old")))
    traces = export(backend.env)
    for name in names(5):
        traces.put(record(name))
    assert traces.flush(20) == 0
    assert (counts.exported, dict(counts.dropped)) == (3, {"rejected": 2})
    assert counts.failed == {("traces", "rejected"): 1}


def test_a_batch_that_is_too_large_goes_in_smaller_ones(
    http_backend: Any, export: Any, counts: Any, record: Any, misbehaviour: Any
) -> None:
    http_backend.always = misbehaviour(413, only_over=10)
    traces = export(http_backend.env | {"OTEL_BSP_SCHEDULE_DELAY": "60000"})
    for name in names(100):
        traces.put(record(name))
    assert traces.flush(30) == 0
    assert sorted(http_backend.span_names()) == sorted(names(100))
    assert not counts.dropped


def test_a_message_over_the_grpc_limit_goes_in_smaller_ones(
    grpc_backend: Any, export: Any, counts: Any, record: Any
) -> None:
    traces = export(grpc_backend.env | {"OTEL_BSP_SCHEDULE_DELAY": "60000"})
    for name in names(50):
        traces.put(record(name, attributes={"text": "x" * 200_000}))
    assert traces.flush(60) == 0
    assert sorted(grpc_backend.span_names()) == sorted(names(50))
    assert not counts.dropped


@pytest.mark.parametrize("bad", [{"start_ns": -1}, {"name": 5}, {"end_ns": 1 << 70}, {"trace_id": 1 << 200}])
def test_a_span_that_cannot_be_encoded_takes_no_other_with_it(
    backend: Any, export: Any, counts: Any, record: Any, bad: dict[str, Any]
) -> None:
    traces = export(backend.env | {"OTEL_BSP_SCHEDULE_DELAY": "60000"})
    for name in names(20):
        traces.put(record(name))
    traces.put(record(**bad))
    for name in names(20, "after"):
        traces.put(record(name))
    assert traces.flush(30) == 0
    assert sorted(backend.span_names()) == sorted(names(20) + names(20, "after"))
    assert counts.dropped == {"permanent": 1}


def test_batches_are_as_large_as_the_environment_says(backend: Any, export: Any, record: Any) -> None:
    traces = export(
        backend.env
        | {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "7", "OTEL_BSP_SCHEDULE_DELAY": "60000", "OTEL_BSP_MAX_QUEUE_SIZE": "99"}
    )
    for name in names(20):
        traces.put(record(name))
    assert traces.flush(20) == 0
    sizes = [len(request.message.resource_spans[0].scope_spans[0].spans) for request in backend.requests]
    assert sizes == [7, 7, 6]


def test_what_comes_while_a_batch_is_sent_waits_for_a_batch_of_its_own(
    http_backend: Any, export: Any, counts: Any, record: Any, until: Callable[..., Any], misbehaviour: Any
) -> None:
    http_backend.script.append(misbehaviour(seconds=0.3))
    traces = export(http_backend.env | {"OTEL_BSP_SCHEDULE_DELAY": "60000", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50"})
    for name in names(50):
        traces.put(record(name))
    until(lambda: len(http_backend.requests) == 1 and not len(traces._queue))
    for name in names(20, "later"):
        traces.put(record(name))
    until(lambda: counts.exported == 50)
    assert traces.pending == 20
    assert traces.flush(20) == 0
    assert len(http_backend.requests) == 2


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_compression_and_headers_come_from_the_environment(
    backend: Any, export: Any, record: Any, compression: str
) -> None:
    headers = "authorization=Basic%20c2VjcmV0,x-scope=plain value"
    traces = export(
        backend.env | {"OTEL_EXPORTER_OTLP_COMPRESSION": compression, "OTEL_EXPORTER_OTLP_TRACES_HEADERS": headers}
    )
    traces.put(record("a"))
    assert traces.flush(20) == 0
    (request,) = backend.requests
    assert request.headers["authorization"] == "Basic c2VjcmV0"
    assert request.headers["x-scope"] == "plain value"
    if backend.protocol == "http/protobuf":
        assert request.headers.get("content-encoding", "none") == compression


def test_a_sampled_fraction_decides_once_for_all_spans_of_a_trace(backend: Any, export: Any, record: Any) -> None:
    traces = export(backend.env | {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"})
    rng = random.Random(3)
    trace_ids = [rng.getrandbits(128) for _ in range(100)]
    for trace_id in trace_ids:
        traces.put(record(f"root {trace_id}", trace_id=trace_id))
        traces.put(record(f"child {trace_id}", trace_id=trace_id, number=2))
    assert traces.flush(20) == 0
    chosen = [trace_id for trace_id in trace_ids if traces.sampled(trace_id)]
    assert 20 < len(chosen) < 80
    assert backend.span_names() == [f"{kind} {trace_id}" for trace_id in chosen for kind in ("root", "child")]


def test_attribute_limits_cut_and_count(backend: Any, export: Any, record: Any) -> None:
    traces = export(backend.env | {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "2", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "3"})
    traces.put(record("a", attributes={"one": "abcdef", "two": 12345, "three": "xyz!"}))
    assert traces.flush(20) == 0
    (span,) = backend.requests[0].message.resource_spans[0].scope_spans[0].spans
    assert len(span.attributes) == 2
    assert span.dropped_attributes_count == 1
    assert all(len(item.value.string_value) <= 3 for item in span.attributes)


def test_what_a_backend_echoes_of_our_headers_does_not_reach_the_log(
    backend: Any, export: Any, record: Any, misbehaviour: Any, capsys: Any, caplog: Any, monkeypatch: Any
) -> None:
    denied = 401 if backend.protocol != "grpc" else "UNAUTHENTICATED"
    backend.script.append(misbehaviour(denied, body=b"bad token s3cr3t-t0ken, sorry"))
    headers = 'authorization=Bearer s3cr3t-t0ken,x-odd="s3cr3t;"'
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    traces = export(backend.env | {"OTEL_EXPORTER_OTLP_HEADERS": headers})
    traces.put(record("a"))
    assert traces.flush(20) == 0
    said = caplog.text + "".join(capsys.readouterr())
    assert "bad token ***, sorry" in said
    assert "s3cr3t" not in said


def test_with_tls_the_certificate_of_the_environment_is_trusted_and_no_other(
    backend: Any, export: Any, counts: Any, record: Any, until: Callable[..., Any], certificate: Any
) -> None:
    cert, key = certificate
    backend.stop()
    backend.stopping.clear()
    if backend.protocol == "grpc":
        import grpc

        backend.start(credentials=grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())]))
    else:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        backend.start(wrap=lambda raw: context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False))
    env = backend.env | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{backend.port}"}
    distrustful = export(env)
    distrustful.put(record("a"))
    until(lambda: sum(counts.failed.values()) >= 1)
    assert distrustful.close(0.2) == 1
    trusting = export(env | {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(cert)})
    trusting.put(record("b"))
    assert trusting.close(20) == 0
    assert backend.span_names() == ["b"]


def facts_of_calls(number: int) -> list[Any]:
    """What of so many simulated calls has spans, call after call."""
    facts: list[Any] = []
    tracker = Tracker(Outputs(Metrics(version="0"), facts.append))
    for each in range(number):
        for event in recorded(1, each):
            tracker.replay(json.dumps(event).encode(), agent=Agent("a1", "Agent"))
    tracker.end_all()
    return facts


def test_what_is_shown_arrives_as_the_spans_that_are_made_of_it(
    backend: Any, export: Any, counts: Any, until: Callable[..., Any]
) -> None:
    facts = facts_of_calls(15)
    spans = [span for fact in facts for span in spans_of(fact)]
    traces = export(backend.env | {"OTEL_BSP_SCHEDULE_DELAY": "60000"})
    for fact in facts:
        traces.show(fact)
    until(lambda: counts.exported >= len(spans) - 512)  # without being asked: a batch is full
    assert traces.flush(20) == 0
    assert counts.exported == len(spans) > 600
    assert backend.span_names() == [span.name for span in spans]
    assert {span.trace_id for span in spans} == {trace_of(fact) for fact in facts}


def test_what_is_shown_while_the_backend_is_away_is_built_no_later_than_it_would_be_dropped(
    http_backend: Any, export: Any, counts: Any, until: Callable[..., Any], misbehaviour: Any
) -> None:
    """Facts that wait for their spans to be built are as bounded as the spans are, and in their order."""
    http_backend.always = misbehaviour(503)
    facts = facts_of_calls(8)
    names = [span.name for fact in facts for span in spans_of(fact)]
    traces = export(http_backend.env, max_queue_spans=100, backoff=Backoff(random.Random(1), first_seconds=600.0))
    traces.show(facts[0])
    assert traces.flush(0.3) > 0
    until(lambda: sum(counts.failed.values()) == 1)  # from now on the thread waits
    for fact in facts[1:]:
        traces.show(fact)
        assert len(traces._unbuilt) <= 100
    assert len(traces._queue) <= 100
    http_backend.always = None
    assert traces.close(20) == 0
    arrived = http_backend.span_names()
    assert len(arrived) == 100
    assert arrived == names[-100:]
    assert counts.dropped == {"queue_full": len(names) - 100}


def test_a_fact_whose_spans_cannot_be_built_takes_no_other_with_it(backend: Any, export: Any, counts: Any) -> None:
    facts = facts_of_calls(1)
    traces = export(backend.env)
    traces.show(msgspec.structs.replace(facts[0], at=float("inf")))
    for fact in facts[1:]:
        traces.show(fact)
    assert traces.flush(20) == 0
    assert counts.dropped == {"permanent": span_count(facts[0])}
    assert counts.exported == sum(span_count(fact) for fact in facts[1:])
