"""Incidents against a real Prometheus and a real Alertmanager: what is delivered, after how long, and where it leads.

The simulator misbehaves, the exporter follows it, the rules and the routing are those that ship. Time is compressed
thirty times: an hour's window takes two minutes. ``make incidents`` plays them all, in about an hour, and prints the
table of docs/slo.md: incident, alert, after, what the linked dashboard's panel shows, the exporter's own page, runbook.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from dashboards.expressions import FILLED, Chosen, filled, questions
from dashboards.generate import HERE, dashboards
from dashboards.rehearsal import Rehearsal
from dashboards.rules.tests import worlds
from exporter.slo import DEFAULT_OBJECTIVES
from tests.incidents.played import INCIDENTS, Incident, Panel
from tests.support.peers import needs
from tests.web.test_pages import said

pytestmark = [
    pytest.mark.incidents,
    needs("prometheus", "prometheus-alertmanager", "promtool"),
    pytest.mark.timeout(1800),
]

SCALE = 1 / 30
MINUTE = 60 * SCALE
"""A minute of the rules, in real seconds."""
QUIET = {"AtomsExporterDown", "AtomsStreamsNotOpen", "AtomsEventLoopLag"}
"""What a start or a busy machine may fire when a minute is two seconds; no incident here is about these."""
RUNBOOK = (HERE / "runbook.md").read_text()


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


def shown(stage: Rehearsal, alert: dict[str, Any], panel: Panel) -> bool:
    """Whether the panel on the alert's dashboard shows the cause under the link's variables."""
    link = urlsplit(alert["annotations"]["dashboard_url"])
    document = dashboards()[link.path.removeprefix("/d/")]
    chosen = {name.removeprefix("var-"): tuple(values) for name, values in parse_qs(link.query).items()}
    values: dict[str, Chosen] = {**FILLED, "__rate_interval": "10s", "__range": "3m", **chosen}
    asked = [question for question in questions(document) if question.panel == panel.title]
    assert asked, f"{panel.title} is not on {link.path}"
    answers = {question.ref: stage.query(filled(question.expr, values)) for question in asked}
    return panel.proves(
        [{**one, "metric": {**one["metric"], "query": ref}} for ref, series in answers.items() for one in series]
    )


def page_of(stage: Rehearsal) -> str:
    """What the exporter's own page says now."""
    return said(httpx.get(stage.exporter, timeout=60).text)


def a_call_it_shows(stage: Rehearsal) -> str:
    """The waterfall of a call that the page names beside what is wrong."""
    named = re.search(r"Such a call: (CALL-[\w-]+)", page_of(stage))
    return said(httpx.get(f"{stage.exporter}/calls/{named[1]}", timeout=60).text) if named else ""


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.name)
def test_it_is_told_once_in_time_and_leads_to_its_cause(incident: Incident, tmp_path: Path) -> None:
    rehearsal = Rehearsal(
        tmp_path, calls=incident.calls, objectives=DEFAULT_OBJECTIVES, time_scale=SCALE, settings=incident.settings
    )
    with rehearsal.running() as stage:
        stage.wait_for("traffic", lambda: stage.query("sum(increase(atoms_calls_started_total[10s])) > 0"))
        time.sleep(incident.healthy * MINUTE)
        since, begun = len(stage.pager.deliveries), time.monotonic()
        stage.misbehave(incident.faults)

        def told() -> dict[str, Any] | None:
            found = delivered(stage, since, incident.alert, "firing", severity=incident.severity, **incident.labels)
            return found[0] if found else None

        alert = stage.wait_for(incident.alert, told, incident.within * MINUTE + 60)
        after = (time.monotonic() - begun) / MINUTE
        if incident.page:
            pattern = re.compile(incident.page)
            stage.wait_for(f"the page: {incident.page}", lambda: pattern.search(page_of(stage)), 120, every=2)
        if "CALL-" in incident.page:
            assert "Waterfall" in a_call_it_shows(stage)
        time.sleep(15 * MINUTE)
        for panel in incident.panels:
            stage.wait_for(f"the cause on {panel.title}", lambda panel=panel: shown(stage, alert, panel), 60)
        resolved = delivered(stage, since, incident.alert, "resolved", **dict(alert["labels"]))
        titles = ", ".join(f"*{panel.title}*" for panel in incident.panels)
        runbook = f"[section](../dashboards/runbook.md#{incident.alert.lower()})"
        told_by_page = "names it" if incident.page else "–"
        row = (incident.name, f"`{incident.alert}`", f"{after:.0f} min", titles, told_by_page, runbook)
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


def test_twelve_days_of_natural_failures_are_silent_at_any_rate() -> None:
    assert worlds.played(worlds.naturally_failing, [worlds.RULES / "calls.yml"]) == []
