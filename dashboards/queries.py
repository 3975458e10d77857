"""What panels ask Prometheus: selectors with the dashboards' filters in them, and a query as data.

Names go between backticks and through Grafana's ``regex`` format: quotes, brackets and backslashes in them survive.
"""

from __future__ import annotations

from dataclasses import dataclass

INSTANCE = 'job=~"$job",instance=~"$instance"'
AGENT_NAME = "agent_name=~`${agent:regex}`"
NODE_NAME = "node_name=~`${node:regex}`"
AGENT = f"{INSTANCE},{AGENT_NAME}"
NODE = f"{AGENT},{NODE_NAME}"
CHANNEL = f'{AGENT},channel=~"$channel"'
HEARD = f'{NODE},interrupted="false"'
"""Turns whose latency the caller waited for."""

BY_AGENT = ("agent_id", "agent_name")
BY_NODE = (*BY_AGENT, "node_id", "node_name")
"""Two nodes (or agents) of one name stay two: names are for legends, ids tell apart."""
NODE_LEGEND = "{{node_name}} · {{agent_name}}"
"""The node first: what is too long for its place is cut at the end."""

EVERY = "[$__rate_interval]"
WHOLE = "[$__range]"
LATELY = "[15m]"
"""Now, whatever the time range of the dashboard."""
LEAST_STEP = "75s"
"""For percentiles and shares: ``$__rate_interval`` is four steps at least, so five minutes, which hold a few turns."""


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
    count = rate if window == EVERY else increase
    return f"histogram_quantile({share:g}, {count(f'{metric}_bucket', selector, *by, 'le', window=window)})"


def mean(metric: str, selector: str, *by: str, window: str = EVERY) -> str:
    """The mean of a histogram: its sum over its count; nothing where nothing was measured."""
    count = rate if window == EVERY else increase
    total, events = (count(f"{metric}_{part}", selector, *by, window=window) for part in ("sum", "count"))
    return f"{total} / ({events} > 0)"


def share(part: str, whole: str) -> str:
    """``part`` of ``whole``; 0 where there is a whole and no part of it yet, nothing where there is no whole."""
    return f"({part} or 0 * {whole}) / ({whole} > 0)"


def known(expr: str) -> str:
    """Without what is not a number: a percentile of nothing."""
    return f"{expr} >= 0"


def busiest(most: int, expr: str, by: tuple[str, ...], total: str) -> str:
    """Of ``expr`` the ``most`` whose ``total``, asked for once at the end of the time range, is largest.

    ``topk`` alone chooses anew at every point of a graph, and then draws everybody who ever was among the top.
    """
    return f"{expr} and on ({', '.join(by)}) topk({most}, {total})"


def _sum(by: tuple[str, ...]) -> str:
    return f"sum by ({', '.join(by)})" if by else "sum"


AT_THE_END = f"{WHOLE} @ end()"
"""The whole time range, counted once, also where a graph asks at many points."""
