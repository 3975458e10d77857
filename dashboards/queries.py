"""What panels ask Prometheus: selectors with the dashboards' filters in them, and a query as data."""

from __future__ import annotations

from dataclasses import dataclass

AGENT = 'agent_name=~"$agent"'
NODE = f'{AGENT},node_name=~"$node"'
CHANNEL = f'{AGENT},channel=~"$channel"'
INSTANCE = 'instance=~"$instance"'
HEARD = f'{NODE},interrupted="false"'
"""Turns whose latency the caller waited for."""

EVERY = "[$__rate_interval]"
WHOLE = "[$__range]"


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of a panel; ``table`` asks for the latest values as rows."""

    expr: str
    legend: str = ""
    table: bool = False
    exemplars: bool = False
    ref: str = ""


def rate(metric: str, selector: str, *by: str, window: str = EVERY) -> str:
    """Events per second, summed by labels."""
    return f"{_sum(by)} (rate({metric}{{{selector}}}{window}))"


def increase(metric: str, selector: str, *by: str, window: str = WHOLE) -> str:
    """Events in a window, by default in the whole time range of the dashboard."""
    return f"{_sum(by)} (increase({metric}{{{selector}}}{window}))"


def quantile(share: float, metric: str, selector: str, *by: str, window: str = EVERY) -> str:
    """A percentile of the summed histogram: percentiles themselves are never averaged."""
    return f"histogram_quantile({share:g}, {rate(f'{metric}_bucket', selector, *by, 'le', window=window)})"


def mean(metric: str, selector: str, *by: str, window: str = EVERY) -> str:
    """The mean of a histogram: its sum over its count."""
    total, count = (rate(f"{metric}_{part}", selector, *by, window=window) for part in ("sum", "count"))
    return f"{total} / {count}"


def share(part: str, whole: str) -> str:
    """``part`` of ``whole``; 0 where there is a whole and no part of it yet."""
    return f"({part} or 0 * {whole}) / {whole}"


def _sum(by: tuple[str, ...]) -> str:
    return f"sum by ({', '.join(by)})" if by else "sum"
