"""The rules that ship, driven by promtool through firing, near misses, recovery, low traffic, resets and absence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

RULES = Path(__file__).parents[2] / "dashboards" / "rules"
SCENARIOS = sorted((RULES / "tests").glob("*.yml"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_scenario_holds(promtool: Callable[..., None], path: Path) -> None:
    promtool("test", "rules", path)


@pytest.mark.parametrize("path", sorted(RULES.glob("*.yml")), ids=lambda path: path.stem)
def test_promtool_accepts_the_shipped_rules(promtool: Callable[..., None], path: Path) -> None:
    promtool("check", "rules", path)


@pytest.mark.parametrize("case", ["fires", "near miss", "recovers"])
def test_every_alert_has_a_scenario_in_which_it(case: str) -> None:
    told = [scenario["name"] for path in SCENARIOS for scenario in yaml.safe_load(path.read_text())["tests"]]
    groups = [group for path in RULES.glob("*.yml") for group in yaml.safe_load(path.read_text())["groups"]]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert alerts
    assert {alert for alert in alerts if not any(alert in name and case in name for name in told)} == set()
