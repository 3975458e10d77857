"""Cumulative metrics as deltas, for backends that want them (``…_TEMPORALITY_PREFERENCE=delta``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    DataPointT,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    Sum,
)

from exporter.outputs.otlp.starts import Series, amount, grows, series_of

_DELTA = AggregationTemporality.DELTA


class Deltas:
    """Remembers what a backend has taken of every series and gives the rest.

    What a failed push carried is part of the next one. A request whose answer got lost may be counted twice: the price
    of deltas, which cumulative numbers do not have. A series that fell behind what was taken has started anew.
    """

    def __init__(self) -> None:
        self._taken: dict[Series, DataPointT] = {}  # cumulative, as of the last delta that arrived
        self._offered: dict[Series, DataPointT] = {}  # cumulative, as of the delta now being sent

    def go_on_from(self, metrics: Iterable[Metric]) -> None:
        """An earlier life has counted these and pushed them."""
        for metric in metrics:
            if grows(metric):
                data: Any = metric.data
                for point in data.data_points:
                    self._taken[series_of(metric, point)] = dataclasses.replace(point, exemplars=())

    def since_last(self, metrics: Iterable[Metric]) -> Iterator[Metric]:
        """What happened since the last ``taken``. Series without news are left out; gauges pass as they are."""
        self._offered.clear()
        for metric in metrics:
            if not grows(metric):
                yield metric
                continue
            data: Any = metric.data  # a union of data classes: replace() cannot see that the points fit the kind
            points = [
                delta
                for point in data.data_points
                if (delta := self._news(series_of(metric, point), point)) is not None
            ]
            if points:
                yield dataclasses.replace(
                    metric, data=dataclasses.replace(data, data_points=points, aggregation_temporality=_DELTA)
                )

    def taken(self, sent: MetricsData) -> None:
        """The backend has these deltas."""
        for metric in _metrics(sent):
            if isinstance(metric.data, Histogram | Sum) and metric.data.aggregation_temporality == _DELTA:
                for point in metric.data.data_points:
                    series = series_of(metric, point)
                    self._taken[series] = self._offered.pop(series)

    def _news(self, series: Series, point: DataPointT) -> DataPointT | None:
        taken = self._taken.get(series)
        if taken is not None and amount(point) >= amount(taken) and _start(point) != _start(taken):
            taken = None  # it was gone and has begun again: what it counted since then nobody has taken
        if amount(point) == (amount(taken) if taken is not None else 0):
            return None
        self._offered[series] = dataclasses.replace(point, exemplars=())
        if taken is None:
            return point
        if amount(point) < amount(taken):
            return dataclasses.replace(point, start_time_unix_nano=taken.time_unix_nano)
        return _difference(point, taken)


def _start(point: DataPointT) -> int | None:
    return point.start_time_unix_nano


def _metrics(data: MetricsData) -> Iterator[Metric]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            yield from scope.metrics


def _difference(point: DataPointT, taken: DataPointT) -> DataPointT:
    start_ns = taken.time_unix_nano
    if isinstance(point, NumberDataPoint) and isinstance(taken, NumberDataPoint):
        return dataclasses.replace(point, start_time_unix_nano=start_ns, value=point.value - taken.value)
    if isinstance(point, HistogramDataPoint) and isinstance(taken, HistogramDataPoint):
        return dataclasses.replace(
            point,
            start_time_unix_nano=start_ns,
            count=point.count - taken.count,
            sum=(point.sum or 0.0) - (taken.sum or 0.0),
            bucket_counts=[now - before for now, before in zip(point.bucket_counts, taken.bucket_counts, strict=True)],
        )
    return point
