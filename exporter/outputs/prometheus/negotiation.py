"""What a scraper asks for: one of two formats by its ``Accept``, and some metrics by name."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

_OPENMETRICS: Final = "application/openmetrics-text"
_OPENMETRICS_VERSIONS: Final = ("", "0.0.1", "1.0.0")
_TEXT: Final = ("text/plain", "text/*", "*/*")
_TEXT_VERSIONS: Final = ("", "0.0.4")
_SAMPLE_ENDINGS: Final = ("_bucket", "_sum", "_count", "_created", "_total")


class _Range(NamedTuple):
    """One entry of an ``Accept`` header, in lower case."""

    kind: str
    version: str
    quality: float


def wants_openmetrics(accept: str) -> bool:
    """Whether OpenMetrics is preferred to the text format: the better ``q`` wins, then whoever stands first.

    It has to be named, by its type and a version we speak: a browser's ``*/*`` gets text.
    """
    for kind, version, quality in sorted(_ranges(accept), key=lambda entry: -entry.quality):
        if quality <= 0:
            return False
        if kind == _OPENMETRICS and version in _OPENMETRICS_VERSIONS:
            return True
        if kind in _TEXT and version in _TEXT_VERSIONS:
            return False
    return False


def _ranges(accept: str) -> Iterator[_Range]:
    for entry in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        known = {
            name.strip(): value.strip().strip('"') for name, _, value in (one.partition("=") for one in parameters)
        }
        if kind:
            yield _Range(kind, known.get("version", ""), _quality(known.get("q", "1")))


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 1.0
    return min(quality, 1.0) if math.isfinite(quality) else 0.0


def families_named(names: Sequence[str], families: Collection[str]) -> set[str]:
    """The families these names belong to: their own, that of one of their samples, or as OpenMetrics writes a counter's
    (without ``_total``). Unknown ones are left out."""
    found = {name for name in names if name in families} | {f"{name}_total" for name in names}
    for name in names:
        found |= {name.removesuffix(ending) for ending in _SAMPLE_ENDINGS if name.endswith(ending)}
    return found & set(families)
