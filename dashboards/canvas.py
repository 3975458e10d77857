"""What all drawn panels share: colours, a frame's inner axes, words that fit."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from .answers import Panel

BACKGROUND, PANEL, INK, FAINT = "#111217", "#181b1f", "#ccccdc", "#3a3d44"
COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#ffcb7d", "#96d98d", "#ff7383")
NAMED = {"green": "#73bf69", "red": "#f2495c", "blue": "#5794f2", "#EAB839": "#f2cc0c"}
RARE_TO_OFTEN = ("#6e40aa", "#4c6edb", "#23abd8", "#1ddfa3", "#52f667", "#aff05b")
"""Grafana's scheme Cool: its lowest colour is seen on dark."""
UNIT_INCHES, WIDTH_INCHES, MOST_LINES, LEGEND_ROWS = 0.36, 19.0, 12, 3


def inner_axes(frame: Axes, panel: Panel, *, left: float = 0.55, bottom: float = 0.3, top: float = 0.36) -> Axes:
    """Axes inside a panel's frame; margins in inches."""
    at = panel["gridPos"]
    width, height = at["w"] / 24 * WIDTH_INCHES, at["h"] * UNIT_INCHES
    box = (left / width, bottom / height, 1 - (left + 0.15) / width, 1 - (bottom + top) / height)
    inner = frame.inset_axes(box)
    inner.set_facecolor(PANEL)
    inner.tick_params(colors="#8e8e99", labelsize=7, length=0)
    for spine in inner.spines.values():
        spine.set_visible(False)
    return inner


def unit_of(panel: Panel) -> str:
    return str(panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "short"))


def short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def nothing(frame: Axes, panel: Panel) -> None:
    """What an empty panel says."""
    text = panel.get("fieldConfig", {}).get("defaults", {}).get("noValue", "No data")
    frame.text(0.5, 0.45, text, color="#8e8e99", fontsize=10, ha="center", va="center")


def step_colour(steps: list[dict[str, Any]], value: float) -> str:
    colour = INK
    for step in steps:
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    return NAMED.get(colour, colour)
