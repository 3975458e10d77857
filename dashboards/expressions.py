"""Every question the dashboards ask Prometheus, with Grafana's variables filled in: for tests and for pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

FILLED = {
    "agent:queryparam": "var-agent=.*",
    "__rate_interval": "5m",
    "__range": "1h",
    "agent": ".*",
    "node": ".*",
    "channel": ".*",
    "slo": ".*",
    "instance": ".*",
    "price_prompt": "0.40",
    "price_cached": "0.10",
    "price_completion": "1.60",
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


def filled(expr: str, values: Mapping[str, str] = FILLED) -> str:
    """The expression as Grafana sends it; raises ``KeyError`` for a variable nobody knows."""
    return re.sub(r"\$(?:\{([\w:]+)\}|([a-z_]\w*))", lambda found: values[found[1] or found[2]], expr)


def questions(document: Mapping[str, Any]) -> Iterator[Question]:
    """Every Prometheus expression of a dashboard, variables not yet filled in."""
    uid = document["uid"]
    for panel in document["panels"]:
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
