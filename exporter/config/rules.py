"""What the configuration means to the pure parts: units, and what counts as what in a call."""

from __future__ import annotations

from exporter.calls.signs import Limits
from exporter.config.model import Config
from exporter.protocol.units import Unit, UnitRules


def unit_rules(config: Config) -> UnitRules:
    """The operator's word on units."""
    units = config.metrics.units
    return UnitRules(Unit(units.turn_latency), Unit(units.tts_latency), Unit(units.processor))


def call_limits(config: Config) -> Limits:
    """What counts as unanswered and as dead air, and which of the customer's own events may be named."""
    metrics = config.metrics
    return Limits(
        metrics.unanswered_after,
        metrics.dead_air_after,
        frozenset(metrics.agent_log_names),
        count_words="words" not in metrics.disable,
        explain_turns="stages" not in metrics.disable,
    )
