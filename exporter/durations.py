"""How long something lasts, as an operator writes it: ``5s``, ``1h30m``, ``500ms``, ``30d``."""

from __future__ import annotations

import math
import re
from decimal import Decimal

__all__ = ["format_duration", "parse_duration"]

_UNITS = {
    "y": Decimal(365 * 86_400),
    "w": Decimal(7 * 86_400),
    "d": Decimal(86_400),
    "h": Decimal(3_600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
    "us": Decimal("0.000001"),
    "µs": Decimal("0.000001"),
}
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|us|µs|[ywdhms])", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+", re.ASCII)
_LONGEST_SECONDS = 100 * 365 * 86_400.0
_LONGEST_TEXT = 40


def parse_duration(written: str | float) -> float:
    """Seconds meant by what an operator wrote; a bare number is seconds.

    The units are those of Prometheus (y w d h m s ms, here also us), largest first, each once; fractions are fine.
    Raises ValueError with a sentence fit for an error message.
    """
    if isinstance(written, bool):
        raise ValueError("must be a duration such as 30s or 1h30m")
    seconds = float(written) if isinstance(written, int | float) else _read(written.strip())
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("must be a duration of zero or more, such as 30s or 1h30m")
    if seconds > _LONGEST_SECONDS:
        raise ValueError("must be a duration of at most 100 years")
    return seconds


def _read(text: str) -> float:
    if len(text) > _LONGEST_TEXT:
        raise ValueError("must be a duration such as 30s or 1h30m")
    if _NUMBER.fullmatch(text):
        return float(text)
    seconds, smallest, end = Decimal(0), Decimal("Infinity"), 0  # decimal: 700ms are 0.7, not 0.7000000000000001
    for part in _PART.finditer(text):
        unit = _UNITS[part[2]]
        if part.start() != end or unit >= smallest:
            break
        seconds, smallest, end = seconds + Decimal(part[1]) * unit, unit, part.end()
    if end == 0 or end != len(text):
        raise ValueError("must be a duration such as 500ms, 30s, 1h30m or 30d (units y w d h m s ms, largest first)")
    return float(seconds)


def format_duration(seconds: float) -> str:
    """The shortest text that :func:`parse_duration` reads back as the same duration, without weeks and years."""
    rest = round(seconds * 1_000)
    if abs(rest - seconds * 1_000) > 1e-6 * max(1.0, seconds):
        return f"{seconds:.12f}".rstrip("0") + "s"
    written = ""
    for unit, milliseconds in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, rest = divmod(rest, milliseconds)
        if count:
            written += f"{count}{unit}"
    return written or "0s"
