"""The rules of grafana/dashboard-linter, and the exclusions it would read itself, each with its reason.

The linter is a Go program that few machines have; its rules are few and stable. Those on Loki do not concern us.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from dashboards.expressions import FILLED, filled
from dashboards.generate import HERE

from .boards import DOCUMENTS, Document, panels

EXCLUSIONS: dict[str, Any] = yaml.safe_load((HERE / "grafana" / ".lint").read_text())["exclusions"]
UNITS = {"none", "short", "percentunit", "s", "bytes", "currencyUSD", "dateTimeFromNow"}
"""Those of Grafana's units that are in use; a new one is looked up in Grafana first."""
WRITTEN = {**FILLED, "job": "$job", "instance": "$instance", "__rate_interval": "5m1s"}
"""Variables filled in, but for those whose use is checked."""


@dataclass(frozen=True)
class Complaint:
    """What a rule has against a dashboard, a panel, or one query of it."""

    rule: str
    dashboard: str
    panel: str = ""
    target: int | None = None

    def excluded_by(self, entry: Mapping[str, Any]) -> bool:
        said = {"dashboard": self.dashboard, "panel": self.panel, "targetIdx": self.target}
        return all(said[key] == value for key, value in entry.items())


def variables(document: Document, kind: str) -> list[Document]:
    return [one for one in document["templating"]["list"] if one["type"] == kind]


def queries(panel: Document) -> Iterator[tuple[int, str]]:
    for number, target in enumerate(panel["targets"]):
        if target["datasource"]["type"] == "prometheus":
            yield number, filled(target["expr"], WRITTEN)


_TEXT = r'"(?:\\.|[^"\\])*"|`[^`]*`'
_SELECTOR = re.compile(rf"([a-zA-Z_:][\w:]*)(?:\s*(\())?(\{{(?:[^{{}}\"`]|{_TEXT})*\}})?")
_WORDS = {"and", "or", "unless", "by", "on", "ignoring", "group_left", "sum", "min", "max", "count", "end"}


def selectors(expr: str) -> Iterator[tuple[str, str]]:
    """Metric names with their matchers."""
    without_labels = re.sub(r"\b(by|on|ignoring|group_left|without) \([^()]*\)", "", expr)
    bare = re.sub(
        rf"(?<==)({_TEXT})|(?<=~)({_TEXT})|({_TEXT})", lambda found: "" if found[3] else found[0], without_labels
    )
    bare = re.sub(r"\[[^\]]*\]", "", bare)
    for name, call, matchers in _SELECTOR.findall(bare):
        if not call and name not in _WORDS and not re.fullmatch(r"\d*e\d+|e", name):
            yield name, matchers


def template_datasource_rule(document: Document) -> Iterator[Complaint]:
    if {one["name"] for one in variables(document, "datasource")} != {"prometheus_datasource", "tempo_datasource"}:
        yield Complaint("template-datasource-rule", document["title"])


def template_of(name: str) -> Callable[[Document], Iterator[Complaint]]:
    def rule(document: Document) -> Iterator[Complaint]:
        (variable,) = [one for one in document["templating"]["list"] if one["name"] == name] or [{}]
        right = (
            variable.get("type") == "query"
            and variable["datasource"]["uid"] == "${datasource}"
            and variable["label"] == name.title()
            and variable["multi"]
        )
        assert right, f"{document['title']}: {name}"
        if variable["allValue"] != ".+":
            yield Complaint(f"template-{name}-rule", document["title"])

    return rule


def template_on_time_change_reload(document: Document) -> Iterator[Complaint]:
    for variable in variables(document, "query"):
        if variable["refresh"] != 2:
            yield Complaint("template-on-time-change-reload", document["title"])


def template_label_promql_rule(document: Document) -> Iterator[Complaint]:
    for variable in variables(document, "query"):
        if not re.fullmatch(r"label_values\([\w:]+(\{.*\})?, [a-z_]+\)", variable["query"]["query"]):
            yield Complaint("template-label-promql-rule", document["title"])


def uneditable_dashboard(document: Document) -> Iterator[Complaint]:
    if document["editable"]:
        yield Complaint("uneditable-dashboard", document["title"])


def panel_rules(document: Document) -> Iterator[Complaint]:
    for panel in panels(document):
        where = (document["title"], panel["title"])
        if panel["datasource"]["uid"] not in {"${datasource}", "${traces}"}:
            yield Complaint("panel-datasource-rule", *where)
        if not panel["title"] or not panel["description"]:
            yield Complaint("panel-title-description-rule", *where)
        if not panel["targets"]:
            yield Complaint("panel-no-targets-rule", *where)
        config = panel.get("fieldConfig", {})
        items = [item for rule in config.get("overrides", ()) for item in rule["properties"]]
        units = {item["value"] for item in items if item["id"] == "unit"} | {config.get("defaults", {}).get("unit")}
        units -= {None}
        if panel["type"] in {"stat", "timeseries", "table"} and not (units and units <= UNITS):
            yield Complaint("panel-units-rule", *where)


def target_matcher_rules(document: Document) -> Iterator[Complaint]:
    for panel in panels(document):
        for number, expr in queries(panel):
            for name in ("job", "instance"):
                if any(f'{name}=~"${name}"' not in matchers for _, matchers in selectors(expr)):
                    yield Complaint(f"target-{name}-rule", document["title"], panel["title"], number)


def target_rate_interval_rule(document: Document) -> Iterator[Complaint]:
    for panel in panels(document):
        for number, expr in queries(panel):
            for window in re.findall(r"\bi?rate\([^\[\]]*\[([^\]]*)\]", expr):
                if window != WRITTEN["__rate_interval"]:
                    yield Complaint("target-rate-interval-rule", document["title"], panel["title"], number)


def target_counter_agg_rule(document: Document) -> Iterator[Complaint]:
    for panel in panels(document):
        for number, expr in queries(panel):
            counted = len(re.findall(r"\b(?:rate|irate|increase)\(\w+_total\{", expr))
            if counted != len(re.findall(r"\b\w+_total\b", expr)):
                yield Complaint("target-counter-agg-rule", document["title"], panel["title"], number)


RULES: tuple[Callable[[Document], Iterator[Complaint]], ...] = (
    template_datasource_rule,
    template_of("job"),
    template_of("instance"),
    template_label_promql_rule,
    template_on_time_change_reload,
    panel_rules,
    target_rate_interval_rule,
    target_matcher_rules,
    target_counter_agg_rule,
    uneditable_dashboard,
)
"""All of the linter's but target-promql-rule: ``promtool check rules`` parses every expression elsewhere."""
COMPLAINTS = [complaint for document in DOCUMENTS.values() for rule in RULES for complaint in rule(document)]


def test_there_is_no_complaint_but_those_excluded() -> None:
    def excluded(complaint: Complaint) -> bool:
        exclusion = EXCLUSIONS.get(complaint.rule)
        return exclusion is not None and any(map(complaint.excluded_by, exclusion.get("entries", [{}])))

    assert [complaint for complaint in COMPLAINTS if not excluded(complaint)] == []


@pytest.mark.parametrize("rule", EXCLUSIONS)
def test_every_exclusion_has_a_reason_and_excludes_something(rule: str) -> None:
    assert len(EXCLUSIONS[rule]["reason"]) > 10
    of_the_rule = [complaint for complaint in COMPLAINTS if complaint.rule == rule]
    for entry in EXCLUSIONS[rule].get("entries", [{}]):
        assert any(complaint.excluded_by(entry) for complaint in of_the_rule), (rule, entry)


def test_only_what_is_recorded_or_an_alert_goes_without_job_and_instance() -> None:
    for document in DOCUMENTS.values():
        for panel in panels(document):
            for _, expr in queries(panel):
                for name, matchers in selectors(expr):
                    of_rules = name.startswith(("atoms_slo:", "atoms_price:", "ALERTS"))
                    assert of_rules or 'job=~"$job",instance=~"$instance"' in matchers, (panel["title"], name)


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ('sum by (a) (rate(x_total{job=~"$job",n=~`a{2}"`}[5m])) > 1e6', [("x_total", '{job=~"$job",n=~`a{2}"`}')]),
        ('label_replace(y, "part", "z", "", "")', [("y", "")]),
        ("0 * max(a:b) or ALERTS{} and on (slo) c", [("a:b", ""), ("ALERTS", "{}"), ("c", "")]),
    ],
)  # fmt: skip
def test_selectors_are_found_wherever_they_stand(expr: str, found: list[tuple[str, str]]) -> None:
    assert list(selectors(expr)) == found
