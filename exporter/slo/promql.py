"""The few pieces of PromQL and Prometheus YAML that rules are written with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))
_RE2_SPECIAL = frozenset("\\.+*?()|[]{}^$")


def duration(seconds: float) -> str:
    """A Prometheus duration such as ``1h30m``; whole milliseconds."""
    rest = round(seconds * 1000)
    if rest <= 0:
        return "0s"
    text = ""
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            text += f"{count}{unit}"
    return text


def number(value: float) -> str:
    """A number as a person writes it: no binary noise (``1 - 0.95`` is ``0.05``), no trailing zeros."""
    return f"{value:.10g}"


def quoted(text: str) -> str:
    """A PromQL string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def escaped_regex(text: str) -> str:
    """``text`` as an RE2 pattern that matches only itself."""
    return "".join("\\" + char if char in _RE2_SPECIAL else char for char in text)


def one_of(label: str, values: Iterable[str]) -> str:
    """A matcher for a label that has one of some exact values."""
    listed = list(values)
    if len(listed) == 1:
        return f"{label}={quoted(listed[0])}"
    return f"{label}=~{quoted('|'.join(escaped_regex(value) for value in listed))}"


def le_matcher(bound_seconds: float) -> str:
    """A matcher for one histogram bucket; Go writes its bound ``2``, Python and OpenMetrics ``2.0``."""
    text = repr(float(bound_seconds))
    if text.endswith(".0"):
        whole = text.removesuffix(".0")
        return f'le=~"{whole}|{whole}[.]0"'
    return f'le="{text}"'


def selector(metric: str, matchers: Iterable[str]) -> str:
    """An instant vector selector; empty matchers are left out."""
    inner = ",".join(matcher for matcher in matchers if matcher)
    return f"{metric}{{{inner}}}" if inner else metric


def summed_increase(by: str, series: str, window: str) -> str:
    """How much a counter grew over a window, summed over everything but the labels in ``by``."""
    return f"sum by ({by}) (increase({series}[{window}]))"


def indented(text: str) -> str:
    """A part of an expression, two columns further right."""
    return "\n".join(f"  {line}" for line in text.splitlines())


class Ranges:
    """Writes time ranges, compressed by ``time_scale`` (1 for real rules, less for a test that cannot wait)."""

    def __init__(self, time_scale: float = 1.0) -> None:
        self._time_scale = time_scale

    def __call__(self, seconds: float) -> str:
        return duration(seconds * self._time_scale)

    def seconds(self, seconds: float) -> str:
        """A number of seconds for arithmetic on ``time()``."""
        return number(seconds * self._time_scale)

    def at_least_a_second(self, seconds: float) -> str:
        """A range for settings that Prometheus does not take below a second."""
        return duration(max(1.0, seconds * self._time_scale))


class _BlockDumper(yaml.SafeDumper):
    """Writes several lines as a block, so that expressions in a rule file stay readable."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_BlockDumper.add_representer(str, _represent_text)


def to_yaml(document: Mapping[str, Any], *, header: str = "") -> str:
    """YAML with keys in the order given, expressions as blocks, and ``header`` as comment lines above."""
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    body = yaml.dump(dict(document), Dumper=_BlockDumper, sort_keys=False, allow_unicode=True, width=1_000_000)
    return comment + body
