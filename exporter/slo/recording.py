"""Recording rules: how much of an objective's events were bad, over every window its alerts look at.

Windows up to an hour are counted on the exporter's own counters. Longer ones add up short windows laid end to end,
which costs Prometheus a few hundred samples instead of hundreds of thousands and stays a ratio of sums.

    atoms_slo:events, atoms_slo:errors, atoms_slo:error_ratio    {slo, window, range, <by>}
    atoms_slo:error_budget_remaining                             {slo, window, range, <by>}
    atoms_slo:calls_with_errors                                  {slo, window="5m", range, <ids>}
    atoms_slo:node_events, atoms_slo:node_error_ratio            {slo, window, range, <node labels>}
    atoms_slo:objective, atoms_slo:threshold_seconds             {slo, …}

``window`` is what the window is called, that of a 30 day objective; ``range`` is what it spans for this one.
"""

from __future__ import annotations

from typing import Any

from .agents import with_agent_name
from .objectives import BY_NODE, Objective
from .promql import DAY, HOUR, MINUTE, Ranges, duration, le_matcher, number, one_of, quoted, selector

Rule = dict[str, Any]

FINE, COARSE = 5 * MINUTE, 1 * HOUR
"""The windows that longer ones are laid out with."""
_COUNTED_DIRECTLY_UP_TO_SECONDS = 1 * HOUR
_FINE_UP_TO_SECONDS = 1 * DAY
NODE_WINDOW = 1 * HOUR


def windows(slo: Objective) -> list[float]:
    """Every window recorded for an objective, as a 30 day objective has it, shortest first; the last is its own."""
    wanted = {FINE, COARSE}
    for burn in slo.burn_rates:
        wanted |= {burn.long_seconds, burn.short_seconds}
    return [*sorted(wanted), slo.window_seconds]


def recorded(metric: str, slo: Objective, window_seconds: float) -> str:
    """A selector for one of the recorded series of an objective."""
    return selector(f"atoms_slo:{metric}", (f"slo={quoted(slo.name)}", f"window={quoted(duration(window_seconds))}"))


def selection(slo: Objective) -> tuple[str, ...]:
    """The objective's own matchers."""
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


def constants(slo: Objective) -> list[Rule]:
    """What the objective promises, for dashboards."""
    rules = [_constant("objective", slo, slo.objective)]
    if slo.threshold_seconds is not None:
        rules.append(_constant("threshold_seconds", slo, slo.threshold_seconds))
    return rules


def window_rules(slo: Objective, window: float, ranges: Ranges) -> list[Rule]:
    """The recording rules of one window, each after what it reads."""
    if slo.range_seconds(window) <= _COUNTED_DIRECTLY_UP_TO_SECONDS:
        rules = _counted(slo, window, ranges)
    else:
        rules = [
            _record(metric, slo, window, with_agent_name(slo.by, slo.identity, _laid_out(metric, slo, window, ranges)))
            for metric in ("events", "errors")
        ]
    ratio = f"{recorded('errors', slo, window)}\n  /\n({recorded('events', slo, window)} > 0)"
    rules.append(_record("error_ratio", slo, window, ratio))
    if window == slo.window_seconds:
        left = f"1 - {recorded('error_ratio', slo, window)} / {number(slo.budget)}"
        rules.append(_record("error_budget_remaining", slo, window, left))
    return rules


def calls_rule(slo: Objective) -> Rule:
    """Calls that began in the five minutes of a bad event: as many as may have suffered from it."""
    on = ", ".join(slo.agent_labels)
    begun = f'sum by ({on}) (atoms_slo:calls{{window="{duration(FINE)}"}})'
    any_bad = f"(sum by ({', '.join(slo.identity)}) ({recorded('errors', slo, FINE)}) > bool 0)"
    return _record("calls_with_errors", slo, FINE, f"{begun}\n* on ({on}) group_right ()\n{any_bad}")


def node_rules(slo: Objective, ranges: Ranges) -> list[Rule]:
    """Which node is to blame: the last hour by node, whatever the objective is grouped by."""
    if not slo.indicator.has_nodes:
        return []
    span = ranges(NODE_WINDOW)
    events = recorded("node_events", slo, NODE_WINDOW)
    bad = _bad_of(slo, events, BY_NODE, span)
    return [
        _record("node_events", slo, NODE_WINDOW, _summed(BY_NODE, total_series(slo), span), NODE_WINDOW),
        _record("node_error_ratio", slo, NODE_WINDOW, f"({bad})\n  /\n({events} > 0)", NODE_WINDOW),
    ]


def _counted(slo: Objective, window: float, ranges: Ranges) -> list[Rule]:
    span = ranges(slo.range_seconds(window))
    events = with_agent_name(slo.by, slo.identity, _summed(slo.identity, total_series(slo), span))
    errors = _bad_of(slo, recorded("events", slo, window), slo.identity, span)
    return [_record("events", slo, window, events), _record("errors", slo, window, errors)]


def _laid_out(metric: str, slo: Objective, window: float, ranges: Ranges) -> str:
    """A long window from short ones: five minutes up to a day, then hours, and of the running hour what there is."""
    span, fine = ranges(slo.range_seconds(window)), ranges(slo.range_seconds(FINE))
    if window <= _FINE_UP_TO_SECONDS:
        return f"sum by ({', '.join(slo.identity)}) (sum_over_time({recorded(metric, slo, FINE)}[{span}:{fine}]))"
    coarse = ranges(slo.range_seconds(COARSE))
    running = f"{recorded(metric, slo, FINE)} and on () (vector(time()) > on () ({hour_begun(slo)} @ end()))"
    return (
        f"sum by ({', '.join(slo.identity)}) (\n"
        f"  sum_over_time({recorded(metric, slo, COARSE)}[{span}:{coarse}])\n"
        f"  or\n"
        f"  sum_over_time(({running})[{coarse}:{fine}])\n"
        f")"
    )


def hour_begun(slo: Objective) -> str:
    """When the running tile began: Prometheus lays the tiles of a subquery at whole multiples of their length."""
    return selector("atoms_slo:hour_begun_timestamp_seconds", (f"slo={quoted(slo.name)}",))


def hour_begun_rule(slo: Objective, ranges: Ranges) -> Rule:
    coarse = ranges.seconds(slo.range_seconds(COARSE))
    labels = {**dict(slo.labels), "slo": slo.name}
    expr = f"vector(time() - time() % {coarse})"
    return {"record": "atoms_slo:hour_begun_timestamp_seconds", "expr": expr, "labels": labels}


def _summed(by: tuple[str, ...], series: str, span: str) -> str:
    return f"sum by ({', '.join(by)}) (increase({series}[{span}]))"


def _bad_of(slo: Objective, events: str, by: tuple[str, ...], span: str) -> str:
    """The bad ones among recorded events."""
    matched = f"on ({', '.join(by)}) group_left ()"
    bad = bad_series(slo)
    if bad is not None:
        # No failure yet may mean no failure series yet: then zero, where there are events at all.
        return f"(0 * {events} + {matched} {_summed(by, bad, span)})\n  or\n0 * {events}"
    # Extrapolation may find a little more in the bucket than in the count.
    return f"clamp_min(\n  {events}\n  - {matched}\n  {_summed(by, str(good_series(slo)), span)},\n  0\n)"


def _record(metric: str, slo: Objective, window: float, expr: str, span: float | None = None) -> Rule:
    labels = {
        **dict(slo.labels),
        "slo": slo.name,
        "window": duration(window),
        "range": duration(span or slo.range_seconds(window)),
    }
    return {"record": f"atoms_slo:{metric}", "expr": expr, "labels": labels}


def _constant(metric: str, slo: Objective, value: float) -> Rule:
    labels = {**dict(slo.labels), "slo": slo.name, "indicator": slo.metric, "window": duration(slo.window_seconds)}
    return {"record": f"atoms_slo:{metric}", "expr": f"vector({number(value)})", "labels": labels}
