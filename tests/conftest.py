"""What every test may use."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile("dev", max_examples=40, deadline=None, suppress_health_check=_SLOW)
settings.register_profile("thorough", max_examples=2000, deadline=None, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


_OPT_IN = {
    "soak": "half an hour of simulated traffic",
    "hour": "a simulated hour with every fault at once",
    "lives": "twenty lives under a real Prometheus",
    "chaos": "a quarter of an hour of kills, pauses, partitions, joins and leaves; a thousand calls orphaned",
    "attack": "every attack on the running process",
    "patience": "waits of minutes",
    "incidents": "an hour of incidents against real servers, days of them by promtool",
}


_LONGEST_FIRST = (
    "tests/faults/test_faults.py",
    "tests/fleet/test_replicas.py",
    "tests/dashboards/test_real_servers.py",
    "tests/system/test_load.py",
    "tests/system/test_webhooks.py",
    "tests/slo/test_rule_scenarios.py",
)
"""Several processes share the files: with a long one last, the others would wait for it."""


def pytest_configure(config: pytest.Config) -> None:
    """Marks of tests that run only when asked for: ``pytest -m soak``."""
    for name, meaning in _OPT_IN.items():
        config.addinivalue_line("markers", f"{name}: {meaning}; only with -m {name}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave those out that nobody asked for; the longest files come first."""
    asked = config.getoption("-m") or ""
    left_out = [item for item in items if any(item.get_closest_marker(name) and name not in asked for name in _OPT_IN)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    order = {name: place for place, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))
