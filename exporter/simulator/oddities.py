"""What single calls have in store for whoever follows them: streams that never open, refusals for a while, logs that
come late or not at all. Each is drawn once for a call; the seconds are those of the client."""

from __future__ import annotations

import json
from typing import Final

from .faults import Fault, Faults
from .live import Call

NEVER: Final = (204, 301, 500, 200, 299)
"""How a stream may never open: no content, elsewhere, an error, JSON, a page (299 stands for 200 with HTML)."""
REFUSALS: Final = (403, 400, 404, 410)
ERROR_FRAME: Final = b'data: {"error":"stream not available","code":"STREAM_ERROR"}\n\n'


class Oddities:
    """Draws for calls, and remembers what was drawn.

    :param speed: of the simulated clock against the client's.
    """

    def __init__(self, faults: Faults, speed: float) -> None:
        self._faults = faults
        self._speed = speed
        self._drawn: dict[tuple[str, int], Fault | None] = {}
        self._refused: dict[str, tuple[float, int]] = {}

    def of(self, name: str, call: Call) -> Fault | None:
        """The fault of this name, if it strikes this call."""
        key = (name, call.number)
        if key not in self._drawn:
            self._drawn[key] = self._faults.strikes(name, self._faults.rng(name, call.number))
        return self._drawn[key]

    def refuse(self, call: Call, fault: Fault, now: float) -> None:
        """From now on its stream is refused for a while; ``now`` is the event loop's time."""
        status = fault.status or REFUSALS[call.number % len(REFUSALS)]
        self._refused[call.call_id] = (now + (15.0 if fault.seconds is None else fault.seconds), status)

    def stream_answer(self, call: Call, now_ms: int, now: float) -> int | None:
        """The status that is answered instead of its stream; None: the stream."""
        if (fault := self.of("never_opens", call)) is not None:
            return fault.status or NEVER[call.number % len(NEVER)]
        if self._is_late(call, now_ms):
            return 404
        until, status = self._refused.get(call.call_id, (0.0, 0))
        return status if now < until else None

    def log_answer(self, call: Call, ended_ms: int | None, now_ms: int) -> int | None:
        """The status that is answered instead of its log; None: the log."""
        if self._is_late(call, now_ms):
            return 404
        away = self.of("log_away", call)
        if away is None or ended_ms is None:
            return None
        return 503 if self._elapsed(ended_ms, now_ms) < (30.0 if away.seconds is None else away.seconds) else None

    def has_analytics(self, call: Call, ended_ms: int | None, now_ms: int) -> bool:
        """Its log carries post-call analytics by now."""
        fault = self.of("log_analytics", call)
        if fault is None or ended_ms is None:
            return False
        return self._elapsed(ended_ms, now_ms) >= (5.0 if fault.seconds is None else fault.seconds)

    def brings_an_error(self, call: Call, now_ms: int) -> bool:
        """Its stream brings one frame that is no event, and ends."""
        fault = self.of("error_frames", call)
        return fault is not None and self._elapsed(call.started_ms, now_ms) < (fault.seconds or 8.0)

    def status_of(self, call: Call, status: str) -> str:
        """Its final status, perhaps a word nobody knows."""
        if status != "completed":
            return status
        fault = self.of("strange_status", call)
        return status if fault is None else fault.word or "transferred"

    def _is_late(self, call: Call, now_ms: int) -> bool:
        fault = self.of("late", call)
        return fault is not None and self._elapsed(call.started_ms, now_ms) < (fault.seconds or 7.0)

    def _elapsed(self, since_ms: int, now_ms: int) -> float:
        return (now_ms - since_ms) / 1000 / self._speed


def heartbeat(number: int, now_ms: int) -> bytes:
    """A sign that the connection lives, no more: a comment, a frame that is always the same, one that is not."""
    match number % 3:
        case 0:
            return b": heartbeat\n\n"
        case 1:
            return b'data: {"event_type":"heartbeat"}\n\n'
        case _:
            return b"data: " + json.dumps({"event_type": "heartbeat", "timestamp": now_ms / 1000}).encode() + b"\n\n"
