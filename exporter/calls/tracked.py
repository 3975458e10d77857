"""A call that is followed, who is told about it, and what the receiver of its events must know."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from exporter.calls.call import Call
from exporter.calls.identity import SeenEvents
from exporter.calls.likeness import FirstEvents
from exporter.calls.observations import Observation
from exporter.protocol.events import Event


class Recorder(Protocol):
    """Where facts go: metrics and spans, and the counters about the events themselves."""

    def observed(self, facts: Sequence[Observation]) -> None:
        """What became known, in order."""

    def event_received(self, kind: type[Event], lag_seconds: float | None) -> None:
        """An event was counted, ``lag_seconds`` after it happened (``None``: not a live one)."""

    def event_duplicate(self) -> None:
        """An event came again."""

    def event_recovered(self) -> None:
        """An event that the stream missed was counted."""

    def event_rejected(self, reason: str) -> None:
        """Bytes that could not become an event of this call."""

    def sample_skipped(self, reason: str) -> None:
        """A value of an event was not counted."""


class Progress(Enum):
    """What the receiver of a payload must know."""

    GOING_ON = "going on"
    CALL_ENDED = "call ended"
    STREAM_CLOSED = "stream closed"


class TrackedCall:
    """A call that is followed: its state and the identities of the events it has counted."""

    __slots__ = (
        "call",
        "filled",
        "first",
        "frames",
        "held",
        "looking",
        "opened_at",
        "other_ids",
        "owed",
        "partial",
        "recovered",
        "seen",
        "takes",
        "uncommitted",
        "untimed",
    )

    def __init__(self, call: Call, opened_at: float) -> None:
        self.call = call
        self.takes: str | None = call.call_id
        """The call whose events are taken; ``None``: it is over, and takes no more."""
        self.seen = SeenEvents()
        self.frames: list[int] = []
        """Identities of the latest first and last frames of its streams."""
        self.opened_at = opened_at
        self.first = FirstEvents()
        self.looking = True
        """The stream's events are still compared with the history's."""
        self.other_ids = False
        """Stream and history bear different ids for the same events: only the one that came first is counted."""
        self.recovered = 0
        self.untimed = 0
        """Events that have no time of their own."""
        self.filled: list[int] = []
        """Turns counted from the call's statistics, in milliseconds."""
        self.partial = False
        """An earlier life counted events that the state does not hold."""
        self.uncommitted: array[int] | None = None
        """Identities counted since the last checkpoint; ``None`` when nobody keeps any."""
        self.owed: dict[int, frozenset[str]] | None = None
        """Facts that are not said yet although their events were counted, by event, while the state does not hold all
        that earlier lives counted; ``None`` when it does."""
        self.held: list[Observation] | None = None
        """What follows from several events, held back until the state holds all of them; ``None`` when it does."""

    def waiting_facts(self) -> dict[int, frozenset[str]]:
        """Facts of events that were counted as events, but are not counted themselves yet: their kinds, by event."""
        waiting = self.call.waiting_facts()
        if self.owed:
            for identity, kinds in self.owed.items():
                waiting[identity] = waiting.get(identity, _NONE) | kinds
        return waiting

    @property
    def finished(self) -> bool:
        """It is over."""
        return self.takes is None


_NONE: frozenset[str] = frozenset()
