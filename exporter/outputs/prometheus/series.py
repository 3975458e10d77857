"""Time series in memory: families of counters, gauges and histograms, made from the catalogue.

What prometheus_client's own metric classes do, but for this program's traffic: a histogram observation is one
bisection and three stores; a child knows when it changed, so that a scrape renders only what did; a family holds to
its series budget. ``Store`` is a prometheus_client collector: everything that reads a registry reads these series.

Written by one thread (the event loop) and read by others: every read takes a copy of what it needs first, and a
value that changes meanwhile is simply seen by the next scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import Metric
from prometheus_client.samples import Exemplar, Sample

from exporter.outputs.prometheus.catalogue import AGENT, Kind, MetricSpec
from exporter.outputs.prometheus.textformat import ExemplarAt, Layout, SpanReference

OTHER = "__other__"
_MOST_REMEMBERED_OVERFLOWS = 10_000
_OWN_BUDGET = 1000
"""What the exporter says about itself is bounded by its code, not by its traffic: a small budget must not fold it."""


class Counter:
    """A number that only grows."""

    __slots__ = ("idle_version", "rendered", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.rendered: Rendered | None = None
        self.idle_version = -1.0

    @property
    def version(self) -> float:
        """Changes whenever the child does."""
        return self.value

    def inc(self, amount: float = 1.0) -> None:
        """Count ``amount`` more."""
        self.value += amount


class Gauge(Counter):
    """A number that comes and goes."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """It is ``value`` now."""
        self.value = value


class Histogram:
    """How often values fell into each bucket. ``counts`` are per bucket, not cumulative; the last is +Inf's."""

    __slots__ = ("bounds", "count", "counts", "exemplars", "idle_version", "rendered", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.count = 0
        self.exemplars: dict[int, ExemplarAt] | None = None
        self.rendered: Rendered | None = None
        self.idle_version = -1.0

    @property
    def version(self) -> float:
        """Changes whenever the child does."""
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
        shown = exemplars.get(bucket)
        if shown is None or at >= shown[2]:  # Prometheus refuses one that is older than what it has
            exemplars[bucket] = (span, value, at)
        self.counts[bucket] += 1
        self.sum += value
        self.count += 1  # last: a scrape that comes in between must not take the old lines for the new version


Child = Counter | Histogram


class Rendered(NamedTuple):
    """A child's lines as they were at ``version``."""

    version: float
    openmetrics: bool
    text: str


class Family:
    """All series of one metric."""

    def __init__(self, spec: MetricSpec, *, bounds: tuple[float, ...] = (), budget: int = 2000) -> None:
        self.spec = spec
        self.bounds = bounds or spec.buckets
        self.budget = budget
        self.children: dict[tuple[str, ...], Child] = {}
        self.overflows = 0
        self._overflowed: dict[tuple[str, ...], None] = {}
        self._layout = Layout(spec, self.bounds)
        for values in spec.initial():
            self._child(values)

    @property
    def name(self) -> str:
        """The metric's name as OpenMetrics has it: without ``_total``."""
        return self.spec.name.removesuffix("_total")

    def _child(self, values: tuple[str, ...]) -> Child:
        child = self.children.get(values)
        if child is None:
            if self.spec.kind is Kind.HISTOGRAM:
                child = Histogram(self.bounds)
            else:
                child = Counter() if self.spec.kind is Kind.COUNTER else Gauge()
            self.children[values] = child
        return child

    def labels(self, *values: str) -> Child:
        """The child for these label values; over the budget, the one that folds them.

        Keep the child: a look-up costs more than an observation. Keep it no longer than ``Store.sweep`` allows.
        """
        if len(self.children) >= self.budget and values not in self.children:
            values = self._folded(values)
        return self._child(values)

    def _folded(self, values: tuple[str, ...]) -> tuple[str, ...]:
        if values not in self._overflowed:
            self.overflows += 1
            if len(self._overflowed) < _MOST_REMEMBERED_OVERFLOWS:
                self._overflowed[values] = None
        folded = tuple(value if name in AGENT else OTHER for name, value in zip(self.spec.labels, values, strict=True))
        if folded not in self.children and len(self.children) >= 2 * self.budget:
            return (OTHER,) * len(values)  # more agents than any account has: somebody makes them up
        return folded

    def metric(self) -> Metric:
        """The family as prometheus_client's data model."""
        metric = Metric(self.name, self.spec.help, self.spec.type, self.spec.unit)
        names = self.spec.labels
        for values, child in list(self.children.items()):
            labels = dict(zip(names, values, strict=True))
            if isinstance(child, Histogram):
                metric.samples.extend(self._histogram_samples(labels, child))
            else:
                metric.samples.append(Sample(self.spec.name, labels, child.value))
        return metric

    def _histogram_samples(self, labels: dict[str, str], child: Histogram) -> Iterator[Sample]:
        counts, total = list(child.counts), child.sum
        exemplars = dict(child.exemplars) if child.exemplars else {}
        cumulative = 0
        for bucket, count in enumerate(counts):
            cumulative += count
            exemplar = None
            if (shown := exemplars.get(bucket)) is not None:
                span, value, at = shown
                exemplar = Exemplar({"trace_id": span.trace_id, "span_id": span.span_id}, value, at)
            le = {"le": self._layout.les[bucket]}
            yield Sample(f"{self.name}_bucket", labels | le, float(cumulative), None, exemplar)
        yield Sample(f"{self.name}_count", labels, float(cumulative))
        yield Sample(f"{self.name}_sum", labels, total)

    def render(self, openmetrics: bool) -> Iterable[str]:
        """The family in text form; children that did not change since the last time are not rendered again."""
        yield self._layout.openmetrics_header if openmetrics else self._layout.text_header
        for values, child in list(self.children.items()):
            version = child.version
            rendered = child.rendered
            if rendered is None or rendered.version != version or rendered.openmetrics is not openmetrics:
                rendered = Rendered(version, openmetrics, self._lines(values, child, openmetrics))
                child.rendered = rendered
            yield rendered.text

    def _lines(self, values: tuple[str, ...], child: Child, openmetrics: bool) -> str:
        if not isinstance(child, Histogram):
            return self._layout.value_line(values, child.value)
        exemplars = dict(child.exemplars) if openmetrics and child.exemplars else None
        return self._layout.histogram_lines(values, list(child.counts), child.sum, exemplars)

    def sweep(self) -> None:
        """Forget the series that did not change since the last sweep. Whoever keeps children must drop them now."""
        for values, child in list(self.children.items()):
            if child.version == child.idle_version and self.spec.kind is not Kind.GAUGE:
                del self.children[values]
            else:
                child.idle_version = child.version
        for values in self.spec.initial():
            self._child(values)


class Store:
    """Every family of a catalogue. A prometheus_client collector.

    :param budget: series a metric may hold.
    :param bounds: bucket bounds, in seconds, for the histograms whose buckets can be adjusted.
    """

    def __init__(self, catalogue: Iterable[MetricSpec], *, budget: int = 2000, bounds: tuple[float, ...] = ()) -> None:
        self.families = {
            spec.name: Family(
                spec,
                bounds=bounds if spec.adjustable else (),
                budget=max(budget, _OWN_BUDGET) if spec.name.startswith("atoms_exporter_") else budget,
            )
            for spec in catalogue
        }

    def __getitem__(self, name: str) -> Family:
        return self.families[name]

    def counter(self, name: str, *labels: str) -> Counter:
        """A counter's child."""
        child = self.families[name].labels(*labels)
        assert isinstance(child, Counter)
        return child

    def gauge(self, name: str, *labels: str) -> Gauge:
        """A gauge's child."""
        child = self.families[name].labels(*labels)
        assert isinstance(child, Gauge)
        return child

    def histogram(self, name: str, *labels: str) -> Histogram:
        """A histogram's child."""
        child = self.families[name].labels(*labels)
        assert isinstance(child, Histogram)
        return child

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client, and whoever reads its registries."""
        for family in self.families.values():
            yield family.metric()

    def render(self, openmetrics: bool, names: Collection[str] = ()) -> str:
        """All families, or those named, in the text format 0.0.4 or OpenMetrics 1.0 (without its last line)."""
        wanted = [family for name, family in self.families.items() if not names or name in names]
        return "".join(line for family in wanted for line in family.render(openmetrics))

    def sweep(self, names: Iterable[str]) -> None:
        """Forget idle series of the metrics named."""
        for name in names:
            self.families[name].sweep()
