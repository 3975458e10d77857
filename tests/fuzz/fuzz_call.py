"""Throw nearly right calls at everything behind the wire: decoder, call, metrics, spans.

    python -m tests.fuzz.fuzz_call --examples 1000000 --seed 1

Whatever comes in, nothing raises; every payload is an event, a duplicate or rejected; what comes again changes nothing;
a history in any order recovers what was missed, once; at the end nothing is left waiting and every span can be sent.
All calls share one registry, whose series stay within their budget.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from math import isfinite
from typing import Any

import msgspec

from exporter.calls.observations import Agent, Observation
from exporter.calls.tracker import TrackedCall, Tracker
from exporter.errors import Malformed
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recorder import Outputs, built
from exporter.outputs.spans import SpanRecord
from exporter.protocol.decode import decode_event
from exporter.protocol.events import Event, Unknown
from tests.fuzz.damage import damaged, main, surprised, written

CALL = "CALL-1758124225863-80752e"
NODES = ["10001", "10002", "n", "", None]
KINDS: dict[str, dict[str, Any]] = {
    "call_start": {"telephony_id": "8671288e"},
    "call_end": {"metadata": {"status": "completed"}},
    "call_cancelled": {},
    "agent_node_state": {"node_name": "Start", "node_type": "default", "context": {"user_response": "x"}},
    "hopping": {},
    "user_transcription": {"user_transcription_text": "Hello?"},
    "tts_completed": {"tts_latency": 0.713, "tts_text": "Hi"},
    "turn_latency": {"turn_latency": 1.69, "llm_api_ms": 500, "tts_api_ms": 120, "interrupted": False, "turn_index": 1},
    "metrics": {
        "metrics": [
            {"processor": "LLM#0", "model": "m", "value": {"prompt_tokens": 1292, "completion_tokens": 46}},
            {"processor": "WavesTTSService#0", "model": None, "value": 91},
            {"processor": "PulseSTTService#0", "model": None, "value": 0.0005},
        ]
    },
    "tool_call_start": {"tool_call_id": "t", "function_name": "f", "context": {"a": 1}},
    "tool_call_end": {"tool_call_id": "t", "function_name": "f", "latency_ms": 12, "success": True, "response": {}},
    "tool_call_error": {"tool_call_id": "t", "function_name": "f", "error": "no"},
    "knowledgebase": {"knowledge_base_id": "kb", "latency": 0.2, "error": None},
    "variable_extraction": {"variables": {"a": "b"}, "latency": 147, "error": None},
    "pre_call_api": {"method": "POST", "success": True, "headers": {"a": "b"}, "error": None},
    "agent_error": {"error": "x", "metadata": {"code": 500, "message": "m"}},
    "never_heard_of": {"x": [1]},
}
NAMES = ["event_type", "event_id", "timestamp", "call_id", "node_id", "node_name", "metrics", "value", "latency"]


class Ear:
    """The outputs, and a count of what was said to them."""

    def __init__(self) -> None:
        self.metrics = Metrics(version="0", max_series_per_metric=50)
        self.spans: list[SpanRecord] = []
        self.heard: Counter[str] = Counter()
        outputs = Outputs(self.metrics, built(self.spans.append))
        self._observed, self._received = outputs.observed, outputs.event_received

    def observed(self, facts: Sequence[Observation]) -> None:
        self.heard["facts"] += len(facts)
        self._observed(facts)

    def event_received(self, kind: type[Event], lag_seconds: float | None) -> None:
        self.heard["events"] += 1
        self._received(kind, lag_seconds)

    def event_duplicate(self) -> None:
        self.heard["duplicates"] += 1

    def event_recovered(self) -> None:
        self.heard["recovered"] += 1

    def event_rejected(self, reason: str) -> None:
        self.heard["rejected"] += 1

    def sample_skipped(self, reason: str) -> None:
        self.heard["skipped"] += 1


EAR = Ear()


def payloads_of(rng: random.Random) -> list[bytes]:
    """A call's events, nearly right."""
    found = []
    at = 1758124305.0
    for number in range(rng.randrange(1, 9)):
        kind = rng.choice(list(KINDS))
        at += rng.choice([0.0, 0.001, 0.5, 7.0, -3.0])
        stamp: Any = at if rng.random() < 0.5 else f"2025-09-17T15:51:4{number}.194Z"
        event = {"event_type": kind, "event_id": f"e{number}", "timestamp": stamp, "call_id": CALL, **KINDS[kind]}
        if kind in ("agent_node_state", "hopping"):
            event |= {name: rng.choice(NODES) for name in ("node_id", "from_node_id", "to_node_id")}
        payload = written(rng, surprised(rng, event, NAMES))
        found.append(damaged(rng, payload) if rng.random() < 0.15 else payload)
    return found


def attempt(rng: random.Random) -> str:
    """One call, live with gaps, then its history; the outcome is how it went."""
    ear = EAR
    ear.heard.clear()
    ear.spans.clear()
    tracker = Tracker(ear, capture_content=rng.random() < 0.5, remember=0)
    tracked = tracker.open(CALL, agent=Agent("a1", "Agent", rng.random() < 0.2), channel="webcall", durable=True)
    payloads = payloads_of(rng)
    live = [payload for payload in payloads if rng.random() < 0.7]
    for payload in live:
        tracker.feed(tracked, payload, 1758124320.0)
    heard = ear.heard
    heartbeats = sum(is_heartbeat(payload) for payload in live)
    assert heard["events"] + heard["duplicates"] + heard["rejected"] >= len(live) - heartbeats
    again(tracker, tracked, live)
    history = [msgspec.Raw(payload) for payload in rng.sample(payloads, len(payloads))]
    tracker.recover(tracked, history, 1758124320.0)
    counted = len(tracked.seen)
    assert tracker.recover(tracked, history, 1758124320.0) == 0
    assert len(tracked.seen) == counted
    tracker.end(CALL, rng.choice(["completed", "lost", "failed"]))
    assert not tracked.call.waiting_facts()
    assert len(tracker) == 0
    for span in ear.spans:
        assert 0 <= span.start_ns <= span.end_ns < 2**63
        assert all(isinstance(value, str | bool | int) or isfinite(value) for value in span.attributes.values())
        msgspec.json.encode(span.name)
    return "recovered" if heard["recovered"] else "whole"


def is_heartbeat(payload: bytes) -> bool:
    """What names neither an event that anybody knows nor a call is no event, and not counted."""
    try:
        event, _ = decode_event(payload)
    except Malformed:
        return False
    return isinstance(event, Unknown) and not event.event_id


def again(tracker: Tracker, tracked: TrackedCall, live: list[bytes]) -> None:
    """What comes again is no news."""
    heard = EAR.heard
    before, seen = (heard["events"], heard["facts"], heard["skipped"]), len(tracked.seen)
    for payload in live:
        tracker.feed(tracked, payload, 1758124320.0)
    opened = sum(b'"sse_' in payload for payload in live)
    assert heard["events"] <= before[0] + opened
    assert (heard["facts"], heard["skipped"], len(tracked.seen)) == (*before[1:], seen)


def series() -> int:
    """The most series any metric of the shared registry holds."""
    return max(len(family.children) for family in EAR.metrics.store.families.values())


if __name__ == "__main__":
    main(__doc__, attempt)
    EAR.metrics.store.render(openmetrics=True)
