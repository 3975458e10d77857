"""Webhook deliveries, decoded: what the platform posts when a call connects, ends and has been analysed."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from exporter.errors import Malformed
from exporter.protocol.api import UNKNOWN, channel_of, duration_of, outcome_of
from exporter.protocol.dispositions import Disposition, dispositions_of
from exporter.protocol.fields import Fields, object_of

KINDS: Final = ("pre-conversation", "post-conversation", "analytics-completed")


class WebhookAnswer(StrEnum):
    """What became of a webhook delivery; the words are those of ``atoms_exporter_webhooks_total{outcome}``."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    ELSEWHERE = "elsewhere"
    BAD_SIGNATURE = "bad_signature"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What every delivery has. ``kind`` is its label; ``delivery_id`` with it and the call tells a repeated one."""

    kind: str
    delivery_id: str | None = None


class PreConversation(Delivery, frozen=True, kw_only=True):
    """A call has connected: it can be followed."""

    call_id: str
    agent_id: str | None = None
    channel: str = UNKNOWN


class PostConversation(Delivery, frozen=True, kw_only=True):
    """A call is over; ``outcome`` is None where its status is none we know. ``ended_at`` is Unix time."""

    call_id: str
    agent_id: str | None = None
    channel: str = UNKNOWN
    outcome: str | None = None
    duration_seconds: float | None = None
    ended_at: float | None = None


class AnalyticsCompleted(Delivery, frozen=True, kw_only=True):
    """The analytics of a call are there."""

    call_id: str
    agent_id: str | None = None
    channel: str = UNKNOWN
    dispositions: list[Disposition] = []


class OtherWebhook(Delivery, frozen=True, kw_only=True):
    """A delivery of a kind we do not know: acknowledged, not used."""

    call_id: str | None = None


def decode_delivery(body: bytes) -> PreConversation | PostConversation | AnalyticsCompleted | OtherWebhook:
    """One delivery from its raw body. Raises Malformed for what is none, or names no call where it must."""
    envelope = object_of(body)
    metadata = envelope.inside("metadata")
    event = envelope.text("event") or metadata.text("eventType")
    if not event:
        raise Malformed("a webhook without an event", reason="no_event")
    kind = _kind(event, metadata)
    delivery_id, call_id = envelope.text("id"), metadata.text("callId")
    if kind == "other":
        return OtherWebhook(kind=kind, delivery_id=delivery_id, call_id=call_id)
    if not call_id:
        raise Malformed(f"a {kind} webhook without a call", reason="no_call")
    call = metadata.inside("callData")
    agent_id = metadata.text("agentId") or _agent_in(event)
    channel = channel_of(metadata.text("conversationType"))
    if kind == "pre-conversation":
        return PreConversation(kind=kind, delivery_id=delivery_id, call_id=call_id, agent_id=agent_id, channel=channel)
    if kind == "post-conversation":
        return PostConversation(
            kind=kind,
            delivery_id=delivery_id,
            call_id=call_id,
            agent_id=agent_id,
            channel=channel,
            outcome=outcome_of(call.text("callStatus")),
            duration_seconds=duration_of(call, "callDuration"),
            ended_at=call.time("endTime"),
        )
    return AnalyticsCompleted(
        kind=kind,
        delivery_id=delivery_id,
        call_id=call_id,
        agent_id=agent_id,
        channel=channel,
        dispositions=dispositions_of(metadata.inside("analytics")),
    )


def _kind(event: str, metadata: Fields) -> str:
    """``<agentId>.pre-conversation``; the metadata repeat it without the agent."""
    for name in (event.rpartition(".")[2], metadata.text("eventType") or ""):
        if name in KINDS:
            return name
    return "other"


def _agent_in(event: str) -> str | None:
    return event.rpartition(".")[0] or None
