"""The Prometheus registry as OpenTelemetry metrics: the same series, the same names, nothing on the hot path.

Names stay as Prometheus has them, suffixes included ("SHOULD NOT be altered": Prometheus and OpenMetrics
Compatibility), and the unit stands beside them. Whatever turns OTLP back into Prometheus adds a unit or ``_total`` only
where the name lacks it, so that a dashboard finds ``atoms_turn_latency_seconds`` whichever way the number came.
A unit of ``1`` is never given: it would make a gauge a ``_ratio``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    DataPointT,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Metric as Family
from prometheus_client.samples import Exemplar as PrometheusExemplar
from prometheus_client.samples import Sample

_UNITS = {"seconds": "s", "bytes": "By", "celsius": "Cel", "meters": "m", "volts": "V", "joules": "J"}
_CUMULATIVE = AggregationTemporality.CUMULATIVE
_Labels = frozenset[tuple[str, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """The time a push speaks of, in Unix nanoseconds: since when counters count, and now."""

    start_ns: int
    now_ns: int


def metrics_of(
    families: Iterable[Family], window: Window, *, units: Mapping[str, str] | None = None, exemplars: bool = True
) -> Iterator[Metric]:
    """Every family of a registry as cumulative OTLP metrics.

    ``units`` gives the UCUM unit of a family by its Prometheus name where the name does not end in one.
    Gauge histograms are left out, as the specification demands; the data model here has no summaries, so theirs
    become a counter for the count, one for the sum and a gauge for the quantiles.
    """
    for family in families:
        unit = _unit(family, units or {})
        if family.type == "histogram":
            points = list(_histogram_points(family, window, exemplars))
            if points:
                yield Metric(family.name, family.documentation, unit, Histogram(points, _CUMULATIVE))
        elif family.type != "gaugehistogram":
            yield from _number_metrics(family, unit, window, exemplars)


def pack(
    metrics: Iterable[Metric], resource: Resource, scope: InstrumentationScope, most_points: int
) -> Iterator[MetricsData]:
    """Requests of at most ``most_points`` data points each: a gRPC server takes messages of 4 MiB."""
    packed: list[Metric] = []
    room = most_points
    for metric in metrics:
        points = metric.data.data_points
        while points:
            part, points = points[:room], points[room:]
            packed.append(_with_points(metric, part))
            room -= len(part)
            if not room:
                yield _request(packed, resource, scope)
                packed, room = [], most_points
    if packed:
        yield _request(packed, resource, scope)


def _with_points(metric: Metric, points: Iterable[DataPointT]) -> Metric:
    data: Any = metric.data  # a union of data classes: replace() cannot see that the points fit the kind
    return dataclasses.replace(metric, data=dataclasses.replace(data, data_points=points))


def _request(metrics: list[Metric], resource: Resource, scope: InstrumentationScope) -> MetricsData:
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(scope, metrics, "")], "")])


def _unit(family: Family, units: Mapping[str, str]) -> str:
    if found := units.get(family.name) or units.get(f"{family.name}_total"):
        return found
    return _UNITS.get(family.unit or family.name.rpartition("_")[2], "")


def _number_metrics(family: Family, unit: str, window: Window, exemplars: bool) -> Iterator[Metric]:
    """One metric for each sample name: a counter's ``_total``, a summary's ``_sum`` and ``_count`` …"""
    created: dict[_Labels, int] = {}
    by_name: dict[str, list[Sample]] = {}
    created_name = f"{family.name}_created"
    for sample in family.samples:
        if sample.name == created_name and family.type in ("counter", "summary"):
            created[frozenset(sample.labels.items())] = _nanoseconds(sample.value)
        else:
            by_name.setdefault(sample.name, []).append(sample)
    for name, samples in by_name.items():
        monotonic = family.type == "counter" or (family.type == "summary" and name != family.name)
        points = [
            NumberDataPoint(
                attributes=sample.labels,
                start_time_unix_nano=created.get(frozenset(sample.labels.items()), window.start_ns)
                if created
                else window.start_ns,
                time_unix_nano=_nanoseconds(sample.timestamp) if sample.timestamp is not None else window.now_ns,
                value=sample.value,
                exemplars=[_exemplar(sample.exemplar, window)] if exemplars and sample.exemplar else (),
            )
            for sample in samples
        ]
        if monotonic:
            yield Metric(name, family.documentation, unit, Sum(points, _CUMULATIVE, is_monotonic=True))
        elif family.type in ("info", "stateset"):
            yield Metric(name, family.documentation, unit, Sum(points, _CUMULATIVE, is_monotonic=False))
        else:
            yield Metric(name, family.documentation, unit, Gauge(points))


class _Buckets:
    """One histogram series, gathered from its samples."""

    __slots__ = ("attributes", "count", "created_ns", "cumulative", "exemplars", "sum", "time_ns")

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self.attributes = attributes
        self.cumulative: list[tuple[float, float]] = []
        self.exemplars: list[PrometheusExemplar] = []
        self.count: float | None = None
        self.sum: float | None = None
        self.created_ns: int | None = None
        self.time_ns: int | None = None

    def add(self, family_name: str, sample: Sample) -> None:
        suffix = sample.name[len(family_name) :]
        if suffix == "_bucket":
            self.cumulative.append((float(sample.labels["le"]), sample.value))
            if sample.exemplar:
                self.exemplars.append(sample.exemplar)
        elif suffix == "_count":
            self.count = sample.value
        elif suffix == "_sum":
            self.sum = sample.value
        elif suffix == "_created":
            self.created_ns = _nanoseconds(sample.value)
        if sample.timestamp is not None:
            self.time_ns = _nanoseconds(sample.timestamp)

    def point(self, window: Window, exemplars: bool) -> HistogramDataPoint | None:
        """None without a count, as the specification has it."""
        if self.count is None:
            return None
        self.cumulative.sort()
        bounds = [bound for bound, _ in self.cumulative if math.isfinite(bound)]
        counts: list[int] = []
        below = 0
        for bound, value in self.cumulative:
            if math.isfinite(bound):
                counts.append(max(int(value) - below, 0))
                below = max(int(value), below)
        counts.append(max(int(self.count) - below, 0))
        return HistogramDataPoint(
            attributes=self.attributes,
            start_time_unix_nano=window.start_ns if self.created_ns is None else self.created_ns,
            time_unix_nano=window.now_ns if self.time_ns is None else self.time_ns,
            count=below + counts[-1],  # what the buckets hold: a receiver refuses a point that disagrees with itself
            sum=self.sum,  # type: ignore[arg-type]  # typed float, but an unset sum is None on the wire
            bucket_counts=counts,
            explicit_bounds=bounds,
            min=None,  # type: ignore[arg-type]  # typed float; Prometheus knows neither, None leaves them unset
            max=None,  # type: ignore[arg-type]  # see min
            exemplars=[_exemplar(found, window) for found in self.exemplars] if exemplars else (),
        )


def _histogram_points(family: Family, window: Window, exemplars: bool) -> Iterator[HistogramDataPoint]:
    series: dict[_Labels, _Buckets] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        key = frozenset(labels.items())
        buckets = series.get(key)
        if buckets is None:
            buckets = series[key] = _Buckets(labels)
        buckets.add(family.name, sample)
    for buckets in series.values():
        point = buckets.point(window, exemplars)
        if point is not None:
            yield point


def _exemplar(found: PrometheusExemplar, window: Window) -> Exemplar:
    """Trace and span id where they are ids; all else as attributes."""
    labels = dict(found.labels)
    trace_id, span_id = _identity(labels.get("trace_id"), 32), _identity(labels.get("span_id"), 16)
    if trace_id is not None and span_id is not None:
        del labels["trace_id"], labels["span_id"]
    else:
        trace_id = span_id = None
    return Exemplar(
        filtered_attributes=labels,
        value=float(found.value),
        time_unix_nano=window.now_ns if found.timestamp is None else _nanoseconds(found.timestamp),
        span_id=span_id,
        trace_id=trace_id,
    )


def _identity(text: str | None, digits: int) -> int | None:
    if text is None or len(text) != digits:
        return None
    try:
        return int(text, 16)
    except ValueError:
        return None


def _nanoseconds(seconds: object) -> int:
    """Of a float, or of prometheus_client's ``Timestamp``, which keeps what a float would lose."""
    whole, fraction = getattr(seconds, "sec", None), getattr(seconds, "nsec", None)
    if whole is not None and fraction is not None:
        return int(whole) * 1_000_000_000 + int(fraction)
    return int(float(str(seconds)) * 1e9)
