"""What sends, how long to wait before trying a backend again, and what is counted while doing so."""

from __future__ import annotations

import random
from typing import Literal, Protocol, get_args

from exporter.outputs.otlp.answer import Answer, FailureReason
from exporter.outputs.otlp.settings import Signal

LONGEST_ASKED_SECONDS = 600.0

DropReason = Literal[
    "queue_full",  # pushed out by newer spans
    "too_old",  # waited longer than max_retry_age
    "permanent",  # the backend will never take them
    "rejected",  # the backend took the request without them (partial success)
    "shutdown",  # still waiting when the process had to end
]
DROP_REASONS: tuple[DropReason, ...] = get_args(DropReason)


class Sender(Protocol):
    """One attempt at a time to hand a request to a backend."""

    def send(self, request: bytes, limit_seconds: float) -> Answer:
        """Send, within ``limit_seconds``; never raises for what a backend or a network can do."""

    def close(self) -> None:
        """Let go of connections."""


class ExportCounts(Protocol):
    """What exporting reports about itself. Called from the exporting threads: implementations are thread-safe."""

    def spans_exported(self, n: int, /) -> None:
        """A backend took ``n`` spans."""

    def spans_dropped(self, reason: DropReason, n: int, /) -> None:
        """``n`` spans will never arrive, because of ``reason``."""

    def export_failed(self, signal: Signal, reason: FailureReason, /) -> None:
        """One attempt to send failed, whether or not it is tried again."""

    def export_queue(self, n: int, /) -> None:
        """Spans waiting or under way, now."""


class Backoff:
    """Exponential delays with jitter: each between half of and the whole of 1, 2, 4 … ``most_seconds``."""

    def __init__(self, rng: random.Random, *, first_seconds: float = 1.0, most_seconds: float = 30.0) -> None:
        self._rng = rng
        self._first = first_seconds
        self._most = most_seconds
        self._failures = 0

    def next_seconds(self, asked_seconds: float | None = None) -> float:
        """The delay after one more failure; what the backend asked for (``Retry-After``) is the least.

        Up to ten minutes, that is: who asks for a day has a clock that is wrong, or would have us lose a day.
        """
        whole = min(self._first * 2.0 ** min(self._failures, 30), self._most)
        self._failures += 1
        return max(whole * self._rng.uniform(0.5, 1.0), min(asked_seconds or 0.0, LONGEST_ASKED_SECONDS))

    def reset(self) -> None:
        """Something was taken: the next failure is a first one."""
        self._failures = 0
