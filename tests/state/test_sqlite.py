"""Checkpoints in SQLite: what one life wrote, the next one reads; strangers, damage and full disks."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from exporter.calls.identity import SeenEvents
from exporter.calls.observations import Agent
from exporter.errors import ConfigError, Interrupted
from exporter.state import opening
from exporter.state.kept import CallNews, Commit, SavedCall
from exporter.state.place import default_path
from exporter.state.sqlite import SQLiteStore

ANNA = Agent("a1", "Anna", True)


def checkpoint(call_id: str, *counted: int, waiting: dict[int, frozenset[str]] | None = None) -> CallNews:
    return CallNews(call_id, ANNA, "webcall", 100.5, counted, waiting or {})


def keep(store: SQLiteStore, calls: list[CallNews], over: list[str], now: float) -> None:
    store.save(Commit(at=now, calls=calls, over=over))


def held(saved: SavedCall, *identities: int) -> bool:
    return len(saved.counted) == len(identities) and all(each in saved.counted for each in identities)


def counted_of(store: SQLiteStore) -> dict[str, SeenEvents]:
    return {call.call_id: call.counted for call in store.load().calls}


def test_a_call_that_is_over_leaves_nothing_but_its_id(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "state.db")
    keep(store, [checkpoint("one", *range(1000))], [], 1.0)
    keep(store, [], ["one"], 2.0)
    store.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        rows = [db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("calls", "counted", "finished")]
    assert rows == [0, 0, 1]


def test_old_entries_expire_and_the_file_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStore(path)
    sizes = []
    for day in range(40):
        now = day * 86_400.0
        calls = [checkpoint(f"{day}-{number}", *range(number * 100, number * 100 + 100)) for number in range(50)]
        keep(store, calls, [], now)
        keep(store, [], [f"{day}-{number}" for number in range(49)], now)  # the last is never heard of again
        store.tidy()
        store.expire(now - 7 * 86_400)
        sizes.append(sum(file.stat().st_size for file in tmp_path.iterdir()))
    state = store.load()
    assert len(state.finished) == 8 * 49
    assert len(state.calls) == 8
    assert sizes[-1] <= sizes[20] * 1.05
    store.close()


def test_a_killed_process_leaves_a_file_that_is_still_ours(tmp_path: Path) -> None:
    """Everything is in the write-ahead log when a young process dies, its name in the header included."""
    path = tmp_path / "state.db"
    program = f"""
        import os, signal
        from pathlib import Path
        from exporter.calls.observations import Agent
        from exporter.state.kept import CallNews, Commit
        from exporter.state.sqlite import SQLiteStore
        store = SQLiteStore(Path({str(path)!r}))
        store.save(Commit(1.0, [CallNews("one", Agent("a1"), "webcall", 1.0, (1, 2, 3), {{}})]))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert done.returncode == -signal.SIGKILL
    store = SQLiteStore(path)
    assert store.set_aside is None
    assert held(store.load().calls[0], 1, 2, 3)
    store.close()


def test_a_file_that_died_before_it_was_named_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
    assert path.stat().st_size > 0
    store = SQLiteStore(path)
    keep(store, [checkpoint("one", 1)], [], 1.0)
    store.close()


@pytest.mark.parametrize("content", [b"hello", b"# notes\n" * 100, b"\x00" * 4096])
def test_a_file_that_is_no_database_is_refused_and_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        SQLiteStore(path)
    assert refused.value.key == "state.path"
    assert str(path) in refused.value.problem
    assert path.read_bytes() == content


@pytest.mark.parametrize("owner", [0, 0x12345678])
def test_another_programs_database_is_refused_and_left_alone(owner: int, tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(f"PRAGMA application_id={owner}; CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1);")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="not a state file"):
        SQLiteStore(path)
    assert path.read_bytes() == before


def test_the_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SQLiteStore(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")
        db.commit()
    with pytest.raises(ConfigError, match="newer"):
        SQLiteStore(path)
    assert not list(tmp_path.glob("*damaged*"))


def test_a_damaged_file_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStore(path)
    keep(store, [checkpoint(f"call-{number}", *range(500)) for number in range(100)], [], 1.0)
    store.close()
    content = path.read_bytes()
    damaged = 0
    for place in range(100, len(content), len(content) // 25):
        path.write_bytes(content[:place] + b"\xa5" * 3000 + content[place + 3000 :])
        again = SQLiteStore(path)
        state = again.load()
        assert again.set_aside is not None or len(state.calls) == 100
        damaged += again.set_aside is not None
        keep(again, [checkpoint("new", 1)], [], 1.0)
        again.close()
        for file in tmp_path.iterdir():
            file.unlink()
    assert damaged > 10


def test_a_truncated_file_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStore(path)
    keep(store, [checkpoint("one", *range(5000))], [], 1.0)
    store.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    again = SQLiteStore(path)
    assert again.load().calls == [] or again.set_aside is not None
    assert again.set_aside is not None
    assert not again.load().existed
    again.close()


def test_a_directory_that_does_not_exist_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        SQLiteStore(tmp_path / "none" / "state.db")
    assert refused.value.key == "state.path"


def test_a_directory_in_its_place_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        SQLiteStore(tmp_path)


def test_a_file_that_two_processes_write_is_interrupted_not_broken(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStore(path, patience_seconds=0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Interrupted) as interrupted:
            keep(store, [checkpoint("one", 1)], [], 1.0)
        assert interrupted.value.reason == "SQLITE_BUSY"
        other.execute("ROLLBACK")
    keep(store, [checkpoint("one", 1)], [], 1.0)
    assert held(store.load().calls[0], 1)
    store.close()


def _full(path: Path) -> str:
    """Save until the file system is full; why it failed. What was saved before is still there."""
    store = SQLiteStore(path)
    saved = 0
    try:
        for number in range(10_000):
            keep(store, [checkpoint("one", *range(number * 1000 + 1, number * 1000 + 1001))], [], 1.0)
            saved += 1
    except Interrupted as interrupted:
        reason = interrupted.reason
    else:
        raise AssertionError("it never filled up")
    assert saved
    assert len(store.load().calls[0].counted) == saved * 1000
    store.close()
    return reason


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root; the next test does without")
def test_a_full_disk_keeps_what_was_saved(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("this container may not mount anything; the next test does without")
    try:
        assert _full(mount / "state.db") == "SQLITE_FULL"
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_file_that_may_not_grow_keeps_what_was_saved(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        assert _full(tmp_path / "state.db").startswith("SQLITE_")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handled)


def test_rows_that_cannot_be_read_cost_their_call_only(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStore(path)
    keep(store, [checkpoint("one", 1)], [], 1.0)
    keep(store, [checkpoint("two", 2)], [], 1.0)
    keep(store, [checkpoint("one", 3)], [], 1.0)
    store.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE calls SET waiting = 'no JSON' WHERE call_id = 'one'")
        db.execute("UPDATE recent SET calls = 'no JSON' WHERE id = 1")
        db.execute("UPDATE recent SET identities = x'0102030405' WHERE id = 3")
        db.execute("INSERT INTO counted VALUES ('one', x'0102030405')")
        db.commit()
    again = SQLiteStore(path)
    found = counted_of(again)
    assert len(found["one"]) == 0
    assert 2 in found["two"]
    again.close()


# -- series


def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            opening._SCHEMA_1 + "INSERT INTO calls VALUES ('one', 'a1', 'Anna', 1, 'webcall', 100.5, '{}', 1.0);"
            "INSERT INTO finished VALUES ('two', 1.0);"
            f"PRAGMA application_id={opening.APPLICATION_ID}; PRAGMA user_version=1;"
        )
    store = SQLiteStore(path)
    state = store.load()
    assert [(call.call_id, call.form) for call in state.calls] == [("one", 1)]
    assert (state.finished, state.series, state.existed) == (["two"], [], True)
    store.close()


def test_a_second_writer_is_refused_and_told_who_has_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStore(path)
    with pytest.raises(ConfigError, match=f"in use by process {os.getpid()} on ") as refused:
        SQLiteStore(path)
    assert refused.value.key == "state.path"
    store.close()
    SQLiteStore(path).close()


def test_a_second_name_for_the_file_lets_no_second_writer_in(tmp_path: Path) -> None:
    path, other = tmp_path / "state.db", tmp_path / "other.db"
    store = SQLiteStore(path)
    other.symlink_to(path)
    with pytest.raises(ConfigError, match=f"in use by process {os.getpid()} on "):
        SQLiteStore(other)
    store.close()
    again = SQLiteStore(other)
    assert again.go_ahead()
    again.close()
    assert SQLiteStore(path).load().ahead


@pytest.fixture
def folder_of_an_ordinary_user() -> Iterator[Path]:
    """Root may open anything, so that root is somebody else meanwhile; others may not enter ``tmp_path``."""
    with TemporaryDirectory() as folder:
        if os.geteuid() != 0:
            yield Path(folder)
            return
        os.chown(folder, 65534, -1)
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize("beside", ["lock", "ahead"])
def test_what_another_user_left_beside_the_file_is_no_way_around_it(
    beside: str, folder_of_an_ordinary_user: Path
) -> None:
    """Without the lock two would count, without the flag counters would go on from less than was shown."""
    path = folder_of_an_ordinary_user / "state.db"
    path.with_name(f"state.db.{beside}").touch(mode=0o000)
    with pytest.raises(ConfigError, match=f"state.db.{beside} cannot be opened: Permission denied"):
        SQLiteStore(path)


def test_a_place_that_is_there_but_not_ours_to_write_is_none(folder_of_an_ordinary_user: Path) -> None:
    folder_of_an_ordinary_user.chmod(0o555)
    where = default_path({"STATE_DIRECTORY": str(folder_of_an_ordinary_user)}, "account")
    folder_of_an_ordinary_user.chmod(0o700)
    assert isinstance(where, str)
    assert where.endswith(" may not be written by this user")


def test_a_lock_is_not_taken_for_damage(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStore(path)
    keep(store, [checkpoint("one", 1)], [], 1.0)
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE calls SET channel = 'chat'")
        again = SQLiteStore(path, patience_seconds=0.05)
        state = again.load()
        assert state.trouble is not None
        assert again.set_aside is None
        other.execute("ROLLBACK")
    keep(again, [checkpoint("two", 1)], [], 2.0)
    assert {call.call_id for call in again.load().calls} == {"one", "two"}
    again.close()


@pytest.mark.parametrize(
    ("env", "where"),
    [
        ({"STATE_DIRECTORY": "{tmp}/a:{tmp}/b", "HOME": "{tmp}/h"}, "a"),
        ({"XDG_STATE_HOME": "{tmp}/x", "HOME": "{tmp}/h"}, "x/atoms-exporter"),
        ({"HOME": "{tmp}/h"}, "h/.local/state/atoms-exporter"),
    ],
)
def test_each_account_has_its_own_file_where_the_system_keeps_state(
    env: dict[str, str], where: str, tmp_path: Path
) -> None:
    given = {name: text.format(tmp=tmp_path) for name, text in env.items()}
    one, other = default_path(given, "url\nkey"), default_path(given, "url\nanother key")
    assert isinstance(one, Path)
    assert one.parent == tmp_path / where
    assert one.parent.is_dir()
    assert one != other
    assert "key" not in str(one)


@pytest.mark.parametrize("env", [{}, {"HOME": "/dev/null"}, {"XDG_STATE_HOME": "relative"}])
def test_where_there_is_no_place_it_says_why(env: dict[str, str]) -> None:
    assert isinstance(default_path(env, "account"), str)
