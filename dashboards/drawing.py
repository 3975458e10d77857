"""Draws a dashboard's JSON with matplotlib: the same grid, queries, units and thresholds; no Grafana involved."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .answers import Panel, Series, Source, written
from .canvas import (
    BACKGROUND,
    COLOURS,
    FAINT,
    INK,
    LEGEND_ROWS,
    MOST_LINES,
    NAMED,
    PANEL,
    RARE_TO_OFTEN,
    UNIT_INCHES,
    WIDTH_INCHES,
    inner_axes,
    nothing,
    short,
    step_colour,
    unit_of,
)
from .tables import draw_node_graph, draw_table, styles


def draw(document: dict[str, Any], source: Source, note: str) -> Figure:
    """A whole dashboard as a figure, ``note`` at its foot."""
    places = [panel["gridPos"] for panel in document["panels"]]
    rows = max(at["y"] + at["h"] for at in places) + 2
    figure = Figure(figsize=(WIDTH_INCHES, rows * UNIT_INCHES), facecolor=BACKGROUND)
    figure.text(0.008, 1 - 0.7 / rows, document["title"], color=INK, fontsize=15, va="center", weight="bold")
    figure.text(0.992, 1 - 0.7 / rows, note, color="#8e8e99", fontsize=9, va="center", ha="right")
    for panel in document["panels"]:  # what lies in a closed row stays closed
        at = panel["gridPos"]
        left, width = at["x"] / 24, at["w"] / 24
        bottom, height = 1 - (at["y"] + at["h"] + 1.4) / rows, at["h"] / rows
        if panel["type"] == "row":
            closed = "▸ " if panel["collapsed"] else ""
            figure.text(left + 0.008, bottom + height / 2, closed + panel["title"], color=INK, fontsize=11, va="center")
            continue
        pad_x, pad_y = 0.05 / WIDTH_INCHES, 0.05 / (rows * UNIT_INCHES)
        frame = figure.add_axes((left + pad_x, bottom + pad_y, width - 2 * pad_x, height - 2 * pad_y))
        frame.set_facecolor(PANEL)
        frame.set_xticks([])
        frame.set_yticks([])
        for spine in frame.spines.values():
            spine.set_color(FAINT)
        frame.text(0.1 / (width * WIDTH_INCHES), 1 - 0.55 / at["h"], panel["title"], color=INK, fontsize=9, va="center")
        _INSIDE[panel["type"]](frame, panel, source)
    return figure


def _colour(panel: Panel, value: float, name: str = "") -> str:
    steps = panel.get("fieldConfig", {}).get("defaults", {}).get("thresholds", {}).get("steps", [])
    _, own = styles(panel).get(name, ("", []))
    steps = own or steps
    return step_colour(steps, value)


def _graph(frame: Axes, panel: Panel, source: Source) -> None:
    lines = source.lines(panel)
    lines.sort(key=lambda one: -_largest(one))
    shown = lines[:MOST_LINES]
    if not shown:
        nothing(frame, panel)
        return
    inner = inner_axes(frame, panel, bottom=0.68)
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    limits = {rule["matcher"]["options"] for rule in panel.get("fieldConfig", {}).get("overrides", [])}
    if stacked:
        _stack(inner, shown, source)
    for number, one in enumerate(shown):
        limit = bool(limits) and one.name.startswith("objective ")
        if not stacked:
            colour, style = (NAMED["red"], "--") if limit else (COLOURS[number % len(COLOURS)], "-")
            inner.plot(one.times, one.values, color=colour, linestyle=style, linewidth=1.2, label=one.name)
    if custom.get("thresholdsStyle"):
        for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
            top = inner.get_ylim()[1]
            if step["value"] is not None and step["value"] <= top:
                inner.axhline(
                    step["value"], color=NAMED.get(step["color"], step["color"]), linestyle=":", linewidth=0.8
                )
    _time_axis(inner, source)
    if panel["fieldConfig"]["defaults"].get("min") == 0:
        inner.set_ylim(bottom=0)
    inner.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit_of(panel))))
    inner.grid(color=FAINT, linewidth=0.4)
    _legend(inner, panel, shown)


def _legend(inner: Axes, panel: Panel, lines: list[Series]) -> None:
    """Below the graph: each line's name, last and largest value, as many as there is room for."""
    width = panel["gridPos"]["w"] / 24 * WIDTH_INCHES
    handles, _ = inner.get_legend_handles_labels()
    unit = unit_of(panel)
    room = max(18, int(width * 16.5) - 24)
    names = [short(one.name, room) for one in lines]
    texts = [
        f"{name}   {written(_last(one), unit)}, most {written(_largest(one), unit)}".replace("$", r"\$")
        for name, one in zip(names, lines, strict=True)
    ]
    inner.legend(
        handles[:LEGEND_ROWS], texts[:LEGEND_ROWS], loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncol=1,
        fontsize=6.5, frameon=False, labelcolor=INK, handlelength=1.2, handletextpad=0.4, borderaxespad=0.2,
        labelspacing=0.25,
    )  # fmt: skip


def _last(one: Series) -> float:
    return next((value for value in reversed(one.values) if math.isfinite(value)), math.nan)


def _largest(one: Series) -> float:
    return max((value for value in one.values if math.isfinite(value)), default=0.0)


def _stack(inner: Axes, lines: list[Series], source: Source) -> None:
    count = round((source.end - source.start) / source.step) + 1
    grid = [source.start + number * source.step for number in range(count)]
    heights = []
    for one in lines:
        known = dict(zip((round(at) for at in one.times), one.values, strict=True))
        values = [known.get(round(at), 0.0) for at in grid]
        heights.append([value if math.isfinite(value) else 0.0 for value in values])
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(lines))]
    inner.stackplot(grid, heights, colors=colours, alpha=0.65, labels=[one.name for one in lines], linewidth=0.4)


def _time_axis(inner: Axes, source: Source) -> None:
    inner.set_xlim(source.start, source.end)
    ticks = [source.start + part * (source.end - source.start) / 5 for part in range(1, 5)]
    inner.set_xticks(ticks, [datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S") for at in ticks])


def _number(frame: Axes, panel: Panel, source: Source) -> None:
    values = source.latest(panel)
    if not values:
        nothing(frame, panel)
        return
    for number, (name, value) in enumerate(values[:4]):
        x = (number + 0.5) / min(len(values), 4)
        size = 20 if len(values) == 1 else 15
        frame.text(
            x,
            0.42,
            written(value, unit_of(panel)),
            color=_colour(panel, value, name),
            fontsize=size,
            ha="center",
            va="center",
        )
        if len(values) > 1:
            frame.text(x, 0.14, short(name, 18), color=INK, fontsize=7, ha="center", va="center")


_LEAST_BARS = 7.4
"""Few bars are drawn as thin as many."""


def _ranking(frame: Axes, panel: Panel, source: Source) -> None:
    values = sorted(source.latest(panel), key=lambda one: -one[1])[: max(3, panel["gridPos"]["h"] * 3 // 2)]
    if not values:
        nothing(frame, panel)
        return
    inner = inner_axes(frame, panel, left=panel["gridPos"]["w"] / 24 * WIDTH_INCHES * 0.4, bottom=0.1)
    names = [short(name, 30) for name, _ in values]
    bars = inner.barh(range(len(values)), [value for _, value in values], color=[_colour(panel, v) for _, v in values])
    inner.bar_label(bars, [written(value, unit_of(panel)) for _, value in values], color=INK, fontsize=7, padding=3)
    inner.set_yticks(range(len(values)), names)
    inner.set_xticks([])
    inner.margins(x=0.25)
    inner.set_ylim(-0.6, max(len(values) - 0.4, _LEAST_BARS))
    inner.invert_yaxis()


def _heat(frame: Axes, panel: Panel, source: Source) -> None:
    lines = [one for one in source.lines(panel) if one.labels.get("le")]
    lines.sort(key=lambda one: float(one.labels["le"]))
    if not lines:
        nothing(frame, panel)
        return
    inner = inner_axes(frame, panel)
    below: dict[float, float] = {}
    cells, names = [], []
    for one in lines:
        here = dict(zip(one.times, one.values, strict=True))
        cells.append([max(here.get(at, 0.0) - below.get(at, 0.0), 0.0) for at in lines[-1].times])
        names.append(one.labels["le"])
        below = here
    extent = (source.start, source.end, -0.5, len(cells) - 0.5)
    colours = LinearSegmentedColormap.from_list("Cool", RARE_TO_OFTEN).with_extremes(bad=PANEL)
    inner.imshow(
        [[math.sqrt(cell) if cell else math.nan for cell in row] for row in cells],
        aspect="auto",
        origin="lower",
        extent=extent,
        cmap=colours,
    )
    inner.set_yticks(range(0, len(names), 2), [f"{name} s" for name in names[::2]])
    _time_axis(inner, source)


_INSIDE = {
    "timeseries": _graph,
    "stat": _number,
    "bargauge": _ranking,
    "heatmap": _heat,
    "table": draw_table,
    "nodeGraph": draw_node_graph,
}
