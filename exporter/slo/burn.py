"""Alerts on an objective: budget burning, one node burning, errors trickling, nothing measured."""

from __future__ import annotations

from .annotations import AGENT, Alert
from .objectives import BurnRate, Objective
from .promql import DAY, HOUR, MINUTE, Ranges, duration, number
from .recording import FINE, NODE_WINDOW, recorded, windows
from .thresholds import AlertThresholds

_TRICKLE_LONG = 3 * DAY
_TRICKLE_RECENT = 1 * DAY
_TRICKLE_ERRORS = 5
_TRICKLE_EVENTS_FACTOR = 12
"""Three days hold twelve windows of six hours: below this many times the minimum no pair can be expected to speak."""


def _who(slo: Objective) -> str:
    """The alert's subject, from its own labels and the agent's present name."""
    agent = AGENT if "agent_id" in slo.by else "{{ $labels.agent_name }}" if "agent_name" in slo.by else ""
    node = "{{ $labels.node_name }}" if "node_name" in slo.by else ""
    return " / ".join(name for name in (agent, node) if name) or slo.name


def _variables(slo: Objective) -> dict[str, str]:
    agent = AGENT if "agent_id" in slo.by else "agent_name"
    known = {"agent": agent} if {"agent_id", "agent_name"} & set(slo.by) else {}
    return known | ({"node": "node_name"} if "node_name" in slo.by else {})


def _labels(slo: Objective, loosest: bool, window: float | None = None) -> dict[str, str]:
    """``loosest`` marks the objective whose page makes those of its tighter ones superfluous."""
    spans = {} if window is None else {"window": duration(window), "range": duration(slo.range_seconds(window))}
    told = {"slo": slo.name, "indicator": slo.metric, "loosest": "true" if loosest else "false"}
    return {**dict(slo.labels), **told, **spans}


def _without_names(slo: Objective, text: str) -> str:
    """An alert of a renamed agent stays the same alert."""
    return f"sum by ({', '.join(slo.identity)}) ({text})"


def _too_few_calls(slo: Objective, window: float, ranges: Ranges) -> str:
    """One long call is no outage. Where no calls are counted at all, events have to do."""
    on = f"on ({', '.join(slo.identity)})"
    suffered = recorded("calls_with_errors", slo, FINE)
    spans = f"[{ranges(slo.range_seconds(window))}:{ranges(slo.range_seconds(FINE))}]"
    few = slo.minimum_calls
    return f"unless {on}\n(sum_over_time({suffered}{spans}) < {few} and {on} {suffered} < {few})"


def _over(slo: Objective, window: float, limit: float) -> str:
    """That a window has seen enough, and that it was good."""
    budget, on = number(slo.budget), f"on ({', '.join(slo.identity)})"
    good = f"{recorded('error_ratio', slo, window)} / {budget} <= {number(limit)}"
    return f"({good} and {on} {recorded('events', slo, window)} >= {slo.minimum_events})"


def burn_alert(slo: Objective, burn: BurnRate, loosest: bool, ranges: Ranges) -> Alert:
    """The budget burns ``burn.factor`` times too fast over the long window; any from the short one on may take it back.

    Those between speak where the short one is too thin for a word: or an outage long over would be told again.
    """
    long, short = burn.long_seconds, burn.short_seconds
    limit, budget = number(burn.factor), number(slo.budget)
    on = f"on ({', '.join(slo.identity)})"
    recent = [window for window in windows(slo)[:-1] if short <= window < long]
    expr = (
        _without_names(slo, f"{recorded('error_ratio', slo, long)} / {budget} > {limit}")
        + f"\nand {on}\n({recorded('events', slo, long)} >= {slo.minimum_long_events(burn)})\n"
        + _too_few_calls(slo, long, ranges)
        + "".join(f"\nunless {on}\n{_over(slo, window, burn.factor)}" for window in recent)
    )
    gone = duration(slo.window_seconds / burn.factor)
    real_long, real_short = duration(slo.range_seconds(long)), duration(slo.range_seconds(short))
    return Alert(
        name="AtomsSLOBudgetBurn",
        expr=expr,
        for_seconds=slo.scaled(burn.for_seconds),
        keep_seconds=slo.scaled(burn.keep_seconds),
        severity=burn.severity,
        summary=f"{_who(slo)} burns its error budget {{{{ $value | humanize }}}} times too fast",
        description=(
            f"The goal is {slo.describe()}. Over the last {real_long} more than {limit} times the allowed share was "
            f"bad, and the last {real_short} did not show that it is over; at that rate the whole budget is gone in "
            f"{gone}."
        ),
        dashboard="atoms-slo",
        variables=_variables(slo),
        fixed_variables={"slo": slo.name},
        labels={**_labels(slo, loosest, long), "short_window": duration(short)},
    )


def node_alert(slo: Objective, limits: AlertThresholds, loosest: bool) -> Alert:
    """A node that fails nearly everybody, however little it weighs among the agent's other nodes."""
    on = "on (agent_id, node_id, node_name)"
    expr = (
        "sum by (agent_id, node_id, node_name) (\n"
        f"  {recorded('node_error_ratio', slo, NODE_WINDOW)} > {number(limits.node_bad_ratio)}\n)\n"
        f"and {on}\n({recorded('node_events', slo, NODE_WINDOW)} >= {limits.minimum_node_turns})\n"
        f"unless {on}\n"
        f'(sum by (agent_id, node_id, node_name) (atoms_slo:node_visits{{window="1h"}}) < {limits.minimum_visits})'
    )
    goal = f"under {duration(slo.threshold_seconds)}" if slo.threshold_seconds is not None else "without failure"
    return Alert(
        name="AtomsNodeFailsObjective",
        expr=expr,
        for_seconds=5 * MINUTE,
        keep_seconds=30 * MINUTE,
        severity="warning",
        summary=f"Node {{{{ $labels.node_name }}}} of {AGENT} is bad {{{{ $value | humanizePercentage }}}} of the time",
        description=(
            f"Of the {slo.indicator.events} at this node more than {number(limits.node_bad_ratio * 100)}% were not "
            f"{goal} over the last hour. The agent as a whole may be within its objective: the node is a small part."
        ),
        dashboard="atoms-node",
        variables={"agent": AGENT, "node": "node_name"},
        labels=_labels(slo, loosest),
    )


def trickle_alert(slo: Objective, loosest: bool, ranges: Ranges) -> Alert:
    """For traffic so thin that no pair of windows ever holds enough events."""
    known = windows(slo)
    long = min(known, key=lambda window: abs(window - _TRICKLE_LONG))
    recent = min(known, key=lambda window: abs(window - _TRICKLE_RECENT))
    slowest = max((slo.minimum_long_events(burn) for burn in slo.burn_rates), default=slo.minimum_events)
    thin = max(slo.minimum_events * _TRICKLE_EVENTS_FACTOR, slowest)
    on = f"on ({', '.join(slo.identity)})"
    expr = (
        _without_names(slo, f"{recorded('errors', slo, long)} >= {_TRICKLE_ERRORS}")
        + f"\nand {on}\n({recorded('error_ratio', slo, long)} > {number(slo.budget)})\n"
        + f"and {on}\n({recorded('errors', slo, recent)} >= 1)\n"
        + f"and {on}\n({recorded('events', slo, long)} < {thin})\n"
        + _too_few_calls(slo, long, ranges)
    )
    return Alert(
        name="AtomsSLOErrorsTrickle",
        expr=expr,
        for_seconds=slo.scaled(HOUR),
        keep_seconds=slo.scaled(HOUR),
        severity="warning",
        summary=f"{_who(slo)} misses its objective at low traffic",
        description=(
            f"The goal is {slo.describe()}. In the last {duration(slo.range_seconds(long))} about "
            f"{{{{ $value | humanize }}}} of its few {slo.indicator.events} were bad, more than the objective allows; "
            "there is too little traffic for the burn-rate alerts."
        ),
        dashboard="atoms-slo",
        variables=_variables(slo),
        fixed_variables={"slo": slo.name},
        labels=_labels(slo, loosest, long),
    )


def nothing_alert(slo: Objective, loosest: bool, ranges: Ranges) -> Alert:
    """An objective that measures nothing is met for ever: a wrong selector, a threshold without a bucket.

    Silent until anything was ever measured: a fresh installation has no wrong selector.
    """
    long = min(windows(slo), key=lambda window: abs(window - _TRICKLE_LONG))
    missing = recorded("errors", slo, FINE)
    expr = (
        f"sum({slo.indicator.total}) > 0\n"
        f"unless on ()\n(\n  sum({recorded('events', slo, long)}) > 0\n"
        f"  and on ()\n  sum(count_over_time({missing}[{ranges(slo.range_seconds(long))}:{ranges(HOUR)}])) > 0\n)"
    )
    return Alert(
        name="AtomsSLOMeasuresNothing",
        expr=expr,
        for_seconds=slo.scaled(6 * HOUR),
        severity="warning",
        summary=f"SLO {slo.name} measures nothing",
        description=(
            f"{slo.indicator.events.capitalize()} were counted before, but none for {slo.describe()} in the last "
            f"{duration(slo.range_seconds(long))}, or none of them can be judged: its budget looks untouched whatever "
            "happens. Check its selectors, and that the threshold is a bucket of the histogram."
        ),
        dashboard="atoms-slo",
        fixed_variables={"slo": slo.name},
        labels=_labels(slo, loosest),
    )
