"""Checkpoints: what a process must remember to count each event once across its own restarts.

For every call in flight the identities of the events counted so far, appended in batches; for calls that are over,
that they are. SQLite in WAL mode, one transaction a batch, used from one thread at a time (never the event loop's).
The state of the calls themselves is not stored: their history rebuilds it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from exporter.calls.identity import SeenEvents
from exporter.calls.observations import Agent
from exporter.errors import ConfigError, Interrupted

_APPLICATION_ID = 0x41544F4D  # "ATOM", where SQLite keeps an application's name in its header
_VERSION = 1
_SCHEMA = """
CREATE TABLE calls (
    call_id TEXT PRIMARY KEY, agent_id TEXT, agent_name TEXT, single_prompt INTEGER, channel TEXT,
    opened_at REAL, waiting BLOB, updated_at REAL
) WITHOUT ROWID;
CREATE TABLE counted (call_id TEXT NOT NULL, identities BLOB NOT NULL);
CREATE INDEX counted_by_call ON counted (call_id);
CREATE TABLE finished (call_id TEXT PRIMARY KEY, ended_at REAL) WITHOUT ROWID;
CREATE INDEX finished_by_time ON finished (ended_at);
"""


@dataclass(frozen=True)
class CallCheckpoint:
    """What is new about one call since its last checkpoint."""

    call_id: str
    agent: Agent
    channel: str
    opened_at: float
    counted: tuple[int, ...]
    waiting: Mapping[int, frozenset[str]]


@dataclass(frozen=True)
class SavedCall:
    """A call that was in flight when the earlier life ended."""

    call_id: str
    agent: Agent
    channel: str
    opened_at: float
    counted: SeenEvents
    waiting: Mapping[int, frozenset[str]]


@dataclass(frozen=True)
class SavedState:
    """Everything an earlier life left. ``existed`` is false on the first start ever."""

    calls: tuple[SavedCall, ...] = ()
    finished: tuple[str, ...] = ()
    existed: bool = False


class Checkpoints(Protocol):
    """Where checkpoints are kept. SQLite now; a store shared by a fleet of replicas may come."""

    def load(self) -> SavedState:
        """What the earlier life left."""

    def save(self, calls: Iterable[CallCheckpoint], finished: Iterable[str], now: float) -> None:
        """Keep what is new, all or nothing. Raises ``Interrupted`` when it cannot; the same may be saved again."""

    def expire(self, before: float) -> None:
        """Forget calls not heard of since."""

    def close(self) -> None:
        """Nothing more will be saved."""


@dataclass
class SQLiteCheckpoints:
    """Checkpoints in one SQLite file.

    :param path: created when missing; its directory must exist and be writable.
    :param patience_seconds: how long to wait for somebody else who is writing.
    :raises ConfigError: the file is somebody else's, of a newer version, or cannot be opened.

    A file of ours that is damaged is set aside as ``<path>.damaged-<time>`` (``set_aside`` names it) and a new one
    begun: monitoring goes on, at worst counting the calls in flight at the crash a second time.
    """

    path: Path
    patience_seconds: float = 5.0
    set_aside: Path | None = field(default=None, init=False)
    _existed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._existed = self.path.exists() and self.path.stat().st_size > 0
        if self._existed:
            self._refuse_strangers()
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as problem:
            if isinstance(problem, sqlite3.OperationalError):
                raise ConfigError("state.path", f"{self.path} cannot be opened: {problem}") from problem
            self._put_aside()
            self._db = self._open()

    def _refuse_strangers(self) -> None:
        """What is no SQLite file, or says that it is another program's."""
        try:
            with self.path.open("rb") as file:
                header = file.read(100)
        except OSError as problem:
            raise ConfigError("state.path", f"{self.path} cannot be read: {problem.strerror}") from problem
        owner = int.from_bytes(header[68:72])
        if header[:16] != b"SQLite format 3\x00" or owner not in (0, _APPLICATION_ID):
            raise self._a_stranger()

    def _a_stranger(self) -> ConfigError:
        return ConfigError(
            "state.path", f"{self.path} is not a state file of atoms-exporter; name another file or remove it"
        )

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=self.patience_seconds)
        try:
            # Asked of SQLite, not of the header: after a crash the first pages may still be in the write-ahead log.
            owner = db.execute("PRAGMA application_id").fetchone()[0]
            version = db.execute("PRAGMA user_version").fetchone()[0]
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if owner not in (0, _APPLICATION_ID) or (owner == 0 and (tables or version)):
                raise self._a_stranger()
            if version > _VERSION:
                raise ConfigError("state.path", f"{self.path} was written by a newer atoms-exporter")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            if version == 0:
                db.executescript(
                    f"BEGIN IMMEDIATE;{_SCHEMA}"
                    f"PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={_VERSION}; COMMIT;"
                    "PRAGMA wal_checkpoint(TRUNCATE);"
                )
            elif db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("damaged")
        except BaseException:
            db.close()
            raise
        return db

    def _put_aside(self) -> None:
        self.set_aside = self.path.with_name(f"{self.path.name}.damaged-{int(time.time())}")
        os.replace(self.path, self.set_aside)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(f"{self.path}{suffix}")
        self._existed = False

    def load(self) -> SavedState:
        """What the earlier life left. Unreadable rows are skipped: their calls are counted from now on."""
        try:
            return self._load()
        except sqlite3.DatabaseError:
            self._db.close()
            self._put_aside()
            self._db = self._open()
            return SavedState()

    def _load(self) -> SavedState:
        counted: dict[str, SeenEvents] = {}
        for call_id, blob in self._db.execute("SELECT call_id, identities FROM counted"):
            seen = counted.setdefault(call_id, SeenEvents())
            identities = array("Q")
            identities.frombytes(blob[: len(blob) // 8 * 8])
            for identity in identities:
                seen.add(identity)
        rows = self._db.execute(
            "SELECT call_id, agent_id, agent_name, single_prompt, channel, opened_at, waiting FROM calls"
        ).fetchall()
        calls = tuple(
            SavedCall(
                call_id,
                Agent(agent_id, agent_name, bool(single_prompt)),
                channel,
                opened_at,
                counted.get(call_id, SeenEvents()),
                _waiting_from(blob),
            )
            for call_id, agent_id, agent_name, single_prompt, channel, opened_at, blob in rows
        )
        finished = tuple(row[0] for row in self._db.execute("SELECT call_id FROM finished ORDER BY ended_at"))
        return SavedState(calls, finished, self._existed)

    def save(self, calls: Iterable[CallCheckpoint], finished: Iterable[str], now: float) -> None:
        """One transaction.

        :raises Interrupted: disk full, read-only, locked …; ``reason`` is SQLite's name for it.
        """
        ended = [(call_id,) for call_id in finished]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for call in calls:
                    self._save_call(call, now)
                self._db.executemany("DELETE FROM calls WHERE call_id = ?", ended)
                self._db.executemany("DELETE FROM counted WHERE call_id = ?", ended)
                self._db.executemany(
                    "INSERT OR REPLACE INTO finished VALUES (?, ?)", [(call_id, now) for (call_id,) in ended]
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as problem:
            raise Interrupted(
                f"the state file {self.path} cannot be written: {problem}",
                reason=getattr(problem, "sqlite_errorname", None) or "error",
            ) from problem

    def _save_call(self, call: CallCheckpoint, now: float) -> None:
        agent = call.agent
        waiting = msgspec.json.encode({str(identity): sorted(kinds) for identity, kinds in call.waiting.items()})
        self._db.execute(
            "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (call.call_id, agent.agent_id, agent.name, agent.single_prompt, call.channel, call.opened_at, waiting, now),
        )
        if call.counted:
            self._db.execute("INSERT INTO counted VALUES (?, ?)", (call.call_id, array("Q", call.counted).tobytes()))

    def expire(self, before: float) -> None:
        """Forget calls not heard of since ``before`` (Unix seconds), and give the space back."""
        try:
            self._db.execute(
                "DELETE FROM counted WHERE call_id IN (SELECT call_id FROM calls WHERE updated_at < ?)", (before,)
            )
            self._db.execute("DELETE FROM calls WHERE updated_at < ?", (before,))
            self._db.execute("DELETE FROM finished WHERE ended_at < ?", (before,))
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as problem:
            raise Interrupted(f"the state file {self.path} cannot be cleaned: {problem}", reason="error") from problem

    def close(self) -> None:
        """Give the file back."""
        self._db.close()


def _waiting_from(blob: bytes | None) -> dict[int, frozenset[str]]:
    try:
        held = msgspec.json.decode(blob or b"{}", type=dict[str, list[str]])
        return {int(identity): frozenset(kinds) for identity, kinds in held.items()}
    except (msgspec.MsgspecError, ValueError):
        return {}
