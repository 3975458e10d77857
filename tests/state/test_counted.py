"""Identities in one row for all calls, and later by call: after any end, each call has all of its own."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.calls.observations import Agent
from exporter.state import counted
from exporter.state.counted import RECENT_ROWS, Counted
from exporter.state.kept import CallNews, Commit
from exporter.state.sqlite import SQLiteStore

CALLS = ("one", "two", "three")
ANNA = Agent("a1", "Anna", True)

_steps = st.lists(
    st.one_of(
        st.tuples(st.just("counted"), st.sets(st.sampled_from(CALLS), min_size=1)),
        st.tuples(st.just("counted"), st.sets(st.sampled_from(CALLS), min_size=1)),
        st.tuples(st.just("over"), st.sets(st.sampled_from(CALLS), min_size=1)),
        st.tuples(st.just("many"), st.sets(st.sampled_from(CALLS), min_size=1)),
        st.tuples(st.just("ends"), st.just(set[str]())),
    ),
    max_size=25,
)


@given(_steps)
def test_whatever_happens_each_call_has_its_own_events_and_no_others(steps: list[tuple[str, set[str]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        store = SQLiteStore(path)
        store.load()
        truth: dict[str, list[int]] = {}
        number = 0
        for what, calls in steps:
            if what == "ends":
                store.close()
                store = SQLiteStore(path)
                store.load()
            elif what == "over":  # an id may come again
                store.save(Commit(at=1.0, over=sorted(calls)))
                for call_id in calls:
                    truth.pop(call_id, None)
            else:
                for _ in range(RECENT_ROWS + 1 if what == "many" else 1):
                    news = []
                    for call_id in sorted(calls):
                        number += 1
                        truth.setdefault(call_id, []).extend((number, 2**64 - number))
                        news.append(CallNews(call_id, ANNA, "webcall", 1.0, (number, 2**64 - number), {}))
                    store.save(Commit(at=1.0, calls=news))
                    store.tidy()
            assert _found(store) == {call_id: sorted(counted) for call_id, counted in truth.items()}
        store.close()
        again = SQLiteStore(path)
        assert _found(again) == {call_id: sorted(counted) for call_id, counted in truth.items()}
        again.close()


def _found(store: SQLiteStore) -> dict[str, list[int]]:
    return {call.call_id: sorted(call.counted) for call in store.load().calls if len(call.counted)}


def test_rows_that_are_not_recent_are_sorted_by_call_and_the_dead_are_forgotten(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "state.db")
    for number in range(2 * RECENT_ROWS):
        news = [CallNews(call_id, ANNA, "webcall", 1.0, (number,), {}) for call_id in CALLS]
        store.save(Commit(at=1.0, calls=news))
        if number == 3:
            store.save(Commit(at=1.0, over=["two", "three"]))
        store.tidy()
    store.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        assert db.execute("SELECT count(*) FROM recent").fetchone()[0] == RECENT_ROWS
        sorted_by_call = dict(db.execute("SELECT call_id, count(*) FROM counted GROUP BY call_id").fetchall())
    assert sorted_by_call["one"] == RECENT_ROWS
    assert sorted_by_call["two"] == RECENT_ROWS - 4, "what came under its id before it was over is gone"


def test_more_than_a_row_takes_is_several_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "MOST_IN_A_ROW", 5)
    store = SQLiteStore(tmp_path / "state.db")
    store.load()
    news = [CallNews(call_id, ANNA, "webcall", 1.0, range(1, 4), {}) for call_id in CALLS]
    store.save(Commit(at=1.0, calls=[*news, CallNews("four", ANNA, "webcall", 1.0, range(1, 10), {})]))
    store.save(Commit(at=2.0, calls=news))
    assert _found(store) == {"one": [1, 2, 3], "two": [1, 2, 3], "three": [1, 2, 3], "four": list(range(1, 10))}
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        assert [row[0] for row in db.execute("SELECT id FROM recent")] == [1, 2, 3, 4, 5, 6, 7]
    store.close()


def test_calls_in_flight_are_not_taken_for_old_ones_and_cleaning_is_one_transaction(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "state.db")
    store.save(Commit(at=1.0, calls=[CallNews(call_id, ANNA, "webcall", 1.0, (1,), {}) for call_id in CALLS]))
    store.save(Commit(at=500.0, calls=[CallNews("one", ANNA, "webcall", 1.0, (2,), {})]))
    store.expire(100.0)
    assert _found(store) == {"one": [1, 2]}
    store.close()


def test_a_file_that_cannot_be_read_for_a_moment_when_it_is_opened_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    first = SQLiteStore(path)
    first.save(Commit(at=1.0, calls=[CallNews("one", ANNA, "webcall", 1.0, (1,), {})]))
    first.close()
    with monkeypatch.context() as once:
        once.setattr(Counted, "opened", _fails)
        store = SQLiteStore(path)
    assert _found(store) == {"one": [1]}
    store.save(Commit(at=2.0, calls=[CallNews("one", ANNA, "webcall", 1.0, (2,), {})]))
    assert _found(store) == {"one": [1, 2]}
    store.close()


def _fails(self: Counted, db: sqlite3.Connection) -> None:
    raise sqlite3.OperationalError("disk I/O error")
