"""The configurations that ship are ones the exporter takes, and they fit the rules that ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config import load, objectives
from exporter.slo import DEFAULT_OBJECTIVES, bucket_thresholds

DEPLOY = Path(__file__).parents[2] / "deploy"
CONFIGURATIONS = [DEPLOY / "compose" / "exporter.yml", DEPLOY / "kubernetes" / "base" / "config.yml"]


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=["compose", "kubernetes"])
def test_the_configuration_has_the_objectives_of_the_rules_beside_it(path: Path) -> None:
    config = load({}, {"ATOMS_API_KEY": "x"}, path)
    assert objectives(config) == DEFAULT_OBJECTIVES


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=["compose", "kubernetes"])
def test_state_lies_on_the_volume(path: Path) -> None:
    assert load({}, {"ATOMS_API_KEY": "x"}, path).state.path == Path("/data/state.sqlite")


def test_without_a_slo_section_the_defaults_hold_and_are_buckets() -> None:
    config = load({}, {"ATOMS_API_KEY": "x"}, None)
    assert objectives(config) == DEFAULT_OBJECTIVES
    for bounds in bucket_thresholds(DEFAULT_OBJECTIVES).values():
        assert set(bounds) <= set(config.metrics.latency_buckets)
