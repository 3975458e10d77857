"""The table of what an on-call asks: each row's metric, panel, alert and incident exist and belong together.

That the answers are there when it happens is what ``make incidents`` shows.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dashboards.asked import QUESTIONS, Asked
from dashboards.expressions import questions
from dashboards.generate import HERE, dashboards
from exporter.outputs.prometheus.catalogue import CATALOGUE
from tests.incidents.played import INCIDENTS

RULES = {
    rule["alert"]: rule
    for path in sorted((HERE / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
ROWS = pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked.question)


@ROWS
def test_the_alert_leads_to_the_panel_that_asks_for_the_metric(asked: Asked) -> None:
    assert asked.metric in {spec.name for spec in CATALOGUE}
    link = RULES[asked.alert]["annotations"]["dashboard_url"]
    assert link.startswith(f"/d/{asked.dashboard}?")
    expressions = [one.expr for one in questions(dashboards()[asked.dashboard]) if one.panel == asked.panel]
    assert expressions
    shown = asked.metric if asked.panel != "Burn rate over every window" else "atoms_slo:error_ratio"
    assert any(shown in expr for expr in expressions)
    assert f"## {asked.alert}\n" in (HERE / "runbook.md").read_text()


@ROWS
def test_an_incident_plays_it_and_waits_for_the_panel_and_the_page(asked: Asked) -> None:
    (incident,) = [incident for incident in INCIDENTS if incident.name == asked.incident]
    assert incident.alert == asked.alert
    assert asked.panel in {panel.title for panel in incident.panels}
    assert incident.page


def test_all_that_was_asked_for_has_a_row() -> None:
    text = (Path(__file__).parents[2] / "docs" / "questions.md").read_text()
    for word in (
        "node",
        "Since when",
        "stage",
        "channel",
        "version",
        "cost",
        "limit",
        "queue",
        "end?",
        "not answered",
        "Show me",
    ):
        assert any(word in asked.question and f"| {asked.question} |" in text for asked in QUESTIONS), word
