"""A share of calls as an alert sees it: enough of them, clearly over its limit, and not over again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .promql import indented, number
from .thresholds import AlertThresholds

_RECENT_CALLS = 5
"""Calls the short window needs before it can say that the trouble is over."""
Windowed = Callable[[float], str]
"""An expression by ``agent_id`` over a window of so many seconds."""


def proven(bad: str, of: str, ratio: float, limits: AlertThresholds) -> str:
    """A share of calls over a limit, if there are enough of them to say so."""
    certainly = f"{bad} - {number(limits.certainty)} * sqrt({bad})"
    return (
        f"{bad} / {of}\n"
        f"and on (agent_id) ({certainly} > {number(ratio)} * {of})\n"
        f"and on (agent_id) ({of} >= {limits.minimum_calls})"
    )


def lasting(
    bad: Windowed, of: Windowed, ratio: float, limits: AlertThresholds, windows: Sequence[tuple[float, ...]]
) -> str:
    """A proven share over any of the long windows, the first of each tuple; the others may take it back."""

    def failing(long: float, *recently: float) -> str:
        expr = indented(proven(bad(long), of(long), ratio, limits))
        for window in recently:
            recent = of(window)
            share = f"({bad(window)} or 0 * {recent}) / {recent}"
            over = f"({share} <= {number(ratio)}) and on (agent_id) ({recent} >= {_RECENT_CALLS})"
            expr += f"\n  unless on (agent_id)\n  ({over})"
        return f"(\n{expr}\n)"

    return "\nor on (agent_id)\n".join(failing(*spans) for spans in windows)
