"""Our encoder against the stock one: whatever the spans, the same message."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from exporter.outputs.otlp.encode import SpanEncoder
from exporter.outputs.otlp.settings import AttributeLimits
from exporter.outputs.spans import SpanRecord

RESOURCE = Resource({"service.name": "voice", "n": 3, "service.instance.id": "ü"}, "https://example.org/schema")
SCOPE = InstrumentationScope("atoms-exporter", "1.2.3", "https://example.org/scope")
UNLIMITED = AttributeLimits(None, None)

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)
values = texts | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans()
keys = st.sampled_from(["gen_ai.agent.id", "atoms.turn.latency", "ü", "k" * 200]) | st.text(min_size=1, max_size=5)
records = st.builds(
    SpanRecord,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    parent_id=st.none() | st.integers(1, 2**64 - 1),
    name=texts.filter(bool),
    start_ns=st.integers(0, 2**64 - 1),
    end_ns=st.integers(0, 2**64 - 1),
    attributes=st.dictionaries(keys, values, max_size=12),
    kind=st.sampled_from(["internal", "client", "server"]),
    error=st.none() | texts,
)


def as_the_sdk_has_it(record: SpanRecord, limits: AttributeLimits) -> ReadableSpan:
    flags = TraceFlags(TraceFlags.SAMPLED)
    parent = None
    if record.parent_id is not None:
        parent = SpanContext(record.trace_id, record.parent_id, is_remote=False, trace_flags=flags)
    return ReadableSpan(
        name=record.name,
        context=SpanContext(record.trace_id, record.span_id, is_remote=False, trace_flags=flags),
        parent=parent,
        resource=RESOURCE,
        attributes=BoundedAttributes(limits.max_attributes, {**record.attributes}, True, limits.max_value_length),
        kind=SpanKind[record.kind.upper()],
        instrumentation_scope=SCOPE,
        status=Status(StatusCode.UNSET) if record.error is None else Status(StatusCode.ERROR, record.error or None),
        start_time=record.start_ns,
        end_time=record.end_ns,
    )


@given(st.lists(records, min_size=1, max_size=5), st.none() | st.integers(0, 3), st.none() | st.integers(0, 3))
def test_any_spans_make_the_message_the_stock_encoder_makes(
    batch: list[SpanRecord], most: int | None, longest: int | None
) -> None:
    limits = AttributeLimits(most, longest)
    encoder = SpanEncoder(RESOURCE, SCOPE, limits)
    expected = encode_spans([as_the_sdk_has_it(record, limits) for record in batch])
    for _ in range(2):  # the second time from the bytes kept
        request = encoder.request([encoder.span(record) for record in batch])
        assert ExportTraceServiceRequest.FromString(request) == expected


def test_what_is_kept_is_bounded(record: Any) -> None:
    encoder = SpanEncoder(RESOURCE, SCOPE, UNLIMITED)
    for number in range(20_000):
        encoder.span(record(attributes={"gen_ai.conversation.id": f"CALL-{number}", "said": "x" * 4096}))
    kept = encoder._texts
    assert 0 < len(kept) <= 8_192
    assert all(len(value) <= 128 for _, value in kept)


@pytest.mark.parametrize(
    "bad",
    [
        {"start_ns": -1},
        {"end_ns": 1 << 70},
        {"trace_id": 1 << 200},
        {"name": "\ud800"},
        {"attributes": {"n": 1 << 64}},
        {"attributes": {"n": "\ud800"}},
        {"attributes": {"n": None}},
        {"kind": "producer"},
    ],
)
def test_a_span_that_no_message_can_hold_raises(record: Any, bad: dict[str, Any]) -> None:
    with pytest.raises((ValueError, OverflowError, TypeError, KeyError, struct.error)):
        SpanEncoder(RESOURCE, SCOPE, UNLIMITED).span(record(**bad))
