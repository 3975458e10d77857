"""A call in one of the two dialects the platform has spoken, as JSON objects and as SSE bytes.

=================  ===============================  ====================================================
field              ``2025`` (the event guide)       ``2026`` (the OpenAPI description)
=================  ===============================  ====================================================
``timestamp``      Unix seconds, a float            ISO 8601 with milliseconds
``event_id``       ``<call>_<n>_<ms>``, n counted   opaque, ``evt_`` and 20 hex digits
                   per observer class
durations          seconds, a float                 whole milliseconds as an integer. A duration with a
                                                    fraction of a millisecond: from 60 ms on milliseconds
                                                    with that fraction, below 60 ms seconds
… in ``metrics``   seconds from Pipecat's           the same: the name tells which of the two documents
                   processors (``LLM#0``), ms from  speaks
                   the vendor's stages
                   (``pulse_stt``)
``turn_latency``   alone                            with ``total_turn_ms`` beside it
exact zeros        ``0.0``                          ``0``
token usage        without the newer null details   all details
=================  ===============================  ====================================================

Both carry the same facts. ``*_ms`` fields are milliseconds, ``ttfa``, ``ttfat`` and ``audio_seconds`` are seconds in
both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal

from .happenings import OBSERVER, CallScript, Duration, Happening, Tokens

Dialect = Literal["2025", "2026"]

EPOCH_MS = 1_767_225_600_000
"""When recorded calls take place: 2026-01-01T00:00:00Z; call n starts n × 90 s later."""

_DETAILS = (
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "cache_read_input_audio_tokens",
)
_OLDER_USAGE = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    }
)


def call_id(seed: int, number: int, started_ms: int) -> str:
    """``CALL-<13-digit ms timestamp>-<6 hex>``; the hex part differs among any 2**24 calls of a seed."""
    start = int.from_bytes(sha256(str(seed).encode()).digest()[:3])
    return f"CALL-{started_ms:013d}-{(start + number * 0x9E3779B1) & 0xFFFFFF:06x}"


def iso(at_ms: int) -> str:
    """A Unix time in milliseconds as ISO 8601."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Renderer:
    """Writes the events of one call, in order. ``skew_ms`` shifts every timestamp (a clock that is wrong);
    ``waited_ms`` it had been in the queue when it started."""

    def __init__(
        self, script: CallScript, started_ms: int, dialect: Dialect, skew_ms: int = 0, waited_ms: int = 0
    ) -> None:
        self.call_id = call_id(script.seed, script.number, started_ms - waited_ms)
        self._salt = f"{script.seed}/{script.number}"
        self._base_ms = started_ms + skew_ms
        self._dialect = dialect
        self._index = 0
        # The guide's first event from EventObserver is number 2: number 1 is not forwarded.
        self._numbers = {OBSERVER: 1}

    def event(self, happening: Happening) -> dict[str, Any]:
        """The next event of the call as the API shows it."""
        at_ms = self._base_ms + happening.at_ms
        observer = happening.observer
        number = self._numbers.get(observer, 0) + 1
        self._numbers[observer] = number
        self._index += 1
        newer = self._dialect == "2026"
        event: dict[str, Any] = {
            "event_type": happening.kind,
            "event_id": self._opaque_id() if newer else f"{self.call_id}_{number}_{at_ms}",
            "timestamp": iso(at_ms) if newer else at_ms / 1000,
            "observer_class": observer,
            "call_id": self.call_id,
            "source": "orchestrator",
        }
        for name, value in happening.facts.items():
            event[name] = _rendered(value, newer)
        if newer and happening.kind == "turn_latency":
            event["total_turn_ms"] = event["turn_latency"]
        return event

    def _opaque_id(self) -> str:
        return f"evt_{sha256(f'{self._salt}/{self._index}'.encode()).hexdigest()[:20]}"


def _rendered(value: Any, newer: bool) -> Any:
    if isinstance(value, Duration):
        return _milliseconds(value.ms) if newer else value.ms / 1000
    if isinstance(value, Tokens):
        usage = _usage(value)
        return {name: count for name, count in usage.items() if newer or name in _OLDER_USAGE or count is not None}
    if isinstance(value, Mapping):
        if "processor" in value and isinstance(measured := value.get("value"), Duration):
            return {**value, "value": _measured(str(value["processor"]), measured.ms)}
        return {name: _rendered(inner, newer) for name, inner in value.items()}
    if isinstance(value, list):
        return [_rendered(inner, newer) for inner in value]
    return value


def _measured(processor: str, ms: float) -> float | int:
    """As a processor of this name writes it: Pipecat's seconds, the vendor's stages milliseconds."""
    if processor.islower() and "_" in processor:
        return int(ms) if float(ms).is_integer() else ms
    return ms / 1000


def _usage(used: Tokens) -> dict[str, int | None]:
    """Token usage as its provider writes it."""
    total = used.prompt + used.completion
    if used.told == "total":
        return {"total_tokens": total}
    details = {**dict.fromkeys(_DETAILS), **used.details}
    prompt, completion = used.prompt, used.completion
    if used.told == "net_of_cache":
        prompt -= (details["cache_read_input_tokens"] or 0) + (details["cache_creation_input_tokens"] or 0)
    if used.told == "net_of_thought":
        completion -= details["reasoning_tokens"] or 0
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **details}


def _milliseconds(ms: float) -> float | int:
    if float(ms).is_integer():
        return int(ms)
    return ms if abs(ms) >= 60 else ms / 1000


def frame(event: Mapping[str, Any]) -> bytes:
    """One SSE frame."""
    return b"data: " + json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def sse_bytes(events: Iterable[Mapping[str, Any]]) -> bytes:
    """A stream of these events as it comes over the wire, without ``sse_init`` and ``sse_close``."""
    return b"".join(frame(event) for event in events)


def connection_frame(kind: Literal["sse_init", "sse_close"], at_ms: int) -> bytes:
    """The first or the last frame of a stream."""
    return frame({"event_type": kind, "event_time": iso(at_ms)})


def events_of(
    script: CallScript, started_ms: int, dialect: Dialect, skew_ms: int = 0, waited_ms: int = 0
) -> list[dict[str, Any]]:
    """All events of a call."""
    renderer = Renderer(script, started_ms, dialect, skew_ms, waited_ms)
    return [renderer.event(happening) for happening in script.happenings]
