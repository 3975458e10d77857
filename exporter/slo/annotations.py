"""What an alert tells the person it wakes: words, a runbook section, a dashboard with its variables filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from .promql import Ranges

DEFAULT_DASHBOARDS_URL = "http://localhost:3000"
DEFAULT_RUNBOOK_URL = "https://github.com/atoms-exporter/atoms-exporter/blob/main/dashboards/runbook.md"


@dataclass(frozen=True, slots=True)
class Links:
    """Where Grafana and the runbook are."""

    dashboards_url: str = DEFAULT_DASHBOARDS_URL
    runbook_url: str = DEFAULT_RUNBOOK_URL

    def runbook(self, alert: str) -> str:
        return f"{self.runbook_url}#{alert.lower()}"

    def dashboard(self, uid: str, variables: Mapping[str, str], fixed: Mapping[str, str]) -> str:
        """A dashboard's address; ``variables`` are filled with the alert's labels when it fires."""
        query = [f"var-{name}={quote_plus(value)}" for name, value in fixed.items()]
        query += [f"var-{name}={{{{ $labels.{label} | urlquery }}}}" for name, label in variables.items()]
        return f"{self.dashboards_url.rstrip('/')}/d/{uid}" + (f"?{'&'.join(query)}" if query else "")


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule. ``variables`` maps a dashboard variable to the alert label that fills it."""

    name: str
    expr: str
    for_seconds: float
    severity: str
    summary: str
    description: str
    dashboard: str
    variables: Mapping[str, str] = field(default_factory=dict)
    fixed_variables: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def rule(self, ranges: Ranges, links: Links) -> dict[str, Any]:
        """The alert as Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": ranges(self.for_seconds),
            "labels": {"severity": self.severity, **self.labels},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": links.runbook(self.name),
                "dashboard_url": links.dashboard(self.dashboard, self.variables, self.fixed_variables),
            },
        }
