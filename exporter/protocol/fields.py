"""Objects from the wire whose members are looked at one by one, so that one bad member spoils no other.

An answer is read as forgivingly as a stream: half an emoji in one text, a NaN where a number should be, make the whole
of it no JSON. It is then taken apart branch by branch: what cannot be read costs itself, and is counted.
"""

from __future__ import annotations

import json
from datetime import datetime
from math import isfinite
from typing import Any, Final, TypeVar

import msgspec

from exporter.errors import Malformed
from exporter.protocol.units import unix_seconds

T = TypeVar("T")

LONGEST_TEXT: Final = 512
"""Names, ids and statuses are far shorter; what is longer is cut before anybody remembers it."""
MOST_FORGIVEN: Final = 300_000
"""Items of a document that is no JSON and is read all the same: a call of an hour has fewer."""
_NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LONGEST_WHOLE_NUMBER: Final = 40
"""Digits. Python refuses to read very long ones, and no member needs them."""


class Surprises:
    """How many members of an answer were there and could not be read."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Fields:
    """The members of a JSON object, decoded when asked for; None stands for missing, null and surprising.

    :param surprises: counts the surprising ones, of this object and those inside it.
    """

    __slots__ = ("_members", "_surprises")

    def __init__(self, members: dict[str, msgspec.Raw], surprises: Surprises | None = None) -> None:
        self._members = members
        self._surprises = surprises or Surprises()

    @property
    def surprises(self) -> int:
        """Members of the whole answer that were there and could not be read, of those asked for so far."""
        return self._surprises.count

    def has(self, name: str) -> bool:
        """There is a list under this name."""
        return _items(self._members.get(name)) is not None

    def holds(self, name: str) -> bool:
        """There is a member of this name, whatever it is."""
        return name in self._members

    def field(self, name: str, kind: type[T]) -> T | None:
        """The member as ``kind``."""
        raw = self._members.get(name)
        return None if raw is None else self._told(raw, _leaf(raw, kind))

    def text(self, name: str) -> str | None:
        """The member as a string of at most ``LONGEST_TEXT`` characters; a whole number is taken for its digits."""
        raw = self._members.get(name)
        if raw is None:
            return None
        value = _leaf(raw, str)
        if value is not None:
            return value[:LONGEST_TEXT]
        if (number := _leaf(raw, int)) is not None:
            return str(number)
        return self._told(raw, value)

    def time(self, name: str) -> float | None:
        """The member as Unix seconds, from an ISO 8601 date or a number."""
        raw = self._members.get(name)
        if raw is None:
            return None
        date = _leaf(raw, datetime)
        return self._told(raw, unix_seconds(date if date is not None else _leaf(raw, float)))

    def scalar(self, name: str) -> bool | int | float | str | None:
        """The member if it is neither a list nor an object."""
        raw = self._members.get(name)
        if raw is None:
            return None
        value: Any = _leaf(raw, object)
        if isinstance(value, bool | int | float | str):
            return value
        self._told(raw, None)
        return None

    def inside(self, name: str) -> Fields:
        """The object called ``name``."""
        return self._object(self._members.get(name))

    def objects(self, name: str) -> list[Fields]:
        """The objects of a list; what is no object in it has no members."""
        return [self._object(raw) for raw in self.raws(name)]

    def items(self, name: str, kind: type[T]) -> list[T | None]:
        """The items of a list, each as ``kind`` or None."""
        return [self._told(raw, _leaf(raw, kind)) for raw in self.raws(name)]

    def raws(self, name: str) -> list[msgspec.Raw]:
        """The items of a list, as they came; none of what is no list."""
        raw = self._members.get(name)
        return [] if raw is None else self._told(raw, _items(raw)) or []

    def _object(self, raw: msgspec.Raw | None) -> Fields:
        members = None if raw is None else self._told(raw, _members(raw))
        return Fields(members or {}, self._surprises)

    def _told(self, raw: msgspec.Raw, value: T | None) -> T | None:
        if value is None and bytes(raw) != b"null":
            self._surprises.count += 1
        return value


def object_of(body: bytes) -> Fields:
    """The members of a JSON document that must be an object. Raises Malformed."""
    try:
        return Fields(msgspec.json.decode(body, type=dict[str, msgspec.Raw]))
    except msgspec.ValidationError as error:
        raise Malformed("not a JSON object", reason="not_an_object") from error
    except _NOT_JSON as error:
        if body.count(b",") > MOST_FORGIVEN:
            raise Malformed(f"not JSON, and more than {MOST_FORGIVEN} items", reason="oversize") from error
        value = _parsed(body)
        if value is None:
            raise Malformed("not JSON", reason="malformed_json") from error
        if not isinstance(value, dict):
            raise Malformed("not a JSON object", reason="not_an_object") from error
        return Fields(_written(value))


def answer_data(body: bytes) -> Fields:
    """The ``data`` object of an API answer, or the answer itself where it is not wrapped. Raises Malformed."""
    answer = object_of(body)
    data = answer.field("data", msgspec.Raw)
    if data is None:
        return answer
    members = _members(data)
    if members is None:
        raise Malformed("the answer's data is not an object", reason="not_an_object")
    return Fields(members)


def list_of(body: bytes) -> list[msgspec.Raw]:
    """The items of a JSON document that must be a list. Raises Malformed."""
    items = _items(body)
    if items is None:
        raise Malformed("not a JSON list", reason="malformed_json")
    return items


# -- one value, strictly and then forgivingly


def _members(raw: msgspec.Raw | bytes) -> dict[str, msgspec.Raw] | None:
    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        return None
    except _NOT_JSON:
        value = _parsed(bytes(raw))
        return _written(value) if isinstance(value, dict) else None


def _items(raw: msgspec.Raw | bytes | None) -> list[msgspec.Raw] | None:
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=list[msgspec.Raw])
    except msgspec.ValidationError:
        return None
    except _NOT_JSON:
        value = _parsed(bytes(raw))
        return [_raw(each) for each in value] if isinstance(value, list) else None


def _leaf(raw: msgspec.Raw, kind: type[T]) -> T | None:
    if kind is msgspec.Raw:
        return raw  # type: ignore[return-value]  # it is what was asked for
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        return None
    except _NOT_JSON:
        value = _parsed(bytes(raw))
        if isinstance(value, str):
            value = value.encode("utf-8", "replace").decode()
        elif isinstance(value, float) and not isfinite(value):
            return None
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            return None


def _parsed(text: bytes) -> Any:
    """What Python takes for JSON: NaN, lone surrogates; None for what not even Python does, and for what has too many
    items: as Python's objects each takes some hundred bytes."""
    if text.count(b",") > MOST_FORGIVEN:
        return None
    try:
        return json.loads(text.decode("utf-8-sig", "replace"), parse_int=_whole)
    except (ValueError, RecursionError):
        return None


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_WHOLE_NUMBER else float(digits)


def _written(value: dict[str, Any]) -> dict[str, msgspec.Raw]:
    return {name.encode("utf-8", "replace").decode(): _raw(member) for name, member in value.items()}


def _raw(value: Any) -> msgspec.Raw:
    """Written as it was read: the trouble is confined to where it is, and met there again."""
    try:
        return msgspec.Raw(json.dumps(value).encode())
    except RecursionError:
        return msgspec.Raw(b"false")  # no member is that deep: to be met as a surprise
