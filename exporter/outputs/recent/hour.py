"""Latency of one node by the minute, for an hour, in a fixed amount of memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from exporter.calls.observations import Place
from exporter.outputs.prometheus.catalogue import LATENCY_BUCKETS

MINUTES: Final = 60
BOUNDS: Final = (*LATENCY_BUCKETS, 30.0, 60.0, 120.0)
"""Upper bounds in seconds: the latency buckets of the metrics, and some for what is beyond their last."""


class Minute(NamedTuple):
    """What one minute held: seconds, ``None`` where nobody was answered."""

    turns: int
    slow: int
    """Turns above the threshold."""
    p50_seconds: float | None
    p95_seconds: float | None


class NodeHour(NamedTuple):
    """A node's last hour. ``minutes`` are oldest first, the last is the running one."""

    place: Place
    turns: int
    slow: int
    p50_seconds: float
    p95_seconds: float
    slowest_seconds: float
    slowest_call: str
    minutes: tuple[Minute, ...]
    counts: tuple[int, ...]
    """Turns by bucket of ``BOUNDS``, the last for what is beyond them."""

    @property
    def place_labels(self) -> tuple[str, str, str, str]:
        """Agent and node, by id and name."""
        return self.place.agent_id, self.place.agent_name, self.place.node_id, self.place.node_name


class _Slot:
    """One minute of one node."""

    __slots__ = ("counts", "minute", "slow", "slowest_call", "slowest_seconds")

    def __init__(self, minute: int) -> None:
        self.minute = minute
        self.counts = array("I", bytes(4 * (len(BOUNDS) + 1)))
        self.slow = 0
        self.slowest_seconds = 0.0
        self.slowest_call = ""


class Hour:
    """The last sixty minutes of one node; minutes are numbered by whoever counts.

    :param slow_seconds: turns longer than this are slow.
    """

    __slots__ = ("_slots", "_slow_seconds", "place")

    def __init__(self, place: Place, slow_seconds: float) -> None:
        self.place = place
        self._slow_seconds = slow_seconds
        self._slots: list[_Slot | None] = [None] * MINUTES

    def add(self, minute: int, seconds: float, call_id: str) -> None:
        """A turn was answered in this minute."""
        place = minute % MINUTES
        slot = self._slots[place]
        if slot is None or slot.minute != minute:
            slot = self._slots[place] = _Slot(minute)
        slot.counts[bisect_left(BOUNDS, seconds)] += 1
        if seconds > self._slow_seconds:
            slot.slow += 1
        if seconds > slot.slowest_seconds:
            slot.slowest_seconds, slot.slowest_call = seconds, call_id

    def read(self, now: int, minutes: int = MINUTES, *, each: bool = True) -> NodeHour | None:
        """The last so many minutes; ``None`` when nobody was answered in them.

        :param each: every minute by itself as well, which costs more than all the rest.
        """
        slots = [self._slot(minute) for minute in range(now - minutes + 1, now + 1)]
        there = [slot for slot in slots if slot is not None]
        together = summed(slot.counts for slot in there)
        turns = sum(together)
        if not turns:
            return None
        worst = max(there, key=lambda slot: slot.slowest_seconds)
        p50, p95 = quantiles(together, worst.slowest_seconds)
        return NodeHour(
            self.place,
            turns,
            sum(slot.slow for slot in there),
            p50,
            p95,
            worst.slowest_seconds,
            worst.slowest_call,
            tuple(_minute(slot) for slot in slots) if each else (),
            tuple(together),
        )

    def course(self, now: int) -> list[tuple[int, int]]:
        """Turns and slow ones of every minute of the hour, oldest first."""
        slots = map(self._slot, range(now - MINUTES + 1, now + 1))
        return [(sum(slot.counts), slot.slow) if slot is not None else (0, 0) for slot in slots]

    def _slot(self, minute: int) -> _Slot | None:
        slot = self._slots[minute % MINUTES]
        return slot if slot is not None and slot.minute == minute else None


def _minute(slot: _Slot | None) -> Minute:
    if slot is None:
        return Minute(0, 0, None, None)
    return Minute(sum(slot.counts), slot.slow, *quantiles(slot.counts, slot.slowest_seconds))


def summed(counts: Iterable[Sequence[int]]) -> list[int]:
    """Buckets of several added up."""
    return [sum(bucket) for bucket in zip(*counts, strict=True)] or [0] * (len(BOUNDS) + 1)


def quantiles(counts: Iterable[int], slowest_seconds: float) -> tuple[float, float]:
    """Median and 95th percentile in seconds, interpolated in their buckets and never above the slowest.

    :param counts: observations by bucket, of which there is at least one.
    """
    numbers = list(counts)
    return _quantile(0.5, numbers, slowest_seconds), _quantile(0.95, numbers, slowest_seconds)


def _quantile(q: float, counts: list[int], slowest_seconds: float) -> float:
    rank = q * sum(counts)
    below = 0
    for index, number in enumerate(counts):
        if number and below + number >= rank:
            low = BOUNDS[index - 1] if index else 0.0
            high = min(BOUNDS[index], slowest_seconds) if index < len(BOUNDS) else slowest_seconds
            return min(high, low + (high - low) * (rank - below) / number)
        below += number
    return slowest_seconds
