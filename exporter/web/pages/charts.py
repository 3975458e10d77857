"""Small drawings as inline SVG: a node's hour, and one span of a call. No script, no style but the page's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from exporter.outputs.recent import Minute
from exporter.web.pages.frame import seconds

_WIDTH, _HEIGHT, _PAD = 240.0, 40.0, 2.0


def hour_chart(minutes: Sequence[Minute], slow_seconds: float) -> str:
    """Median and 95th percentile by minute as lines, turns as bars behind them, the threshold dashed.

    Minutes in which nobody was answered interrupt the lines: they are no zero.
    """
    highest = max([slow_seconds, *(minute.p95_seconds or 0.0 for minute in minutes)])
    most = max(1, *(minute.turns for minute in minutes)) if minutes else 1
    step = _WIDTH / max(1, len(minutes))

    def y(value: float) -> float:
        return _HEIGHT - _PAD - (_HEIGHT - 2 * _PAD) * value / highest

    bars = "".join(
        f'<rect class="turns" x="{index * step:.1f}" y="{_HEIGHT - 0.5 * _HEIGHT * minute.turns / most:.1f}" '
        f'width="{step:.1f}" height="{0.5 * _HEIGHT * minute.turns / most:.1f}"/>'
        for index, minute in enumerate(minutes)
        if minute.turns
    )
    limit = f'<line class="limit" x1="0" x2="{_WIDTH:.0f}" y1="{y(slow_seconds):.1f}" y2="{y(slow_seconds):.1f}"/>'
    p50 = _line("50", minutes, lambda minute: minute.p50_seconds, step, y)
    p95 = _line("95", minutes, lambda minute: minute.p95_seconds, step, y)
    answered = [minute.p95_seconds for minute in minutes if minute.p95_seconds is not None]
    told = (
        f"95th percentile by minute, last hour: {seconds(min(answered))} to {seconds(max(answered))}"
        if answered
        else ""
    )
    return (
        f'<svg class="hour" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" preserveAspectRatio="none" role="img" '
        f'aria-label="{told}"><title>{told}</title>{bars}{limit}{p50}{p95}</svg>'
    )


def _line(
    name: str,
    minutes: Sequence[Minute],
    value_of: Callable[[Minute], float | None],
    step: float,
    y: Callable[[float], float],
) -> str:
    """Connected minutes as polylines; one that stands alone as a dot."""
    pieces: list[list[str]] = [[]]
    for index, minute in enumerate(minutes):
        value = value_of(minute)
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{(index + 0.5) * step:.1f},{y(value):.1f}")
    drawn = []
    for piece in pieces:
        if len(piece) > 1:
            drawn.append(f'<polyline class="p{name}" points="{" ".join(piece)}"/>')
        elif piece:
            x, _, height = piece[0].partition(",")
            drawn.append(f'<circle class="dot{name}" cx="{x}" cy="{height}" r="1.5"/>')
    return "".join(drawn)


def fall_chart(begins: float, ends: float, kind: str) -> str:
    """A span's place in its call: ``begins`` and ``ends`` are shares of the call, from 0 to 1."""
    left = 1000 * min(max(begins, 0.0), 1.0)
    width = max(2.0, 1000 * (min(ends, 1.0) - min(max(begins, 0.0), 1.0)))
    x = min(left, 998.0)
    return (
        '<svg class="fall" viewBox="0 0 1000 14" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{kind}" x="{x:.1f}" y="2" width="{min(width, 1000 - x):.1f}" height="10"/></svg>'
    )
