"""The same objectives for those who run Sloth or Pyrra."""

from __future__ import annotations

import yaml

from exporter.slo import DEFAULT_OBJECTIVES, Objective, render_pyrra, render_sloth

CALLS = Objective("calls", 0.95, "call_success", window_seconds=28 * 86_400.0, agent_ids=("a1",))


def test_sloth_reads_percentages_and_its_window_variable() -> None:
    document = yaml.safe_load(render_sloth([*DEFAULT_OBJECTIVES, CALLS]))
    assert document["version"] == "prometheus/v1"
    assert [slo["objective"] for slo in document["slos"]] == [95.0, 99.0, 95.0]
    for slo in document["slos"]:
        for query in slo["sli"]["events"].values():
            assert query.count("[{{.window}}])") == query.count("rate(")


def test_sloth_counts_failures_where_the_indicator_counts_them() -> None:
    (slo,) = yaml.safe_load(render_sloth([CALLS]))["slos"]
    assert slo["sli"]["events"]["error_query"] == (
        'sum(rate(atoms_calls_ended_total{outcome="failed",agent_id="a1"}[{{.window}}]))'
    )


def test_pyrra_gets_one_resource_each_with_a_single_bucket_bound() -> None:
    first, second, calls = yaml.safe_load_all(render_pyrra([*DEFAULT_OBJECTIVES, CALLS]))
    assert {item["kind"] for item in (first, second, calls)} == {"ServiceLevelObjective"}
    assert first["spec"]["target"] == "95"
    assert 'le="2.0"' in first["spec"]["indicator"]["latency"]["success"]["metric"]
    assert second["spec"]["window"] == "30d"
    assert calls["spec"]["window"] == "28d"
    assert calls["spec"]["indicator"]["ratio"]["errors"]["metric"] == (
        'atoms_calls_ended_total{outcome="failed",agent_id="a1"}'
    )
    assert calls["spec"]["indicator"]["ratio"]["grouping"] == ["agent_id", "agent_name"]
