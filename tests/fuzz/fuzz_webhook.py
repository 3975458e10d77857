"""Throw generated deliveries at the webhook receiver, signed or not.

    python -m tests.fuzz.fuzz_webhook --examples 1000000 --seed 1

Whatever comes in, out comes a typed delivery, Refused, Malformed or DuplicateDelivery; what is not signed with one of
the secrets never gets further than the signature.
"""

from __future__ import annotations

import hashlib
import hmac
import random
from typing import Any

from exporter.errors import Malformed, Refused
from exporter.receivers.webhook import DuplicateDelivery, Webhooks
from tests.fuzz.damage import damaged, main, surprised, written

SECRETS = ("one", "two")
METADATA: dict[str, Any] = {
    "agentId": "a1",
    "conversationType": "telephonyInbound",
    "callId": "CALL-1758124225863-80752e",
    "toPhone": "+1",
}
CALL_DATA = {"callDuration": 42, "callStatus": "no-answer", "endTime": "2026-03-02T10:00:01.000Z"}
RESULT = {"identifier": "booked", "value": True, "dispositionMetricType": "BOOLEAN", "confidence": 0.9}
EVENTS = ["pre-conversation", "post-conversation", "analytics-completed", "unheard-of"]
NAMES = ["event", "metadata", "id", "callId", "callData", "analytics", "dispositionMetrics", "value", "identifier"]


class Deaf:
    """Nobody counts."""

    def webhook(self, event: str, outcome: str) -> None:
        assert event in (*EVENTS[:3], "other"), event


RECEIVER = Webhooks(SECRETS, telemetry=Deaf(), remember=1000)  # type: ignore[arg-type]  # all it asks for


def body_of(rng: random.Random) -> bytes:
    """A delivery, nearly right."""
    event = rng.choice(EVENTS)
    results = [surprised(rng, RESULT, NAMES) for _ in range(rng.randrange(3))]
    metadata = surprised(rng, METADATA | {"eventType": event}, NAMES)
    metadata |= {"callData": surprised(rng, CALL_DATA, NAMES), "analytics": {"dispositionMetrics": results}}
    envelope = {"event": f"a1.{event}", "metadata": metadata, "id": f"w{rng.randrange(5000)}"}
    body = written(rng, surprised(rng, envelope, NAMES))
    return damaged(rng, body) if rng.random() < 0.5 else body


def attempt(rng: random.Random) -> str:
    """One delivery; the outcome is what became of it."""
    body = body_of(rng)
    good = hmac.new(rng.choice(SECRETS).encode(), body, hashlib.sha256).hexdigest()
    forged = rng.random() < 0.2
    signature = rng.choice([None, "", good[:-1], good[::-1], damaged(rng, good.encode()).decode("latin-1"), "\ud800"])
    given = signature if forged else good
    try:
        delivery = RECEIVER.accept(body, given)
    except Refused:
        if not forged:
            raise
        return "refused"
    except Malformed:
        outcome = "malformed"
    except DuplicateDelivery:
        outcome = "duplicates"
    else:
        outcome = "accepted"
        assert delivery.kind == "other" or delivery.call_id
    assert not forged or (given or "").strip().lower() == good  # damage may have been to its case and margins only
    return outcome


if __name__ == "__main__":
    main(__doc__, attempt)
