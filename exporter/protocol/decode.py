"""One frame's payload to one typed event.

The fast way is a typed msgspec decode. Whatever it refuses goes the forgiving way: parsed as plain JSON (NaN and
Infinity included, which Python services write), then taken field by field; a field that does not fit is left out
and counted, and the rest of the event lives on. Only bytes that are no JSON object at all are lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints

import msgspec
import xxhash

from exporter.errors import Malformed
from exporter.protocol.events import (
    EVENT_CLASSES,
    LONGEST_NAME,
    MOST_RECORDS,
    Event,
    KnownEvent,
    MetricRecord,
    Metrics,
    MetricValue,
    Unknown,
)

_decode_known = msgspec.json.Decoder(KnownEvent).decode

Decoded = tuple[Event, int]
"""An event, and how many of its fields did not fit and were left out."""


def decode_event(payload: bytes | bytearray | memoryview | msgspec.Raw) -> Decoded:
    """Decode one event's JSON.

    :raises Malformed: not JSON (``malformed_json``), or JSON that is not an object (``not_an_object``).
    """
    try:
        event = _decode_known(payload)
        if event.timestamp is None and b"ventTime" in bytes(payload):
            return _decode_forgivingly(bytes(payload))
        return event, 0
    except msgspec.MsgspecError:
        return _decode_forgivingly(bytes(payload))
    except UnicodeDecodeError:  # a byte that is no text, in somebody's words
        return _decode_forgivingly(bytes(payload))
    except RecursionError as problem:
        raise Malformed("nested too deeply", reason="malformed_json") from problem


def decode_object(fields: Mapping[str, Any]) -> Decoded:
    """The same for an object that is parsed already."""
    name = _first(fields, _TYPE_NAMES)
    cls = EVENT_CLASSES.get(name) if isinstance(name, str) else None
    if cls is None:
        unknown, misfits = _build(Unknown, {**fields, "wire_type": name if isinstance(name, str) else None})
        return unknown, misfits
    return _build(cls, fields)


_TYPE_NAMES = ("event_type", "eventType", "type")
_OTHER_NAMES = {"timestamp": ("eventTime",), "event_id": ("eventId",), "call_id": ("callId",)}
"""How older events and those of analytics answers call what every event has."""


def _first(fields: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((value for name in names if (value := fields.get(name)) is not None), None)


def content_identity(payload: bytes | msgspec.Raw) -> int:
    """What an event without ``event_id`` is known by: a 64-bit hash of its content, whatever the order of its keys.

    :raises Malformed: as ``decode_event``.
    """
    try:
        canonical = json.dumps(_parse(bytes(payload)), sort_keys=True, separators=(",", ":"))
    except RecursionError as problem:
        raise Malformed("nested too deeply", reason="malformed_json") from problem
    return xxhash.xxh3_64_intdigest(canonical.encode("utf-8", "surrogatepass"))


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(payload.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError) as problem:
        raise Malformed("not JSON", reason="malformed_json") from problem
    if not isinstance(parsed, dict):
        raise Malformed("not a JSON object", reason="not_an_object")
    return parsed


def _decode_forgivingly(payload: bytes) -> Decoded:
    return decode_object(_parse(payload))


_DECLARED: tuple[type[Any], ...] = (*EVENT_CLASSES.values(), Unknown, MetricRecord, MetricValue)
_FIELD_TYPES: dict[type[Any], dict[str, Any]] = {cls: get_type_hints(cls, include_extras=True) for cls in _DECLARED}


def _build(cls: type[Any], fields: Mapping[str, Any]) -> tuple[Any, int]:
    """An instance of ``cls`` from what fits, and the number of fields that did not."""
    kept: dict[str, Any] = {}
    misfits = 0
    for name, wanted in _FIELD_TYPES[cls].items():
        value = fields.get(name)
        if value is None and name in _OTHER_NAMES:
            value = _first(fields, _OTHER_NAMES[name])
        if value is None:
            continue
        fitted, lost = _fit(cls, name, value, wanted)
        misfits += lost
        if fitted is not None:
            kept[name] = fitted
    return cls(**kept), misfits


def _fit(cls: type[Any], name: str, value: Any, wanted: Any) -> tuple[Any, int]:
    if cls is Metrics and name == "metrics":
        if not isinstance(value, list):
            return None, 1
        read = value[:MOST_RECORDS]
        records = [_build(MetricRecord, entry) if isinstance(entry, dict) else (None, 1) for entry in read]
        lost = sum(lost for _, lost in records) + (len(read) < len(value))
        return [record for record, _ in records if record is not None], lost
    if cls is MetricRecord and name == "value" and isinstance(value, dict):
        return _build(MetricValue, value)
    if wanted is Any:
        return value, 0
    if isinstance(value, str):
        value = _without_surrogates(value)
        if name == "timestamp":
            value = _number_in_text(value)
    try:
        return msgspec.convert(value, wanted), 0
    except msgspec.ValidationError:
        if isinstance(value, str) and len(value) > LONGEST_NAME:
            return _fit(cls, name, value[:LONGEST_NAME], wanted)
        return None, 1


def _number_in_text(value: str) -> float | str:
    """A relay may have written the Unix time as a string."""
    try:
        return float(value)
    except ValueError:
        return value


def _without_surrogates(value: str) -> str:
    """Lone surrogates are legal in JSON escapes and fatal in UTF-8 output."""
    return value.encode("utf-8", "replace").decode()
