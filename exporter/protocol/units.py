"""The only place where a number from the wire becomes seconds.

Upstream gives latencies in seconds (2025 guide) or milliseconds (2026 description) under the same field names, and
says which in neither. The rules, in this order:

1. a field named ``*_ms`` is milliseconds (``milliseconds()``);
2. the operator said so (``units.turn_latency: s``);
3. 60 and more is milliseconds: no voice latency lasts a minute;
4. a value with a fraction is seconds;
5. a whole number takes the stream's dialect: numeric timestamps mean seconds (a relay may have written 2.0 as 2),
   ISO 8601 timestamps mean milliseconds; without a timestamp nobody can tell, and it is not counted.

Whatever comes out negative, non-finite or above two minutes is not a voice latency.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from typing import final

from exporter.protocol.events import Timestamp

LONGEST_PLAUSIBLE_SECONDS = 120.0
_SHORTEST_MILLISECONDS = 60
_FIRST_MILLISECOND_TIMESTAMP = 1e11
_LAST_TIMESTAMP = 9_223_372_036.0
"""In 2262; what comes after it does not fit 64 bits as nanoseconds, the time of spans, and is no time of a call."""


class Unit(StrEnum):
    """What the operator says about a field's unit."""

    AUTO = "auto"
    SECONDS = "s"
    MILLISECONDS = "ms"


_AUTO = Unit.AUTO  # looking it up in its enum for each sample would cost 0.1 µs


@dataclass(frozen=True)
class UnitRules:
    """The operator's word on each field whose unit the wire does not give."""

    turn_latency: Unit = Unit.AUTO
    tts_latency: Unit = Unit.AUTO
    processor: Unit = Unit.AUTO


@final
class Skip(StrEnum):
    """Why a sample was not counted: the ``reason`` label of ``atoms_exporter_samples_skipped_total``."""

    INITIAL_ZERO = "initial_zero"
    AMBIGUOUS_UNIT = "ambiguous_unit"
    NEGATIVE = "negative"
    NON_FINITE = "non_finite"
    IMPLAUSIBLE = "implausible"
    MISSING = "missing"
    WRONG_TYPE = "wrong_type"


def milliseconds(value: int | float) -> float | Skip:
    """Seconds of a value known to be milliseconds."""
    return plausible(value / 1000)


def seconds(value: int | float, unit: Unit, timestamp: Timestamp) -> float | Skip:
    """Seconds of a value of undocumented unit; ``timestamp`` is the one that came with it and tells the dialect."""
    if unit is _AUTO:
        if value >= _SHORTEST_MILLISECONDS:
            return plausible(value / 1000)
        if not value % 1:  # whole: also 2.0; NaN and the infinities are not
            if isinstance(timestamp, datetime):
                return plausible(value / 1000)
            if timestamp is None and value != 0:
                return Skip.AMBIGUOUS_UNIT if value > 0 else Skip.NEGATIVE
        return plausible(value)
    return plausible(value / 1000 if unit is Unit.MILLISECONDS else value)


def plausible(value: int | float) -> float | Skip:
    """The value as seconds, if a voice latency can be that long."""
    if 0 <= value <= LONGEST_PLAUSIBLE_SECONDS:
        return float(value)
    if not isfinite(value):
        return Skip.NON_FINITE
    return Skip.NEGATIVE if value < 0 else Skip.IMPLAUSIBLE


def seconds_between(earlier: float, later: float) -> float:
    """From one Unix time to another, to the microsecond: the rest is what floats of 2026 make up, and it would put
    0.8 s beside the bucket of 0.8 s."""
    return round(later - earlier, 6)


def unix_seconds(timestamp: Timestamp) -> float | None:
    """A timestamp of either dialect as Unix seconds; ``None`` where it cannot be one.

    A date without an offset is UTC; numbers too large for seconds are milliseconds.
    """
    if isinstance(timestamp, datetime):
        aware = timestamp if timestamp.tzinfo is not None else timestamp.replace(tzinfo=UTC)
        at = aware.timestamp()
    elif timestamp is None:
        return None
    else:
        if not isfinite(timestamp):
            return None
        at = timestamp / 1000 if timestamp >= _FIRST_MILLISECOND_TIMESTAMP else float(timestamp)
    return at if 0 < at <= _LAST_TIMESTAMP else None
