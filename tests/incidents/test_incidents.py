"""Incidents against a real Prometheus and a real Alertmanager: what is delivered, after how long, and where it leads.

The simulator misbehaves, the exporter follows it, the rules and the routing are those that ship. Time is compressed
thirty times: an hour's window takes two minutes. ``make incidents`` plays them all, in about an hour, and prints the
table of docs/slo.md: incident, alert, after, what the linked dashboard's panel shows, runbook.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboards.expressions import FILLED, Chosen, filled, questions
from dashboards.generate import HERE, dashboards
from dashboards.rehearsal import Rehearsal, missing_servers
from dashboards.rules.tests import worlds
from dashboards.rules.tests.harness import promtool
from exporter.slo import DEFAULT_OBJECTIVES

pytestmark = [
    pytest.mark.incidents,
    pytest.mark.skipif(bool(missing_servers()), reason=f"needs {', '.join(missing_servers())}"),
    pytest.mark.timeout(1800),
]

SCALE = 1 / 30
MINUTE = 60 * SCALE
"""A minute of the rules, in real seconds."""
HEALTHY = 45 * MINUTE
QUIET = {"AtomsExporterDown", "AtomsStreamsNotOpen", "AtomsEventLoopLag"}
"""What a start or a busy machine may fire when a minute is two seconds; no incident here is about these."""
SLOW = {"node_id": "10001", "agent_id": "66f0a1c2d3e4f5a6b7c8d901"}
RUNBOOK = (HERE / "runbook.md").read_text()


@dataclass(frozen=True)
class Incident:
    """What goes wrong, and what somebody on call is told."""

    name: str
    faults: dict[str, Any]
    alert: str
    severity: str
    within: float
    """Minutes of the rules."""
    panel: str
    """On the linked dashboard; has data when somebody follows the link."""
    calls: int = 40
    labels: dict[str, str] = field(default_factory=dict)
    alone: bool = True
    """No other page beside it."""


INCIDENTS = (
    Incident(
        "every call fails",
        {"call_failure": 1.0},
        "AtomsCallFailuresBurning",
        "critical",
        40,
        "Calls ended per minute, by outcome",
        alone=False,  # an agent that fails its calls reports errors in each
    ),
    Incident(
        "every turn takes ten times as long",
        {"slow_node": {"node_id": "*", "factor": 10}},
        "AtomsSLOBudgetBurn",
        "critical",
        40,
        "Burn rate over every window",
        labels={"loosest": "true"},
    ),
    Incident(
        "callers speak, nobody answers",
        {"silent_agent": 1.0},
        "AtomsCallersUnanswered",
        "critical",
        40,  # calls in progress end as they began, ten of these minutes later
        "Turns and visits per minute",
    ),
    Incident(
        "no calls at all",
        {"no_calls": 1.0},
        "AtomsAllCallsStopped",
        "critical",
        60,
        "Calls started per minute",
    ),
    Incident(
        "an error in every turn",
        {"agent_error": 1.0},
        "AtomsAgentErrors",
        "critical",
        45,
        "Agent errors per minute",
    ),
    Incident(
        "one node of many is slow",
        {"slow_node": {**SLOW, "factor": 10}},
        "AtomsNodeFailsObjective",
        "warning",
        60,
        "Turn latency p95 by node",
        labels={"node_id": SLOW["node_id"], "agent_id": SLOW["agent_id"], "loosest": "true"},
        alone=False,  # where this node is most of the agent, the agent pages as well
    ),
    Incident(
        "streams are open and silent",
        {"half_open": 1.0},
        "AtomsEventsRecovered",
        "warning",
        15,
        "Rejected, duplicate and recovered events per minute",
        alone=False,  # compressed, the idle time of a stream is half an hour: they count as stale as well
    ),
    Incident(
        "streams are refused, lists can be read",
        {"forbidden": {"probability": 1.0, "on": "events"}},
        "AtomsStreamsRefused",
        "critical",
        30,
        "Failures to open a stream per minute",
    ),
    Incident(
        "lists are refused, streams go on",
        {"server_error": {"probability": 1.0, "on": "conversation", "burst": 1}},
        "AtomsListNotReadable",
        "critical",
        30,
        "Requests that look for calls and names, per minute",
        alone=False,  # compressed, the calls in progress end before the alert is due, and their streams with them
    ),
)


def delivered(stage: Rehearsal, since: int, name: str, status: str, **labels: str) -> list[dict[str, Any]]:
    alerts = [alert for delivery in stage.pager.deliveries[since:] for alert in delivery["alerts"]]
    wanted = {"alertname": name, **labels}
    return [alert for alert in alerts if alert["status"] == status and wanted.items() <= alert["labels"].items()]


def pages(stage: Rehearsal, since: int) -> set[str]:
    """What a pager was rung for."""
    alerts = [alert for delivery in stage.pager.deliveries[since:] for alert in delivery["alerts"]]
    return {
        alert["labels"]["alertname"]
        for alert in alerts
        if alert["status"] == "firing" and alert["labels"]["severity"] == "critical"
    } - QUIET


def shown(stage: Rehearsal, alert: dict[str, Any], panel: str) -> bool:
    """Whether the panel on the alert's dashboard has data under the link's variables."""
    link = urlsplit(alert["annotations"]["dashboard_url"])
    document = dashboards()[link.path.removeprefix("/d/")]
    chosen = {name.removeprefix("var-"): tuple(values) for name, values in parse_qs(link.query).items()}
    values: dict[str, Chosen] = {**FILLED, "__rate_interval": "10s", "__range": "3m", **chosen}
    asked = [question for question in questions(document) if question.panel == panel]
    assert asked, f"{panel} is not on {link.path}"
    return any(stage.query(filled(question.expr, values)) for question in asked)


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.name)
def test_it_is_told_once_in_time_and_leads_to_its_cause(incident: Incident, tmp_path: Path) -> None:
    rehearsal = Rehearsal(tmp_path, calls=incident.calls, objectives=DEFAULT_OBJECTIVES, time_scale=SCALE)
    with rehearsal.running() as stage:
        stage.wait_for("traffic", lambda: stage.query("sum(increase(atoms_calls_started_total[10s])) > 0"))
        time.sleep(HEALTHY)
        since, begun = len(stage.pager.deliveries), time.monotonic()
        stage.misbehave(incident.faults)

        def told() -> dict[str, Any] | None:
            found = delivered(stage, since, incident.alert, "firing", severity=incident.severity, **incident.labels)
            return found[0] if found else None

        alert = stage.wait_for(incident.alert, told, incident.within * MINUTE + 60)
        after = (time.monotonic() - begun) / MINUTE
        time.sleep(15 * MINUTE)
        stage.wait_for(f"data on {incident.panel}", lambda: shown(stage, alert, incident.panel), 60)
        resolved = delivered(stage, since, incident.alert, "resolved", **dict(alert["labels"]))
        row = (incident.name, incident.alert, f"{after:.0f} min", incident.panel, f"#{incident.alert.lower()}")
        sys.stdout.write(f"\n| {' | '.join(row)} |\n")
        assert after <= incident.within
        assert resolved == [], "unbroken"
        assert f"## {incident.alert}\n" in RUNBOOK
        assert alert["annotations"]["runbook_url"].endswith(f"#{incident.alert.lower()}")
        assert "localhost" not in alert["annotations"]["dashboard_url"]
        if incident.alone:
            assert pages(stage, since) <= {incident.alert}


@pytest.mark.parametrize("share", [0.03, 0.05])
def test_three_and_five_failures_of_a_hundred_are_not_told(share: float, tmp_path: Path) -> None:
    with Rehearsal(tmp_path, objectives=DEFAULT_OBJECTIVES, time_scale=SCALE).running() as stage:
        stage.misbehave({"call_failure": share})
        time.sleep(3 * 60 * MINUTE)
        assert pages(stage, 0) == set()
        assert delivered(stage, 0, "AtomsCallFailuresBurning", "firing") == []


def test_one_bad_call_in_a_quiet_night_wakes_nobody(tmp_path: Path) -> None:
    night = Rehearsal(
        tmp_path, calls=1, objectives=DEFAULT_OBJECTIVES, time_scale=SCALE, options=("--total-calls", "1")
    )
    with night.running() as stage:
        stage.misbehave({"slow_node": {"node_id": "*", "factor": 10}})
        time.sleep(90 * MINUTE)
        assert stage.query("sum(atoms_turn_latency_seconds_count) > 0")
        assert pages(stage, 0) == set()


@pytest.mark.skipif(promtool() is None, reason="promtool is not installed")
def test_twelve_days_of_natural_failures_are_silent_at_any_rate() -> None:
    assert worlds.played(worlds.naturally_failing, [worlds.RULES / "calls.yml"]) == []
