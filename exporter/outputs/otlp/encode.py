"""Spans as the bytes of an OTLP request, field by field: a tenth of what building protobuf objects in Python costs.

The spans of a call repeat the same attributes over and over, so each attribute's bytes are kept and written again.
A test holds it against the stock encoder: whatever the spans, both messages are equal.

Source: opentelemetry/proto/trace/v1/trace.proto, opentelemetry/proto/collector/trace/v1/trace_service.proto;
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct
from typing import TYPE_CHECKING, Final, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK, Span, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

if TYPE_CHECKING:
    from exporter.outputs.otlp.settings import AttributeLimits
    from exporter.outputs.spans import Attribute, SpanRecord

_MOST_KEPT: Final = 8_192
"""Attributes whose bytes are kept, in some two megabytes."""
_LONGEST_KEPT: Final = 128
"""Text longer than this is somebody's words, and never comes again."""


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


_SHORT: Final = tuple(bytes((length,)) for length in range(128))


def _sized(tag: bytes, body: bytes) -> bytes:
    """A field that says its length first: text, bytes, a message."""
    size = len(body)
    return tag + (_SHORT[size] if size < 128 else _varint(size)) + body


def _tag(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5
_REQUEST_RESOURCE_SPANS = _tag(1, _SIZED)
_RESOURCE, _SCOPE_SPANS, _RESOURCE_SCHEMA_URL = _tag(1, _SIZED), _tag(2, _SIZED), _tag(3, _SIZED)
_SCOPE, _SPANS, _SCOPE_SCHEMA_URL = _tag(1, _SIZED), _tag(2, _SIZED), _tag(3, _SIZED)
_PARENT = _tag(4, _SIZED) + _SHORT[8]
_NAME = _tag(5, _SIZED)
_ATTRIBUTE = _tag(9, _SIZED)
_DROPPED_ATTRIBUTES = _tag(10, _VARINT)
_STATUS = _tag(15, _SIZED)
_STATUS_MESSAGE, _STATUS_CODE = _tag(2, _SIZED), _tag(3, _VARINT)
_KEY, _VALUE = _tag(1, _SIZED), _tag(2, _SIZED)
_TEXT, _BOOL, _INT, _DOUBLE = _tag(1, _SIZED), _tag(2, _VARINT), _tag(3, _VARINT), _tag(4, _FIXED64)

_UNSET = _sized(_STATUS, b"")
_ERROR = _STATUS_CODE + _varint(Status.STATUS_CODE_ERROR)
_TIMES = Struct("<BQBQ")
_START, _END = _tag(7, _FIXED64)[0], _tag(8, _FIXED64)[0]
_KINDS = {
    "internal": _tag(6, _VARINT) + _varint(Span.SPAN_KIND_INTERNAL),
    "client": _tag(6, _VARINT) + _varint(Span.SPAN_KIND_CLIENT),
    "server": _tag(6, _VARINT) + _varint(Span.SPAN_KIND_SERVER),
}
_FLAGS = _tag(16, _FIXED32) + Struct("<I").pack(SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK)
_TRACE_ID, _SPAN_ID = _tag(1, _SIZED) + _SHORT[16], _tag(2, _SIZED) + _SHORT[8]
_double = Struct("<d").pack
_eight = Struct(">Q").pack


class SpanEncoder:
    """Makes requests of spans, all of one resource and one scope. For one thread at a time."""

    def __init__(self, resource: Resource, scope: InstrumentationScope, limits: AttributeLimits) -> None:
        self._before, self._after = _around_spans(resource, scope)
        self._limits = limits
        self._texts: dict[tuple[str, str], bytes] = {}
        self._doubles: dict[str, bytes] = {}

    def request(self, spans: Iterable[bytes]) -> bytes:
        """An ``ExportTraceServiceRequest`` of encoded spans."""
        resource, scope = self._before
        resource_schema, scope_schema = self._after
        scope_spans = _sized(_SCOPE_SPANS, b"".join((scope, *spans, scope_schema)))
        return _sized(_REQUEST_RESOURCE_SPANS, resource + scope_spans + resource_schema)

    def span(self, record: SpanRecord) -> bytes:
        """A span as a request holds it.

        Raises ValueError, OverflowError, struct.error, TypeError, KeyError or AttributeError for one that no message
        can hold.
        """
        parent, error = record.parent_id, record.error
        attributes, dropped = self._attributes(record.attributes)
        body = b"".join(
            (
                _TRACE_ID,
                record.trace_id.to_bytes(16),
                _SPAN_ID,
                _eight(record.span_id),
                b"" if parent is None else _PARENT + _eight(parent),
                _sized(_NAME, record.name.encode()),
                _KINDS[record.kind],
                _TIMES.pack(_START, record.start_ns, _END, record.end_ns),
                attributes,
                dropped,
                _UNSET if error is None else _sized(_STATUS, _sized(_STATUS_MESSAGE, error.encode()) + _ERROR),
                _FLAGS,
            )
        )
        return _sized(_SPANS, body)

    def _attributes(self, attributes: Mapping[str, Attribute]) -> tuple[bytes, bytes]:
        """The attributes and the count of those a limit left out, as fields of a span."""
        limits, dropped = self._limits, b""
        if limits.max_value_length is not None or (
            limits.max_attributes is not None and len(attributes) > limits.max_attributes
        ):
            bounded = BoundedAttributes(limits.max_attributes, {**attributes}, True, limits.max_value_length)
            attributes = cast("dict[str, Attribute]", dict(bounded))
            dropped = _DROPPED_ATTRIBUTES + _varint(bounded.dropped) if bounded.dropped else b""
        texts, doubles = self._texts, self._doubles
        written = []
        for item in attributes.items():
            key, value = item
            if type(value) is str:
                known = texts.get(item)  # type: ignore[arg-type]  # it is str and str
                written.append(self._text(key, value) if known is None else known)
            elif type(value) is float:
                written.append((doubles.get(key) or self._double(key)) + _double(value))
            else:
                written.append(_attribute(key, _whole(value)))
        return b"".join(written), dropped

    def _text(self, key: str, value: str) -> bytes:
        attribute = _attribute(key, _sized(_TEXT, value.encode()))
        if len(value) <= _LONGEST_KEPT:
            if len(self._texts) >= _MOST_KEPT:
                self._texts.clear()
            self._texts[key, value] = attribute
        return attribute

    def _double(self, key: str) -> bytes:
        """Everything before the eight bytes of a number, which are always eight."""
        before = self._doubles[key] = _attribute(key, _DOUBLE + _double(0.0))[:-8]
        return before


def _attribute(key: str, value: bytes) -> bytes:
    """An attribute as a field of a span; ``value`` is an ``AnyValue``."""
    return _sized(_ATTRIBUTE, _sized(_KEY, key.encode()) + _sized(_VALUE, value))


def _whole(value: Attribute) -> bytes:
    if isinstance(value, bool):
        return _BOOL + _SHORT[value]
    if not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} is no attribute")
    if not -(2**63) <= value < 2**63:
        raise OverflowError(f"{value} does not fit 64 bits")
    return _INT + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _around_spans(resource: Resource, scope: InstrumentationScope) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    """What stands before and after the spans: of the resource, of the scope. From the stock encoder."""
    context = SpanContext(1, 1, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    span = ReadableSpan("", context=context, resource=resource, instrumentation_scope=scope)
    (of_resource,) = encode_spans([span]).resource_spans
    (of_scope,) = of_resource.scope_spans
    return (
        (
            _sized(_RESOURCE, of_resource.resource.SerializeToString()),
            _sized(_SCOPE, of_scope.scope.SerializeToString()),
        ),
        (
            _sized(_RESOURCE_SCHEMA_URL, of_resource.schema_url.encode()),
            _sized(_SCOPE_SCHEMA_URL, of_scope.schema_url.encode()),
        ),
    )
