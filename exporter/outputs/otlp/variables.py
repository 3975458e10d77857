"""Single values of the ``OTEL_*`` environment: numbers, times. An error names the variable and never quotes its value:
a token in the wrong variable must not end in a log."""

from __future__ import annotations

import math
from collections.abc import Mapping

from exporter.errors import ConfigError

MOST_MILLISECONDS = 2**31 - 1
_MOST_SECONDS = 86_400.0


def positive_seconds(key: str, text: str) -> float:
    """A number of seconds above 0, at most a day."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= _MOST_SECONDS:
        raise ConfigError(key, f"must be a number of seconds above 0 and up to {_MOST_SECONDS:g}")
    return value


def whole(env: Mapping[str, str], key: str, default: int, *, least: int, most: int = MOST_MILLISECONDS) -> int:
    """A whole number between two bounds, both included."""
    text = env.get(key, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
        raise ConfigError(key, f"must be a whole number from {least} to {most}")
    return int(text)


def milliseconds(env: Mapping[str, str], key: str, default: int, *, least: int = 0) -> float:
    """Milliseconds, as seconds."""
    return whole(env, key, default, least=least) / 1_000
