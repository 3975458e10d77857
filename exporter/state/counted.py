"""Which events of which calls were counted: written in one go, and sorted by call when nobody waits.

A page waits for a commit, beside an event loop that needs the interpreter. So a commit puts the identities of all calls
into one row of ``recent``, which takes a few calls of C code, where ten thousand rows take Python for each. A row that
is no longer recent is taken apart (``tidy``): what belongs to calls that go on becomes rows of ``counted``, the rest is
forgotten. Most calls are over by then.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from exporter.state.kept import CallNews
from exporter.state.opening import transaction

RECENT_ROWS = 16
"""So many commits are left as they were written."""

MOST_IN_A_ROW = 8_000_000
"""Identities, of eight bytes each: SQLite takes a thousand million bytes at most."""

_MOST_VALUES = 800
"""In one statement: every SQLite takes 999."""
_call_ids_from = msgspec.json.Decoder(list[str]).decode


@dataclass
class Counted:
    """The tables ``recent`` and ``counted``. ``last`` is the latest row of ``recent`` there ever was; ``since`` has the
    calls in flight, each with the first row that can be about it: an id may have been another life's before."""

    last: int = 0
    since: dict[str, int] = field(default_factory=dict)
    _rows: int = 0

    def opened(self, db: sqlite3.Connection) -> None:
        """Go on where the file left off."""
        self.last = db.execute(
            "SELECT max(coalesce((SELECT max(id) FROM recent), 0),"
            " coalesce((SELECT CAST(value AS INTEGER) FROM facts WHERE name = 'recent'), 0))"
        ).fetchone()[0]
        self.since = dict(db.execute("SELECT call_id, since FROM calls").fetchall())

    def write(self, db: sqlite3.Connection, calls: Sequence[CallNews], over: Sequence[str]) -> None:
        """Part of a commit; ``written`` says that it held."""
        self._rows = 0
        for some in _in_rows([call for call in calls if call.counted]):
            identities = [array("Q", call.counted) for call in some]
            self._rows += 1
            row = (
                self.last + self._rows,
                msgspec.json.encode([call.call_id for call in some]),
                array("I", map(len, identities)).tobytes(),
                b"".join(identities),
            )
            db.execute("INSERT INTO recent VALUES (?, ?, ?, ?)", row)
        db.executemany("DELETE FROM counted WHERE call_id = ?", [(call_id,) for call_id in over])

    def written(self) -> None:
        """The commit is on the disk."""
        self.last += self._rows
        self._rows = 0

    def forget(self, call_id: str) -> None:
        """It is over, or nothing was heard of it for long."""
        self.since.pop(call_id, None)

    def first_row(self, call_id: str) -> int:
        """The first row that can be about a call, which goes on from now on."""
        return self.since.setdefault(call_id, self.last + 1)

    def read(self, db: sqlite3.Connection) -> dict[str, bytes]:
        """The identities of the calls in flight, eight bytes each; a row that cannot be read is skipped."""
        found: dict[str, list[bytes]] = {}
        for call_id, blob in db.execute("SELECT call_id, identities FROM counted"):
            found.setdefault(call_id, []).append(blob[: len(blob) // 8 * 8])
        for number, *row in db.execute("SELECT id, calls, sizes, identities FROM recent ORDER BY id"):
            for call_id, blob in _apart(*row):
                if self.since.get(call_id, number + 1) <= number:
                    found.setdefault(call_id, []).append(blob)
        return {call_id: b"".join(blobs) for call_id, blobs in found.items()}

    def tidy(self, db: sqlite3.Connection) -> None:
        """Take the oldest row apart, if there are many. In a transaction of its own."""
        rows, oldest = db.execute("SELECT count(*), min(id) FROM recent").fetchone()
        if rows <= RECENT_ROWS:
            return
        row = db.execute("SELECT calls, sizes, identities FROM recent WHERE id = ?", (oldest,)).fetchone()
        since = self.since
        left = [(call_id, blob) for call_id, blob in _apart(*row) if since.get(call_id, oldest + 1) <= oldest]
        with transaction(db):
            in_hundreds(db, "INSERT INTO counted VALUES", left)
            db.execute("DELETE FROM recent WHERE id = ?", (oldest,))


def _in_rows(calls: Sequence[CallNews]) -> Iterator[Sequence[CallNews]]:
    """Usually one; a store that gets everything again may get more than SQLite takes in one value."""
    start = size = 0
    for place, call in enumerate(calls):
        if size and size + len(call.counted) > MOST_IN_A_ROW:
            yield calls[start:place]
            start, size = place, 0
        size += len(call.counted)
    if calls:
        yield calls[start:]


def _apart(calls: bytes, sizes: bytes, identities: bytes) -> Iterator[tuple[str, bytes]]:
    """Each call of a row of ``recent`` and its identities."""
    try:
        call_ids = _call_ids_from(calls)
        numbers = array("I", sizes)
    except (msgspec.DecodeError, ValueError):
        return
    start = 0
    for call_id, number in zip(call_ids, numbers, strict=False):
        blob = identities[start : start + 8 * number]
        yield call_id, blob[: len(blob) // 8 * 8]
        start += 8 * number


def in_hundreds(db: sqlite3.Connection, head: str, rows: Sequence[Collection[object]], tail: str = "") -> None:
    """Insert rows, many with each statement. Python gives the interpreter away at every statement and asks for it back:
    row by row, ten thousand of them wait ten thousand times for a busy event loop."""
    if not rows:
        return
    row = f"({', '.join('?' * len(rows[0]))})"
    many = _MOST_VALUES // len(rows[0])
    for start in range(0, len(rows), many):
        some = rows[start : start + many]
        db.execute(f"{head} {', '.join([row] * len(some))} {tail}", list(chain.from_iterable(some)))
