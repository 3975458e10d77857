"""The three webhooks: bodies, signatures, deliveries and what can go wrong with them."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from .book import Book
from .call_logs import recording_url, transcript
from .dialects import iso
from .faults import Faults
from .live import Call, agent_of
from .switchboard import Announcement

_CONVERSATION_TYPE = {
    "telephony_inbound": "telephonyInbound",
    "telephony_outbound": "telephonyOutbound",
    "webcall": "webcall",
}
_CALL_STATUS = {
    "completed": "completed",
    "no_answer": "no-answer",
    "busy": "busy",
    "blocked": "failed",
    "failed": "failed",
    "cancelled": "canceled",
}
_AT_ONCE = 50
_TIMEOUT_SECONDS = 30.0


def signature(secret: str, body: bytes) -> str:
    """``X-Signature``: hex HMAC-SHA256 of the raw body."""
    return hmac.new(secret.encode(), body, "sha256").hexdigest()


def delivery_body(announcement: Announcement, url: str, canary: str = "") -> dict[str, Any]:
    """One webhook as it is posted."""
    call, event = announcement.call, announcement.event
    agent, script = agent_of(call.agent_id), call.script()
    metadata: dict[str, Any] = {
        "agentId": agent.id,
        "eventType": event,
        "conversationType": _CONVERSATION_TYPE[call.channel],
        "callId": call.call_id,
    }
    if event == "pre-conversation":
        metadata |= {"toPhone": script.to_phone, "fromPhone": script.from_phone}
    else:
        metadata["callData"] = _call_data(call)
    if event == "post-conversation":
        metadata |= {
            "recordingUrl": recording_url(script, call.published()) or "",
            "transcript": transcript(script, call.started_ms, call.published()),
            "variables": dict(script.variables),
        }
    if event == "analytics-completed":
        summary = f"The agent {agent.name} spoke with a customer. {canary}".strip()
        metrics = [dict(metric) for metric in script.analytics]
        metadata["analytics"] = {"summary": summary, "dispositionMetrics": metrics, "successMetrics": []}
    return {
        "url": url,
        "description": "Simulated endpoint",
        "event": f"{agent.id}.{event}",
        "metadata": metadata,
        "id": f"whd_{call.call_id[5:]}_{event}{'_early' if announcement.premature else ''}",
    }


def _call_data(call: Call) -> dict[str, Any]:
    script = call.script()
    return {
        "callDuration": max(0, script.ended_ms - script.answered_ms) / 1000,
        "callStatus": _CALL_STATUS[script.outcome],
        "answerTime": iso(call.started_ms + script.answered_ms),
        "endTime": iso(call.started_ms + script.ended_ms),
        "callDirection": call.channel if call.channel != "webcall" else None,
        "fromNumber": script.from_phone,
        "toNumber": script.to_phone,
    }


@dataclass(slots=True)
class Deliveries:
    """What was delivered: posts sent by event, answers by event and status (0: no answer), forged and withheld ones."""

    sent: Counter[str] = field(default_factory=Counter)
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    forged: int = 0
    missing: Counter[str] = field(default_factory=Counter)


class Postman:
    """Posts announcements, a few at a time, without ever trying again: the platform does not either."""

    def __init__(self, url: str, secret: str, faults: Faults, canary: str = "") -> None:
        self.deliveries = Deliveries()
        self.dispositions = Book()
        self._url = url
        self._secret = secret
        self._faults = faults
        self._canary = canary
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None
        self._posts: set[asyncio.Task[None]] = set()
        self._held: dict[str, Announcement] = {}

    @property
    def busy(self) -> bool:
        """Whether anything is on its way."""
        return bool(self._posts)

    async def close(self) -> None:
        """Give up what is on its way."""
        for post in self._posts:
            post.cancel()
        await asyncio.gather(*self._posts, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def announce(self, announcement: Announcement) -> None:
        """Post it, in the background."""
        call, event = announcement.call, announcement.event
        rng = self._faults.rng("webhook", call.number, event)
        if self._faults.strikes("webhook_missing", rng):
            self.deliveries.missing[event] += 1
            return
        if event != "analytics-completed" and self._faults.strikes("webhook_reorder", rng):
            self._held[call.call_id] = announcement
            return
        self._send(announcement)
        held = self._held.pop(call.call_id, None)
        if held is not None:
            self._send(held)

    def _send(self, announcement: Announcement) -> None:
        call, event = announcement.call, announcement.event
        rng = self._faults.rng("delivery", call.number, event)
        body = delivery_body(announcement, self._url, self._canary)
        bodies = [(json.dumps(body).encode(), True)]
        if self._faults.strikes("webhook_duplicate", rng):
            bodies.append(bodies[0])
        if self._faults.strikes("webhook_bad_signature", rng):
            forged = body | {"id": f"forged_{body['id']}"}
            forged["metadata"] = body["metadata"] | {"callId": f"CALL-{call.started_ms:013d}-f0f0f0"}
            bodies.insert(0, (json.dumps(forged).encode(), False))
        post = asyncio.create_task(self._post_all(announcement, bodies))
        self._posts.add(post)
        post.add_done_callback(self._posts.discard)

    async def _post_all(self, announcement: Announcement, bodies: list[tuple[bytes, bool]]) -> None:
        event, accepted = announcement.event, False
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS))
        for body, genuine in bodies:
            secret = self._secret if genuine else f"not {self._secret}"
            headers = {"Content-Type": "application/json", "X-Signature": signature(secret, body)}
            async with self._gate:
                status = await self._post(self._session, body, headers)
            if genuine:
                self.deliveries.sent[event] += 1
                self.deliveries.answers[event, status] += 1
                accepted = accepted or 200 <= status < 300
            else:
                self.deliveries.forged += 1
        if accepted and event == "analytics-completed":
            self.count(announcement.call)

    def count(self, call: Call) -> None:
        """What an endpoint has accepted, or was told otherwise, of a call; duplicates once."""
        for metric in call.script().analytics:
            identifier, value = str(metric["identifier"]), metric["value"]
            if metric["dispositionMetricType"] == "INTEGER":
                self.dispositions.add("atoms_disposition_value_count", (call.agent_id, identifier))
                self.dispositions.add("atoms_disposition_value_sum", (call.agent_id, identifier), value)
            else:
                shown = str(value).lower() if isinstance(value, bool) else str(value)
                self.dispositions.add("atoms_disposition_results_total", (call.agent_id, identifier, shown))

    async def _post(self, session: aiohttp.ClientSession, body: bytes, headers: dict[str, str]) -> int:
        try:
            async with session.post(self._url, data=body, headers=headers) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError):
            return 0
