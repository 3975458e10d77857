"""A state file, opened: whose it is, which version it has, whether it is whole.

What is wrong is told apart by what follows from it: somebody else's file is refused and left alone, a damaged one of
ours is set aside, and one that cannot be had now (locked, disk full, I/O error) is tried again later.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from exporter.errors import ConfigError, Interrupted

APPLICATION_ID = 0x41544F4D  # "ATOM", where SQLite keeps an application's name in its header
VERSION = 3
_SCHEMA_1 = """
CREATE TABLE calls (
    call_id TEXT PRIMARY KEY, agent_id TEXT, agent_name TEXT, single_prompt INTEGER, channel TEXT,
    opened_at REAL, waiting BLOB, updated_at REAL
) WITHOUT ROWID;
CREATE TABLE counted (call_id TEXT NOT NULL, identities BLOB NOT NULL);
CREATE INDEX counted_by_call ON counted (call_id);
CREATE TABLE finished (call_id TEXT PRIMARY KEY, ended_at REAL) WITHOUT ROWID;
CREATE INDEX finished_by_time ON finished (ended_at);
"""
_SCHEMA_2 = """
ALTER TABLE calls ADD COLUMN form INTEGER NOT NULL DEFAULT 1;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE layouts (family TEXT PRIMARY KEY, layout TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE series (
    id INTEGER PRIMARY KEY, family TEXT NOT NULL, labels TEXT NOT NULL, numbers BLOB NOT NULL,
    born INTEGER NOT NULL, created_at REAL NOT NULL, base BLOB, resting INTEGER NOT NULL
);
CREATE TABLE scrapers (
    place INTEGER PRIMARY KEY, key TEXT NOT NULL, valued INTEGER NOT NULL, last INTEGER NOT NULL, at REAL NOT NULL
);
"""
_SCHEMA_3 = """
CREATE TABLE recent (id INTEGER PRIMARY KEY, calls BLOB NOT NULL, sizes BLOB NOT NULL, identities BLOB NOT NULL);
ALTER TABLE calls ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
"""
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""SQLite's codes for content that is wrong. ``ERROR``, where our own statements are right: a table is missing."""
_LONGEST_LOG_PAGES = 16_384
"""Of 4 KiB. The log is usually emptied between two commits, while nobody waits for one."""
_NOT_NOW = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENFILE, errno.EMFILE, errno.ESTALE})


def damaged(problem: sqlite3.Error) -> bool:
    """Whether the file's content is wrong, and not only out of reach at the moment."""
    code = getattr(problem, "sqlite_errorcode", None)
    return isinstance(problem, sqlite3.DatabaseError) and (code is None or code & 0xFF in _DAMAGE)


def interrupted(path: Path, problem: Exception) -> Interrupted:
    """What it means to whoever wanted to write; ``reason`` is SQLite's name for it."""
    reason = getattr(problem, "sqlite_errorname", None) or "error"
    return Interrupted(f"the state file {path} cannot be written: {problem}", reason=reason)


def refuse_strangers(path: Path) -> None:
    """A file that is not ours, or may not be written. Raises ConfigError."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        if problem.errno in _NOT_NOW:
            return
        raise ConfigError("state.path", f"{path} cannot be opened: {problem.strerror}") from problem
    try:
        header = os.pread(file, 100, 0)
    except OSError as problem:
        if problem.errno in _NOT_NOW:
            return
        raise ConfigError("state.path", f"{path} cannot be read: {problem.strerror}") from problem
    finally:
        os.close(file)
    owner = int.from_bytes(header[68:72])
    if header and (header[:16] != b"SQLite format 3\x00" or owner not in (0, APPLICATION_ID)):
        raise _a_stranger(path)


def may_be_opened(path: Path) -> bool:
    """Whether this user may write the file, which is made where there is none. A disk that takes nothing now (full,
    read-only) is no reason to say no."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except PermissionError:
        return False
    except OSError:
        pass  # whoever opens it says what is wrong
    return True


def refuse_unreadable(path: Path) -> None:
    """A file beside ours that is there and may not be opened, as after a start under another user: without it nobody
    would know of a second writer, or of what was shown ahead. Raises ConfigError."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError as problem:
        raise ConfigError("state.path", f"{path} cannot be opened: {problem.strerror}") from problem
    except OSError:
        return  # it is not there yet, or nobody can write on this disk


def _a_stranger(path: Path) -> ConfigError:
    return ConfigError("state.path", f"{path} is not a state file of atoms-exporter; name another file or remove it")


def opened(path: Path, patience_seconds: float) -> sqlite3.Connection:
    """The file with the schema of this version, made or brought up to date where it must be.

    :raises ConfigError: somebody else's, or of a newer version.
    :raises sqlite3.Error: ``damaged`` tells which kind.
    """
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=patience_seconds)
    try:
        # Asked of SQLite, not of the header: after a crash the first pages may still be in the write-ahead log.
        owner = db.execute("PRAGMA application_id").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if owner not in (0, APPLICATION_ID) or (owner == 0 and (tables or version)):
            raise _a_stranger(path)
        if version > VERSION:
            raise ConfigError("state.path", f"{path} was written by a newer atoms-exporter")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(f"PRAGMA wal_autocheckpoint={_LONGEST_LOG_PAGES}")
        if version == VERSION:
            if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("damaged")
        else:
            _bring_up_to_date(db, version)
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, and whatever went wrong comes out."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def opened_for_reading(path: Path) -> sqlite3.Connection:
    """The same where nothing can be written, and not even a log be made. One that is there is read with it."""
    log = path.with_name(f"{path.name}-wal")
    alone = "&immutable=1" if not log.exists() or not log.stat().st_size else ""
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{alone}", uri=True, check_same_thread=False)
    try:
        if db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            raise sqlite3.OperationalError("of another version, and cannot be brought up to date")
    except BaseException:
        db.close()
        raise
    return db


def _bring_up_to_date(db: sqlite3.Connection, version: int) -> None:
    db.executescript(
        f"BEGIN IMMEDIATE;{''.join((_SCHEMA_1, _SCHEMA_2, _SCHEMA_3)[version:])}"
        f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={VERSION}; COMMIT;"
    )
    with contextlib.suppress(sqlite3.OperationalError):  # only tidies up
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def set_aside(path: Path) -> Path:
    """Put a damaged file where it can be looked at; its name there."""
    aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
    os.replace(path, aside)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.remove(f"{path}{suffix}")
    return aside
