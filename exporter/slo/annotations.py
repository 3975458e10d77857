"""What an alert tells the person it wakes: words, a runbook section, a dashboard with its variables filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from .promql import Ranges

DEFAULT_DASHBOARDS_URL = ""
"""No root: the links of what ships are paths. Where Grafana is, only its owner knows."""
DEFAULT_RUNBOOK_URL = "https://github.com/atoms-exporter/atoms-exporter/blob/main/dashboards/runbook.md"

AGENT_NAMES = "atoms_slo:agent_name"
"""The recorded series that says what an agent is called now: 1, by ``agent_id`` and ``agent_name``."""


def _named(pipe: str = "") -> str:
    """The agent's present name, looked up when the alert is told; its id while nobody knows one."""
    looked_up = f'query (printf "{AGENT_NAMES}{{agent_id=%q}}" $labels.agent_id)'
    return (
        f'{{{{ with {looked_up} }}}}{{{{ . | first | label "agent_name"{pipe} }}}}'
        f"{{{{ else }}}}{{{{ $labels.agent_id{pipe} }}}}{{{{ end }}}}"
    )


AGENT = "<agent>"
"""In texts and as a dashboard variable: the agent's present name.

A name as a label of the alert would make another alert of it when the agent is renamed.
"""


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
        query += [f"var-{name}={_filled(label)}" for name, label in variables.items()]
        return f"{self.dashboards_url.rstrip('/')}/d/{uid}" + (f"?{'&'.join(query)}" if query else "")


def _filled(label: str) -> str:
    return _named(" | urlquery") if label == AGENT else f"{{{{ $labels.{label} | urlquery }}}}"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alerting rule. ``variables`` maps a dashboard variable to the alert label that fills it (or ``AGENT``)."""

    name: str
    expr: str
    for_seconds: float
    severity: str
    summary: str
    description: str
    dashboard: str
    keep_seconds: float = 0.0
    variables: Mapping[str, str] = field(default_factory=dict)
    fixed_variables: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def rule(self, ranges: Ranges, links: Links, labels: Mapping[str, str]) -> dict[str, Any]:
        """The alert as Prometheus reads it; ``labels`` are the operator's own."""
        keeping = {"keep_firing_for": ranges(self.keep_seconds)} if self.keep_seconds else {}
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": ranges(self.for_seconds),
            **keeping,
            "labels": {**labels, "severity": self.severity, **self.labels},
            "annotations": {
                "summary": self.summary.replace(AGENT, _named()),
                "description": self.description.replace(AGENT, _named()),
                "runbook_url": links.runbook(self.name),
                "dashboard_url": links.dashboard(self.dashboard, self.variables, self.fixed_variables),
            },
        }
