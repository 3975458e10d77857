"""Signs of life of both sides: whether callers are answered, and how long nobody says a word.

What follows here follows from several events: an answer that was missed at first may yet come from the history. So
nothing is said before the call is over, when everything that can be known of it is known.
"""

from __future__ import annotations

from typing import NamedTuple

from exporter.calls.visits import Visit
from exporter.protocol.units import seconds_between

_MOST_KEPT = 4096


class Silence(NamedTuple):
    """Nobody was heard for so long; ``visit`` is where it ended."""

    visit: Visit
    at: float
    seconds: float


class Limits(NamedTuple):
    """What the operator counts as what: seconds a caller waits before his turn counts as unanswered, seconds of silence
    that count as dead air, names of the customer's own events that may become labels."""

    unanswered_after: float = 10.0
    dead_air_after: float = 5.0
    log_names: frozenset[str] = frozenset()


STOCK_LIMITS = Limits()


class Signs:
    """What both sides let hear, event by event, in the order of the call's time."""

    __slots__ = (
        "_dead_air_after",
        "_latest_at",
        "_unanswered_after",
        "_waiting",
        "first_word_at",
        "silences",
        "unanswered",
    )

    def __init__(self, limits: Limits) -> None:
        self._unanswered_after = limits.unanswered_after
        self._dead_air_after = limits.dead_air_after
        self._latest_at: float | None = None
        self._waiting: tuple[Visit, float] | None = None
        self.first_word_at: float | None = None
        """When the agent was heard first."""
        self.silences: list[Silence] = []
        self.unanswered: list[Visit] = []

    def caller_spoke(self, visit: Visit, at: float) -> None:
        """The caller finished saying something: he waits for an answer from now on, if he did not already."""
        self.heard(visit, at)
        if self._waiting is None:
            self._waiting = visit, at
        elif seconds_between(self._waiting[1], at) > self._unanswered_after:
            self._not_answered()
            self._waiting = visit, at

    def agent_spoke(self, visit: Visit, at: float) -> None:
        """The agent was heard: whoever waited has his answer, if it did not come too late."""
        self.heard(visit, at)
        if self.first_word_at is None:
            self.first_word_at = at
        if self._waiting is not None:
            if seconds_between(self._waiting[1], at) > self._unanswered_after:
                self._not_answered()
            self._waiting = None

    def heard(self, visit: Visit, at: float) -> None:
        """Somebody was heard."""
        latest_at = self._latest_at
        if latest_at is not None:
            apart = at - latest_at
            if apart <= 0:
                return
            if apart > self._dead_air_after and len(self.silences) < _MOST_KEPT:
                silence = seconds_between(latest_at, at)
                if silence > self._dead_air_after:
                    self.silences.append(Silence(visit, at, silence))
        self._latest_at = at

    def over(self) -> None:
        """The call has ended: who still waits was not answered."""
        if self._waiting is not None:
            self._not_answered()
            self._waiting = None

    def _not_answered(self) -> None:
        if self._waiting is not None and len(self.unanswered) < _MOST_KEPT:
            self.unanswered.append(self._waiting[0])
