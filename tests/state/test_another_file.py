"""The state file is deleted or replaced while the exporter runs: whatever the next life finds must be all of it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from exporter.errors import ConfigError
from exporter.outputs.prometheus.children import unpacked
from exporter.state.kept import Commit
from exporter.state.sqlite import SQLiteStore
from tests.support.desk import ONE, TWO, Desk

NAMES = ("", "-wal", "-shm", ".lock", ".ahead")


def _beside(path: Path, name: str) -> Path:
    return path.with_name(path.name + name)


def _backed_up(path: Path) -> None:
    """A copy, as of now, next to it."""
    for name in ("", "-wal"):
        shutil.copy(_beside(path, name), path.with_name(f"backup{name}"))


def _delete(*names: str) -> Callable[[Path], None]:
    def happens(path: Path) -> None:
        for name in names:
            _beside(path, name).unlink(missing_ok=True)

    return happens


def _put_back(path: Path) -> None:
    for name in ("", "-wal"):
        path.with_name(f"backup{name}").replace(_beside(path, name))


def _empty(path: Path) -> None:
    path.unlink()
    path.touch()


def _garbage(path: Path) -> None:
    """Our name in its header, and nothing behind it."""
    head = path.read_bytes()[:100]
    path.unlink()
    path.write_bytes(head + b"\xff" * 8000)


def _of_another(path: Path) -> None:
    """Another exporter's, with calls and counters of its own."""
    with_others = path.with_name("other.db")
    other = SQLiteStore(with_others)
    other.save(Commit(at=1.0, over=["a call of another"], instance_id="another"))
    other.close()
    with_others.replace(path)


@pytest.mark.parametrize(
    ("happens", "noticed"),
    [
        pytest.param(_delete(""), True, id="the file is deleted"),
        pytest.param(_delete("-wal"), True, id="its log is deleted"),
        pytest.param(_delete("", "-wal"), True, id="both are"),
        pytest.param(_delete(*NAMES), True, id="all are"),
        pytest.param(_delete(".lock", ".ahead"), False, id="the lock and the flag are"),
        pytest.param(_put_back, True, id="an older one is put back"),
        pytest.param(_empty, True, id="an empty one is in its place"),
        pytest.param(_garbage, True, id="a damaged one is in its place"),
        pytest.param(_of_another, True, id="another exporter's is in its place"),
    ],
)
async def test_the_next_life_finds_all_of_it(tmp_path: Path, happens: Callable[[Path], None], noticed: bool) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStore(path)
    desk = Desk(store=store)
    desk.keeping.restore(store.load())
    counted = desk.feed(ONE, 0)
    desk.feed(TWO, 0)
    await desk.keeping.keep()
    _backed_up(path)
    desk.tracker.end(TWO, "completed")
    desk.keeping.finished(TWO)
    counted += desk.feed(ONE, 1000)
    await desk.keeping.keep()
    happens(path)
    counted += desk.feed(ONE, 2000)
    assert await desk.keeping.keep(), "at once, so that no page waits for the next"
    assert _crashed(path) == ({ONE: sorted(counted)}, {TWO}, 4.0)
    counted += desk.feed(ONE, 3000)
    assert await desk.keeping.keep()
    assert _crashed(path) == ({ONE: sorted(counted)}, {TWO}, 5.0)
    with pytest.raises(ConfigError, match="in use"):
        SQLiteStore(path)
    assert desk.said().count("the store has lost what it had kept") == noticed
    store.close()
    assert _crashed(path) == ({ONE: sorted(counted)}, {TWO}, 5.0)


async def test_a_flag_that_was_deleted_is_set_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStore(path)
    store.load()
    _beside(path, ".ahead").unlink()
    assert store.go_ahead()
    store.close()
    assert SQLiteStore(path).load().ahead


async def test_who_lost_the_lock_to_another_leaves_the_file_to_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    store = SQLiteStore(path)
    desk = Desk(store=store)
    desk.feed(ONE, 0)
    assert await desk.keeping.keep()
    _delete(*NAMES)(path)
    other = SQLiteStore(path)
    other.save(Commit(at=1.0, over=["a call of another"]))
    desk.feed(ONE, 1000)
    assert not await desk.keeping.keep()
    assert [entry["reason"] for entry in desk.log.entries] == ["in_use"]
    assert _crashed(path) == ({}, {"a call of another"}, 0.0)
    other.close()
    assert await desk.keeping.keep()
    assert _crashed(path)[1:] == (set(), 2.0)


async def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    desk = Desk(store=SQLiteStore(path))
    desk.feed(ONE, 0)
    assert await desk.keeping.keep()
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (text)")
    before = path.read_bytes()
    assert not await desk.keeping.keep()
    assert not await desk.keeping.keep()
    assert path.read_bytes() == before
    path.unlink()
    assert await desk.keeping.keep()
    assert _crashed(path)[2] == 1.0


def _crashed(path: Path) -> tuple[dict[str, list[int]], set[str], float]:
    """What the next life would find if this one ended now: events known of each call, who is over, events counted."""
    copy = path.with_name("crashed.db")
    for name in NAMES:
        _beside(copy, name).unlink(missing_ok=True)
    for name in ("", "-wal"):
        if _beside(path, name).exists():
            shutil.copy(_beside(path, name), _beside(copy, name))
    life = SQLiteStore(copy)
    state = life.load()
    life.close()
    events = sum(unpacked(row.numbers)[0] for row in state.series if row.family == "atoms_exporter_events_total")
    return {call.call_id: sorted(call.counted) for call in state.calls}, set(state.finished), events
