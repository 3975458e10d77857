"""Every question the dashboards ask Prometheus, with Grafana's variables filled in: for tests and for pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.slo.promql import escaped_regex

Chosen = str | Sequence[str]
"""What is chosen in a filter: text as it stands (``.*`` for "All"), or the values somebody ticked."""

FILLED: Mapping[str, Chosen] = {
    "agent:queryparam": "var-agent=.*",
    "node:queryparam": "var-node=.*",
    "__rate_interval": "5m",
    "__range": "1h",
    "job": ".*",
    "instance": ".*",
    "agent": ".*",
    "node": ".*",
    "channel": ".*",
    "slo": ".*",
    "price_prompt": "0.40",
    "price_cached": "0.10",
    "price_completion": "1.60",
    "price_other": "0.40",
    "price_tts": "0.02",
    "price_stt": "0.25",
}
"""What a reader who filters nothing sees."""


@dataclass(frozen=True, slots=True)
class Question:
    """One expression of one panel (or annotation, or variable) of a dashboard."""

    dashboard: str
    panel: str
    ref: str
    expr: str


def filled(expr: str, values: Mapping[str, Chosen] = FILLED) -> str:
    """The expression as Grafana sends it; raises ``KeyError`` for a variable nobody knows."""

    def fill(found: re.Match[str]) -> str:
        name, form = found[1] or found[3], found[2] or ""
        chosen = values[name] if f"{name}:{form}" not in values else values[f"{name}:{form}"]
        if isinstance(chosen, str):
            return chosen
        # Grafana's formats: with "regex" a name stands between backticks, without between double quotes.
        escaped = [escaped_regex(one) for one in chosen]
        if form != "regex":
            escaped = [one.replace("\\", "\\\\") for one in escaped]
        return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"

    return re.sub(r"\$(?:\{(\w+)(?::(\w+))?\}|([a-z_]\w*))", fill, expr)


def every_panel(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A dashboard's panels in order, rows and what lies in closed rows as well."""
    for panel in document["panels"]:
        yield panel
        yield from panel.get("panels", ())


def questions(document: Mapping[str, Any]) -> Iterator[Question]:
    """Every Prometheus expression of a dashboard, variables not yet filled in."""
    uid = document["uid"]
    for panel in every_panel(document):
        for target in panel.get("targets", ()):
            if target["datasource"]["type"] == "prometheus":
                yield Question(uid, panel["title"], target["refId"], target["expr"])
    for annotation in document["annotations"]["list"]:
        if "expr" in annotation:
            yield Question(uid, f"annotation {annotation['name']}", "A", annotation["expr"])
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            selector = re.sub(r"^label_values\((.*), \w+\)$", r"\1", variable["query"]["query"])
            yield Question(uid, f"variable {variable['name']}", "A", selector)
