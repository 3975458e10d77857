"""The rule file: one group per objective, one for the calls, one for the exporter itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .annotations import DEFAULT_DASHBOARDS_URL, DEFAULT_RUNBOOK_URL, Links
from .burn import burn_alerts
from .call_alerts import call_alerts
from .exporter_alerts import exporter_alerts
from .objectives import DEFAULT_OBJECTIVES, Objective, check_objectives
from .promql import Ranges, to_yaml
from .recording import recording_rules
from .thresholds import AlertThresholds

_EVERY_SECONDS = 30.0
_HEADER = """Prometheus rules of atoms-exporter. Generated: `atoms-exporter rules`; do not edit.
A budget over 30d needs as long a retention: --storage.tsdb.retention.time=35d."""


def rule_groups(
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    *,
    dashboards_url: str = DEFAULT_DASHBOARDS_URL,
    runbook_url: str = DEFAULT_RUNBOOK_URL,
    time_scale: float = 1.0,
    thresholds: AlertThresholds | None = None,
    job: str = "atoms-exporter",
) -> dict[str, list[dict[str, Any]]]:
    """Rule groups by what they watch: ``slo``, ``calls``, ``exporter``. Raises ``ConfigError`` for bad objectives.

    ``time_scale`` compresses every window, delay and interval for tests that cannot wait; the ``window`` labels
    keep the real ones, so that dashboards and tests find the same series.
    """
    check_objectives(objectives)
    ranges, links = Ranges(time_scale), Links(dashboards_url, runbook_url)
    limits = thresholds or AlertThresholds()
    every = ranges.at_least_a_second(_EVERY_SECONDS)

    def group(name: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
        return {"name": name, "interval": every, "rules": rules}

    slo = []
    for objective in objectives:
        alerts = [alert.rule(ranges, links) for alert in burn_alerts(objective, ranges)]
        slo.append(group(f"atoms-slo-{objective.name}", [*recording_rules(objective, ranges), *alerts]))
    calls = [alert.rule(ranges, links) for alert in call_alerts(limits, ranges)]
    exporter = [alert.rule(ranges, links) for alert in exporter_alerts(limits, ranges, job)]
    return {"slo": slo, "calls": [group("atoms-calls", calls)], "exporter": [group("atoms-exporter", exporter)]}


def render_rules(
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    *,
    dashboards_url: str = DEFAULT_DASHBOARDS_URL,
    runbook_url: str = DEFAULT_RUNBOOK_URL,
    time_scale: float = 1.0,
    thresholds: AlertThresholds | None = None,
    job: str = "atoms-exporter",
    only: Sequence[str] = ("slo", "calls", "exporter"),
) -> str:
    """A Prometheus rule file; ``only`` chooses among the parts of ``rule_groups``."""
    parts = rule_groups(
        objectives,
        dashboards_url=dashboards_url,
        runbook_url=runbook_url,
        time_scale=time_scale,
        thresholds=thresholds,
        job=job,
    )
    groups = [group for part in only for group in parts[part]]
    return to_yaml({"groups": groups}, header=_HEADER)
