"""The kinds of values a configuration key takes: how each is read, what it says when it cannot be.

A rule takes what came from YAML or the environment (text) or from a flag or JSON (already typed), and gives the one
type the program works with. Its ValueError is the second half of a sentence that begins with the key.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import SecretStr

from exporter.durations import format_duration, parse_duration

__all__ = [
    "Amount",
    "Bounds",
    "Choice",
    "Duration",
    "LabelsByName",
    "Rule",
    "Secrets",
    "Switch",
    "Text",
    "Texts",
    "TextsByName",
]

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}
_MAX_TEXT = 4_096
_MAX_ITEMS = 1_000
_MAX_LABELS = 20


class Rule:
    """How one kind of value is read (``__call__``) and shown again (``show``)."""

    may_be_empty: ClassVar[bool] = False
    """Whether an empty variable says something (nothing, no path) or is as good as none."""

    def __call__(self, value: Any) -> Any:
        """The value the program uses. Raises ValueError saying what is allowed."""
        raise NotImplementedError  # each kind of value has its own way

    def show(self, value: Any) -> Any:
        """As it would be written in YAML."""
        return value


@dataclasses.dataclass(frozen=True)
class Duration(Rule):
    """A length of time; the program gets float seconds."""

    at_least: float = 0.0
    at_most: float = math.inf

    def __call__(self, value: Any) -> float:
        if not isinstance(value, str | int | float):
            raise ValueError("must be a duration such as 30s or 1h30m")
        seconds = parse_duration(value)
        if not self.at_least <= seconds <= self.at_most:
            raise ValueError(f"must be a duration {self._range()}")
        return seconds

    def _range(self) -> str:
        if math.isinf(self.at_most):
            return f"of at least {format_duration(self.at_least)}"
        return f"from {format_duration(self.at_least)} to {format_duration(self.at_most)}"

    def show(self, value: Any) -> str:
        return format_duration(value)


@dataclasses.dataclass(frozen=True)
class Amount(Rule):
    """A number: whole unless ``fractions``."""

    at_least: float
    at_most: float
    fractions: bool = False
    open_ends: bool = False

    def __call__(self, value: Any) -> float | int:
        number = self._number(value)
        if number is None:
            raise ValueError(f"must be a {'' if self.fractions else 'whole '}number {self._range()}")
        return number

    def _number(self, value: Any) -> float | int | None:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        if isinstance(value, str) and not re.fullmatch(
            r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", value.strip(), re.A | re.I
        ):
            return None
        if isinstance(value, str) and len(value) > 40:
            return None
        number = float(value) if isinstance(value, str | float) or abs(value) < 1 << 53 else math.inf
        inside = self.at_least < number < self.at_most if self.open_ends else self.at_least <= number <= self.at_most
        if not inside:
            return None
        if self.fractions:
            return number
        return int(number) if number.is_integer() else None

    def _range(self) -> str:
        if self.open_ends:
            return f"above {self.at_least:g} and below {self.at_most:g}"
        return f"from {self.at_least:.16g} to {self.at_most:.16g}"


@dataclasses.dataclass(frozen=True)
class Switch(Rule):
    """On or off."""

    def __call__(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = value.strip().lower() if isinstance(value, str) else ""
        if word in _TRUE | _FALSE:
            return word in _TRUE
        raise ValueError("must be true or false")


@dataclasses.dataclass(frozen=True)
class Choice(Rule):
    """One word of a closed set; case does not matter."""

    words: tuple[str, ...]

    def __call__(self, value: Any) -> str:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in self.words:
            raise ValueError(f"must be one of {', '.join(self.words)}")
        return word


@dataclasses.dataclass(frozen=True)
class Text(Rule):
    """A line of text matching ``pattern``; ``says`` is how the pattern reads to a person."""

    pattern: str = r"[^\x00-\x1f\x7f]+"
    says: str = "must be text on one line"
    at_most: int = _MAX_TEXT

    def __call__(self, value: Any) -> str:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        text = str(value).strip() if isinstance(value, str) else ""
        if len(text) > self.at_most or not re.fullmatch(self.pattern, text):
            raise ValueError(self.says)
        return text


@dataclasses.dataclass(frozen=True)
class Texts(Rule):
    """A list: from YAML a list, from the environment comma-separated or JSON. Repeats are dropped."""

    may_be_empty: ClassVar[bool] = True

    each: Rule = dataclasses.field(default_factory=Text)
    at_least: int = 0

    def __call__(self, value: Any) -> tuple[Any, ...]:
        items = _items(value)
        if len(items) > _MAX_ITEMS:
            raise ValueError(f"must be a list of at most {_MAX_ITEMS}")
        try:
            read = tuple(dict.fromkeys(self.each(item) for item in items))
        except ValueError as error:
            raise ValueError(f"every item {error}") from None
        if len(read) < self.at_least:
            raise ValueError(f"must be a list of at least {self.at_least}")
        return read

    def show(self, value: Any) -> list[Any]:
        return [self.each.show(item) for item in value]


@dataclasses.dataclass(frozen=True)
class Bounds(Rule):
    """Bucket bounds in seconds: ascending, each once; a last ``+Inf`` is understood and left out."""

    def __call__(self, value: Any) -> tuple[float, ...]:
        items = _items(value)
        if items and str(items[-1]).strip().lower() in ("+inf", "inf", ".inf", "+.inf"):
            items = items[:-1]
        if not 1 <= len(items) <= 100:
            raise ValueError("must be a list of 1 to 100 bounds in seconds")
        number = Amount(0, 3_600, fractions=True, open_ends=True)
        try:
            bounds = tuple(float(number(item)) for item in items)
        except ValueError as error:
            raise ValueError(f"every bound {error}") from None
        if any(one >= other for one, other in itertools.pairwise(bounds)):
            raise ValueError("must be in ascending order, each bound once")
        return bounds

    def show(self, value: Any) -> list[Any]:
        return [int(bound) if float(bound).is_integer() else bound for bound in value]


def _items(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str):
        text = value.strip()
        if not text.startswith("["):
            return [piece for item in text.split(",") if (piece := item.strip())]
        parsed = read_json(text)
        if isinstance(parsed, list):
            return parsed
    raise ValueError("must be a list (in the environment: comma-separated or JSON)")


def read_json(text: str) -> Any:
    """JSON from an environment variable. Raises ValueError without quoting the text."""
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise ValueError("must be valid JSON when it begins like JSON") from None


@dataclasses.dataclass(frozen=True)
class TextsByName(Rule):
    """A mapping from a name to a list of short values, as a YAML mapping or JSON."""

    def __call__(self, value: Any) -> dict[str, tuple[str, ...]]:
        if isinstance(value, str):
            value = read_json(value) if value.strip() else {}
        if not isinstance(value, Mapping) or len(value) > _MAX_ITEMS:
            raise ValueError(f"must be a mapping of at most {_MAX_ITEMS} names, each to a list of values")
        values = Texts(Text(at_most=100, says="must be text of at most 100 characters"))
        try:
            return {Text(at_most=200)(name): values(items) for name, items in value.items()}
        except ValueError as error:
            raise ValueError(f"must map names to lists of values: {error}") from None

    def show(self, value: Any) -> dict[str, list[str]]:
        return {name: list(values) for name, values in value.items()}


class LabelsByName(Rule):
    """Labels with their values, as a YAML mapping or JSON; their names are judged by what puts them somewhere."""

    def __call__(self, value: Any) -> dict[str, str]:
        if isinstance(value, str):
            value = read_json(value) if value.strip() else {}
        if not isinstance(value, Mapping) or len(value) > _MAX_LABELS:
            raise ValueError(f"must be a mapping of at most {_MAX_LABELS} label names to values")
        text = Text(at_most=200, says="must be text of at most 200 characters")
        try:
            return {text(name): text(one) for name, one in value.items()}
        except ValueError as error:
            raise ValueError(f"must map label names to values: {error}") from None

    def show(self, value: Any) -> dict[str, str]:
        return dict(value)


@dataclasses.dataclass(frozen=True)
class Secrets(Rule):
    """Something never shown: one token, or with ``several`` a comma-separated list of them."""

    several: bool = False
    shown: ClassVar[str] = "<secret>"

    def __call__(self, value: Any) -> SecretStr | None:
        if isinstance(value, SecretStr):
            return value
        if not isinstance(value, str):
            raise ValueError("must be text")
        text = value.strip()
        if not text:
            return None
        if text == self.shown:
            raise ValueError("is the mask that stands for a secret, not a secret")
        if len(text) > 8_192:
            raise ValueError("is too long for a secret (8192 characters)")
        if not text.isascii() or not text.isprintable() or (" " in text and not self.several):
            raise ValueError("holds characters that no token has (spaces, line breaks or beyond ASCII)")
        if self.several and not all(piece.strip() for piece in text.split(",")):
            raise ValueError("has an empty secret between its commas")
        return SecretStr(text)

    def show(self, value: Any) -> str | None:
        return None if value is None else self.shown
