"""The rule file: groups for each objective, for the agents, for the calls, for the exporter itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .agents import agent_rules, visit_rules
from .annotations import DEFAULT_DASHBOARDS_URL, DEFAULT_RUNBOOK_URL, Alert, Links
from .burn import burn_alert, node_alert, nothing_alert, trickle_alert
from .call_alerts import call_alerts, call_records
from .capacity_alerts import capacity_alerts, capacity_records
from .ended_alerts import ended_alerts, ended_records
from .exporter_alerts import exporter_alerts
from .node_alerts import node_alerts, node_records
from .objectives import DEFAULT_OBJECTIVES, INDICATORS, Objective, check_objectives
from .prices import Prices, price_rules
from .promql import DAY, HOUR, Ranges, to_yaml
from .recording import FINE, calls_rule, constants, hour_begun_rule, node_rules, window_rules, windows
from .self_alerts import self_alerts
from .silence_alerts import silence_alerts, silence_records
from .thresholds import AlertThresholds

PARTS = ("slo", "calls", "exporter")
_OFTEN, _SELDOM = 60.0, 120.0
"""How often groups are evaluated, in seconds. Below five minutes, after which a recorded series counts as gone."""
LONGEST_GROUP = 20
"""Rules a group may have: Mimir's limit."""
_HEADER = """Prometheus rules of atoms-exporter. Generated: `atoms-exporter rules`; do not edit.
A budget over 30d needs as long a retention: --storage.tsdb.retention.time=35d."""

Group = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Writing:
    """What every group is written with.

    ``time_scale`` compresses every window, delay and interval for tests that cannot wait; labels keep the real ones,
    so that dashboards and tests find the same series. ``labels`` go on every alert.
    """

    links: Links = field(default_factory=Links)
    time_scale: float = 1.0
    limits: AlertThresholds = field(default_factory=AlertThresholds)
    job: str = "atoms-exporter"
    labels: Mapping[str, str] = field(default_factory=dict)
    prices: Prices = field(default_factory=dict)

    @property
    def ranges(self) -> Ranges:
        return Ranges(self.time_scale)

    def alerts(self, alerts: Sequence[Alert]) -> list[dict[str, Any]]:
        return [alert.rule(self.ranges, self.links, self.labels) for alert in alerts]

    def groups(self, name: str, every_seconds: float, rules: Sequence[dict[str, Any]]) -> list[Group]:
        """One group, or as many as its rules need; a rule reads only what comes before it, in whichever group."""
        every = self.ranges.at_least_a_second(every_seconds)
        pieces = [rules[at : at + LONGEST_GROUP] for at in range(0, len(rules), LONGEST_GROUP)]
        names = [name if at == 0 else f"{name}-{at + 1}" for at in range(len(pieces))]
        return [
            {"name": one, "interval": every, "rules": list(piece)} for one, piece in zip(names, pieces, strict=True)
        ]


def rule_groups(
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    *,
    dashboards_url: str = DEFAULT_DASHBOARDS_URL,
    runbook_url: str = DEFAULT_RUNBOOK_URL,
    time_scale: float = 1.0,
    thresholds: AlertThresholds | None = None,
    job: str = "atoms-exporter",
    labels: Mapping[str, str] | None = None,
    prices: Prices | None = None,
) -> dict[str, list[Group]]:
    """Rule groups by what they watch: ``slo``, ``calls``, ``exporter``. Raises ``ConfigError`` for bad objectives."""
    check_objectives(objectives)
    writing = Writing(
        Links(dashboards_url, runbook_url), time_scale, thresholds or AlertThresholds(), job, labels or {}, prices or {}
    )
    return {"slo": _slo(objectives, writing), "calls": _calls(writing), "exporter": _exporter(writing)}


def render_rules(
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES, *, only: Sequence[str] = PARTS, **given: Any
) -> str:
    """A Prometheus rule file; ``only`` chooses among the parts of ``rule_groups``, which takes the rest."""
    parts = rule_groups(objectives, **given)
    return to_yaml({"groups": [group for part in only for group in parts[part]]}, header=_HEADER)


def render_prometheus_rule(
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES, *, only: Sequence[str] = PARTS, **given: Any
) -> str:
    """The same as the resource the Prometheus operator takes."""
    parts = rule_groups(objectives, **given)
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "atoms-exporter", "labels": {"app.kubernetes.io/name": "atoms-exporter"}},
        "spec": {"groups": [group for part in only for group in parts[part]]},
    }
    return to_yaml(document, header=_HEADER)


def _slo(objectives: Sequence[Objective], writing: Writing) -> list[Group]:
    totals = [INDICATORS[metric].total for metric in dict.fromkeys(slo.metric for slo in objectives)]
    groups = writing.groups("atoms-agents", _OFTEN, agent_rules(totals, writing.ranges))
    if any(slo.indicator.has_nodes for slo in objectives):
        groups += writing.groups("atoms-nodes", _SELDOM, visit_rules(writing.ranges))
    for slo in objectives:
        groups += _objective(slo, _is_loosest(slo, objectives), writing)
    return groups


def _is_loosest(slo: Objective, objectives: Sequence[Objective]) -> bool:
    """Whether no other objective about the same forgives more: the one whose page says it all."""

    def forgives(one: Objective) -> tuple[float, float]:
        return (one.threshold_seconds or 0.0, -one.objective)

    def about(one: Objective) -> tuple[Any, ...]:
        return (one.metric, one.agent_ids, one.agent_names, one.node_ids, one.node_names, one.by)

    return all(forgives(other) <= forgives(slo) for other in objectives if about(other) == about(slo))


def _objective(slo: Objective, loosest: bool, writing: Writing) -> list[Group]:
    """Three groups: what pages within minutes often, what spans hours and days seldom."""
    ranges, name = writing.ranges, f"atoms-slo-{slo.name}"
    spans = {"minutes": (0.0, 1 * HOUR), "hours": (1 * HOUR, 1 * DAY), "days": (1 * DAY, float("inf"))}
    groups: list[Group] = []
    for span, (above, up_to) in spans.items():
        rules = constants(slo) if span == "minutes" else [hour_begun_rule(slo, ranges)] if span == "days" else []
        for window in windows(slo):
            if above < window <= up_to:
                rules += window_rules(slo, window, ranges)
                rules += [calls_rule(slo)] if window == FINE else []
        alerts = [
            burn_alert(slo, burn, loosest, ranges) for burn in slo.burn_rates if above < burn.long_seconds <= up_to
        ]
        if span == "hours" and slo.indicator.has_nodes:
            rules += node_rules(slo, ranges)
            alerts.append(node_alert(slo, writing.limits, loosest))
        if span == "days":
            alerts += [trickle_alert(slo, loosest, ranges), nothing_alert(slo, loosest, ranges)]
        every = _OFTEN if span == "minutes" else _SELDOM
        groups += writing.groups(f"{name}-{span}", every, [*rules, *writing.alerts(alerts)])
    return groups


def _calls(writing: Writing) -> list[Group]:
    limits, ranges = writing.limits, writing.ranges
    paging = [*call_alerts(limits, ranges), *silence_alerts(limits, ranges, writing.job)]
    return [
        *writing.groups("atoms-calls-counted", _OFTEN, [*call_records(ranges), *silence_records(ranges)]),
        *writing.groups("atoms-calls", _OFTEN, writing.alerts(paging)),
        *writing.groups(
            "atoms-calls-nodes", _SELDOM, [*node_records(ranges), *writing.alerts(node_alerts(limits, ranges))]
        ),
        *writing.groups(
            "atoms-calls-over", _OFTEN, [*ended_records(limits, ranges), *writing.alerts(ended_alerts(limits, ranges))]
        ),
        *writing.groups(
            "atoms-capacity", _OFTEN, [*capacity_records(), *writing.alerts(capacity_alerts(limits, ranges))]
        ),
        *writing.groups("atoms-prices", _SELDOM, price_rules(writing.prices)),
    ]


def _exporter(writing: Writing) -> list[Group]:
    limits, ranges, job = writing.limits, writing.ranges, writing.job
    return [
        *writing.groups("atoms-exporter", _OFTEN, writing.alerts(exporter_alerts(limits, ranges))),
        *writing.groups("atoms-exporter-process", _OFTEN, writing.alerts(self_alerts(limits, ranges, job))),
    ]
