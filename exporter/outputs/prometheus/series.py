"""Time series in memory: families of counters, gauges and histograms, made from the catalogue.

What prometheus_client's own metric classes do, but for this program's traffic: a histogram observation is one
bisection and three stores; a child knows when it changed, so that a scrape renders only what did; a family holds to
its series budget. ``Store`` is a prometheus_client collector: everything that reads a registry reads these series.

Written by one thread (the event loop) and read by others: every read takes a copy of what it needs first, and a
value that changes meanwhile is simply seen by the next scrape.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.samples import Exemplar, Sample

from exporter.outputs.prometheus.catalogue import AGENT, NOT_KEPT, Kind, MetricSpec
from exporter.outputs.prometheus.children import (
    UNKEPT,
    Child,
    Counter,
    Gauge,
    Histogram,
    Moment,
    Rendered,
    packed,
    unpacked,
)
from exporter.outputs.prometheus.textformat import Layout, exemplar_labels

__all__ = ["OTHER", "Child", "Counter", "Family", "Gauge", "Histogram", "Store", "View"]

OTHER = "__other__"
_OWN_BUDGET = 1000
"""What the exporter says about itself is bounded by its code, not by its traffic: a small budget must not fold it."""
_MOST_RESTING = 10
"""Series of a family that may rest, as a multiple of its budget; the longest at rest are forgotten."""

_NEVER = sys.maxsize

Labels = tuple[str, ...]


class View(NamedTuple):
    """What of the series somebody sees.

    Series born in edition ``floor`` or later are new to them: shown at what they count from (0, for most), so that
    the first step is a step. ``None``: nothing is new. ``kept``: not the numbers as they are, but as they were last
    kept; for the time in which nothing can be kept.
    """

    floor: int | None = None
    kept: bool = False


PLAIN = View()


class Crowd:
    """How many different label sets were folded, in 128 KiB whatever their number.

    A Bloom filter: among ten thousand it takes one for another with a probability of 2e-6; of a million it misses some.
    """

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = bytearray(1 << 17)

    def joins(self, values: Labels) -> bool:
        """``True`` for one that was not there."""
        bits, number, new = self._bits, hash(values), False
        for shift in (0, 14, 28, 42):
            place = (number >> shift) & 0xFFFFF
            mask = 1 << (place & 7)
            if not bits[place >> 3] & mask:
                bits[place >> 3] |= mask
                new = True
        return new


class Family:
    """All series of one metric."""

    def __init__(
        self,
        spec: MetricSpec,
        *,
        bounds: tuple[float, ...] = (),
        budget: int = 2000,
        moment: Moment | None = None,
        created_lines: bool = False,
    ) -> None:
        self.spec = spec
        self.bounds = bounds or spec.buckets
        self.budget = budget
        self.children: dict[Labels, Child] = {}
        self.resting: dict[Labels, Child] = {}
        """Series that were idle: off the page, and there again with their numbers when they go on."""
        self.forgotten: list[Labels] = []
        """Series that had rested longest when there were too many; for whoever keeps them elsewhere."""
        self.overflows = 0
        self._overflowed: Crowd | None = None
        self._layout = Layout(spec, self.bounds)
        self._moment = moment or Moment()
        self.is_kept = spec.kind is not Kind.GAUGE and spec.name not in NOT_KEPT
        self._created_lines = created_lines and spec.kind is not Kind.GAUGE
        for values in spec.initial():
            self._child(values)

    @property
    def name(self) -> str:
        """The metric's name as OpenMetrics has it: without ``_total``."""
        return self.spec.name.removesuffix("_total")

    @property
    def layout(self) -> str:
        """What must be the same for numbers of another life to be numbers of this family."""
        bounds = ",".join(self._layout.les) if self.spec.kind is Kind.HISTOGRAM else ""
        return f"{self.spec.type} {','.join(self.spec.labels)} {bounds}".rstrip()

    def _child(self, values: Labels) -> Child:
        child = self.children.get(values)
        if child is None:
            child = self.children[values] = self._returned(values) or self.blank()
        return child

    def _returned(self, values: Labels) -> Child | None:
        """A series that rested goes on. It is new to every scraper, and shown first as it was when it rested."""
        child = self.resting.pop(values, None)
        if child is not None:
            child.base = packed(child.numbers())
            child.born = self._moment.newest = self._moment.edition
            child.kept_version, child.moved = UNKEPT, True
        return child

    def blank(self) -> Child:
        """A new series, on no page yet."""
        moment = self._moment
        created_at = moment.clock() if moment.clock is not None else 0.0
        moment.newest = moment.edition
        if self.spec.kind is Kind.HISTOGRAM:
            return Histogram(self.bounds, moment, moment.edition, created_at)
        return (Counter if self.spec.kind is Kind.COUNTER else Gauge)(moment.edition, created_at)

    def labels(self, *values: str) -> Child:
        """The child for these label values; over the budget, the one that folds them.

        Keep the child: a look-up costs more than an observation. Keep it no longer than ``Store.sweep`` allows.
        """
        if len(self.children) >= self.budget and values not in self.children:
            values = self._folded(values)
        return self._child(values)

    def _folded(self, values: tuple[str, ...]) -> tuple[str, ...]:
        if self._overflowed is None:
            self._overflowed = Crowd()
        self.overflows += self._overflowed.joins(values)
        folded = tuple(value if name in AGENT else OTHER for name, value in zip(self.spec.labels, values, strict=True))
        if folded not in self.children and len(self.children) >= 2 * self.budget:
            return (OTHER,) * len(values)  # more agents than any account has: somebody makes them up
        return folded

    def _shown(self, child: Child, view: View) -> Sequence[float] | None:
        """Numbers to show instead of the child's own; ``None``: its own."""
        if not self.is_kept:
            return None
        if view.floor is not None and child.born >= view.floor:
            content = child.base
        elif view.kept:
            content = child.kept if child.kept is not None else child.base
        else:
            return None
        if content is not None:
            return unpacked(content)
        return (0.0,) * (len(self.bounds) + 2 if isinstance(child, Histogram) else 1)

    def metric(self, view: View = PLAIN, *, created: bool = False, resting: bool = False) -> Metric:
        """The family as prometheus_client's data model; ``created``: with the times its series began; ``resting``:
        with those that rest."""
        metric = Metric(self.name, self.spec.help, self.spec.type, self.spec.unit)
        names = self.spec.labels
        created = (created or self._created_lines) and self.spec.kind is not Kind.GAUGE
        for values, child in [*self.children.items(), *(self.resting.items() if resting else ())]:
            labels = dict(zip(names, values, strict=True))
            numbers = self._shown(child, view)
            if isinstance(child, Histogram):
                metric.samples.extend(self._histogram_samples(labels, child, numbers))
            else:
                assert isinstance(child, Counter)
                metric.samples.append(Sample(self.spec.name, labels, child.value if numbers is None else numbers[0]))
            if created and child.created_at:
                metric.samples.append(Sample(f"{self.name}_created", labels, child.created_at))
        return metric

    def _histogram_samples(
        self, labels: dict[str, str], child: Histogram, numbers: Sequence[float] | None
    ) -> Iterator[Sample]:
        total, *counts = child.numbers() if numbers is None else numbers
        exemplars = dict(child.exemplars) if child.exemplars and numbers is None else {}
        cumulative = 0.0
        for bucket, count in enumerate(counts):
            cumulative += count
            exemplar = None
            if (shown := exemplars.get(bucket)) is not None:
                span, value, at = shown
                exemplar = Exemplar(exemplar_labels(span), value, at)
            le = {"le": self._layout.les[bucket]}
            yield Sample(f"{self.name}_bucket", labels | le, cumulative, None, exemplar)
        yield Sample(f"{self.name}_count", labels, cumulative)
        yield Sample(f"{self.name}_sum", labels, total)

    def render(self, openmetrics: bool, view: View = PLAIN) -> Iterable[str]:
        """The family in text form; children that did not change since the last time are not rendered again."""
        yield self._layout.openmetrics_header if openmetrics else self._layout.text_header
        floor = _NEVER if view.floor is None else view.floor
        for values, child in list(self.children.items()):
            if (child.born >= floor or view.kept) and (numbers := self._shown(child, view)) is not None:
                yield self._other_lines(values, child, numbers, openmetrics)
                continue
            version = child.version
            rendered = child.rendered
            if rendered is None or rendered.version != version or rendered.openmetrics is not openmetrics:
                rendered = Rendered(version, openmetrics, self._lines(values, child, openmetrics))
                child.rendered = rendered
            yield rendered.text

    def _lines(self, values: Labels, child: Child, openmetrics: bool) -> str:
        if not isinstance(child, Histogram):
            assert isinstance(child, Counter)
            lines = self._layout.value_line(values, child.value)
        else:
            exemplars = dict(child.exemplars) if openmetrics and child.exemplars else None
            lines = self._layout.histogram_lines(values, list(child.counts), child.sum, exemplars)
        return lines + self._created(values, child, openmetrics)

    def _other_lines(self, values: Labels, child: Child, numbers: Sequence[float], openmetrics: bool) -> str:
        if isinstance(child, Histogram):
            counts = [int(count) for count in numbers[1:]]
            lines = self._layout.histogram_lines(values, counts, numbers[0], None)
        else:
            lines = self._layout.value_line(values, numbers[0])
        return lines + self._created(values, child, openmetrics)

    def _created(self, values: Labels, child: Child, openmetrics: bool) -> str:
        if not (self._created_lines and openmetrics and child.created_at):
            return ""
        return self._layout.created_line(values, child.created_at)

    def sweep(self) -> None:
        """Lay the series to rest that did not change since the last sweep: they leave the page and keep their
        numbers. Whoever holds children must let go of them now."""
        if self.spec.kind is Kind.GAUGE:
            return
        always = set(self.spec.initial())
        for values, child in list(self.children.items()):
            if child.version != child.idle_version:
                child.idle_version = child.version
            elif values not in always:
                del self.children[values]
                self._rest(values, child)

    def _rest(self, values: Labels, child: Child) -> None:
        child.rendered = None
        child.idle_version = child.kept_version = UNKEPT
        child.moved = True
        if isinstance(child, Histogram):
            child.exemplars = None
        self.resting[values] = child
        if len(self.resting) > _MOST_RESTING * self.budget:
            longest = next(iter(self.resting))
            del self.resting[longest]
            self.forgotten.append(longest)


class _Off(Family):
    """A family that is switched off: whatever is counted in it goes nowhere, and has no series."""

    def __init__(self, spec: MetricSpec) -> None:
        super().__init__(spec)
        self.children.clear()
        self._sink = self.blank()

    def labels(self, *values: str) -> Child:
        """The same for all."""
        return self._sink


class Store:
    """Every family of a catalogue. A prometheus_client collector.

    :param without: names of families that are switched off.
    :param budget: series a metric may hold.
    :param bounds: bucket bounds, in seconds, for the histograms whose buckets can be adjusted.
    :param created_lines: write ``_created`` in OpenMetrics.
    """

    def __init__(
        self,
        catalogue: Iterable[MetricSpec],
        *,
        budget: int = 2000,
        bounds: tuple[float, ...] = (),
        created_lines: bool = False,
        without: Collection[str] = (),
    ) -> None:
        catalogue = tuple(catalogue)
        self._off = {spec.name: _Off(spec) for spec in catalogue if spec.name in without}
        self.moment = Moment()
        self.families = {
            spec.name: Family(
                spec,
                bounds=bounds if spec.adjustable else (),
                budget=max(budget, _OWN_BUDGET) if spec.name.startswith("atoms_exporter_") else budget,
                moment=self.moment,
                created_lines=created_lines,
            )
            for spec in catalogue
            if spec.name not in self._off
        }

    def is_off(self, name: str) -> bool:
        """The family is switched off."""
        return name in self._off

    def begin(self, clock: Callable[[], float]) -> None:
        """From now on there is a clock (Unix time): series know when they began."""
        self.moment.clock = clock
        for family in self.families.values():
            for child in family.children.values():
                child.created_at = clock()

    def __getitem__(self, name: str) -> Family:
        return self.families.get(name) or self._off[name]

    def counter(self, name: str, *labels: str) -> Counter:
        """A counter's child."""
        child = self[name].labels(*labels)
        assert isinstance(child, Counter)
        return child

    def gauge(self, name: str, *labels: str) -> Gauge:
        """A gauge's child."""
        child = self[name].labels(*labels)
        assert isinstance(child, Gauge)
        return child

    def histogram(self, name: str, *labels: str) -> Histogram:
        """A histogram's child."""
        child = self[name].labels(*labels)
        assert isinstance(child, Histogram)
        return child

    def collect(self, view: View = PLAIN, *, created: bool = False, resting: bool = False) -> Iterator[Metric]:
        """For prometheus_client, and whoever reads its registries."""
        for family in self.families.values():
            yield family.metric(view, created=created, resting=resting)

    def render(self, openmetrics: bool, names: Collection[str] = (), view: View = PLAIN) -> str:
        """All families, or those named, in the text format 0.0.4 or OpenMetrics 1.0 (without its last line)."""
        wanted = [family for name, family in self.families.items() if not names or name in names]
        return "".join(line for family in wanted for line in family.render(openmetrics, view))

    def sweep(self, names: Iterable[str]) -> None:
        """Lay idle series of the metrics named to rest."""
        for name in names:
            self[name].sweep()
