"""YAML as a configuration should be: small, plain, every key once, every value as it was written.

Scalars stay text (``0123`` is not 83, ``no`` is not false): the key they stand under knows what it wants. Only an
empty value, ``~`` and ``null`` become None. Anchors and merge keys work within a budget; tags other than the plain
ones do not. Every error is a ConfigError under the file's name, with the line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from exporter.errors import ConfigError

__all__ = ["Document", "Place", "Quoted", "Tree", "read_bounded", "read_yaml", "read_yaml_file"]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_VALUES = 50_000

Tree = str | None | list["Tree"] | dict[str, "Tree"]
Place = tuple[str | int, ...]

_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_NULLS = {"", "~", "null", "Null", "NULL"}
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is 10 times faster where PyYAML was built with it


class Quoted(str):
    """A scalar that stood in quotes or in a block: text on purpose, whatever it looks like."""

    __slots__ = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """What a file says, and on which line it says it."""

    name: str
    value: Tree
    lines: Mapping[Place, int]

    def where(self, place: Place) -> str:
        """``config.yaml line 7`` for a place in the tree, or its nearest known parent."""
        for end in range(len(place), 0, -1):
            if (line := self.lines.get(place[:end])) is not None:
                return f"{self.name} line {line}"
        return self.name


def read_bounded(path: Path, limit: int) -> bytes:
    """The bytes of a small file. Raises ConfigError under its name when it cannot be read or is over ``limit``."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise ConfigError(str(path), f"cannot be read: {reason}") from None
    if len(content) > limit:
        raise ConfigError(str(path), f"is larger than {limit} bytes")
    return content


def read_yaml_file(path: Path) -> Document:
    """The only document of a file. Raises ConfigError."""
    return read_yaml(read_bounded(path, MAX_BYTES), str(path))


def read_yaml(content: bytes, name: str) -> Document:
    """The only document in ``content``; ``name`` is how errors call it. Nothing at all is an empty mapping."""
    if len(content) > MAX_BYTES:
        raise ConfigError(name, f"is larger than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(name, f"line {line}: not UTF-8") from None
    builder = _Builder(name)
    try:
        value = builder.document(iter(yaml.parse(text, Loader=_Loader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(name, f"{at}not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(name, f"not valid YAML: {str(error).splitlines()[0]}") from None
    return Document(name, {} if value is None else value, builder.lines)


class _Builder:
    """Events of the parser → plain values; every count is checked before anything grows."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Place, int] = {}
        self._anchors: dict[str, tuple[Tree, int] | None] = {}
        self._values = 0

    def document(self, events: Iterator[yaml.Event]) -> Tree:
        value: Tree = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._error(event, "a second document begins; there may be only one")
                value = self._node(next(events), events, ())
        return value

    def _error(self, event: yaml.Event, problem: str) -> ConfigError:
        return ConfigError(self.name, f"line {_line(event)}: {problem}")

    def _spend(self, event: yaml.Event, values: int) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            raise self._error(event, f"more than {MAX_VALUES} values, aliases counted")

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], place: Place) -> Tree:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self._values
        self._spend(event, 1)
        if len(place) > MAX_DEPTH:
            raise self._error(event, f"nested deeper than {MAX_DEPTH} levels")
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in _PLAIN_TAGS and tag != "!":
            raise self._error(event, "tags are not allowed here")
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = None
        value: Tree
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(events, place)
        else:
            value = self._mapping(events, place)
        if anchor is not None:
            self._anchors[anchor] = (value, self._values - before)
        return value

    def _alias(self, event: yaml.AliasEvent) -> Tree:
        if event.anchor not in self._anchors:
            raise self._error(event, "an alias to an anchor that is not there")
        known = self._anchors[event.anchor]
        if known is None:
            raise self._error(event, "an anchor that contains itself")
        self._spend(event, known[1])
        return known[0]

    def _sequence(self, events: Iterator[yaml.Event], place: Place) -> Tree:
        items: list[Tree] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            at = (*place, len(items))
            self.lines[at] = _line(event)
            items.append(self._node(event, events, at))
        return items

    def _mapping(self, events: Iterator[yaml.Event], place: Place) -> Tree:
        own: dict[str, Tree] = {}
        merged: dict[str, Tree] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._key(event, events, place)
            at = (*place, key)
            line = _line(event)
            merge = key == "<<" and not isinstance(key, Quoted)
            if key in own:
                raise self._error(event, f"{_shown(key)} stands here twice")
            value = self._node(next(events), events, at)
            if merge:
                for mapping in value if isinstance(value, list) else [value]:
                    if not isinstance(mapping, dict):
                        raise self._error(event, "<< takes a mapping or a list of mappings")
                    merged = mapping | merged
            else:
                own[key] = value
                self.lines[at] = line
        return merged | own

    def _key(self, event: yaml.Event, events: Iterator[yaml.Event], place: Place) -> str:
        key = self._node(event, events, place)
        if not isinstance(key, str):
            raise self._error(event, "a key must be plain text")
        return key


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _scalar(event: yaml.ScalarEvent) -> Tree:
    text: str = event.value
    if not event.style and event.tag in (None, "tag:yaml.org,2002:null"):
        return None if text in _NULLS else text
    return Quoted(text)


def _shown(key: str) -> str:
    return repr(key if len(key) <= 60 else key[:57] + "...")
