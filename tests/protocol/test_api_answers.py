"""The API's answers are read as far as they can be: a bad field costs itself only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import Malformed
from exporter.protocol.api import (
    CallSummary,
    LoggedTurn,
    channel_of,
    decode_agent,
    decode_agent_page,
    decode_call_log,
    decode_call_page,
    outcome_of,
)
from exporter.protocol.decode import decode_event
from exporter.protocol.webhooks import decode_delivery

CALL = "CALL-1758124225863-80752e"


def body(data: Any) -> bytes:
    return json.dumps({"status": True, "data": data}).encode()


def test_a_page_of_conversations() -> None:
    log = {"callId": CALL, "status": "in_progress", "agentId": "a1", "type": "telephony_inbound", "duration": 12.5}
    page = decode_call_page(
        body({"logs": [log | {"createdAt": "2026-03-02T10:00:01.500Z"}], "pagination": {"hasMore": True}})
    )
    assert page.has_more
    assert page.calls == [CallSummary(CALL, "a1", "in_progress", "telephony_inbound", 1772445601.5, 12.5)]


def test_a_surprising_field_costs_itself_only() -> None:
    strange = {"callId": CALL, "status": ["x"], "agentId": {}, "type": 7, "duration": "long", "createdAt": "yesterday"}
    page = decode_call_page(body({"logs": [strange, None, 5, {}, {"callId": 17}], "pagination": "none"}))
    assert page.calls == [CallSummary(CALL), CallSummary("17")]
    assert page.unreadable == 3
    assert not page.has_more


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "malformed_json"),
        (b"<html>", "malformed_json"),
        (b'{"data": {"logs": [}', "malformed_json"),
        (b"[" * 100_000, "not_an_object"),
        (b'{"data":' * 50_000, "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b"null", "not_an_object"),
        (b"[]", "not_an_object"),
        (b'{"data": []}', "not_an_object"),
        (b'{"status": false, "errors": ["x"]}', "no_logs"),
        (b'{"data": {"logs": null}}', "no_logs"),
    ],
)
def test_what_is_no_page_is_malformed(answer: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as raised:
        decode_call_page(answer)
    assert raised.value.reason == reason


def test_a_call_log_keeps_its_events_as_they_came() -> None:
    events = [{"event_type": "call_start", "n": 1.50}, {"event_type": "new"}, None]
    raw = b'{"status":true,"data":{"callId":"%s","status":"no-answer","type":"telephonyInbound",' % CALL.encode()
    raw += b'"agent":{"_id":"a1","name":"Anna","workflowType":"single_prompt"},"duration":"?",'
    raw += b'"events":[{"event_type": "call_start", "n": 1.50},{"event_type": "new"},null]}}'
    log = decode_call_log(raw, CALL)
    assert [json.loads(bytes(event)) for event in log.events] == events
    assert bytes(log.events[0]) == b'{"event_type": "call_start", "n": 1.50}'
    assert (log.agent_id, log.agent_name, log.workflow_type) == ("a1", "Anna", "single_prompt")
    assert (log.outcome, log.channel, log.duration_seconds) == ("no_answer", "telephony_inbound", None)


def test_turn_latencies_come_in_seconds_and_with_their_times_where_the_api_has_them() -> None:
    latencies = [690, 1200.5, None, -4, "fast", 3600_000]
    log = decode_call_log(body({"callId": CALL, "turnLatencyMetrics": {"latencies": latencies}}), CALL)
    assert log.turn_latencies == [LoggedTurn(0.69), LoggedTurn(1.2005)]
    transitions = [{"bot_start": 1772445601500}, {"bot_start": "2026-03-02T10:00:05Z"}]
    metrics = {"latencies": [690, 800], "transitions": transitions}
    log = decode_call_log(body({"callId": CALL, "turnLatencyMetrics": metrics}), CALL)
    assert log.turn_latencies == [LoggedTurn(0.69, 1772445601.5), LoggedTurn(0.8, 1772445605.0)]
    relative = [{"bot_start": 4540}, {"bot_start": -1}, {"bot_start": 9e8}]
    log = decode_call_log(
        body({"callId": CALL, "turnLatencyMetrics": {"latencies": [690, 800, 900], "transitions": relative}}), CALL
    )
    assert log.turn_latencies == [LoggedTurn(0.69, None, 4.54), LoggedTurn(0.8), LoggedTurn(0.9)]
    metrics = {"transitions": [{"bot_start": 4540, "latency": 640}]}
    log = decode_call_log(body({"callId": CALL, "turnLatencyMetrics": metrics}), CALL)
    assert log.turn_latencies == [LoggedTurn(0.64, None, 4.54)]


@pytest.mark.parametrize(
    ("status", "failure", "disconnection", "outcome"),
    [
        ("failed", "dial_no_answer", None, "no_answer"),
        ("failed", None, "dial_no_answer", "no_answer"),
        ("failed", "busy", None, "busy"),
        ("failed", None, "blocked", "blocked"),
        ("failed", "system_error", "dial_no_answer", "no_answer"),
        ("failed", "system_error", None, "failed"),
        ("blocked", None, None, "blocked"),
        ("busy", None, None, "busy"),
        ("completed", None, "user_hangup", "completed"),
        ("in_progress", None, None, None),
    ],
)
def test_how_a_call_ended_is_the_most_specific_word_of_its_log(
    status: str, failure: str | None, disconnection: str | None, outcome: str | None
) -> None:
    said = {"status": status, "callFailureReason": failure, "disconnectionReason": disconnection}
    assert decode_call_log(body({"callId": CALL, **said}), CALL).outcome == outcome


@pytest.mark.parametrize("duration", [0, -1, 86_401, None, "95"])
def test_a_duration_that_is_none_is_unknown(duration: Any) -> None:
    assert decode_call_log(body({"callId": CALL, "duration": duration}), CALL).duration_seconds is None


BAD = [rb'"oh \ud83d"', rb'"\udfff\ud83d"', b"NaN", b"-Infinity", b"1" * 5000, rb'{"a": NaN}', rb'["\ud83d"]']
"""What Python and JavaScript write for JSON, and stricter readers do not take for any."""


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("field", ["callFailureReason", "callCost", "duration", "agentId", "transcript", "other"])
def test_half_an_emoji_or_no_number_in_one_row_hides_no_call(bad: bytes, field: str) -> None:
    rows = [b'{"callId":"CALL-%d","status":"active","duration":12.5}' % number for number in range(3)]
    rows[1] = b'{"callId":"CALL-1","status":"active","%s":%s}' % (field.encode(), bad)
    page = decode_call_page(b'{"data":{"logs":[%s],"pagination":{"hasMore":true}}}' % b",".join(rows))
    assert [call.call_id for call in page.calls] == ["CALL-0", "CALL-1", "CALL-2"]
    assert [call.status for call in page.calls] == ["active"] * 3
    assert page.has_more


def test_a_row_that_cannot_be_read_costs_that_row_and_is_counted() -> None:
    page = decode_call_page(rb'{"data":{"logs":[{"callId":"A"},NaN,{"callId":NaN},"\ud83d",{"callId":"B"}]}}')
    assert [call.call_id for call in page.calls] == ["A", "B"]
    assert page.unreadable == page.surprises == 3


def test_what_is_no_json_and_as_long_as_no_call_is_not_read_all_the_same() -> None:
    """As objects its items would take hundreds of megabytes."""
    events = b",".join([b"{}"] * 300_002)
    assert len(decode_call_log(b'{"data":{"callId":"A","events":[' + events + b"]}}", "A").events) == 300_002
    with pytest.raises(Malformed) as refused:
        decode_call_log(b'{"data":{"callId":"A","x":NaN,"events":[' + events + b"]}}", "A")
    assert refused.value.reason == "oversize"


@pytest.mark.parametrize("bad", BAD)
def test_half_an_emoji_in_a_transcript_costs_no_event_of_the_call(bad: bytes) -> None:
    events = b'[{"event_type":"call_start","event_id":"e1"},{"event_type":"agent_log","event_id":"e2","text":%s}]' % bad
    answer = b'{"data":{"status":"completed","transcript":[{"text":%s}],"events":%s}}' % (bad, events)
    log = decode_call_log(answer, CALL)
    assert log.outcome == "completed"
    assert [decode_event(event)[0].event_id for event in log.events] == ["e1", "e2"]


def test_a_call_log_without_anything_is_an_empty_one_and_one_of_another_call_is_none() -> None:
    log = decode_call_log(body({}), CALL)
    assert (log.call_id, log.events, log.turn_latencies, log.outcome) == (CALL, [], [], None)
    with pytest.raises(Malformed):
        decode_call_log(body({"callId": "CALL-other"}), CALL)


def test_agents_come_in_pages_or_alone() -> None:
    agents = [{"_id": "a1", "name": "Anna", "workflowType": "workflow_graph"}, {"name": "?"}, {"_id": "a2", "name": 5}]
    page = decode_agent_page(body({"agents": agents, "total": 17}))
    assert [(agent.agent_id, agent.name) for agent in page.agents] == [("a1", "Anna"), ("a2", "5")]
    assert page.total == 17
    assert decode_agent(body({"_id": "a1", "name": "Anna"}), "a1").name == "Anna"
    assert decode_agent(body({"name": None}), "a1").name is None


@pytest.mark.parametrize(
    ("word", "channel"),
    [
        ("telephonyInbound", "telephony_inbound"),
        ("telephony_inbound", "telephony_inbound"),
        ("telephonyOutbound", "telephony_outbound"),
        ("telephony_outbound", "telephony_outbound"),
        ("webcall", "webcall"),
        ("chat", "chat"),
        ("sms", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_channels_have_one_name(word: str | None, channel: str) -> None:
    assert channel_of(word) == channel


@pytest.mark.parametrize(
    ("word", "outcome"),
    [
        ("completed", "completed"),
        ("no-answer", "no_answer"),
        ("no_answer", "no_answer"),
        ("canceled", "cancelled"),
        ("cancelled", "cancelled"),
        ("busy", "busy"),
        ("failed", "failed"),
        ("in_progress", None),
        (None, None),
    ],
)
def test_outcomes_have_one_name_and_calls_in_progress_have_none(word: str | None, outcome: str | None) -> None:
    assert outcome_of(word) == outcome


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
FIELDS = st.sampled_from(
    [
        *("data", "logs", "callId", "status", "agentId", "type", "duration", "pagination", "hasMore", "agent", "_id"),
        *("name", "workflowType", "turnLatencyMetrics", "latencies", "transitions", "bot_start", "events", "agents"),
        *("total", "event", "metadata", "id", "callData", "endTime", "analytics", "dispositionMetrics", "identifier"),
        *("value", "successMetrics", "conversationType", "createdAt"),
    ]
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=6))


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_answer_is_read_or_malformed(answer: bytes) -> None:
    for decode in (
        decode_call_page,
        decode_agent_page,
        lambda raw: decode_call_log(raw, CALL),
        lambda raw: decode_agent(raw, "a1"),
        decode_delivery,
    ):
        try:
            decode(answer)
        except Malformed:
            pass


@given(JSON, st.sampled_from(BAD))
def test_what_is_bad_in_one_member_changes_no_other(value: Any, bad: bytes) -> None:
    whole = body({"callId": CALL, "status": "completed", "agentId": "a1", "rest": value})
    one, other = decode_call_log(whole, CALL), decode_call_log(whole[:-2] + b',"more":%s}}' % bad, CALL)
    for name in ("outcome", "agent_id", "events", "turn_latencies"):
        assert getattr(one, name) == getattr(other, name)
