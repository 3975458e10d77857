"""Who is who: trace and span ids derived from what they show, and event identities small enough to keep.

Ids are derived, never drawn, so that any replica, any replay and any restart gives a call the same trace.
"""

from __future__ import annotations

from array import array
from hashlib import sha256

import msgspec
import xxhash

from exporter.protocol.decode import content_identity
from exporter.protocol.events import EVENT_CLASSES, Event, Unknown


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


def event_identity(event: Event, payload: bytes | msgspec.Raw) -> int:
    """64 bits for an event of a call: its id with its type, or, without an id, its content.

    Two events of one millisecond can bear one id, because upstream numbers them per observer: the type belongs to it.
    The same in every process, so that a checkpoint can hold it.

    :raises Malformed: an event without an id whose content cannot be read again.
    """
    event_id = event.event_id
    if not event_id:
        return content_identity(payload)
    salt = _SALTS.get(type(event))
    if salt is None:
        salt = _salt(event.wire_type if isinstance(event, Unknown) else "")
    return _hash(event_id.encode()) ^ salt


_hash = xxhash.xxh3_64_intdigest


def _salt(event_type: str) -> int:
    return _hash(f"event_type {event_type}".encode())


_SALTS = {cls: _salt(name) for name, cls in EVENT_CLASSES.items()}


_FIRST_SLOTS = 128


class SeenEvents:
    """The events of one call that were counted, as 64-bit identities in an open-addressed table.

    An hour-long call has some 20,000 events; as a ``set`` of strings they would take 3 MB, here they take 256 KB.
    Two different events of one call are taken for the same with a probability of about 1e-11.
    """

    __slots__ = ("_mask", "_room", "_table")

    def __init__(self) -> None:
        self._table = array("Q", [0]) * _FIRST_SLOTS
        self._mask = _FIRST_SLOTS - 1
        self._room = _FIRST_SLOTS * 3 // 4  # how many more until it grows

    def __len__(self) -> int:
        return (self._mask + 1) * 3 // 4 - self._room

    def __contains__(self, identity: int) -> bool:
        table, mask = self._table, self._mask
        identity = identity or 1
        slot = identity & mask
        while held := table[slot]:
            if held == identity:
                return True
            slot = (slot + 1) & mask
        return False

    def add(self, identity: int) -> bool:
        """Remember; ``True`` when it was not there yet."""
        table, mask = self._table, self._mask
        slot = identity & mask
        while held := table[slot]:
            if held == identity:
                return False
            slot = (slot + 1) & mask
        if not identity:  # the one value that marks a free slot
            return self.add(1)
        table[slot] = identity
        self._room -= 1
        if not self._room:
            self._grow()
        return True

    def _grow(self) -> None:
        held = [identity for identity in self._table if identity]
        size = (self._mask + 1) * 2
        table, mask = array("Q", [0]) * size, size - 1
        for identity in held:
            slot = identity & mask
            while table[slot]:
                slot = (slot + 1) & mask
            table[slot] = identity
        self._table, self._mask = table, mask
        self._room = size * 3 // 4 - len(held)
