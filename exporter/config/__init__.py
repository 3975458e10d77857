"""The configuration: flags > environment > file > defaults → one frozen Config, and where each value came from."""

from __future__ import annotations

from exporter.config.changes import changed_keys, with_keys
from exporter.config.environment import environment
from exporter.config.loading import (
    ConfigErrors,
    api_key,
    effective,
    load,
    objectives,
    reference,
    secrets_of,
    thresholds,
    token_in,
)
from exporter.config.model import (
    Alerts,
    Api,
    Capacity,
    Config,
    Discovery,
    Fleet,
    History,
    Log,
    Metrics,
    Poll,
    SloEntry,
    State,
    Traces,
    Units,
    Web,
    Webhook,
)
from exporter.config.places import AUTO

__all__ = [
    "AUTO",
    "Alerts",
    "Api",
    "Capacity",
    "Config",
    "ConfigErrors",
    "Discovery",
    "Fleet",
    "History",
    "Log",
    "Metrics",
    "Poll",
    "SloEntry",
    "State",
    "Traces",
    "Units",
    "Web",
    "Webhook",
    "api_key",
    "changed_keys",
    "effective",
    "environment",
    "load",
    "objectives",
    "reference",
    "secrets_of",
    "thresholds",
    "token_in",
    "with_keys",
]
