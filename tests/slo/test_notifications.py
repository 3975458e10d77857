"""What the shipped routing makes of many alerts, by a real Alertmanager."""

from __future__ import annotations

from pathlib import Path

import httpx

from dashboards.rehearsal import Rehearsal
from tests.support.peers import needs

pytestmark = needs("prometheus-alertmanager")

OUTAGE = [
    {"alertname": "AtomsSLOBudgetBurn", "indicator": "turn_latency", "agent_id": f"a{agent}", **labels}
    for agent in range(20)
    for labels in (
        {"severity": "critical", "slo": "turn-latency-4s", "loosest": "true", "window": "1h"},
        {"severity": "critical", "slo": "turn-latency-4s", "loosest": "true", "window": "6h"},
        {"severity": "critical", "slo": "turn-latency-2s", "loosest": "false", "window": "1h"},
        {"severity": "warning", "slo": "turn-latency-4s", "loosest": "true", "window": "1d"},
        {"severity": "warning", "slo": "turn-latency-2s", "loosest": "false", "window": "1d"},
    )
] + [
    {"alertname": "AtomsNodeFailsObjective", "severity": "warning", "agent_id": f"a{agent}", "node_id": "1", **labels}
    for agent in range(20)
    for labels in ({"slo": "turn-latency-4s", "loosest": "true"}, {"slo": "turn-latency-2s", "loosest": "false"})
]
"""Twenty agents, one outage of the platform, two objectives: 140 alerts."""


def told(stage: Rehearsal, alerts: list[dict[str, str]]) -> list[dict[str, object]]:
    """Deliveries, once the pager has been quiet for longer than a group waits."""
    posted = [{"labels": labels, "annotations": {"summary": "one"}} for labels in alerts]
    httpx.post(f"{stage.alertmanager}/api/v2/alerts", json=posted, timeout=30).raise_for_status()
    stage.wait_for("a notification", lambda: stage.pager.deliveries, 60)
    seen = -1

    def quiet() -> bool:
        nonlocal seen
        before, seen = seen, len(stage.pager.deliveries)
        return before == seen

    stage.wait_for("silence", quiet, 60, every=4)
    return list(stage.pager.deliveries)


def test_twenty_agents_in_one_outage_are_one_notification_about_the_looser_objective(tmp_path: Path) -> None:
    with Rehearsal(tmp_path).routing() as stage:
        deliveries = told(stage, OUTAGE)
    assert len(deliveries) == 1
    (delivery,) = deliveries
    alerts = delivery["alerts"]
    assert isinstance(alerts, list)
    assert {one["labels"]["agent_id"] for one in alerts} == {f"a{agent}" for agent in range(20)}
    assert {(one["labels"]["severity"], one["labels"]["loosest"]) for one in alerts} == {("critical", "true")}


def test_what_follows_from_something_else_is_not_told_beside_it(tmp_path: Path) -> None:
    alerts = [
        {"alertname": "AtomsNearConcurrencyLimit", "severity": "critical", "job": "atoms", "of": "limit"},
        {"alertname": "AtomsNearConcurrencyLimit", "severity": "warning", "job": "atoms", "of": "limit"},
        {"alertname": "AtomsQueueGrowing", "severity": "warning", "job": "atoms"},
        {"alertname": "AtomsCallFailuresBurning", "severity": "warning", "agent_id": "a1"},
        {"alertname": "AtomsEndReasonsFailing", "severity": "warning", "agent_id": "a1"},
        {"alertname": "AtomsCallersUnanswered", "severity": "critical", "agent_id": "a2"},
        {"alertname": "AtomsFirstWordSlow", "severity": "warning", "agent_id": "a2"},
        {"alertname": "AtomsListNotReadable", "severity": "critical", "instance": "x:9464"},
        {"alertname": "AtomsAllCallsStopped", "severity": "critical"},
        {"alertname": "AtomsCallsStopped", "severity": "critical", "agent_id": "a1"},
        {"alertname": "AtomsStreamsNotOpen", "severity": "warning", "instance": "x:9464"},
    ]
    with Rehearsal(tmp_path).routing() as stage:
        deliveries = told(stage, alerts)
    names = sorted(alert["labels"]["alertname"] for one in deliveries for alert in one["alerts"])  # type: ignore[attr-defined] # JSON
    assert names == [
        "AtomsCallFailuresBurning",
        "AtomsCallersUnanswered",
        "AtomsListNotReadable",
        "AtomsNearConcurrencyLimit",
    ]
