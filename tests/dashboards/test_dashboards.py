"""The dashboards as Grafana will read them: structure, units, words, links, and the metrics they ask for."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.expressions import FILLED, every_panel, filled, questions
from dashboards.generate import HERE, dashboards, generated
from dashboards.not_shown import NOT_SHOWN
from exporter.outputs.prometheus.catalogue import CATALOGUE
from exporter.slo.prices import PRICE
from tests.support.peers import need_program

from .boards import DOCUMENTS, Document, every_dashboard, overrides, panels

UIDS = {"atoms-overview", "atoms-node", "atoms-flow", "atoms-cost", "atoms-slo", "atoms-exporter"}
CORE_PANELS = {"row", "timeseries", "stat", "bargauge", "heatmap", "table", "nodeGraph"}
RULES = "\n".join(path.read_text() for path in (HERE / "rules").glob("*.yml"))


def test_what_is_committed_is_what_the_generator_writes() -> None:
    stale = [path.name for path, text in generated().items() if not path.exists() or path.read_text() != text]
    assert stale == [], "run python -m dashboards"


def test_nothing_else_lies_among_the_generated_files() -> None:
    kept = {path for folder in ("grafana", "rules") for path in (HERE / folder).iterdir() if path.is_file()}
    assert {path for path in kept if path.name not in {"kustomization.yaml", ".lint"}} < set(generated())


def test_the_uids_are_the_ones_people_have_linked() -> None:
    assert set(DOCUMENTS) == set(dashboards()) == UIDS


@every_dashboard
def test_grafanas_own_model_reads_it_and_loses_nothing(document: Document) -> None:
    again = json.loads(json.dumps(Dashboard.from_json(document), default=lambda part: part.to_json()))
    of_the_datasource = {"titleFormat", "textFormat", "step", "useValueForTime"}
    lost = [path for path in lost_in(again, document) if path[-1] not in of_the_datasource]
    assert lost == []


def lost_in(after: object, before: object, *path: object) -> Iterator[tuple[object, ...]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost_in(after.get(key), value, *path, key)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (value, kept) in enumerate(zip(before, after, strict=True)):
            yield from lost_in(kept, value, *path, number)
    elif before != after:
        yield path


@every_dashboard
def test_it_is_a_dashboard_of_grafana_11(document: Document) -> None:
    assert document["schemaVersion"] in {39, 40}
    assert {panel["type"] for panel in every_panel(document)} <= CORE_PANELS
    assert "atoms" in document["tags"]
    assert document["description"]


@every_dashboard
def test_grafana_12_and_13_find_nothing_they_have_moved_or_dropped(document: Document) -> None:
    for panel in panels(document):
        # Until 12.1 the foot of a table was an option of the panel, since then it is a column's.
        assert "footer" not in panel.get("options", {}), panel["title"]
        # A hidden column: the same move.
        assert set(overrides(panel, "custom.hidden")) == set(overrides(panel, "custom.hideFrom")), panel["title"]
    for variable in document["templating"]["list"]:
        assert variable["type"] in {"datasource", "query", "textbox"}
        assert not [key for key in variable if key.startswith("auto")], "of interval variables"
        assert "datasource" not in variable or isinstance(variable["datasource"], dict), "a name, not a reference"


@every_dashboard
def test_panels_fill_the_grid_without_overlap(document: Document) -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in every_panel(document)]
    for title, at in places:
        assert at["x"] + at["w"] <= 24, title
        assert min(at["w"], at["h"]) >= 1, title
    for (title, a), (other, b) in combinations(places, 2):
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, (title, other)
    lines = {at["y"] for _, at in places}
    for y in lines:
        assert sum(at["w"] for _, at in places if at["y"] == y) == 24, f"a gap in the line at {y}"


@every_dashboard
def test_every_panel_says_what_it_shows_in_which_unit_and_what_to_do(document: Document) -> None:
    ids = [panel["id"] for panel in every_panel(document)]
    assert len(set(ids)) == len(ids)
    for panel in panels(document):
        assert panel["title"]
        assert panel["description"].endswith((".", "?")), panel["title"]
        config = panel.get("fieldConfig", {})
        units = [config.get("defaults", {}).get("unit")]
        units += [
            item["value"] for rule in config.get("overrides", ()) for item in rule["properties"] if item["id"] == "unit"
        ]
        units.append(panel.get("options", {}).get("nodes", {}).get("mainStatUnit"))
        of_text = panel["type"] == "table" and not any(target.get("expr") for target in panel["targets"])
        assert any(units) or of_text or panel["title"] == "Version", panel["title"]


@every_dashboard
def test_titles_are_not_repeated(document: Document) -> None:
    titles = [panel["title"] for panel in panels(document)]
    assert len(set(titles)) == len(titles)


@every_dashboard
def test_datasources_are_the_readers_choice(document: Document) -> None:
    names = {variable["name"]: variable for variable in document["templating"]["list"]}
    assert names["datasource"]["type"] == names["traces"]["type"] == "datasource"
    uids = re.findall(r'"uid": "([^"]*)"', json.dumps(document))
    assert set(uids) <= {"${datasource}", "${traces}", document["uid"]}


@every_dashboard
def test_filters_take_several_values_and_all_of_them(document: Document) -> None:
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            assert variable["multi"]
            assert variable["includeAll"]
            assert variable["allValue"] == ".*"


@every_dashboard
def test_every_variable_is_used_and_every_variable_used_exists(document: Document) -> None:
    names = {variable["name"] for variable in document["templating"]["list"]}
    outside_of_variables = json.dumps({key: value for key, value in document.items() if key != "templating"})
    inside = json.dumps([variable.get("query") for variable in document["templating"]["list"]])
    used = {name for name in names if re.search(rf"\$\{{?{name}\b", outside_of_variables + inside)}
    assert names - used <= {"traces"}, "a filter that filters nothing"
    for question in questions(document):
        for found in re.findall(r"\$\{?([a-z_]\w*)", question.expr):
            assert found in names or found.startswith("__"), (question.panel, found)


def test_links_lead_to_dashboards_and_variables_that_exist() -> None:
    links = re.findall(r"/d/([\w-]+)\?([^\"\s]*)", json.dumps(DOCUMENTS, ensure_ascii=False) + RULES)
    assert len(links) > 20
    for uid, query in links:
        known = {variable["name"] for variable in DOCUMENTS[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", query)) <= known, (uid, query)


@every_dashboard
def test_dashboards_are_linked_to_each_other_and_mark_restarts(document: Document) -> None:
    (link,) = document["links"]
    assert link["type"] == "dashboards"
    assert link["tags"] == ["atoms"]
    assert link["includeVars"]
    assert link["keepTime"]
    restarts, _, versions = document["annotations"]["list"]
    assert restarts["expr"].startswith("process_start_time_seconds")
    assert "atoms_exporter_build_info" in restarts["expr"], "only exporters' starts, not those of every job"
    assert restarts["useValueForTime"]
    assert "atoms_agent_version_info" in versions["expr"]


@every_dashboard
def test_cells_of_a_table_have_no_labels_to_link_with(document: Document) -> None:
    for panel in panels(document):
        if panel["type"] == "table":
            assert "__field.labels" not in json.dumps(panel), panel["title"]


@every_dashboard
def test_a_link_asks_only_for_labels_its_series_have(document: Document) -> None:
    for panel in panels(document):
        links = json.dumps(panel.get("fieldConfig", {}).get("defaults", {}).get("links", []))
        for label in set(re.findall(r"__field\.labels\.(\w+)", links)):
            for target in panel["targets"]:
                assert re.search(rf"by \([^)]*\b{label}\b", target["expr"]), (panel["title"], label)


def metrics_of_the_catalogue() -> set[str]:
    parts = {"histogram": ("_bucket", "_count", "_sum")}
    return {f"{spec.name}{part}" for spec in CATALOGUE for part in parts.get(spec.type, ("",))}


def test_every_metric_on_a_panel_or_in_a_rule_is_in_the_catalogue() -> None:
    recorded = set(re.findall(r"record: (atoms_\w+:\w+)", RULES))
    known = metrics_of_the_catalogue() | recorded | {PRICE}  # recorded where somebody has configured prices
    asked = [question.expr for document in DOCUMENTS.values() for question in questions(document)]
    asked += [rule["expr"] for rule in every_rule()]
    used = {name for expr in asked for name in re.findall(r"\batoms_\w+(?::\w+)?(?!\w)", expr)}
    assert used - known == set()


def test_every_metric_of_the_catalogue_is_on_a_panel_or_listed_with_the_reason_why_not() -> None:
    asked = "\n".join(question.expr for document in DOCUMENTS.values() for question in questions(document))
    shown = {spec.name for spec in CATALOGUE if re.search(rf"\b{spec.name}(_bucket|_sum|_count)?\b", asked)}
    missing = {spec.name for spec in CATALOGUE} - shown
    assert missing == set(NOT_SHOWN)
    assert all(NOT_SHOWN.values())


def test_every_label_asked_for_is_a_label_of_the_metric() -> None:
    labels = {spec.name: {*spec.labels, "le", "instance", "job"} for spec in CATALOGUE}
    for document in DOCUMENTS.values():
        for question in questions(document):
            for name, matchers in re.findall(r"\b(atoms_\w+)\{([^}]*)\}", filled(question.expr)):
                base = re.sub(r"_(bucket|sum|count)$", "", name)
                if base in labels:
                    assert set(re.findall(r"(\w+)=", matchers)) <= labels[base], question


def every_rule() -> list[Document]:
    files = [yaml.safe_load(path.read_text()) for path in sorted((HERE / "rules").glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def test_prometheus_can_parse_every_expression(tmp_path: Path) -> None:
    promtool = need_program("promtool")
    asked = {filled(question.expr) for document in DOCUMENTS.values() for question in questions(document)}
    rules = [{"record": f"asked:{number}", "expr": expr} for number, expr in enumerate(sorted(asked))]
    path = tmp_path / "asked.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    answer = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_an_unknown_variable_does_not_slip_through() -> None:
    assert filled('x{a=~"$agent"}[$__rate_interval]') == 'x{a=~".*"}[5m]'
    with pytest.raises(KeyError):
        filled('x{a="$nobody"}', FILLED)
