"""What the rule files contain, judged by promtool where it can be."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.outputs.prometheus.catalogue import CATALOGUE
from exporter.slo import (
    BY_NODE,
    DEFAULT_OBJECTIVES,
    INDICATORS,
    BurnRate,
    Objective,
    render_prometheus_rule,
    render_rules,
)
from exporter.slo.promql import duration, escaped_regex, le_matcher, quoted

DAY = 86_400.0
ROOT = Path(__file__).parents[2]
AWKWARD = Objective(
    "awkward",
    0.95,
    threshold_seconds=1.25,
    window_seconds=7 * DAY,
    agent_names=('Bob\'s "best" agent\\n',),
    node_names=("a.b (c)", "d|e"),
    by=BY_NODE,
)
EVERY = [
    AWKWARD,
    *(
        Objective(name.replace("_", "-"), 0.95, name, threshold_seconds=1.0 if indicator.buckets else None)
        for name, indicator in INDICATORS.items()
    ),
]


def alerts(text: str) -> list[dict[str, object]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule]


def rules(text: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def seconds(text: str) -> float:
    units = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
    return sum(int(amount) * units[unit] for amount, unit in re.findall(r"(\d+)([dhms])", text))


def by_window(objective: Objective) -> dict[str, dict[str, object]]:
    found = alerts(render_rules([objective], only=("slo",)))
    return {str(rule["labels"]["window"]): rule for rule in found if rule["alert"] == "AtomsSLOBudgetBurn"}  # type: ignore[index] # labels is a mapping


@pytest.mark.parametrize("time_scale", [1.0, 1 / 60])
@pytest.mark.parametrize("objectives", [DEFAULT_OBJECTIVES, EVERY], ids=["defaults", "every indicator"])
def test_promtool_accepts_the_rules(
    promtool: Callable[..., None], tmp_path: Path, objectives: list[Objective], time_scale: float
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(render_rules(objectives, time_scale=time_scale))
    promtool("check", "rules", path)


def test_the_pairs_are_the_four_everybody_knows() -> None:
    pairs = by_window(DEFAULT_OBJECTIVES[0])
    shown = [(w, r["labels"]["short_window"], r["for"], r["labels"]["severity"]) for w, r in pairs.items()]  # type: ignore[index] # labels is a mapping
    assert shown == [
        ("1h", "5m", "2m", "critical"),
        ("6h", "30m", "15m", "critical"),
        ("1d", "2h", "1h", "warning"),
        ("3d", "6h", "3h", "warning"),
    ]


@pytest.mark.parametrize(
    ("days", "ranges"),
    [
        (7, ["15m", "1h25m", "5h35m", "16h50m"]),
        (28, ["55m", "5h35m", "22h25m", "2d19h10m"]),
        (90, ["3h", "18h", "3d", "9d"]),
    ],
)
def test_windows_are_called_what_everybody_calls_them_and_say_what_they_span(days: int, ranges: list[str]) -> None:
    slo = Objective("other", 0.95, threshold_seconds=2.0, window_seconds=days * DAY)
    pairs = by_window(slo)
    assert list(pairs) == ["1h", "6h", "1d", "3d"]
    assert [rule["labels"]["range"] for rule in pairs.values()] == ranges  # type: ignore[index] # labels is a mapping
    text = render_rules([slo], only=("slo",))
    assert {rule["labels"]["window"] for rule in rules(text) if rule.get("record") == "atoms_slo:error_ratio"} == {
        *("5m", "30m", "1h", "2h", "6h", "1d", "3d"),
        f"{days}d",
    }


@pytest.mark.parametrize(("scrape", "shortest"), [(300.0, 300.0), (480.0, 480.0)])
@pytest.mark.parametrize("days", [6, 7, 28, 30, 90])
def test_no_window_is_shorter_than_a_rate_needs(days: int, scrape: float, shortest: float) -> None:
    slo = Objective("o", 0.95, threshold_seconds=2.0, window_seconds=days * DAY, shortest_seconds=scrape)
    text = render_rules([slo], only=("slo",))
    spans = [
        seconds(span)
        for span in re.findall(r"_total(?:{[^}]*})?\[(\w+)\]|_count{[^}]*}\[(\w+)\]", text)
        for span in span
        if span
    ]
    assert spans
    assert min(seconds(found) for found in re.findall(r'range: "?(\w+)', text)) >= shortest
    assert min(spans) >= min(shortest, 300)


def test_the_long_window_needs_a_minimum_of_events_and_of_calls_and_the_short_ones_only_take_back() -> None:
    for window, rule in by_window(DEFAULT_OBJECTIVES[1]).items():
        expr, short = str(rule["expr"]), rule["labels"]["short_window"]  # type: ignore[index] # labels is a mapping
        assert re.search(rf'atoms_slo:events{{slo="turn-latency-4s",window="{window}"}} >= \d+', expr)
        speaks, _, takes_back = expr.partition("unless")
        assert "calls_with_errors" in takes_back
        assert f'window="{short}"' not in speaks
        assert f'window="{short}"' in takes_back


def test_no_group_is_longer_than_mimir_takes() -> None:
    many = [
        *EVERY,
        Objective(
            "own",
            0.95,
            threshold_seconds=2.0,
            burn_rates=tuple(BurnRate(2 + n, (n + 2) * 3600, (n + 1) * 600, 120, "warning") for n in range(9)),
        ),
    ]
    groups = yaml.safe_load(render_rules(many))["groups"]
    assert max(len(group["rules"]) for group in groups) <= 20
    assert len({group["name"] for group in groups}) == len(groups)


def test_what_spans_days_is_evaluated_more_seldom_than_what_pages_within_minutes() -> None:
    every = {group["name"]: seconds(group["interval"]) for group in yaml.safe_load(render_rules())["groups"]}
    assert every["atoms-slo-turn-latency-2s-minutes"] < every["atoms-slo-turn-latency-2s-days"] < 300


def test_of_objectives_about_the_same_the_one_that_forgives_most_is_marked() -> None:
    found = {rule["labels"]["slo"]: rule["labels"]["loosest"] for rule in alerts(render_rules(only=("slo",)))}  # type: ignore[index] # labels is a mapping
    assert found == {"turn-latency-2s": "false", "turn-latency-4s": "true"}


def test_an_agents_name_is_no_label_of_an_alert() -> None:
    for rule in alerts(render_rules()):
        assert "agent_name" not in re.sub(r"query \(printf.*?\)", "", str(rule["expr"])), rule["alert"]


def test_own_labels_are_on_every_alert_and_an_objectives_own_on_what_it_records() -> None:
    slo = Objective("o", 0.95, threshold_seconds=2.0, labels=(("env", "staging"),))
    text = render_rules([slo], labels={"team": "voice"})
    for rule in alerts(text):
        assert rule["labels"]["team"] == "voice"  # type: ignore[index] # labels is a mapping
    mine = [rule for rule in rules(text) if rule.get("labels", {}).get("slo") == "o"]
    assert len(mine) > 30
    assert {rule["labels"]["env"] for rule in mine} == {"staging"}


def test_what_ships_has_no_localhost_in_its_links() -> None:
    shipped = [*(ROOT / "dashboards" / "rules").glob("*.yml"), *(ROOT / "deploy" / "kubernetes").rglob("*.yaml")]
    for path in shipped:
        assert "localhost" not in path.read_text(), path


def test_the_operators_resource_holds_the_same_groups() -> None:
    resource = yaml.safe_load(render_prometheus_rule(only=("calls",)))
    assert resource["kind"] == "PrometheusRule"
    assert resource["spec"]["groups"] == yaml.safe_load(render_rules(only=("calls",)))["groups"]


def test_own_burn_rates_replace_the_standard_ones() -> None:
    own = (BurnRate(8, 2 * 3600, 600, 60, "critical"),)
    assert list(by_window(Objective("own", 0.9, threshold_seconds=2.0, burn_rates=own))) == ["2h"]


def test_a_compressed_rule_keeps_its_labels_and_shrinks_its_ranges() -> None:
    real, compressed = (render_rules(DEFAULT_OBJECTIVES, time_scale=scale) for scale in (1.0, 1 / 60))
    assert [rule["labels"] for rule in alerts(real)] == [rule["labels"] for rule in alerts(compressed)]
    assert "[5m]" in real
    assert "[5m]" not in compressed
    assert "[5s]" in compressed


def test_rules_are_the_same_bytes_every_time() -> None:
    assert render_rules(EVERY) == render_rules(EVERY)


def test_every_alert_says_what_it_is_and_where_to_look() -> None:
    links = {"dashboards_url": "https://grafana.example/", "runbook_url": "https://docs.example/runbook"}
    for rule in alerts(render_rules(EVERY, **links)):  # type: ignore[arg-type] # keyword arguments by name
        annotations = rule["annotations"]
        assert isinstance(annotations, dict)
        assert set(annotations) == {"summary", "description", "runbook_url", "dashboard_url"}
        assert annotations["runbook_url"] == f"https://docs.example/runbook#{str(rule['alert']).lower()}"
        assert annotations["dashboard_url"].startswith("https://grafana.example/d/atoms-")
        assert rule["labels"]["severity"] in {"critical", "warning"}  # type: ignore[index] # labels is a mapping


def test_an_alert_fills_its_own_labels_into_the_link() -> None:
    rule = by_window(AWKWARD)["1h"]
    url = rule["annotations"]["dashboard_url"]  # type: ignore[index] # annotations is a mapping
    assert url.endswith("&var-node={{ $labels.node_name | urlquery }}")
    assert 'label "agent_name" | urlquery' in url


def test_no_rule_averages_a_percentile() -> None:
    assert not re.search(r"\bavg\w*\s*(by\s*\([^)]*\)\s*)?\(\s*histogram_quantile", render_rules(EVERY))


def test_every_metric_in_a_rule_is_in_the_catalogue() -> None:
    known = {f"{spec.name}{suffix}" for spec in CATALOGUE for suffix in _suffixes(spec.type)}
    used = set(re.findall(r"\batoms_[a-z_]+\b(?!:)", re.sub(r"atoms_\w+:\w+", "", _expressions(render_rules(EVERY)))))
    assert used
    assert used <= known


def test_every_label_of_an_indicator_is_a_label_of_its_metric() -> None:
    labels = {spec.name: spec.labels for spec in CATALOGUE}
    for indicator in INDICATORS.values():
        metric = indicator.total.removesuffix("_count")
        assert set(indicator.labels) <= set(labels[metric])


def _suffixes(kind: str) -> tuple[str, ...]:
    return ("_bucket", "_count", "_sum") if kind == "histogram" else ("",)


def _expressions(text: str) -> str:
    return "\n".join(str(rule["expr"]) for group in yaml.safe_load(text)["groups"] for rule in group["rules"])


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0s"),
        (0.5, "500ms"),
        (1.5, "1s500ms"),
        (300, "5m"),
        (5400, "1h30m"),
        (30 * DAY, "30d"),
        (9 * DAY / 7, "1d6h51m25s714ms"),
    ],
)
def test_durations_are_written_as_prometheus_reads_them(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def test_a_bucket_is_found_however_its_bound_is_written() -> None:
    assert le_matcher(2.0) == 'le=~"2|2[.]0"'
    assert le_matcher(0.5) == 'le="0.5"'
    assert le_matcher(1.25) == 'le="1.25"'


def test_names_with_special_characters_match_only_themselves() -> None:
    text = 'a.b (c)|"d"\\'
    assert re.fullmatch(escaped_regex(text), text)
    assert quoted('say "hi"\\\n') == '"say \\"hi\\"\\\\\\n"'
