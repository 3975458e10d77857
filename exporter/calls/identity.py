"""Who is who: trace and span ids derived from what they show, and event identities small enough to keep.

Ids are derived, never drawn, so that any replica, any replay and any restart gives a call the same trace.
"""

from __future__ import annotations

import secrets
from array import array
from collections.abc import Iterator
from functools import cache
from hashlib import sha256

import msgspec
import xxhash

from exporter.protocol.decode import content_identity
from exporter.protocol.events import EVENT_CLASSES, Event, SSEClose, SSEInit, Unknown


def trace_id(call_id: str) -> int:
    """The trace of a call: the first 16 bytes of SHA-256 over ``atoms:`` and the call id."""
    return int.from_bytes(sha256(f"atoms:{call_id}".encode("utf-8", "replace")).digest()[:16])


def span_id(call_id: str, kind: str, identity: str = "") -> int:
    """A span of that trace: the first 8 bytes of SHA-256 over call id, span kind and the identity of what it shows."""
    return int.from_bytes(sha256(f"{call_id}\n{kind}\n{identity}".encode("utf-8", "replace")).digest()[:8])


def milliseconds_of(at: float) -> int:
    """A time as whole Unix milliseconds, the finest both wire dialects can tell, cut the way ISO 8601 cuts.

    Goes over whole microseconds, because a float of 2026 cannot hold a millisecond exactly.
    """
    return round(at * 1e6) // 1000


IDENTITIES = 2
"""Which way identities are made. Whoever keeps them keeps this with them: those of another way are never met again.

1: of the event id alone. 2: of the event id and the event type.
"""


class ConnectionFrame(Exception):
    """Not an event of the call: ``sse_init`` or ``sse_close``, or what has neither an id nor a type we know (a
    heartbeat, an error)."""


def event_identity(event: Event, payload: bytes | msgspec.Raw) -> int:
    """64 bits for an event of a call: its id with its type, or, without an id, its content.

    Two events of one millisecond can bear one id, because upstream numbers them per observer: the type belongs to it.
    The same in every process, so that a checkpoint can hold it.

    :raises ConnectionFrame: a frame that is no event of the call: the first or last of a connection, whatever its id;
        a heartbeat; an error.
    :raises Malformed: an event without an id whose content cannot be read again.
    """
    event_id = event.event_id
    if not event_id:
        if isinstance(event, SSEInit | SSEClose | Unknown):
            raise ConnectionFrame
        return content_identity(payload)
    try:
        salt = _SALTS[type(event)]
    except KeyError:
        if isinstance(event, SSEInit | SSEClose):
            raise ConnectionFrame from None
        salt = _salt(event.wire_type if isinstance(event, Unknown) else "")
    return _hash(event_id.encode()) ^ salt


_hash = xxhash.xxh3_64_intdigest


def _salt(event_type: str) -> int:
    return _hash(f"event_type {event_type}".encode())


_SALTS = {cls: _salt(name) for name, cls in EVENT_CLASSES.items() if cls not in (SSEInit, SSEClose)}


_FIRST_SLOTS = 256


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(3, int(number**0.5) + 1, 2))


@cache
def _slots(at_least: int) -> int:
    """How many slots a table of at least so many has: a prime that nobody outside this process knows.

    Identities are hashes of what upstream writes, so upstream could choose them to fall into one slot, and every look
    would read them all. It cannot without knowing what they are divided by. The identities themselves stay the same
    in every process.
    """
    number = at_least + secrets.randbelow(at_least // 2) | 1
    while not _is_prime(number):
        number += 2
    return number


class SeenEvents:
    """The events of one call that were counted, as 64-bit identities in an open-addressed table.

    An hour-long call has some 20,000 events; as a ``set`` of strings they would take 3 MB, here they take some
    300 KB. Two different events of one call are taken for the same with a probability of about 1e-11.
    """

    __slots__ = ("_free", "_least", "_size", "_table", "_unread")

    def __init__(self) -> None:
        self._least = _FIRST_SLOTS
        self._size = _slots(_FIRST_SLOTS)
        self._table = array("Q", [0]) * self._size
        self._free = self._size // 4 * 3  # how many more until it grows
        self._unread: bytes | None = None

    @classmethod
    def of(cls, identities: bytes) -> SeenEvents:
        """Those of an earlier life, eight bytes each in this machine's order. They are put into a table when somebody
        looks: a thousand calls of a thousand events would be a second of a start."""
        seen = cls()
        count = len(identities) // 8
        if count:
            seen._unread, seen._size, seen._free = identities[: count * 8], 0, -count
        return seen

    def _read(self) -> None:
        identities = array("Q", self._unread or b"")
        self._unread = None
        while self._least // 4 * 3 <= len(identities):
            self._least *= 2
        self._size = _slots(self._least)
        self._table = array("Q", [0]) * self._size
        self._free = self._size // 4 * 3
        for identity in identities:
            self.add(identity)

    def __len__(self) -> int:
        return self._size // 4 * 3 - self._free

    def __iter__(self) -> Iterator[int]:
        if self._unread is not None:
            self._read()
        return (identity for identity in self._table if identity)

    def __contains__(self, identity: int) -> bool:
        if self._unread is not None:
            self._read()
        table = self._table
        identity = identity or 1
        slot = identity % self._size
        while held := table[slot]:
            if held == identity:
                return True
            slot -= 1
        return False

    def add(self, identity: int) -> bool:
        """Remember; ``True`` when it was not there yet."""
        table = self._table
        try:
            slot = identity % self._size
        except ZeroDivisionError:  # no slots yet (``of``): this costs nothing where there are some
            self._read()
            return self.add(identity)
        while held := table[slot]:
            if held == identity:
                return False
            slot -= 1  # below 0 Python goes on from the end
        if not identity:  # the one value that marks a free slot
            return self.add(1)
        table[slot] = identity
        self._free -= 1
        if not self._free:
            self._grow()
        return True

    def _grow(self) -> None:
        held = [identity for identity in self._table if identity]
        self._least *= 2
        size = self._size = _slots(self._least)
        table = self._table = array("Q", [0]) * size
        for identity in held:
            slot = identity % size
            while table[slot]:
                slot -= 1
            table[slot] = identity
        self._free = size // 4 * 3 - len(held)
