"""Every alert has its section, and its links lead there."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from exporter.outputs.prometheus.catalogue import CATALOGUE

HERE = Path(__file__).parents[2] / "dashboards"
RUNBOOK = (HERE / "runbook.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
ALERTS = [
    rule
    for path in sorted((HERE / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    only_where_asked_for = {"AtomsFleetTooSmall"}  # by fleet.expect
    assert set(SECTIONS) == {rule["alert"] for rule in ALERTS} | only_where_asked_for


def test_a_section_says_what_it_means_how_to_look_what_causes_it_and_what_to_do() -> None:
    for alert, text in SECTIONS.items():
        found = re.findall(r"^\*\*(.*?)\*\*", text, re.MULTILINE)
        assert found == ["What it means.", "How to look.", "What usually causes it.", "What to do."], alert


def test_links_point_at_the_sections_anchor() -> None:
    anchors = {alert.lower() for alert in SECTIONS}
    for rule in ALERTS:
        assert rule["annotations"]["runbook_url"].partition("runbook.md#")[2] in anchors


def test_metrics_named_in_the_runbook_exist() -> None:
    written = "".join(path.read_text() for path in sorted((HERE / "rules").glob("*.yml")))
    recorded = set(re.findall(r"record: (atoms_\w+:\w+)", written))
    known = {f"{spec.name}{part}" for spec in CATALOGUE for part in ("", "_bucket", "_sum", "_count")} | recorded
    assert set(re.findall(r"\batoms_\w+(?::\w+)?", RUNBOOK)) - known == set()


def test_panels_named_in_the_runbook_exist() -> None:
    titles = set(
        re.findall(r'^ {6}"title": "(.*)"', "\n".join(p.read_text() for p in (HERE / "grafana").glob("*.json")), re.M)
    )
    named = {
        name
        for text in SECTIONS.values()
        for name in re.findall(r"(?<!\*)\*([A-Z][^*\n]*(?:\n[^*\n]+)?)\*(?!\*)", text)
    }
    named = {re.sub(r"\s+", " ", name) for name in named}
    assert named
    assert named - titles == {"Targets"}, "Targets is a page of Prometheus"
