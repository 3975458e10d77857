"""Webhook bodies become typed deliveries."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.errors import Malformed
from exporter.protocol.webhooks import (
    AnalyticsCompleted,
    Disposition,
    OtherWebhook,
    PostConversation,
    PreConversation,
    decode_delivery,
)

CALL = "CALL-1758124225863-80752e"


def envelope(event: str, **metadata: Any) -> bytes:
    given = {"agentId": "a1", "eventType": event, "conversationType": "telephonyOutbound", "callId": CALL, **metadata}
    return json.dumps({"url": "u", "description": "d", "event": f"a1.{event}", "metadata": given, "id": "w1"}).encode()


def test_a_call_that_connects() -> None:
    assert decode_delivery(envelope("pre-conversation", toPhone="+1", fromPhone="+2")) == PreConversation(
        kind="pre-conversation", delivery_id="w1", call_id=CALL, agent_id="a1", channel="telephony_outbound"
    )


def test_a_call_that_ends() -> None:
    call = {"callDuration": 42, "callStatus": "no-answer", "endTime": "2026-03-02T10:00:01.000Z"}
    assert decode_delivery(envelope("post-conversation", callData=call, transcript=[], variables={})) == (
        PostConversation(
            kind="post-conversation",
            delivery_id="w1",
            call_id=CALL,
            agent_id="a1",
            channel="telephony_outbound",
            outcome="no_answer",
            duration_seconds=42.0,
            ended_at=1772445601.0,
        )
    )


def test_analytics_of_every_type() -> None:
    dispositions = [
        {"identifier": "booked", "value": True, "dispositionMetricType": "BOOLEAN"},
        {"identifier": "rating", "value": 4, "dispositionMetricType": "INTEGER", "reasoning": "…"},
        {"identifier": "mood", "value": "good", "dispositionMetricType": "STRING"},
        {"identifier": "", "value": 1},
        {"identifier": "nothing", "value": None},
        {"identifier": "nested", "value": {"a": 1}},
        None,
    ]
    analytics = {
        "summary": "…",
        "dispositionMetrics": dispositions,
        "successMetrics": [{"identifier": "s", "value": 0.5}],
    }
    delivery = decode_delivery(envelope("analytics-completed", analytics=analytics))
    assert isinstance(delivery, AnalyticsCompleted)
    assert delivery.dispositions == [
        Disposition("booked", True, "BOOLEAN"),
        Disposition("rating", 4, "INTEGER"),
        Disposition("mood", "good", "STRING"),
        Disposition("s", 0.5, None),
    ]


def test_an_unknown_event_is_taken_as_such() -> None:
    delivery = decode_delivery(envelope("call-transferred"))
    assert delivery == OtherWebhook(kind="other", delivery_id="w1", call_id=CALL)


def test_an_agent_id_may_stand_in_the_event_only() -> None:
    raw = json.dumps({"event": "agent.7.pre-conversation", "metadata": {"callId": CALL}}).encode()
    delivery = decode_delivery(raw)
    assert isinstance(delivery, PreConversation)
    assert (delivery.agent_id, delivery.channel, delivery.delivery_id) == ("agent.7", "unknown", None)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"[]", "not_an_object"),
        (b"{}", "no_event"),
        (b'{"event": {}}', "no_event"),
        (b'{"event": "a.pre-conversation"}', "no_call"),
        (b'{"event": "a.post-conversation", "metadata": {"callId": ""}}', "no_call"),
        (b'{"event": "a.analytics-completed", "metadata": {"callId": []}}', "no_call"),
    ],
)
def test_what_is_no_delivery_is_malformed(raw: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as raised:
        decode_delivery(raw)
    assert raised.value.reason == reason
