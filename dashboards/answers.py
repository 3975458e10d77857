"""What Prometheus answers to a panel: series with Grafana's legends, rows with Grafana's columns."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from .expressions import Chosen, filled

Panel = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its legend, labels and points."""

    name: str
    labels: dict[str, str]
    times: list[float]
    values: list[float]


@dataclass(frozen=True, slots=True)
class Source:
    """A Prometheus and the time range that is looked at."""

    prometheus: str
    start: float
    end: float
    step: float
    variables: Mapping[str, Chosen]

    def lines(self, panel: Panel) -> list[Series]:
        """A panel's series over the time range."""
        found = []
        for target in panel["targets"]:
            window = {"start": self.start, "end": self.end, "step": self.step}
            for one in self._ask("query_range", target["expr"], window):
                times, values = zip(*((float(at), float(value)) for at, value in one["values"]), strict=True)
                name = legend(target.get("legendFormat", ""), one["metric"])
                found.append(Series(name, one["metric"], list(times), list(values)))
        return found

    def latest(self, panel: Panel) -> list[tuple[str, float]]:
        """A panel's values at the end of the time range, by legend."""
        found = []
        for target in panel["targets"]:
            for one in self._ask("query", target["expr"], {"time": self.end}):
                value = float(one["value"][1])
                if not math.isnan(value):
                    found.append((legend(target.get("legendFormat", ""), one["metric"]), value))
        return found

    def table(self, panel: Panel) -> list[dict[str, Any]]:
        """A table panel's rows, its queries merged on their labels; fields are named as Grafana names them."""
        rows: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
        for target in panel["targets"]:
            field = f"Value #{target['refId']}" if len(panel["targets"]) > 1 else "Value"
            for one in self._ask("query", target["expr"], {"time": self.end}):
                row = rows.setdefault(tuple(sorted(one["metric"].items())), dict(one["metric"]))
                row[field] = float(one["value"][1])
        return list(rows.values())

    def _ask(self, how: str, expr: str, window: Mapping[str, float]) -> list[dict[str, Any]]:
        parameters: dict[str, str | float] = {"query": filled(expr, self.variables), **window}
        answer = httpx.get(f"{self.prometheus}/api/v1/{how}", params=parameters, timeout=60).json()
        if answer["status"] != "success":
            raise ValueError(f"{answer['error']}: {expr}")
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


def legend(pattern: str, labels: Mapping[str, str]) -> str:
    """A series' name as Grafana makes it from its legend format."""
    if not pattern or pattern == "__auto":
        return " ".join(value for key, value in labels.items() if key != "__name__")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), pattern).strip()


def written(value: float, unit: str) -> str:
    """A value with its unit, as short as a dashboard shows it."""
    if math.isnan(value):
        return "–"
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "currencyUSD":
        return f"${value:.3g}"
    if unit == "s":
        if abs(value) >= 100:
            return f"{value / 60:.3g} min"
        return f"{value * 1000:.0f} ms" if abs(value) < 1 else f"{value:.3g} s"
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e4, "K")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'K' else size):.3g} {letter}"
    return f"{value:.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"
