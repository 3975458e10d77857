"""One time series in memory: a counter, a gauge or a histogram, and what is remembered beside its numbers.

Written by one thread (the event loop) and read by others: a reader takes a copy of what it needs, and a value that
changes meanwhile is simply seen by the next reader.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from exporter.outputs.prometheus.textformat import ExemplarAt, SpanReference

UNKEPT = -1.0
"""The version of a child of which nothing was kept yet: no child has it."""


class Moment:
    """What all series of a store know of the present.

    ``edition`` counts the pages begun: a series born in edition 7 appeared after page 7 was begun; ``newest`` is the
    edition of the latest birth. ``horizon`` is the
    latest Unix time an exemplar may have: nothing with a time is later than now, and one from a clock that runs ahead
    would keep all others out for as long. ``sampled`` says whether a trace id leads anywhere; ``None``: all do.
    ``clock`` gives Unix time to series that are born; without one they have no time of birth.
    """

    __slots__ = ("clock", "edition", "horizon", "newest", "sampled")

    def __init__(self) -> None:
        self.edition = self.newest = 0
        self.horizon = float("inf")
        self.sampled: Callable[[str], bool] | None = None
        self.clock: Callable[[], float] | None = None


class Rendered(NamedTuple):
    """A child's lines as they were at ``version``."""

    version: float
    openmetrics: bool
    text: str


class Child:
    """What every series has beside its numbers.

    ``born`` is the edition it appeared in, ``created_at`` the Unix time it counts from. ``base`` is what it is shown
    as first to a scraper that has not seen it: ``None`` for zeros, or the numbers it rested at. ``kept`` are its
    numbers as they were last kept, at ``kept_version``; ``moved``: since then it went to rest or came back.
    """

    __slots__ = ("base", "born", "created_at", "idle_version", "kept", "kept_version", "moved", "rendered")

    def __init__(self, born: int = 0, created_at: float = 0.0) -> None:
        self.rendered: Rendered | None = None
        self.idle_version = UNKEPT
        self.born = born
        self.created_at = created_at
        self.base: bytes | None = None
        self.kept: bytes | None = None
        self.kept_version = UNKEPT
        self.moved = False

    @property
    def version(self) -> float:
        """Changes whenever the child does."""
        raise NotImplementedError  # what its numbers are, each kind of series knows

    def numbers(self) -> list[float]:
        """All that is kept of it."""
        raise NotImplementedError  # what its numbers are, each kind of series knows

    def become(self, numbers: Sequence[float]) -> None:
        """Take the numbers another life has kept."""
        raise NotImplementedError  # what its numbers are, each kind of series knows


class Counter(Child):
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self, born: int = 0, created_at: float = 0.0) -> None:
        super().__init__(born, created_at)
        self.value = 0.0

    @property
    def version(self) -> float:
        return self.value

    def inc(self, amount: float = 1.0) -> None:
        """Count ``amount`` more."""
        self.value += amount

    def numbers(self) -> list[float]:
        return [self.value]

    def become(self, numbers: Sequence[float]) -> None:
        (self.value,) = numbers


class Gauge(Counter):
    """A number that comes and goes."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """It is ``value`` now."""
        self.value = value


class Histogram(Child):
    """How often values fell into each bucket. ``counts`` are per bucket, not cumulative; the last is +Inf's."""

    __slots__ = ("_moment", "bounds", "count", "counts", "exemplars", "sum")

    def __init__(
        self, bounds: tuple[float, ...], moment: Moment | None = None, born: int = 0, created_at: float = 0.0
    ) -> None:
        super().__init__(born, created_at)
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.count = 0
        self.exemplars: dict[int, ExemplarAt] | None = None
        self._moment = moment or Moment()

    @property
    def version(self) -> float:
        return self.count

    def observe(self, value: float) -> None:
        """One measurement."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
        self.count += 1

    def observe_with(self, value: float, at: float, span: SpanReference) -> None:
        """One measurement, and the span that shows it."""
        bucket = bisect_left(self.bounds, value)
        exemplars = self.exemplars
        if exemplars is None:
            exemplars = self.exemplars = {}
        shown, moment = exemplars.get(bucket), self._moment
        # Prometheus refuses one that is older than what it has.
        if (
            (shown is None or at >= shown[2])
            and at <= moment.horizon
            and (moment.sampled is None or moment.sampled(span.trace_id))
        ):
            exemplars[bucket] = (span, value, at)
        self.counts[bucket] += 1
        self.sum += value
        self.count += 1  # last: a scrape that comes in between must not take the old lines for the new version

    def numbers(self) -> list[float]:
        return [self.sum, *self.counts]

    def become(self, numbers: Sequence[float]) -> None:
        self.sum = numbers[0]
        self.counts[:] = map(int, numbers[1:])
        self.count = sum(self.counts)


def packed(numbers: Sequence[float]) -> bytes:
    """Numbers as bytes: little-endian doubles, which hold counts up to 2**53 exactly."""
    doubles = array("d", numbers)
    if sys.byteorder == "big":
        doubles.byteswap()
    return doubles.tobytes()


def unpacked(content: bytes) -> list[float]:
    """The numbers in bytes. Raises ValueError for bytes that are none."""
    doubles = array("d")
    doubles.frombytes(content)
    if sys.byteorder == "big":
        doubles.byteswap()
    return doubles.tolist()
