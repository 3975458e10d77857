"""Alerts on an objective: budget burning in two windows at once, errors trickling, nothing measured."""

from __future__ import annotations

from .annotations import Alert
from .objectives import BurnRate, Objective
from .promql import DAY, HOUR, Ranges, duration, number
from .recording import recorded, windows

_TRICKLE_LONG_SECONDS = 3 * DAY
_TRICKLE_RECENT_SECONDS = 1 * DAY
_TRICKLE_ERRORS = 5
_TRICKLE_EVENTS_FACTOR = 12
"""Three days hold twelve windows of six hours: below this many times the minimum no pair can be expected to speak."""


def burn_alerts(slo: Objective, ranges: Ranges) -> list[Alert]:
    """Every alert of one objective."""
    return [*(_burn_alert(slo, burn) for burn in slo.burn_rates), _trickle_alert(slo), _nothing_alert(slo, ranges)]


def _who(slo: Objective) -> str:
    """The alert's subject, from its own labels."""
    names = [f"{{{{ $labels.{label} }}}}" for label in ("agent_name", "node_name") if label in slo.by]
    return " / ".join(names) if names else slo.name


def _variables(slo: Objective) -> dict[str, str]:
    known = {"agent": "agent_name", "node": "node_name"}
    return {variable: label for variable, label in known.items() if label in slo.by}


def _burn_alert(slo: Objective, burn: BurnRate) -> Alert:
    long, short = slo.scaled(burn.long_seconds), slo.scaled(burn.short_seconds)
    limit, budget = number(burn.factor), number(slo.budget)
    expr = (
        f"{recorded('error_ratio', slo, long)} / {budget} > {limit}\n"
        f"and ignoring (window)\n{recorded('error_ratio', slo, short)} / {budget} > {limit}\n"
        f"and ignoring (window)\n{recorded('events', slo, long)} >= {slo.minimum_long_events(burn)}\n"
        f"and ignoring (window)\n{recorded('events', slo, short)} >= {slo.minimum_events}"
    )
    gone = duration(slo.window_seconds / burn.factor)
    return Alert(
        name="AtomsSLOBudgetBurn",
        expr=expr,
        for_seconds=slo.scaled(burn.for_seconds),
        severity=burn.severity,
        summary=f"{_who(slo)} burns its error budget {{{{ $value | humanize }}}} times too fast",
        description=(
            f"The goal is {slo.describe()}. Over the last {duration(long)} and the last {duration(short)} more than "
            f"{limit} times the allowed share was bad; at that rate the whole budget is gone in {gone}."
        ),
        dashboard="atoms-slo",
        variables=_variables(slo),
        fixed_variables={"slo": slo.name},
        labels={"slo": slo.name, "window": duration(long), "short_window": duration(short)},
    )


def _trickle_alert(slo: Objective) -> Alert:
    """For traffic so thin that no pair of windows ever holds enough events."""
    long, recent = slo.scaled(_TRICKLE_LONG_SECONDS), slo.scaled(_TRICKLE_RECENT_SECONDS)
    known = windows(slo)
    long = min(known, key=lambda window: abs(window - long))
    recent = min(known, key=lambda window: abs(window - recent))
    slowest = max((slo.minimum_long_events(burn) for burn in slo.burn_rates), default=slo.minimum_events)
    thin = max(slo.minimum_events * _TRICKLE_EVENTS_FACTOR, slowest)
    expr = (
        f"{recorded('errors', slo, long)} >= {_TRICKLE_ERRORS}\n"
        f"and ignoring (window)\n{recorded('error_ratio', slo, long)} > {number(slo.budget)}\n"
        f"and ignoring (window)\n{recorded('errors', slo, recent)} >= 1\n"
        f"and ignoring (window)\n{recorded('events', slo, long)} < {thin}"
    )
    return Alert(
        name="AtomsSLOErrorsTrickle",
        expr=expr,
        for_seconds=slo.scaled(HOUR),
        severity="warning",
        summary=f"{_who(slo)} misses its objective at low traffic",
        description=(
            f"The goal is {slo.describe()}. In the last {duration(long)} about {{{{ $value | humanize }}}} of its few "
            f"{slo.indicator.events} were bad, more than the objective allows; there is too little traffic for the "
            f"burn-rate alerts."
        ),
        dashboard="atoms-slo",
        variables=_variables(slo),
        fixed_variables={"slo": slo.name},
        labels={"slo": slo.name, "window": duration(long)},
    )


def _nothing_alert(slo: Objective, ranges: Ranges) -> Alert:
    """An objective that measures nothing is met for ever: a wrong selector, a threshold without a bucket."""
    long = min(windows(slo), key=lambda window: abs(window - slo.scaled(_TRICKLE_LONG_SECONDS)))
    tile = windows(slo)[0]
    expr = (
        f"sum(absent_over_time({recorded('errors', slo, tile)}[{ranges(long)}]))\n"
        f"or\nsum({recorded('events', slo, long)}) == 0"
    )
    return Alert(
        name="AtomsSLOMeasuresNothing",
        expr=expr,
        for_seconds=slo.scaled(6 * HOUR),
        severity="warning",
        summary=f"SLO {slo.name} measures nothing",
        description=(
            f"No {slo.indicator.events} were measured for {slo.describe()} in the last {duration(long)}, so its "
            "budget looks untouched whatever happens. "
            "Check its selectors, and that the threshold is a bucket of the histogram."
        ),
        dashboard="atoms-slo",
        fixed_variables={"slo": slo.name},
        labels={"slo": slo.name},
    )
