"""The rules Sloth and Pyrra would make of the same objectives, to be played in the same worlds.

Written anew from what their generators are documented to make: windows, factors, ``for``. Both are given one budget for
each agent (Sloth by an SLO for each, Pyrra by its grouping), and count directly on the exporter's counters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from exporter.slo import DEFAULT_OBJECTIVES, Objective
from exporter.slo.promql import DAY, HOUR, MINUTE, duration, number, to_yaml
from exporter.slo.recording import bad_series, good_series, total_series

Rule = dict[str, Any]
CALLS = Objective("calls", 0.95, "call_success")
"""Beside the defaults: what our alert on failed calls is compared with."""
_BY = "sum by (agent_id)"
_SLOTH_WINDOWS = (5 * MINUTE, 30 * MINUTE, 1 * HOUR, 2 * HOUR, 6 * HOUR, 1 * DAY, 3 * DAY)


def sloth(slo: Objective) -> list[Rule]:
    """A page and a ticket, each for two pairs of windows, without ``for``."""

    def both(long: float, short: float, factor: float) -> str:
        limit = number(factor * slo.budget)
        return f"({_ratio_of(slo, short)} > {limit} and {_ratio_of(slo, long)} > {limit})"

    page = f"{both(1 * HOUR, 5 * MINUTE, 14.4)}\nor\n{both(6 * HOUR, 30 * MINUTE, 6)}"
    ticket = f"{both(1 * DAY, 2 * HOUR, 3)}\nor\n{both(3 * DAY, 6 * HOUR, 1)}"
    return [
        *(_recorded(slo, window) for window in _SLOTH_WINDOWS),
        _alert("Sloth", slo, page, "critical"),
        _alert("Sloth", slo, ticket, "warning"),
    ]


def pyrra(slo: Objective) -> list[Rule]:
    """Four pairs of windows, which are shares of the objective's own, each with a ``for``."""
    four_weeks = 28 * DAY

    def share(of_four_weeks: float) -> float:
        return round(slo.window_seconds * of_four_weeks / four_weeks / MINUTE) * MINUTE

    pairs = (
        (14.0, share(1 * HOUR), share(5 * MINUTE), share(2 * MINUTE), "critical"),
        (7.0, share(6 * HOUR), share(30 * MINUTE), share(15 * MINUTE), "critical"),
        (2.0, share(1 * DAY), share(2 * HOUR), share(1 * HOUR), "warning"),
        (1.0, share(4 * DAY), share(6 * HOUR), share(3 * HOUR), "warning"),
    )
    windows = dict.fromkeys(window for _, long, short, _, _ in pairs for window in (short, long))
    rules = [_recorded(slo, window) for window in windows]
    for factor, long, short, patience, severity in pairs:
        limit = number(factor * slo.budget)
        expr = f"{_ratio_of(slo, short)} > {limit}\nand\n{_ratio_of(slo, long)} > {limit}"
        rules.append(_alert("Pyrra", slo, expr, severity, patience, duration(long)))
    return rules


ELSEWHERE: Mapping[str, Callable[[Objective], list[Rule]]] = MappingProxyType({"sloth": sloth, "pyrra": pyrra})


def written(tool: str, objectives: Sequence[Objective] = (*DEFAULT_OBJECTIVES, CALLS)) -> str:
    """A rule file as that tool's users have it."""
    groups = [{"name": f"{tool}-{slo.name}", "interval": "1m", "rules": ELSEWHERE[tool](slo)} for slo in objectives]
    return to_yaml({"groups": groups})


def _ratio_of(slo: Objective, window: float) -> str:
    name = slo.name.replace("-", "_")
    return f"{name}:burnrate{duration(window)}"


def _recorded(slo: Objective, window: float) -> Rule:
    total = f"{_BY} (rate({total_series(slo)}[{duration(window)}]))"
    bad = bad_series(slo)
    errors = (
        f"{_BY} (rate({bad}[{duration(window)}]))"
        if bad
        else f"({total} - {_BY} (rate({good_series(slo)}[{duration(window)}])))"
    )
    return {"record": _ratio_of(slo, window), "expr": f"{errors} / {total}"}


def _alert(tool: str, slo: Objective, expr: str, severity: str, patience: float = 0.0, window: str = "") -> Rule:
    labels = {"severity": severity, "slo": slo.name} | ({"window": window} if window else {})
    waits = {"for": duration(patience)} if patience else {}
    return {"alert": f"{tool}ErrorBudgetBurn", "expr": expr, **waits, "labels": labels}
