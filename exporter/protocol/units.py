"""The only place where a number from the wire becomes seconds.

Upstream gives latencies in seconds (2025 guide) or milliseconds (2026 description) under the same field names, and
says which in neither. The rules, in this order:

1. the operator said so (``metrics.units.turn_latency: s``);
2. a field named ``*_ms`` is milliseconds (``milliseconds()``);
3. a processor's name tells its dialect (``labels.processor_label()``): Pipecat measures seconds, the vendor's stages
   measure milliseconds;
4. elsewhere the event's own timestamp tells it. Numeric: seconds, but a whole number above 120 is milliseconds. ISO
   8601: milliseconds for whole numbers and for 60 and more, seconds for smaller values with a fraction. Without a
   timestamp only what both would call the same is counted.

Magnitude alone never makes a long latency short: whatever comes out negative, non-finite or above two minutes is
skipped, a turn that hung on a tool for 133.2 s among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite
from typing import final

from exporter.protocol.events import Timestamp

LONGEST_PLAUSIBLE_SECONDS = 120.0
LONGEST_CALL_SECONDS = 86_400.0
"""A day: two times of one call that are farther apart are not both right, and no call or visit has lasted so long."""
_SHORTEST_ISO_MILLISECONDS = 60
FIRST_MILLISECOND_TIMESTAMP = 1e11
_FIRST_TIMESTAMP = 1e9
_LAST_TIMESTAMP = 4_102_444_800.0
"""From September 2001 to the end of 2099: a number outside is no time of a call. One event at 1.0 or 9e9 would make
its call last for decades."""


class Unit(StrEnum):
    """What the operator says about a field's unit."""

    AUTO = "auto"
    SECONDS = "s"
    MILLISECONDS = "ms"


# Looking them up in their enum for each sample would cost 0.1 µs.
_SECONDS, _MILLISECONDS = Unit.SECONDS, Unit.MILLISECONDS


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
    UNREADABLE = "unreadable"


def milliseconds(value: int | float) -> float | Skip:
    """Seconds of a value known to be milliseconds."""
    return plausible(value / 1000)


def seconds(value: int | float, unit: Unit, timestamp: Timestamp) -> float | Skip:
    """Seconds of a value of undocumented unit; ``timestamp`` is the one that came with it and tells the dialect."""
    if unit is _SECONDS:
        return plausible(value)
    if unit is _MILLISECONDS:
        return plausible(value / 1000)
    whole = not value % 1  # also 2.0; NaN and the infinities are not
    if isinstance(timestamp, datetime):
        return plausible(value / 1000 if whole or value >= _SHORTEST_ISO_MILLISECONDS else value)
    if timestamp is None and _is_ambiguous(value, whole):
        return Skip.AMBIGUOUS_UNIT
    return plausible(value / 1000 if whole and value > LONGEST_PLAUSIBLE_SECONDS else value)


def _is_ambiguous(value: int | float, whole: bool) -> bool:
    """Whether the two kinds of timestamps would call it different durations, one of them at least plausible."""
    if whole:
        return 0 < value <= LONGEST_PLAUSIBLE_SECONDS
    return _SHORTEST_ISO_MILLISECONDS <= value <= LONGEST_PLAUSIBLE_SECONDS * 1000


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
    """A timestamp of either dialect as Unix seconds; ``None`` where it cannot be one of a call.

    A date without an offset is UTC; numbers too large for seconds are milliseconds.
    """
    if isinstance(timestamp, datetime):
        at = timestamp.timestamp() if timestamp.tzinfo else timestamp.replace(tzinfo=UTC).timestamp()
    elif timestamp is None:
        return None
    else:
        if not isfinite(timestamp):
            return None
        at = timestamp / 1000 if timestamp >= FIRST_MILLISECOND_TIMESTAMP else float(timestamp)
    return None if at < _FIRST_TIMESTAMP or at > _LAST_TIMESTAMP else at
