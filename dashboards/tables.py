"""Draws panels that are made of words: tables, matrices, the node graph."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba

from .answers import Panel, Source, written
from .canvas import INK, NAMED, PANEL, UNIT_INCHES, WIDTH_INCHES, inner_axes, nothing, short, step_colour


def draw_table(frame: Axes, panel: Panel, source: Source) -> None:
    targets = panel["targets"]
    if any(target["datasource"]["type"] != "prometheus" for target in targets):
        frame.text(0.5, 0.45, "from the trace datasource", color="#8e8e99", fontsize=9, ha="center", va="center")
        return
    changes = {change["id"]: change["options"] for change in panel["transformations"]}
    rows = source.table(panel)
    if "groupingToMatrix" in changes:
        _matrix(frame, panel, rows, changes["groupingToMatrix"])
        return
    place = changes["organize"]["indexByName"]
    named = sorted(changes["organize"]["renameByName"].items(), key=lambda one: place[one[0]])
    hidden, words = _hidden(panel), _words(panel)
    columns = {field: name for field, name in named if name not in hidden and any(field in row for row in rows)}
    if not columns:
        nothing(frame, panel)
        return
    sort = [entry["displayName"] for entry in panel.get("options", {}).get("sortBy", [])]
    keys = [field for field, name in columns.items() if name in sort]
    if keys:
        rows.sort(key=lambda row: -_finite(row.get(keys[0])))
    looks = styles(panel)
    most = max(1, int(panel["gridPos"]["h"] * UNIT_INCHES / 0.22) - 2)
    wide = [
        3.2 if str(rows[0].get(field, "")).strip() and not isinstance(rows[0].get(field), float) else 1.0
        for field in columns
    ]
    edges = [0.012 + 0.976 * sum(wide[:number]) / sum(wide) for number in range(len(wide))]
    for x, name in zip(edges, columns.values(), strict=True):
        frame.text(x, 1 - 1.25 / panel["gridPos"]["h"], name, color="#6e9fff", fontsize=7.5, va="center")
    for number, row in enumerate(rows[:most]):
        y = 1 - (1.9 + number * 0.6) / panel["gridPos"]["h"]
        for x, share, (field, name) in zip(edges, wide, columns.items(), strict=True):
            value = row.get(field, "")
            room = share / sum(wide) * panel["gridPos"]["w"] / 24 * WIDTH_INCHES
            unit, steps = looks.get(name, ("short", []))
            text = short(str(value), int(room * 19)) if isinstance(value, str) else _written(value, unit, source.end)
            colour = step_colour(steps, value) if isinstance(value, float) and steps else words.get(value, INK)
            frame.text(x, y, text, color=colour, fontsize=7, va="center")


def _written(value: float, unit: str, now: float) -> str:
    """Times as Grafana tells them from now; anything else as everywhere."""
    if unit != "dateTimeFromNow":
        return written(value, unit)
    ago = max(0.0, now - value / 1000)
    return f"{ago:.0f} s ago" if ago < 100 else f"{ago / 60:.0f} min ago"


def _hidden(panel: Panel) -> set[str]:
    rules = panel.get("fieldConfig", {}).get("overrides", [])
    return {
        rule["matcher"]["options"] for rule in rules for item in rule["properties"] if item["id"] == "custom.hidden"
    }


def _words(panel: Panel) -> dict[Any, str]:
    """Words that have a colour of their own."""
    items = [item for rule in panel.get("fieldConfig", {}).get("overrides", []) for item in rule["properties"]]
    mapped = [mapping["options"] for item in items if item["id"] == "mappings" for mapping in item["value"]]
    return {word: NAMED.get(look["color"], look["color"]) for options in mapped for word, look in options.items()}


def _finite(value: Any) -> float:
    return value if isinstance(value, float) and math.isfinite(value) else 0.0


def styles(panel: Panel) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """Unit and threshold steps of a table's columns."""
    found: dict[str, tuple[str, list[dict[str, Any]]]] = {}
    for rule in panel.get("fieldConfig", {}).get("overrides", []):
        name = rule["matcher"]["options"]
        unit, steps = found.get(name, ("short", []))
        for item in rule["properties"]:
            unit = item["value"] if item["id"] == "unit" else unit
            steps = item["value"]["steps"] if item["id"] == "thresholds" else steps
        found[name] = (unit, steps)
    return found


def _matrix(frame: Axes, panel: Panel, rows: list[dict[str, Any]], options: dict[str, str]) -> None:
    names = sorted({row[options[field]] for row in rows for field in ("rowField", "columnField")})
    if not names:
        nothing(frame, panel)
        return
    inner = inner_axes(frame, panel, left=2.0, bottom=1.9)
    cells = {(row[options["rowField"]], row[options["columnField"]]): row["Value"] for row in rows}
    grid = [[cells.get((one, other), math.nan) for other in names] for one in names]
    colours = LinearSegmentedColormap.from_list("BlPu", ("#5794F2", "#B877D9")).with_extremes(bad=PANEL)
    inner.imshow(grid, aspect="auto", cmap=colours)
    inner.set_xticks(range(len(names)), [short(name, 26) for name in names], rotation=90, fontsize=5.5)
    inner.set_yticks(range(len(names)), [short(name, 32) for name in names], fontsize=5.5)


def draw_node_graph(frame: Axes, panel: Panel, source: Source) -> None:
    """One agent's workflow, the busiest, on a circle in the order of its visits."""
    asked = {target["refId"]: {**panel, "targets": [target]} for target in panel["targets"]}
    nodes = {row["id"]: row for row in source.table(asked["nodes"])}
    edges = source.table(asked["edges"])
    weights: dict[str, float] = {}
    for edge in edges:
        agent = nodes.get(edge["source"], {}).get("subtitle", "")
        weights[agent] = weights.get(agent, 0.0) + edge["Value"]
    if not weights:
        nothing(frame, panel)
        return
    busiest = max(weights, key=lambda agent: weights[agent])
    own = sorted((row for row in nodes.values() if row["subtitle"] == busiest), key=lambda row: -row["Value"])
    inner = inner_axes(frame, panel, left=0.3, bottom=0.2)
    inner.set_xticks([])
    inner.set_yticks([])
    turns = [2 * math.pi * number / len(own) for number in range(len(own))]
    places = {row["id"]: (math.cos(turn), math.sin(turn)) for row, turn in zip(own, turns, strict=True)}
    most = max(edge["Value"] for edge in edges)
    for edge in edges:
        if edge["source"] in places and edge["target"] in places:
            part = edge["Value"] / most
            look = {"color": to_rgba("#8ab8ff", 0.35 + 0.6 * part), "lw": 0.5 + 3 * part}
            way = {"arrowstyle": "-|>", "shrinkA": 16, "shrinkB": 16, "connectionstyle": "arc3,rad=0.15"}
            inner.annotate("", places[edge["target"]], places[edge["source"]], arrowprops=look | way)
    for row in own:
        x, y = places[row["id"]]
        inner.scatter([x], [y], s=700, color=PANEL, edgecolors=NAMED["green"], linewidths=1.6, zorder=3)
        inner.text(
            x, y, written(round(row["Value"]), "short"), color=INK, fontsize=8, ha="center", va="center", zorder=4
        )
        inner.text(x, y - 0.17, short(row["title"], 34), color=INK, fontsize=7, ha="center", va="center", zorder=4)
    inner.set_xlim(-1.5, 1.5)
    inner.set_ylim(-1.35, 1.25)
    inner.text(-1.45, 1.12, busiest, color="#8e8e99", fontsize=8)
