"""What is kept, in one SQLite file: write-ahead log, one synced transaction a commit.

Beside ``<path>`` there are ``<path>.lock`` (who writes, see ``holder``) and ``<path>.ahead`` (see ``ahead``). The state
of the calls themselves is not stored: their history rebuilds it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from exporter.calls.identity import SeenEvents
from exporter.calls.observations import Agent
from exporter.errors import ConfigError, Interrupted
from exporter.outputs.prometheus.kept import KeptSeries
from exporter.outputs.prometheus.scrapers import SeenPages
from exporter.state.ahead import AheadFlag
from exporter.state.counted import Counted, in_hundreds
from exporter.state.holder import Holder
from exporter.state.inode import Inode, inode
from exporter.state.kept import CALL_FORM, CallNews, Commit, LostData, PagesSeen, SavedCall, SavedState
from exporter.state.opening import (
    damaged,
    interrupted,
    opened,
    opened_for_reading,
    refuse_strangers,
    refuse_unreadable,
    set_aside,
    transaction,
)

_SeriesKey = tuple[str, tuple[str, ...]]
_Told = tuple[Agent, str, float, Mapping[int, frozenset[str]]]


@dataclass
class SQLiteStore:
    """A ``StateStore`` in one file.

    :param path: created when missing; its directory must exist.
    :param patience_seconds: how long to wait for somebody else who is writing.
    :raises ConfigError: the file is somebody else's, of a newer version, in use, or may not be opened.

    A file that is damaged is set aside as ``<path>.damaged-<time>`` (``set_aside`` names it) and a new one begun:
    monitoring goes on, its counters begin at 0, at worst calls in flight at the crash are counted a second time. One
    that cannot be written now (disk full, locked, read-only) is tried again at every commit. One that was deleted or
    replaced while it was open is begun again, with all that was counted.
    """

    path: Path
    patience_seconds: float = 2.0
    set_aside: Path | None = field(default=None, init=False)
    _db: sqlite3.Connection | None = field(default=None, init=False)
    _existed: bool = field(default=False, init=False)
    _ids: dict[_SeriesKey, int] = field(default_factory=dict, init=False)
    _layouts: dict[str, str] = field(default_factory=dict, init=False)
    _gone_on_from: bool = field(default=False, init=False)
    _told: dict[str, _Told] = field(default_factory=dict, init=False)
    """What the file says of each call, but for its events."""
    _busy: threading.Lock = field(default_factory=threading.Lock, init=False)
    """Held by whoever tidies: nobody waits for that, and the file may be closed meanwhile."""
    _counted: Counted = field(default_factory=Counted, init=False)
    _heard: dict[str, float] = field(default_factory=dict, init=False)
    """When each of them was last in a commit: the file is told when it is cleaned."""
    _written: list[Inode | None] = field(default_factory=list, init=False)
    """The file and its log, as they stood on the disk after the last commit."""

    def __post_init__(self) -> None:
        if self.path.is_symlink():  # by whatever name it is called, one file has one lock and one flag
            self.path = Path(os.path.realpath(self.path))
        refuse_strangers(self.path)
        for beside in ("lock", "ahead"):
            refuse_unreadable(self.path.with_name(f"{self.path.name}.{beside}"))
        self._existed = self.path.exists() and self.path.stat().st_size > 0
        self._holder = Holder(self.path.with_name(f"{self.path.name}.lock"), self.path)
        self._holder.take()
        self._flag = AheadFlag(self.path.with_name(f"{self.path.name}.ahead"))
        try:
            self._open()
        except sqlite3.Error:
            pass  # it is tried again, and said then
        except BaseException:
            self._holder.close()
            raise

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                db = opened(self.path, self.patience_seconds)
            except sqlite3.Error as problem:
                if not damaged(problem) or self._gone_on_from:
                    raise  # a new file would have only what changes from now on: less than was shown
                self._put_aside()
                db = opened(self.path, self.patience_seconds)
            try:
                self._counted.opened(db)
                self._flag.prepare()
                self._written = [inode(self.path), None]
            except BaseException:
                db.close()
                raise
            self._db = db
        return self._db

    def _put_aside(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db = None
        try:
            self.set_aside = set_aside(self.path)
        except OSError as why:  # read-only: tried again when it is not
            said = sqlite3.OperationalError(f"it is damaged, and cannot be set aside: {why.strerror}")
            said.sqlite_errorcode, said.sqlite_errorname = sqlite3.SQLITE_IOERR, "SQLITE_IOERR"
            raise said from why
        self._existed = False
        self._knows_nothing()

    def _knows_nothing(self) -> None:
        self._ids, self._layouts = {}, {}
        self._told, self._heard, self._counted = {}, {}, Counted()

    # -- reading

    def load(self) -> SavedState:
        """What the earlier life left, and whether anything can be written. Unreadable rows are skipped: their calls
        are counted from now on."""
        try:
            try:
                return self._load(self._open())
            except sqlite3.Error as problem:
                if not damaged(problem):
                    raise
            self._put_aside()
            return self._load(self._open())
        except sqlite3.Error as problem:
            return self._read_without_writing(problem)

    def _read_without_writing(self, problem: sqlite3.Error) -> SavedState:
        """What there is on a disk that cannot be written, if that is all that is wrong."""
        nothing = SavedState(existed=self._existed, trouble=str(problem), readable=False, ahead=self._flag.is_set)
        if problem.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            return nothing
        try:
            with closing(opened_for_reading(self.path)) as db:
                self._counted.opened(db)
                return replace(self._load(db), trouble=str(problem))
        except sqlite3.Error:
            return nothing

    def _load(self, db: sqlite3.Connection) -> SavedState:
        facts = dict(db.execute("SELECT name, value FROM facts").fetchall())
        self._layouts = dict(db.execute("SELECT family, layout FROM layouts").fetchall())
        seen = [SeenPages(*row) for row in db.execute("SELECT key, valued, last, at FROM scrapers ORDER BY place")]
        state = SavedState(
            calls=_calls(db, self._counted),
            finished=[row[0] for row in db.execute("SELECT call_id FROM finished ORDER BY ended_at")],
            existed=self._existed,
            series=self._series(db),
            layouts=dict(self._layouts),
            pages=PagesSeen(int(_number(facts.get("edition"))), int(_number(facts.get("shown"))), seen),
            instance_id=facts.get("instance_id", ""),
            counts_since=_number(facts.get("counts_since")) or None,
            committed_at=_number(facts.get("committed_at")) or None,
            trouble=_cannot_write(db),
            ahead=self._flag.is_set,
        )
        self._gone_on_from = True
        return state

    def _series(self, db: sqlite3.Connection) -> list[KeptSeries]:
        found, ids = [], {}
        rows = db.execute("SELECT id, family, labels, numbers, born, created_at, base, resting FROM series")
        for number, family, text, numbers, born, created_at, base, resting in rows:
            try:
                labels = _labels_from(text)
            except msgspec.DecodeError:
                continue
            ids[family, labels] = number
            found.append(KeptSeries(family, labels, numbers, born, created_at, base, bool(resting)))
        self._ids = ids
        return found

    # -- writing

    def save(self, commit: Commit) -> None:
        """One transaction.

        :raises Interrupted: disk full, read-only, locked …; ``reason`` is SQLite's name for it.
        """
        try:
            self._holder.take()  # after a start on a read-only disk others may have been faster
        except ConfigError as problem:
            raise Interrupted(str(problem), reason="in_use") from problem
        try:
            self._notice_another_file()
            db = self._open()
            ids, layouts = self._ids, self._layouts
            try:
                with transaction(db):
                    told = self._write(db, commit)
            except BaseException:
                self._ids, self._layouts = ids, layouts
                raise
            self._remember(commit, told)
            self._written, self._gone_on_from = self._on_disk(), True
        except ConfigError as problem:
            raise Interrupted(str(problem), reason="not_ours") from problem
        except (sqlite3.Error, OSError) as problem:
            self._let_go_of_what_was_opened_read_only(problem)
            raise interrupted(self.path, problem) from problem

    def _on_disk(self) -> list[Inode | None]:
        return [inode(self.path), inode(self.path.with_name(f"{self.path.name}-wal"))]

    def _notice_another_file(self) -> None:
        """SQLite goes on writing to a file that has lost its name, and the next life would find nothing of it.

        :raises LostData: deleted or replaced since it was opened; what has its name now is written to from now on.
        """
        if self._db is None or all(was in (None, now) for was, now in zip(self._written, self._on_disk(), strict=True)):
            return
        self._db.close()
        self._db, self._gone_on_from = None, False
        self._knows_nothing()
        raise LostData(f"the state file {self.path} was deleted or replaced", reason="another_file")

    def _let_go_of_what_was_opened_read_only(self, problem: Exception) -> None:
        """SQLite never writes to a file that it could only read when it opened it: the next commit opens it again."""
        if getattr(problem, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY and self._db is not None:
            self._db.close()
            self._db = None

    def _write(self, db: sqlite3.Connection, commit: Commit) -> dict[str, _Told]:
        """All of it; what is new about calls beside their events."""
        self._write_layouts(db, commit)
        self._write_series(db, commit)
        before = {} if commit.in_full else self._told
        told = {call.call_id: now for call in commit.calls if before.get(call.call_id) != (now := _about(call))}
        first = self._counted.first_row
        rows = [_call_row(call, commit.at, first(call.call_id)) for call in commit.calls if call.call_id in told]
        in_hundreds(db, "INSERT OR REPLACE INTO calls VALUES", rows)
        self._counted.write(db, commit.calls, commit.over)
        over = [(call_id,) for call_id in commit.over]
        db.executemany("DELETE FROM calls WHERE call_id = ?", over)
        db.executemany("INSERT OR REPLACE INTO finished VALUES (?, ?)", [(*row, commit.at) for row in over])
        db.execute("DELETE FROM scrapers")
        db.executemany("INSERT INTO scrapers (key, valued, last, at) VALUES (?, ?, ?, ?)", commit.pages.seen)
        facts = {
            "edition": str(commit.pages.edition),
            "shown": str(commit.pages.shown),
            "committed_at": repr(commit.at),
            "instance_id": commit.instance_id,
            "recent": str(self._counted.last),
        }
        if commit.counts_since is not None:
            facts["counts_since"] = repr(commit.counts_since)
        db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts.items())
        return told

    def _remember(self, commit: Commit, told: dict[str, _Told]) -> None:
        self._counted.written()
        self._told.update(told)
        self._heard.update(dict.fromkeys((call.call_id for call in commit.calls), commit.at))
        self._forget(commit.over)

    def _forget(self, call_ids: Sequence[str]) -> None:
        for call_id in call_ids:
            self._told.pop(call_id, None)
            self._heard.pop(call_id, None)
            self._counted.forget(call_id)

    def _write_layouts(self, db: sqlite3.Connection, commit: Commit) -> None:
        if commit.in_full:
            for table in ("calls", "counted", "recent", "finished"):
                db.execute(f"DELETE FROM {table}")
        if commit.anew or commit.in_full:
            db.execute("DELETE FROM series")
            self._ids = {}
        if commit.layouts == self._layouts:
            return
        others = [name for name, layout in self._layouts.items() if commit.layouts.get(name) != layout]
        db.executemany("DELETE FROM series WHERE family = ?", [(name,) for name in others])
        gone = set(others)
        self._ids = {key: number for key, number in self._ids.items() if key[0] not in gone}
        db.execute("DELETE FROM layouts")
        db.executemany("INSERT INTO layouts VALUES (?, ?)", commit.layouts.items())
        self._layouts = dict(commit.layouts)

    def _write_series(self, db: sqlite3.Connection, commit: Commit) -> None:
        changed, new, ids = [], [], self._ids
        for row in commit.series:
            number = ids.get((row.family, row.labels))
            if number is None:
                new.append(row)
            else:
                changed.append((number, "", "", row.numbers, row.born, row.created_at, row.base, row.resting))
        in_hundreds(db, _CHANGED_SERIES, changed, _UNLESS_NEW)
        if new or commit.forgotten:
            ids = self._ids = dict(ids)  # a copy: should this commit fail, what was there before still holds
        for row in new:
            labels = msgspec.json.encode(row.labels).decode()
            values = (row.family, labels, row.numbers, row.born, row.created_at, row.base, row.resting)
            ids[row.family, row.labels] = db.execute(_SERIES, values).lastrowid or 0
        gone = [(number,) for key in commit.forgotten if (number := ids.pop(key, None)) is not None]
        db.executemany("DELETE FROM series WHERE id = ?", gone)

    def go_ahead(self) -> bool:
        """Set the flag, on the disk."""
        return self._flag.put(True)

    def caught_up(self) -> None:
        """Take the flag back. Where that fails it stays: the next life begins at 0, which is safe."""
        self._flag.put(False)

    def expire(self, before: float) -> None:
        """Forget calls not heard of since ``before`` (Unix seconds), and give the space back."""
        try:
            db = self._open()
            old = [row[0] for row in db.execute("SELECT call_id FROM calls WHERE updated_at < ?", (before,)).fetchall()]
            heard = [(self._heard[call_id], call_id) for call_id in old if call_id in self._heard]
            with transaction(db):
                db.executemany("UPDATE calls SET updated_at = ? WHERE call_id = ?", heard)
                db.execute(
                    "DELETE FROM counted WHERE call_id IN (SELECT call_id FROM calls WHERE updated_at < ?)", (before,)
                )
                db.execute("DELETE FROM calls WHERE updated_at < ?", (before,))
                db.execute("DELETE FROM finished WHERE ended_at < ?", (before,))
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._forget([call_id for call_id, heard in self._heard.items() if heard < before])
        except sqlite3.Error as problem:
            raise Interrupted(f"the state file {self.path} cannot be cleaned: {problem}", reason="error") from problem

    def tidy(self) -> None:
        """What can be done when nobody waits: sort what was counted by call, give the log's content to the file."""
        with self._busy, suppress(sqlite3.Error):  # it is tried again after the next commit, which says what is wrong
            if self._db is not None:
                self._counted.tidy(self._db)
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Give the file back."""
        with self._busy:
            if self._db is not None:
                self._db.close()
                self._db = None
        self._flag.close()
        self._holder.close()


_SERIES = "INSERT INTO series (family, labels, numbers, born, created_at, base, resting) VALUES (?, ?, ?, ?, ?, ?, ?)"
_CHANGED_SERIES = "INSERT INTO series (id, family, labels, numbers, born, created_at, base, resting) VALUES"
_UNLESS_NEW = """ON CONFLICT (id) DO UPDATE SET numbers = excluded.numbers, born = excluded.born,
created_at = excluded.created_at, base = excluded.base, resting = excluded.resting"""
_labels_from = msgspec.json.Decoder(tuple[str, ...]).decode
_kinds_from = msgspec.json.Decoder(dict[str, list[str]]).decode


def _about(call: CallNews) -> _Told:
    return call.agent, call.channel, call.opened_at, call.waiting


def _call_row(call: CallNews, now: float, first_row: int) -> tuple[object, ...]:
    agent = call.agent
    waiting = b"{}"
    if call.waiting:
        waiting = msgspec.json.encode({str(identity): sorted(kinds) for identity, kinds in call.waiting.items()})
    who = (agent.agent_id, agent.name, agent.single_prompt)
    return (call.call_id, *who, call.channel, call.opened_at, waiting, now, CALL_FORM, first_row)


def _calls(db: sqlite3.Connection, counted: Counted) -> list[SavedCall]:
    identities = counted.read(db)
    rows = db.execute(
        "SELECT call_id, agent_id, agent_name, single_prompt, channel, opened_at, waiting, form FROM calls"
    )
    return [
        SavedCall(
            call_id,
            Agent(agent_id, agent_name, bool(single_prompt)),
            channel,
            opened_at,
            SeenEvents.of(identities.get(call_id, b"")),
            _waiting_from(blob),
            form,
        )
        for call_id, agent_id, agent_name, single_prompt, channel, opened_at, blob, form in rows
    ]


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _waiting_from(blob: bytes) -> dict[int, frozenset[str]]:
    try:
        found = _kinds_from(blob) if blob not in (b"{}", "{}") else {}
        return {int(identity): frozenset(kinds) for identity, kinds in found.items()}
    except (ValueError, TypeError):
        return {}


def _cannot_write(db: sqlite3.Connection) -> str | None:
    """Why not, tried in earnest; ``None``: it can be written."""
    try:
        with transaction(db):
            db.execute("INSERT OR REPLACE INTO facts VALUES ('opened', datetime('now'))")
    except sqlite3.Error as problem:
        if damaged(problem):
            raise
        return str(problem)
    return None
