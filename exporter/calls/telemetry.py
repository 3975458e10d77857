"""The seam through which the pipeline speaks of itself: what it received, refused, repeated.

Receivers and the tracker call these; ``outputs.metrics`` implements them as counters. Every ``reason``, ``status``
and ``outcome`` comes from a closed set of words, because each becomes a label.
"""

from __future__ import annotations

from typing import Protocol


class Telemetry(Protocol):
    """What the receiving side reports about itself."""

    def stream_state(self, before: str | None, after: str | None) -> None:
        """One stream moved between ``connecting``, ``open`` and ``waiting``; ``None`` is "no stream"."""

    def stream_reconnected(self, reason: str) -> None:
        """A stream is being opened again, because of ``reason`` (``cut``, ``idle``, ``server_error`` …)."""

    def stream_failed(self, status: str) -> None:
        """An attempt to open a stream failed: an HTTP status, or ``connect``, ``timeout``, ``content_type``."""

    def discovery_request(self, source: str, outcome: str) -> None:
        """A request that looks for calls or names was answered (``ok``) or not."""

    def api_answered(self, good: bool, why: str = "") -> None:
        """The API let its list of calls be read, or did not, and ``why``. Drives ``atoms_exporter_up``."""

    def webhook(self, event: str, outcome: str) -> None:
        """A webhook delivery arrived and was accepted, a duplicate, or refused."""

    def event_rejected(self, reason: str) -> None:
        """Bytes arrived that could not become an event."""

    def bound_hit(self, what: str, n: int = 1) -> None:
        """Something from outside went beyond its bound (``stream_share``, ``answer_bytes`` …)."""

    def unknown_value(self, field: str) -> None:
        """A field held a word nobody knows (``status``)."""

    def answer_surprised(self, n: int) -> None:
        """So many members of an answer, or rows of a list, were there and could not be read."""


class NoTelemetry:
    """For commands that do one thing and report it themselves."""

    def stream_state(self, before: str | None, after: str | None) -> None:
        """Not counted."""

    def stream_reconnected(self, reason: str) -> None:
        """Not counted."""

    def stream_failed(self, status: str) -> None:
        """Not counted."""

    def discovery_request(self, source: str, outcome: str) -> None:
        """Not counted."""

    def api_answered(self, good: bool, why: str = "") -> None:
        """Not counted."""

    def webhook(self, event: str, outcome: str) -> None:
        """Not counted."""

    def event_rejected(self, reason: str) -> None:
        """Not counted."""

    def bound_hit(self, what: str, n: int = 1) -> None:
        """Not counted."""

    def unknown_value(self, field: str) -> None:
        """Not counted."""

    def answer_surprised(self, n: int) -> None:
        """Not counted."""
