"""``alerts:`` and the labels of ``slo:``: what the rules are written with."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from exporter.config import Alerts, load, objectives, thresholds
from exporter.errors import ConfigError
from exporter.slo import AlertThresholds, render_rules

KEY = {"ATOMS_API_KEY": "k"}


def test_every_threshold_is_a_key_and_their_defaults_are_one() -> None:
    of_the_fleet = {"fleet_members"}  # which is fleet.expect
    assert set(Alerts.model_fields) - {"labels", "scrape_interval"} == set(asdict(AlertThresholds())) - of_the_fleet
    assert thresholds(load({}, KEY, None)) == AlertThresholds()


def test_thresholds_and_labels_reach_the_rules(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text(
        "alerts: {labels: {env: staging}, call_failure_critical: 0.42, scrape_interval: 2m}\n"
        "slo: [{name: turns, threshold: 2s, objective: 0.95, labels: {tier: gold}, minimum_calls: 7}]\n"
    )
    config = load({}, KEY, file)
    (slo,) = objectives(config)
    assert (slo.labels, slo.minimum_calls, slo.shortest_seconds) == ((("tier", "gold"),), 7, 480.0)
    text = render_rules([slo], thresholds=thresholds(config), labels=config.alerts.labels)
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    assert all(rule["labels"]["env"] == "staging" for rule in rules if "alert" in rule)
    assert any("> 0.42" in rule["expr"] for rule in rules if rule.get("alert") == "AtomsCallFailuresBurning")
    assert any(rule["labels"].get("tier") == "gold" for rule in rules if rule.get("record") == "atoms_slo:events")


def test_a_fleet_that_should_have_members_has_an_alert_for_it() -> None:
    def alerts(*settings: tuple[str, str]) -> dict[str, str]:
        config = load(dict(settings), KEY, None)
        text = render_rules(objectives(config), thresholds=thresholds(config))
        rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
        return {rule["alert"]: rule["expr"] for rule in rules if "alert" in rule}

    assert "AtomsFleetTooSmall" not in alerts()
    assert alerts(("fleet.expect", "3"))["AtomsFleetTooSmall"].endswith("< 3")


def test_prices_by_model_become_constants_of_the_rules(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("prices: {gpt-4.1: {prompt: 2, completion: 8.5}, electron: {other: 0}}\n")
    config = load({}, KEY, file)
    text = render_rules(only=("calls",), prices=config.prices)
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    assert [(rule["expr"], rule["labels"]) for rule in rules if rule.get("record", "").startswith("atoms_price:")] == [
        ("vector(2)", {"model": "gpt-4.1", "type": "prompt"}),
        ("vector(8.5)", {"model": "gpt-4.1", "type": "completion"}),
        ("vector(0)", {"model": "electron", "type": "other"}),
    ]


@pytest.mark.parametrize(
    ("written", "key", "said"),
    [
        ("prices: {gpt: 2}", "prices", "gpt: must be a mapping of prompt, cached, completion, other"),
        ("prices: {gpt: {audio: 2}}", "prices", "dollars per million tokens"),
        ("prices: {gpt: {prompt: -1}}", "prices", "gpt: "),
        ("prices: [gpt]", "prices", "mapping"),
        ("alerts: {labels: {severity: none}}", "alerts.labels", "take another name"),
        ("alerts: {labels: {a-b: none}}", "alerts.labels", "not a label name"),
        ("alerts: {labels: [env]}", "alerts.labels", "mapping"),
        ("alerts: {coverage: 1.5}", "alerts.coverage", "from 0 to 1"),
        ("alerts: {minimum_calls: 0}", "alerts.minimum_calls", "from 1"),
        ("slo: [{name: t, threshold: 2s, objective: 0.95, labels: {slo: x}}]", "slo[t].labels", "take another name"),
    ],
)
def test_what_cannot_be_is_refused_by_its_key(tmp_path: Path, written: str, key: str, said: str) -> None:
    file = tmp_path / "config.yml"
    file.write_text(written + "\n")
    with pytest.raises(ConfigError) as refused:
        load({}, KEY, file)
    assert refused.value.key == key
    assert said in str(refused.value)
