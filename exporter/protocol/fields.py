"""Objects from the wire whose members are looked at one by one, so that one bad member spoils no other."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from exporter.errors import Malformed
from exporter.protocol.units import unix_seconds

T = TypeVar("T")

LONGEST_TEXT: Final = 512
"""Names, ids and statuses are far shorter; what is longer is cut before anybody remembers it."""


class Fields:
    """The members of a JSON object, decoded when asked for; None stands for missing, null and surprising."""

    __slots__ = ("_members",)

    def __init__(self, members: dict[str, msgspec.Raw]) -> None:
        self._members = members

    @classmethod
    def of(cls, raw: msgspec.Raw | None) -> Fields:
        """The members of an object; none of what is not an object."""
        return cls((_decoded(raw, dict[str, msgspec.Raw]) if raw is not None else None) or {})

    def has(self, name: str) -> bool:
        """There is a list under this name."""
        return self.field(name, list[msgspec.Raw]) is not None

    def field(self, name: str, kind: type[T]) -> T | None:
        """The member as ``kind``."""
        raw = self._members.get(name)
        return None if raw is None else _decoded(raw, kind)

    def text(self, name: str) -> str | None:
        """The member as a string of at most ``LONGEST_TEXT`` characters; a whole number is taken for its digits."""
        value = self.field(name, str)
        if value is not None and len(value) > LONGEST_TEXT:
            return value[:LONGEST_TEXT]
        if value is None and (number := self.field(name, int)) is not None:
            return str(number)
        return value

    def time(self, name: str) -> float | None:
        """The member as Unix seconds, from an ISO 8601 date or a number."""
        date = self.field(name, datetime)
        return unix_seconds(date if date is not None else self.field(name, float))

    def scalar(self, name: str) -> bool | int | float | str | None:
        """The member if it is neither a list nor an object."""
        value: Any = self.field(name, object)
        return value if isinstance(value, bool | int | float | str) else None

    def inside(self, name: str) -> Fields:
        """The object called ``name``."""
        return Fields.of(self._members.get(name))

    def objects(self, name: str) -> list[Fields]:
        """The objects of a list; what is no object in it has no members."""
        return [Fields.of(raw) for raw in self.field(name, list[msgspec.Raw]) or ()]

    def items(self, name: str, kind: type[T]) -> list[T | None]:
        """The items of a list, each as ``kind`` or None."""
        return [_decoded(raw, kind) for raw in self.field(name, list[msgspec.Raw]) or ()]


def object_of(body: bytes) -> Fields:
    """The members of a JSON document that must be an object. Raises Malformed."""
    try:
        return Fields(msgspec.json.decode(body, type=dict[str, msgspec.Raw]))
    except msgspec.ValidationError as error:
        raise Malformed("not a JSON object", reason="not_an_object") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed("not JSON", reason="malformed_json") from error


def answer_data(body: bytes) -> Fields:
    """The ``data`` object of an API answer, or the answer itself where it is not wrapped. Raises Malformed."""
    answer = object_of(body)
    data = answer.field("data", msgspec.Raw)
    if data is None:
        return answer
    members = _decoded(data, dict[str, msgspec.Raw])
    if members is None:
        raise Malformed("the answer's data is not an object", reason="not_an_object")
    return Fields(members)


def _decoded(raw: msgspec.Raw, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
