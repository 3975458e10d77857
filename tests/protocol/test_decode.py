"""Bytes to events: whatever comes, an event or ``Malformed``; and a field that surprises costs only itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_type_hints

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.errors import Malformed
from exporter.protocol.decode import content_identity, decode_event, decode_object
from exporter.protocol.events import (
    EVENT_CLASSES,
    LONGEST_NAME,
    MOST_RECORDS,
    WIRE_NAMES,
    AgentNodeState,
    CallEnd,
    Event,
    Hopping,
    MetricRecord,
    Metrics,
    MetricValue,
    TurnLatency,
    Unknown,
)
from tests.support.calls import JSON

PLAIN = {"event_id": "e1", "timestamp": 1758124305.25, "call_id": "CALL-1"}
SURPRISES: tuple[Any, ...] = (True, "text", "", 7, -1, 10**30, 1.5, [], [1], {}, {"a": 1}, "\ud800", float("inf"))


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@given(JSON)
def test_any_json_is_an_event_or_malformed(value: Any) -> None:
    _decodes(encoded(value))


@given(st.sampled_from(sorted(EVENT_CLASSES)), st.data())
def test_any_json_in_any_field_of_any_event_is_an_event(name: str, data: st.DataObject) -> None:
    fields = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(EVENT_CLASSES[name].__struct_fields__, JSON)))
    payload = encoded({**fields, "event_type": name})
    event, misfits = decode_event(payload)
    assert type(event) is EVENT_CLASSES[name]
    assert 0 <= misfits <= sum(1 + _size(value) for value in fields.values())
    assert content_identity(payload) == content_identity(encoded({"event_type": name, **fields}))


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"\xff\xfe{\x00}\x00")
@example(b'{"event_type":"turn_latency","turn_latency":1' + b"0" * 5000 + b"}")
@example(b'{"event_type":"agent_error","error":' + b"[" * 100_000)
@example(b'{"event_type":"agent_error","error":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
@example(b"[" * 100_000)
def test_any_bytes_are_an_event_or_malformed(payload: bytes) -> None:
    _decodes(payload)


@pytest.mark.parametrize("depth", range(100, 1200, 60))
def test_nesting_of_any_depth_is_an_event_or_malformed(depth: int) -> None:
    _decodes(b'{"event_type":"tool_call_start","x":NaN,"context":' + b"[" * depth + b"]" * depth + b"}")


def _decodes(payload: bytes) -> None:
    for decode in (decode_event, content_identity):
        reason = "malformed_json"
        try:
            decode(payload)
        except Malformed as malformed:
            reason = malformed.reason
        assert reason in ("malformed_json", "not_an_object")


def _size(value: Any) -> int:
    return sum(1 + _size(each) for each in value) if isinstance(value, list | dict) else 1


# -- each class, each field, every wrong type


def _cases() -> Iterator[Any]:
    for name, cls in EVENT_CLASSES.items():
        for field in cls.__struct_fields__:
            yield pytest.param(name, cls, field, id=f"{name}.{field}")


@pytest.mark.parametrize(("name", "cls", "field"), list(_cases()))
def test_a_field_that_surprises_does_not_cost_the_event(name: str, cls: type[Event], field: str) -> None:
    wanted = get_type_hints(cls, include_extras=True)[field]
    for surprise in SURPRISES:
        event, misfits = decode_event(encoded({**PLAIN, "event_type": name, field: surprise}))
        assert type(event) is cls
        for other, value in PLAIN.items():
            assert other == field or getattr(event, other) == value
        if field == "metrics" or wanted is Any:
            continue
        fits = _fits(surprise, wanted)
        assert misfits == (0 if fits else 1), surprise
        assert (getattr(event, field) is None) is not fits, surprise


def _fits(value: Any, wanted: Any) -> bool:
    try:
        msgspec.convert("?" if value == "\ud800" else value, wanted)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("surprise", [value for value in SURPRISES if not isinstance(value, list)])
def test_metrics_that_are_no_list_are_no_metrics(surprise: Any) -> None:
    event, misfits = decode_event(encoded({**PLAIN, "event_type": "metrics", "metrics": surprise}))
    assert event == Metrics(**PLAIN)
    assert misfits == 1


@pytest.mark.parametrize("field", MetricRecord.__struct_fields__)
@pytest.mark.parametrize("surprise", [True, [], [1], 10**30, "x"])
def test_a_field_of_a_record_that_surprises_costs_only_itself(field: str, surprise: Any) -> None:
    good = {"processor": "LLM#0", "model": "gpt-4o", "value": 0.5}
    event, misfits = decode_event(
        encoded({**PLAIN, "event_type": "metrics", "metrics": [good | {field: surprise}, good, surprise, None]})
    )
    assert isinstance(event, Metrics)
    text = surprise == "x" and field in ("processor", "model")
    assert misfits == (2 if text else 3)
    assert event.metrics is not None
    assert len(event.metrics) == 2
    assert event.metrics[1] == MetricRecord("LLM#0", "gpt-4o", 0.5)


@pytest.mark.parametrize("field", MetricValue.__struct_fields__)
@pytest.mark.parametrize("surprise", [True, "7", [], {}, 10**30])
def test_a_field_of_a_usage_that_surprises_costs_only_itself(field: str, surprise: Any) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12, field: surprise}
    payload = encoded({**PLAIN, "event_type": "metrics", "metrics": [{"processor": "LLM#0", "value": usage}]})
    event, misfits = decode_event(payload)
    expected = {name: count for name, count in usage.items() if name != field}
    assert misfits == 1
    assert event == Metrics(**PLAIN, metrics=[MetricRecord("LLM#0", None, MetricValue(**expected))])


# -- what Python and JavaScript write for JSON


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_none_are_read_and_left_to_the_unit_rules(written: str) -> None:
    event, misfits = decode_event(f'{{"event_type":"turn_latency","turn_latency":{written},"event_id":"e"}}'.encode())
    assert isinstance(event, TurnLatency)
    assert event.event_id == "e"
    assert event.turn_latency is not None
    assert misfits == 0


@pytest.mark.parametrize("digits", [17, 30, 400, 4000])
@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("field", ["turn_latency", "timestamp", "stt_api_ms", "turn_index"])
def test_integers_beyond_all_arithmetic_do_not_fit(field: str, sign: str, digits: int) -> None:
    event, misfits = decode_event(
        f'{{"event_type":"turn_latency","{field}":{sign}9{"9" * digits},"event_id":"e"}}'.encode()
    )
    assert event == TurnLatency(event_id="e")
    assert misfits == 1


def test_lone_surrogates_in_declared_texts_are_replaced() -> None:
    event, _ = decode_event(b'{"event_type":"hopping","event_id":"a\\ud800b","to_node_id":"\\udfff"}')
    assert isinstance(event, Hopping)
    for text in (event.event_id, event.to_node_id):
        assert isinstance(text, str)
        text.encode()


def test_of_keys_that_come_twice_the_last_one_counts() -> None:
    payload = b'{"event_type":"x","turn_latency":1,"event_type":"turn_latency","turn_latency":2}'
    event, _ = decode_event(payload)
    assert isinstance(event, TurnLatency | Unknown)
    assert not isinstance(event, TurnLatency) or event.turn_latency == 2


@pytest.mark.parametrize("kind", ["eventType", "type"])
def test_an_event_of_the_older_names_is_an_event(kind: str) -> None:
    fields = {kind: "turn_latency", "eventTime": "2026-03-02T10:00:01.123Z", "eventId": "e1", "callId": "c1"}
    event, misfits = decode_event(encoded({**fields, "turn_latency": 640}))
    at = datetime(2026, 3, 2, 10, 0, 1, 123000, UTC)
    assert (event, misfits) == (TurnLatency(event_id="e1", timestamp=at, call_id="c1", turn_latency=640), 0)
    known, _ = decode_event(encoded({"event_type": "turn_latency", "eventTime": 1758124305.25, "turn_latency": 640}))
    assert known.timestamp == 1758124305.25


def test_what_an_unknown_event_calls_itself_is_part_of_it() -> None:
    payload = encoded({"eventType": "in_progress", "eventTime": "2026-03-02T10:00:01.123Z", "wire_type": "x"})
    event, _ = decode_event(payload)
    assert isinstance(event, Unknown)
    assert event.wire_type == "in_progress"


@pytest.mark.parametrize("name", ["sentiment_shift", "", "CALL_END", "__unknown__", None, 7, ["call_end"], {}, True])
def test_a_type_nobody_knows_is_an_event_with_its_identity_and_is_counted_as_other(name: Any) -> None:
    event, misfits = decode_event(encoded({**PLAIN, "event_type": name, "payload": {"a": [1]}}))
    assert event == Unknown(**PLAIN, wire_type=name if isinstance(name, str) else "")
    assert misfits == 0
    assert WIRE_NAMES[type(event)] == "other"


def test_an_event_without_a_type_is_unknown() -> None:
    assert decode_event(encoded(PLAIN))[0] == Unknown(**PLAIN)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('"2026-03-02T10:00:01.123Z"', datetime(2026, 3, 2, 10, 0, 1, 123000, UTC)),
        ('"2026-03-02T12:00:01.123+02:00"', datetime(2026, 3, 2, 10, 0, 1, 123000, UTC)),
        ("1758124305.25", 1758124305.25),
        ("1758124305", 1758124305),
        ('"1758124305.25"', 1758124305.25),
        ('"yesterday"', None),
        ("{}", None),
    ],
)
def test_timestamps_of_both_dialects(written: str, read: Any) -> None:
    event, misfits = decode_event(f'{{"event_type":"call_end","timestamp":{written}}}'.encode())
    assert event == CallEnd(timestamp=read)
    assert misfits == (read is None)


def test_a_byte_order_mark_does_no_harm() -> None:
    assert decode_event(b'\xef\xbb\xbf{"event_type":"call_end"}')[0] == CallEnd()


@given(st.dictionaries(st.text(max_size=6), JSON, max_size=4))
def test_content_is_the_same_whatever_the_order_of_its_keys(fields: dict[str, Any]) -> None:
    backwards = dict(reversed(fields.items()))
    assert content_identity(encoded(fields)) == content_identity(encoded(backwards))


def test_different_contents_are_different() -> None:
    texts = [encoded({"event_type": "user_transcription", "n": n}) for n in range(500)]
    assert len({content_identity(text) for text in texts}) == 500


def test_an_object_that_is_parsed_already_gives_the_same_event() -> None:
    fields = {**PLAIN, "event_type": "metrics", "metrics": [{"processor": "LLM#0", "value": {"prompt_tokens": 5}}]}
    assert decode_object(fields) == decode_event(encoded(fields))


def test_names_are_cut_before_anybody_remembers_them() -> None:
    long = "x" * 1_000_000
    node, misfits = decode_event(encoded({"event_type": "agent_node_state", "node_id": long, "node_name": long}))
    assert isinstance(node, AgentNodeState)
    assert (node.node_id, node.node_name, misfits) == ("x" * LONGEST_NAME, "x" * LONGEST_NAME, 0)
    measured, _ = decode_event(
        encoded({"event_type": "metrics", "metrics": [{"processor": long, "model": long, "value": 1.5}]})
    )
    assert isinstance(measured, Metrics)
    assert measured.metrics is not None
    record = measured.metrics[0]
    assert (record.processor, record.model, record.value) == ("x" * LONGEST_NAME, "x" * LONGEST_NAME, 1.5)


def test_of_an_event_of_endless_records_the_first_are_read() -> None:
    records = [{"processor": "Stage#0", "value": 0.5}] * 50_000
    measured, misfits = decode_event(encoded({"event_type": "metrics", "metrics": records}))
    assert isinstance(measured, Metrics)
    assert measured.metrics is not None
    assert (len(measured.metrics), misfits) == (MOST_RECORDS, 1)
