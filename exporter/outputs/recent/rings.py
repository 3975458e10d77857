"""Numbers by the minute, for an hour, in a fixed amount of memory; and what a node's slow turns were made of lately."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import Final

from exporter.calls.stages import UNATTRIBUTED
from exporter.outputs.recent.hour import MINUTES

_SPAN_MINUTES: Final = 3
_MOST_NAMES: Final = 32


class Ring:
    """So many numbers a minute; minutes are numbered by whoever counts."""

    __slots__ = ("_minutes", "_numbers", "_width")

    def __init__(self, width: int) -> None:
        self._width = width
        self._numbers = array("L", bytes(array("L").itemsize * width * MINUTES))
        self._minutes = array("q", [-1]) * MINUTES

    def add(self, minute: int, which: int) -> None:
        """One of the numbers grew by one in this minute."""
        slot = minute % MINUTES
        if self._minutes[slot] != minute:
            self._minutes[slot] = minute
            for index in range(self._width):
                self._numbers[slot * self._width + index] = 0
        self._numbers[slot * self._width + which] += 1

    def minute(self, minute: int) -> tuple[int, ...]:
        """What one minute of the last hour held."""
        slot = minute % MINUTES
        if self._minutes[slot] != minute:
            return (0,) * self._width
        return tuple(self._numbers[slot * self._width : (slot + 1) * self._width])

    def totals(self, now: int, minutes: int = MINUTES, before: int = 0) -> list[int]:
        """The sums of so many minutes that ended ``before`` so many minutes ago."""
        last, width, stamps, numbers = now - before, self._width, self._minutes, self._numbers
        found = [0] * width
        for minute in range(last - minutes + 1, last + 1):
            slot = minute % MINUTES
            if stamps[slot] == minute:
                for which in range(width):
                    found[which] += numbers[slot * width + which]
        return found


class Makeup:
    """Of the turns of the last three to six minutes at a node: on which channels they and the slow ones were, and which
    stages the time of the slow ones went into."""

    __slots__ = ("_before", "_now", "_span")

    def __init__(self) -> None:
        self._span = -1
        self._now: tuple[Counter[str], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
        self._before = self._now

    def add(self, minute: int, channel: str, slow: bool, stages: tuple[tuple[str, float], ...]) -> None:
        """A turn was answered."""
        span = minute // _SPAN_MINUTES
        if span != self._span:
            empty: tuple[Counter[str], Counter[str], Counter[str]] = (Counter(), Counter(), Counter())
            self._before = self._now if span == self._span + 1 else empty
            self._now, self._span = (Counter(), Counter(), Counter()), span
        channels, slow_channels, seconds = self._now
        channels[channel] += 1
        if not slow:
            return
        slow_channels[channel] += 1
        for stage, took in stages:
            if stage in seconds or len(seconds) < _MOST_NAMES:
                seconds[stage] += took  # type: ignore[assignment] # a counter takes fractions

    def explain(self, minute: int, stages: tuple[tuple[str, float], ...]) -> None:
        """What a slow turn's unattributed time turned out to be."""
        if minute // _SPAN_MINUTES != self._span:
            return
        seconds = self._now[2]
        for stage, took in stages:
            if stage != UNATTRIBUTED and (stage in seconds or len(seconds) < _MOST_NAMES):
                seconds[stage] += took  # type: ignore[assignment] # as above
                seconds[UNATTRIBUTED] = max(0.0, seconds[UNATTRIBUTED] - took)  # type: ignore[assignment] # as above

    def channels(self) -> tuple[tuple[str, int, int], ...]:
        """Channel, slow turns, turns: most slow ones first."""
        turns, slow = self._before[0] + self._now[0], self._before[1] + self._now[1]
        named = ((channel, slow.get(channel, 0), number) for channel, number in turns.items())
        return tuple(sorted(named, key=lambda each: (-each[1], each[0])))

    def longest_stage(self) -> tuple[str, float] | None:
        """The stage that took most of the slow turns' time, and its share of that."""
        seconds = self._before[2] + self._now[2]
        if not seconds:
            return None
        stage, took = max(seconds.items(), key=lambda each: each[1])
        return stage, took / sum(seconds.values())
