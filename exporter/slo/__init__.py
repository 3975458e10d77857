"""Service level objectives for voice turns and calls, and the Prometheus rules that watch them.

Pure: definitions in, YAML text out. Percentiles are never averaged; every indicator is a ratio of sums of
counters, so that any grouping of agents and nodes gives the right answer.
"""

from __future__ import annotations

from .objectives import (
    BY_AGENT,
    BY_NODE,
    DEFAULT_OBJECTIVES,
    INDICATORS,
    SHORTEST_RATE_SECONDS,
    STANDARD_BURN_RATES,
    BurnRate,
    Objective,
    bucket_thresholds,
    check_labels,
    check_objectives,
)
from .pyrra import render_pyrra
from .rules import PARTS, render_prometheus_rule, render_rules, rule_groups
from .sloth import render_sloth
from .thresholds import AlertThresholds

__all__ = [
    "BY_AGENT",
    "BY_NODE",
    "DEFAULT_OBJECTIVES",
    "INDICATORS",
    "PARTS",
    "SHORTEST_RATE_SECONDS",
    "STANDARD_BURN_RATES",
    "AlertThresholds",
    "BurnRate",
    "Objective",
    "bucket_thresholds",
    "check_labels",
    "check_objectives",
    "render_prometheus_rule",
    "render_pyrra",
    "render_rules",
    "render_sloth",
    "rule_groups",
]
