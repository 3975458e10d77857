"""Recording rules: how much of an objective's events were bad, over every window its alerts look at.

Short windows are counted on the exporter's own counters. Longer ones add up short windows laid end to end, which
costs Prometheus a few hundred samples instead of hundreds of thousands and stays a ratio of sums.

    atoms_slo:events, atoms_slo:errors, atoms_slo:error_ratio    {slo, window, <by>}
    atoms_slo:error_budget_remaining                             {slo, window, <by>}
    atoms_slo:node_events, atoms_slo:node_error_ratio            {slo, window, <node labels>}
    atoms_slo:objective, atoms_slo:threshold_seconds             {slo, …}
"""

from __future__ import annotations

from typing import Any

from .objectives import BY_NODE, Objective
from .promql import DAY, HOUR, MINUTE, Ranges, duration, le_matcher, number, one_of, quoted, selector

Rule = dict[str, Any]

_COUNTED_DIRECTLY_UP_TO_SECONDS = 1 * HOUR
_FINE_TILE_SECONDS, _FINE_UP_TO_SECONDS = 5 * MINUTE, 1 * DAY
_COARSE_TILE_SECONDS = 1 * HOUR
_NODE_WINDOW_SECONDS = 1 * HOUR


def windows(slo: Objective) -> list[float]:
    """Every window recorded for an objective, in seconds, shortest first; the last is the objective's own."""
    wanted = {_FINE_TILE_SECONDS, _COARSE_TILE_SECONDS}
    for burn in slo.burn_rates:
        wanted |= {burn.long_seconds, burn.short_seconds}
    return sorted({slo.scaled(seconds) for seconds in wanted} | {slo.window_seconds})


def _tile(slo: Objective, window_seconds: float) -> float:
    """What a long window is laid out with: fine up to a day, then coarse, so that 30 days take 720 samples."""
    return slo.scaled(_FINE_TILE_SECONDS if window_seconds <= slo.scaled(_FINE_UP_TO_SECONDS) else _COARSE_TILE_SECONDS)


def recorded(metric: str, slo: Objective, window_seconds: float) -> str:
    """A selector for one of the recorded series of an objective."""
    return selector(f"atoms_slo:{metric}", (f"slo={quoted(slo.name)}", f"window={quoted(duration(window_seconds))}"))


def selection(slo: Objective) -> tuple[str, ...]:
    """The objective's own matchers on agents and nodes."""
    fields = (
        ("agent_id", slo.agent_ids),
        ("agent_name", slo.agent_names),
        ("node_id", slo.node_ids),
        ("node_name", slo.node_names),
    )
    return tuple(one_of(label, values) for label, values in fields if values)


def total_series(slo: Objective) -> str:
    indicator = slo.indicator
    return selector(indicator.total, (*indicator.total_matchers, *selection(slo)))


def good_series(slo: Objective) -> str | None:
    """The bucket that holds the good events; ``None`` when bad ones are counted instead."""
    indicator = slo.indicator
    if indicator.buckets is None or slo.threshold_seconds is None:
        return None
    matchers = (le_matcher(slo.threshold_seconds), *indicator.total_matchers, *selection(slo))
    return selector(indicator.buckets, matchers)


def bad_series(slo: Objective) -> str | None:
    """The counter of bad events; ``None`` when good ones are counted instead."""
    indicator = slo.indicator
    if indicator.failures is None:
        return None
    return selector(indicator.failures, (*indicator.failure_matchers, *selection(slo)))


def recording_rules(slo: Objective, ranges: Ranges) -> list[Rule]:
    """All recording rules of an objective, each after what it reads."""
    rules: list[Rule] = [_constant("objective", slo, slo.objective)]
    if slo.threshold_seconds is not None:
        rules.append(_constant("threshold_seconds", slo, slo.threshold_seconds))
    for window in windows(slo):
        if window <= _COUNTED_DIRECTLY_UP_TO_SECONDS:
            events, errors = _events(slo, slo.by, ranges(window)), _errors(slo, slo.by, ranges(window))
        else:
            tile = _tile(slo, window)
            laid_out = f"[{ranges(window)}:{ranges(tile)}]"
            events = f"sum_over_time({recorded('events', slo, tile)}{laid_out})"
            errors = f"sum_over_time({recorded('errors', slo, tile)}{laid_out})"
        ratio = f"{recorded('errors', slo, window)}\n  /\n({recorded('events', slo, window)} > 0)"
        rules += [
            _record("events", slo, window, events),
            _record("errors", slo, window, errors),
            _record("error_ratio", slo, window, ratio),
        ]
    left = f"1 - {recorded('error_ratio', slo, slo.window_seconds)} / {number(slo.budget)}"
    rules.append(_record("error_budget_remaining", slo, slo.window_seconds, left))
    if slo.indicator.has_nodes:
        rules += _node_rules(slo, ranges)
    return rules


def _node_rules(slo: Objective, ranges: Ranges) -> list[Rule]:
    """Which node is to blame: the last hour by node, whatever the objective is grouped by."""
    window = _NODE_WINDOW_SECONDS
    events, errors = _events(slo, BY_NODE, ranges(window)), _errors(slo, BY_NODE, ranges(window))
    return [
        _record("node_events", slo, window, events),
        _record("node_error_ratio", slo, window, f"({errors})\n  /\n({events} > 0)"),
    ]


def _events(slo: Objective, by: tuple[str, ...], window: str) -> str:
    return f"sum by ({', '.join(by)}) (increase({total_series(slo)}[{window}]))"


def _errors(slo: Objective, by: tuple[str, ...], window: str) -> str:
    grouping = f"sum by ({', '.join(by)})"
    bad = bad_series(slo)
    if bad is not None:
        # No failure yet may mean no failure series yet: then zero, where there are events at all.
        return f"{grouping} (increase({bad}[{window}]))\n  or\n0 * {_events(slo, by, window)}"
    # Extrapolation may find a little more in the bucket than in the count.
    return (
        f"clamp_min(\n  {_events(slo, by, window)}\n  -\n  {grouping} (increase({good_series(slo)}[{window}])),\n  0\n)"
    )


def _record(metric: str, slo: Objective, window_seconds: float, expr: str) -> Rule:
    labels = {"slo": slo.name, "window": duration(window_seconds)}
    return {"record": f"atoms_slo:{metric}", "expr": expr, "labels": labels}


def _constant(metric: str, slo: Objective, value: float) -> Rule:
    labels = {"slo": slo.name, "indicator": slo.metric, "window": duration(slo.window_seconds)}
    return {"record": f"atoms_slo:{metric}", "expr": f"vector({number(value)})", "labels": labels}
