"""What every store keeps, and gives back to the next life: the same for a file and for a fleet's Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.calls.observations import Agent
from exporter.fleet.store import RedisStore
from exporter.outputs.prometheus.children import packed
from exporter.outputs.prometheus.kept import KeptSeries
from exporter.outputs.prometheus.scrapers import SeenPages
from exporter.state.kept import CALL_FORM, CallNews, Commit, PagesSeen, SavedCall, StateStore
from exporter.state.sqlite import SQLiteStore
from tests.support.redis_server import LEASE_SECONDS, claimed, reached, seated

ANNA = Agent("a1", "Anna", True)


class Lives:
    """One store after the other in one place: ``begin`` ends the life before."""

    def __init__(self, opened: Callable[[], StateStore], own: Callable[[StateStore, str], None]) -> None:
        self._opened = opened
        self._own = own
        self._store: StateStore | None = None

    def begin(self) -> StateStore:
        self.end()
        self._store = self._opened()
        return self._store

    def end(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def keep(self, store: StateStore, calls: list[CallNews], over: list[str], now: float) -> None:
        for call_id in [*(call.call_id for call in calls), *over]:
            self._own(store, call_id)
        store.save(Commit(at=now, calls=calls, over=over))


@pytest.fixture(params=["sqlite", "redis"])
def lives(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lives]:
    if request.param == "sqlite":
        made = Lives(lambda: SQLiteStore(tmp_path / "state.db"), lambda store, call_id: None)
    else:
        port, namespace = request.getfixturevalue("redis_port"), request.getfixturevalue("namespace")
        redis = reached(port, namespace)
        seats = []

        def opened() -> StateStore:
            if seats:
                redis.run("leave", seats[-1].name, seats[-1].epoch)
            seats.append(seated(redis, "one"))
            return RedisStore(reached(port, namespace), seats[-1], lease_seconds=LEASE_SECONDS)

        made = Lives(opened, lambda store, call_id: claimed(redis, seats[-1], call_id))
    yield made
    made.end()


def checkpoint(call_id: str, *counted: int, waiting: dict[int, frozenset[str]] | None = None) -> CallNews:
    return CallNews(call_id, ANNA, "webcall", 100.5, counted, waiting or {})


def held(saved: SavedCall, *identities: int) -> bool:
    return len(saved.counted) == len(identities) and all(each in saved.counted for each in identities)


def test_the_first_start_finds_nothing(lives: Lives) -> None:
    state = lives.begin().load()
    assert (state.calls, state.finished, state.series, state.existed) == ([], [], [], False)
    assert lives.begin().load().existed


def test_what_one_life_wrote_the_next_one_reads(lives: Lives) -> None:
    store = lives.begin()
    largest = 2**64 - 1
    waiting = {2: frozenset({"TurnAnswered", "Hopped"})}
    lives.keep(store, [checkpoint("one", 1, 2, waiting=waiting), checkpoint("two")], [], 1.0)
    lives.keep(store, [checkpoint("one", 3, largest)], ["two", "three"], 2.0)
    state = lives.begin().load()
    (one,) = state.calls
    assert (one.call_id, one.agent, one.channel, one.opened_at) == ("one", ANNA, "webcall", 100.5)
    assert held(one, 1, 2, 3, largest)
    assert one.waiting == {}, "the latest checkpoint's, which had none"
    assert one.form == CALL_FORM
    assert sorted(state.finished) == ["three", "two"]


def test_facts_that_waited_are_known_by_event_and_class(lives: Lives) -> None:
    store = lives.begin()
    waiting = {7: frozenset({"TurnAnswered"}), 2**64 - 1: frozenset({"Hopped", "NodeEntered"})}
    lives.keep(store, [checkpoint("one", 7, waiting=waiting)], [], 1.0)
    assert lives.begin().load().calls[0].waiting == waiting


def test_a_call_without_news_keeps_what_is_known_of_it(lives: Lives) -> None:
    store = lives.begin()
    lives.keep(store, [checkpoint("one", 7)], [], 1.0)
    lives.keep(store, [checkpoint("one")], [], 2.0)
    (one,) = lives.begin().load().calls
    assert held(one, 7)


def test_series_scrapers_and_the_rest_come_back_as_they_were(lives: Lives) -> None:
    store = lives.begin()
    rows = [
        KeptSeries("a_total", ("x", 'q"\n'), packed([3.0]), 5, 100.5, None, False),
        KeptSeries("d", ("y", ""), packed([0.5, 1, 0]), 6, 101.5, packed([0.25, 1, 0]), True),
    ]
    pages = PagesSeen(9, 4, [SeenPages("k", 7, 8, 1000.25)])
    layouts = {"a_total": "counter x,y", "d": "histogram x,y 1,+Inf"}
    store.save(Commit(2000.5, series=rows, pages=pages, layouts=layouts, instance_id="me", counts_since=1500.25))
    store.save(
        Commit(2001.5, series=[rows[0]._replace(numbers=packed([4.0]))], pages=pages, layouts=layouts, instance_id="me")
    )
    again = lives.begin()
    state = again.load()
    assert sorted(state.series) == [rows[0]._replace(numbers=packed([4.0])), rows[1]]
    assert (state.pages, state.layouts, state.committed_at) == (pages, layouts, 2001.5)
    assert (state.counts_since, state.instance_id) == (1500.25, "me")
    assert (state.trouble, state.ahead) == (None, False)
    again.save(Commit(3.0, forgotten=[("d", ("y", ""))], layouts=layouts))
    assert [row.family for row in again.load().series] == ["a_total"]


def test_series_of_a_family_that_looks_different_now_go(lives: Lives) -> None:
    store = lives.begin()
    rows = [KeptSeries(name, ("x",), packed([3.0]), 5, 100.5, None, False) for name in ("a_total", "b_total")]
    layouts = {"a_total": "counter x", "b_total": "counter x"}
    store.save(Commit(1.0, series=rows, layouts=layouts))
    again = lives.begin()
    again.load()
    again.save(Commit(4.0, layouts=layouts | {"a_total": "counter z"}))
    assert [row.family for row in again.load().series] == ["b_total"]


def test_a_commit_anew_replaces_what_an_earlier_life_left(lives: Lives) -> None:
    store = lives.begin()
    row = KeptSeries("a_total", ("x",), packed([3.0]), 5, 100.5, None, False)
    store.save(Commit(1.0, series=[row], layouts={"a_total": "counter x"}))
    store.save(Commit(2.0, series=[row._replace(labels=("y",))], layouts={"a_total": "counter x"}, anew=True))
    assert [found.labels for found in store.load().series] == [("y",)]


def test_what_was_shown_ahead_of_what_is_kept_is_known_to_the_next_life(lives: Lives) -> None:
    store = lives.begin()
    assert store.go_ahead()
    again = lives.begin()
    assert again.load().ahead
    again.caught_up()
    assert not again.load().ahead


def test_what_is_over_is_forgotten_after_its_time(lives: Lives) -> None:
    store = lives.begin()
    lives.keep(store, [], ["old", "webhook:00ff"], 1000.0)
    lives.keep(store, [], ["new"], 2000.0)
    store.expire(1500.0)
    assert lives.begin().load().finished == ["new"]
