"""Signs of life of both sides: whether callers are answered, and how long nobody says a word.

What follows here follows from several events: an answer that was missed at first may yet come from the history. So
nothing is said before the call is over, when everything that can be known of it is known.
"""

from __future__ import annotations

from array import array
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
    count_words: bool = True
    explain_turns: bool = True
    """Whether what a turn's time went into beside the reported stages is worked out."""


STOCK_LIMITS = Limits()


class Signs:
    """What both sides let hear, event by event; one that comes late is put where it belongs."""

    __slots__ = (
        "_answered",
        "_asked",
        "_dead_air_after",
        "_first",
        "_latest_at",
        "_unanswered_after",
        "silences",
    )

    def __init__(self, limits: Limits) -> None:
        self._unanswered_after = limits.unanswered_after
        self._dead_air_after = limits.dead_air_after
        self._latest_at: float | None = None
        self._first: tuple[Visit, float]
        self._asked: list[tuple[float, Visit]] = []
        self._answered = array("d")
        self.silences: list[Silence] = []

    def caller_spoke(self, visit: Visit, at: float) -> None:
        """The caller finished saying something."""
        self.heard(visit, at)
        if len(self._asked) < _MOST_KEPT:
            self._asked.append((at, visit))

    def agent_spoke(self, visit: Visit, at: float) -> None:
        """The agent was heard."""
        self.heard(visit, at)
        if len(self._answered) < _MOST_KEPT:
            self._answered.append(at)

    @property
    def first_word_at(self) -> float | None:
        """When the agent was heard first."""
        return min(self._answered, default=None)

    def heard(self, visit: Visit, at: float) -> None:
        """Somebody was heard."""
        latest_at = self._latest_at
        if latest_at is not None:
            apart = at - latest_at
            if apart <= 0:
                if apart:
                    self._heard_late(visit, at)
                return
            if apart > self._dead_air_after and len(self.silences) < _MOST_KEPT:
                silence = seconds_between(latest_at, at)
                if silence > self._dead_air_after:
                    self.silences.append(Silence(visit, at, silence))
        else:
            self._first = visit, at
        self._latest_at = at

    def _heard_late(self, visit: Visit, at: float) -> None:
        """Somebody was heard before all others, or in the midst of what was taken for one silence: that is two."""
        first_visit, first_at = self._first
        if at < first_at:
            self._first = visit, at
            silence = seconds_between(at, first_at)
            if silence > self._dead_air_after and len(self.silences) < _MOST_KEPT:
                self.silences.insert(0, Silence(first_visit, first_at, silence))
            return
        for place in range(len(self.silences) - 1, -1, -1):
            ended = self.silences[place]
            began = seconds_between(ended.seconds, ended.at)
            if began < at < ended.at:
                parts = (
                    Silence(visit, at, seconds_between(began, at)),
                    ended._replace(seconds=seconds_between(at, ended.at)),
                )
                self.silences[place : place + 1] = [part for part in parts if part.seconds > self._dead_air_after]
                return
            if ended.at <= at:
                return

    def unanswered(self) -> list[Visit]:
        """The call has ended: where callers spoke who then waited in vain, or too long. Who has spoken waits from his
        first word on; what he adds meanwhile is one turn with it."""
        found: list[Visit] = []
        waiting: tuple[float, Visit] | None = None
        answers = sorted(self._answered)
        place = 0
        for at, visit in sorted(self._asked, key=lambda asked: asked[0]):
            if waiting is not None:
                while place < len(answers) and answers[place] <= waiting[0]:
                    place += 1
                answered = place < len(answers) and answers[place] <= at
                if seconds_between(waiting[0], answers[place] if answered else at) > self._unanswered_after:
                    found.append(waiting[1])
                    waiting = None
                elif answered:
                    waiting = None
            if waiting is None:
                waiting = at, visit
        if waiting is not None:
            later = [each for each in answers[place:] if each > waiting[0]]
            if not later or seconds_between(waiting[0], later[0]) > self._unanswered_after:
                found.append(waiting[1])
        return found
