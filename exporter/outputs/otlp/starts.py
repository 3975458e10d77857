"""Since when each series counts: a series that vanishes and comes back has started anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from opentelemetry.sdk.metrics.export import DataPointT, Histogram, Metric, NumberDataPoint, Sum

Series = tuple[str, frozenset[tuple[str, object]]]


def series_of(metric: Metric, point: DataPointT) -> Series:
    """What makes a series the same one in the next push."""
    return metric.name, frozenset((point.attributes or {}).items())


def amount(point: DataPointT) -> float:
    """What only grows: a counter's value, a histogram's count."""
    return point.value if isinstance(point, NumberDataPoint) else point.count


def grows(metric: Metric) -> bool:
    """Whether the metric counts: a monotonic sum or a histogram."""
    return isinstance(metric.data, Histogram) or (isinstance(metric.data, Sum) and metric.data.is_monotonic)


class Starts:
    """Gives every counting series its start time, over one walk after the other.

    What is there in the first walk counts since the process began. What appears later, or has fallen, began after the
    walk before: so a backend that trusts start times sees a reset where one was, and takes none for a jump.
    """

    def __init__(self) -> None:
        self._known: dict[Series, tuple[float, int]] | None = None
        self._walked_ns = 0

    def of(self, metrics: Iterable[Metric], start_ns: int, now_ns: int) -> Iterator[Metric]:
        """The metrics of one walk with their start times; ``start_ns`` is the process' own."""
        before, seen = self._known, dict[Series, tuple[float, int]]()
        for metric in metrics:
            if not grows(metric):
                yield metric
                continue
            points = []
            for point in metric.data.data_points:
                key, value = series_of(metric, point), amount(point)
                value_before, since = (value, start_ns) if before is None else before.get(key, (0.0, self._walked_ns))
                if value < value_before:
                    since = self._walked_ns
                seen[key] = value, since
                own = point.start_time_unix_nano != start_ns  # the series itself says when it was created
                points.append(point if own else dataclasses.replace(point, start_time_unix_nano=since))
            data: Any = metric.data  # a union of data classes: replace() cannot see that the points fit the kind
            yield dataclasses.replace(metric, data=dataclasses.replace(data, data_points=points))
        self._known, self._walked_ns = seen, now_ns
