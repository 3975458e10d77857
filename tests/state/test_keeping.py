"""When commits are made, what is in them, and what becomes of those that could not be written."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest

from exporter.calls.observations import Agent
from exporter.outputs.prometheus.catalogue import Kind
from exporter.outputs.prometheus.children import unpacked
from exporter.outputs.prometheus.series import View
from exporter.state.kept import Commit, Fenced, LostData, SavedState
from tests.support.desk import ONE, TWO, Desk, Paper
from tests.support.wire import payloads, turn
from tests.system.world import until


async def _commit_under_way(desk: Desk) -> asyncio.Future[bool]:
    """A commit that is being written until its paper's gate is set."""
    desk.paper.gate = threading.Event()
    writing = asyncio.ensure_future(desk.keeping.keep())
    await until(lambda: desk.paper.inside)
    return writing


async def test_each_event_is_written_once_and_calls_without_news_not_at_all() -> None:
    desk = Desk()
    first = desk.feed(ONE, 100, 200) + desk.feed(TWO, 100)
    assert await desk.keeping.keep()
    assert set(desk.paper.saved[0][0]) == {ONE, TWO}
    await desk.keeping.keep()
    assert desk.paper.saved[1] == ([], [])
    more = desk.feed(ONE, 300)
    await desk.keeping.keep()
    assert desk.paper.saved[2][0] == [ONE]
    assert sorted(desk.paper.counted(ONE) + desk.paper.counted(TWO)) == sorted(first + more)


async def test_a_call_without_events_is_written_once_so_that_it_is_known() -> None:
    desk = Desk()
    desk.feed(ONE)
    await desk.keeping.keep()
    await desk.keeping.keep()
    assert [calls for calls, _ in desk.paper.saved] == [[ONE], []]


async def test_facts_that_wait_for_a_node_are_in_the_checkpoint() -> None:
    desk = Desk()
    tracked = desk.tracker.open(ONE, agent=Agent("a1"), durable=True)
    (payload,) = payloads([turn(500, 400)], call_id=ONE)
    desk.tracker.feed(tracked, payload, desk.now)
    await desk.keeping.keep()
    (checkpoint,) = desk.paper.commits[0].calls
    assert set(checkpoint.waiting) == set(checkpoint.counted)
    assert {kind for kinds in checkpoint.waiting.values() for kind in kinds} == {"TurnAnswered"}


async def test_what_could_not_be_written_is_written_with_the_next_one() -> None:
    desk = Desk()
    first = desk.feed(ONE, 100, 200)
    desk.keeping.finished("over")
    desk.paper.failing = True
    assert not await desk.keeping.keep()
    second = desk.feed(ONE, 300)
    assert second == first + second[2:], "nothing is forgotten meanwhile"
    assert not await desk.keeping.keep()
    desk.paper.failing = False
    assert await desk.keeping.keep()
    assert desk.paper.counted(ONE) == second
    assert desk.paper.saved[0][1] == ["over"]
    assert desk.failures == 2
    assert desk.said() == ["what is counted cannot be kept", "what is counted is kept again"], "each said once"


async def test_events_that_come_while_it_writes_are_in_the_next_one() -> None:
    desk = Desk()
    first = desk.feed(ONE, 100)
    writing = await _commit_under_way(desk)
    second = desk.feed(ONE, 200)
    assert len(second) == 1
    desk.paper.gate.set()
    assert await writing
    await desk.keeping.keep()
    assert desk.paper.counted(ONE) == first + second


async def test_a_call_that_ends_while_it_writes_is_said_to_be_over_in_the_next_one() -> None:
    desk = Desk()
    desk.feed(ONE, 100)
    writing = await _commit_under_way(desk)
    desk.tracker.end(ONE, "completed")
    desk.keeping.finished(ONE)
    desk.paper.gate.set()
    await writing
    await desk.keeping.keep()
    assert desk.paper.saved[1] == ([], [ONE])


async def test_the_last_checkpoint_waits_for_one_that_was_interrupted() -> None:
    desk = Desk(interval=0.0)
    first = desk.feed(ONE, 100)
    desk.paper.gate = threading.Event()
    running = asyncio.ensure_future(desk.keeping.run())
    await until(lambda: desk.paper.inside)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    second = desk.feed(ONE, 200)
    last = asyncio.ensure_future(desk.keeping.keep())
    await asyncio.sleep(0)
    assert desk.paper.inside == 1
    desk.paper.gate.set()
    assert await last
    assert desk.paper.most_inside == 1
    assert desk.paper.counted(ONE) == first + second


async def test_old_entries_are_dropped_now_and_then() -> None:
    desk = Desk()
    await desk.keeping.keep()
    assert desk.paper.expired == []
    desk.now += 601
    await desk.keeping.keep()
    await desk.keeping.keep()
    assert desk.paper.expired == [desk.now - 86_400]


async def test_it_writes_every_interval_until_cancelled() -> None:
    desk = Desk(interval=0.01)
    desk.feed(ONE, 100)
    running = asyncio.ensure_future(desk.keeping.run())
    await until(lambda: len(desk.paper.saved) >= 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(desk.paper.counted(ONE)) == 1


def test_identities_do_not_depend_on_the_process() -> None:
    desk = Desk()
    assert desk.feed(ONE, 100) == Desk().feed(ONE, 100)


# -- series


async def test_series_are_kept_with_the_identities_they_were_counted_from() -> None:
    desk = Desk()
    desk.feed(ONE, 100, 200)
    await desk.keeping.keep()
    (commit,) = desk.paper.commits
    heard_of = [row for row in commit.series if row.family == "atoms_calls_started_total"]
    assert [unpacked(row.numbers) for row in heard_of] == [[1.0]]
    assert len(commit.calls[0].counted) == 2
    await desk.keeping.keep()
    assert not [row for row in desk.paper.commits[1].series if not row.family.startswith("atoms_exporter_")]


async def test_gauges_are_not_kept() -> None:
    desk = Desk()
    desk.feed(ONE, 100)
    await desk.keeping.keep()
    kinds = {desk.metrics.store[row.family].spec.kind for row in desk.paper.commits[0].series}
    assert kinds == {Kind.COUNTER, Kind.HISTOGRAM}


async def test_several_who_ask_at_once_share_one_commit_that_has_what_all_of_them_saw() -> None:
    desk = Desk()
    desk.feed(ONE, 100)
    first = await _commit_under_way(desk)
    desk.feed(ONE, 200)
    later = [asyncio.ensure_future(desk.keeping.keep()) for _ in range(20)]
    await asyncio.sleep(0)
    desk.paper.gate.set()
    assert all(await asyncio.gather(first, *later))
    assert len(desk.paper.commits) == 2


async def test_who_does_not_wait_any_longer_leaves_the_commit_to_finish() -> None:
    desk = Desk()
    counted = desk.feed(ONE, 100)
    desk.paper.gate = threading.Event()
    assert not await desk.keeping.keep(0.01)
    desk.paper.gate.set()
    assert await desk.keeping.keep()
    assert desk.paper.counted(ONE) == counted


# -- while nothing can be kept


async def test_pages_do_not_go_ahead_before_max_stale() -> None:
    desk = Desk(max_stale=3600.0)
    desk.paper.failing = True
    await desk.keeping.keep()
    assert not await desk.keeping.may_go_ahead()
    assert not desk.paper.flag


async def test_after_max_stale_pages_go_ahead_and_the_next_life_is_told() -> None:
    desk = Desk(max_stale=0.0)
    desk.paper.failing = True
    await desk.keeping.keep()
    assert await desk.keeping.may_go_ahead()
    assert desk.paper.flag
    desk.paper.failing = False
    assert await desk.keeping.keep()
    assert not desk.paper.flag, "all that was shown is kept"


async def test_where_the_next_life_cannot_be_told_pages_stay_as_kept() -> None:
    desk = Desk(max_stale=0.0)
    desk.paper.failing = desk.paper.flag_fails = True
    await desk.keeping.keep()
    assert not await desk.keeping.may_go_ahead()


async def test_a_commit_that_was_begun_before_a_page_went_ahead_does_not_make_up_for_it() -> None:
    desk = Desk(max_stale=0.0)
    desk.paper.failing = True
    await desk.keeping.keep()
    desk.paper.failing = False
    running = await _commit_under_way(desk)
    desk.feed(ONE, 100)
    assert await desk.keeping.may_go_ahead()
    desk.paper.gate.set()
    assert await running
    assert desk.paper.flag, "that commit knows nothing of the event that was shown"
    assert await desk.keeping.keep()
    assert not desk.paper.flag


# -- the beginning


def _kept(desk: Desk) -> SavedState:
    """What a store would give back after the first commit."""
    commit = desk.paper.commits[0]
    return SavedState(existed=True, series=commit.series, layouts=commit.layouts, pages=commit.pages)


async def test_counters_go_on_where_the_earlier_life_left_them() -> None:
    desk = Desk()
    desk.feed(ONE, 100, 200, 300)
    await desk.keeping.keep()
    again = Desk()
    again.keeping.restore(_kept(desk))
    assert again.metrics.store.render(False) == desk.metrics.store.render(False).replace(
        'atoms_calls_active{agent_id="a1",agent_name="unknown"} 1.0\n', ""
    )
    again.feed(TWO, 100)
    assert again.metrics.store.counter("atoms_calls_started_total", "a1", "unknown", "unknown").value == 2
    await again.keeping.keep()
    assert not again.paper.commits[0].anew
    assert again.paper.series("atoms_calls_started_total")[0] != []


async def test_after_a_life_that_went_ahead_counters_begin_at_0_and_the_first_commit_replaces_all() -> None:
    desk = Desk()
    desk.feed(ONE, 100)
    await desk.keeping.keep()
    again = Desk()
    again.paper.flag = True
    again.keeping.restore(replace(_kept(desk), ahead=True))
    assert again.metrics.store["atoms_calls_started_total"].children == {}
    assert "counters begin at 0" in again.said()
    assert await again.keeping.keep()
    assert again.paper.commits[0].anew
    assert not again.paper.flag


async def test_on_a_store_that_cannot_be_written_counters_begin_at_0_and_pages_go_ahead_at_once() -> None:
    desk = Desk()
    desk.feed(ONE, 100)
    await desk.keeping.keep()
    again = Desk()
    again.paper.failing = True
    again.keeping.restore(replace(_kept(desk), trouble="database or disk is full"))
    assert again.metrics.store["atoms_calls_started_total"].children == {}
    assert again.paper.flag
    assert await again.keeping.may_go_ahead()


async def test_on_a_store_where_nothing_at_all_can_be_written_the_page_stays_as_kept() -> None:
    desk = Desk()
    desk.feed(ONE, 100)
    await desk.keeping.keep()
    again = Desk(max_stale=0.0)
    again.paper.failing = again.paper.flag_fails = True
    again.keeping.restore(replace(_kept(desk), trouble="read-only"))
    again.feed(TWO, 100)
    assert not await again.keeping.keep()
    assert not await again.keeping.may_go_ahead()
    page = again.metrics.store.render(False, view=View(kept=True))
    assert 'atoms_calls_started_total{agent_id="a1",agent_name="unknown",channel="unknown"} 1.0' in page


async def test_a_metric_whose_buckets_are_others_now_begins_anew_and_says_so() -> None:
    desk = Desk()
    tracked = desk.tracker.open(ONE, agent=Agent("a1", "A", True), durable=True)
    for payload in payloads([turn(500, 400)], call_id=ONE):
        desk.tracker.feed(tracked, payload, desk.now)
    await desk.keeping.keep()
    again = Desk(latency_buckets=(0.5, 1.5, 2.0))
    again.keeping.restore(_kept(desk))
    assert again.metrics.store["atoms_turn_latency_seconds"].children == {}
    assert again.metrics.store["atoms_calls_started_total"].children != {}
    anew = {entry["metric"] for entry in again.log.entries if entry["event"] == "a metric begins anew"}
    assert "atoms_turn_latency_seconds" in anew
    assert "atoms_calls_started_total" not in anew


async def test_what_rests_rests_on_in_the_next_life_and_goes_on_from_there() -> None:
    desk = Desk()
    desk.feed(ONE, 100)
    desk.metrics.sweep()
    desk.metrics.sweep()
    await desk.keeping.keep()
    again = Desk()
    again.keeping.restore(_kept(desk))
    assert again.metrics.store["atoms_calls_started_total"].children == {}
    again.feed(TWO, 100)
    assert again.metrics.store.counter("atoms_calls_started_total", "a1", "unknown", "unknown").value == 2


async def test_a_series_that_goes_to_rest_while_a_commit_is_written_is_in_the_next_one() -> None:
    desk = Desk()
    desk.feed(ONE, 100)
    writing = await _commit_under_way(desk)
    desk.metrics.sweep()
    desk.metrics.sweep()
    desk.paper.gate.set()
    await writing
    await desk.keeping.keep()
    resting = [row.resting for row in desk.paper.commits[1].series if row.family == "atoms_calls_started_total"]
    assert resting == [True]


# -- a store that others share


@dataclass
class Shared(Paper):
    """A store that can lose what it had, or have taken over from us."""

    lost: bool = False
    fenced: bool = False

    def save(self, commit: Commit) -> None:
        if self.fenced:
            raise Fenced("call one is followed by another")
        if self.lost and not commit.in_full:
            raise LostData("it is empty", reason="lost_data")
        self.lost = False
        super().save(commit)


async def test_a_store_that_lost_what_it_had_gets_all_of_it_at_once() -> None:
    store = Shared()
    desk = Desk(store=store)
    counted = desk.feed(ONE, 0, 1000)
    desk.feed(TWO, 0)
    await desk.keeping.keep()
    desk.tracker.end(TWO, "completed")
    desk.keeping.finished(TWO)
    await desk.keeping.keep()
    store.lost = True
    counted += desk.feed(ONE, 2000)
    assert await desk.keeping.keep(), "the second commit of it has everything"
    last = store.commits[-1]
    assert (last.in_full, [call.call_id for call in last.calls], list(last.over)) == (True, [ONE], [TWO])
    assert sorted(last.calls[0].counted) == sorted(counted)
    assert {row.family for row in last.series} >= {"atoms_user_turns_total", "atoms_exporter_events_total"}
    desk.feed(ONE, 3000)
    await desk.keeping.keep()
    assert not store.commits[-1].in_full
    assert len(store.commits[-1].calls[0].counted) == 1
    assert desk.failures == 1
    assert "the store has lost what it had kept" in desk.said()


async def test_what_was_found_lost_elsewhere_is_given_again_with_the_next_commit() -> None:
    desk = Desk()
    counted = desk.feed(ONE, 0, 1000)
    await desk.keeping.keep()
    desk.keeping.lost_data()
    await desk.keeping.keep()
    assert desk.paper.commits[-1].in_full
    assert sorted(desk.paper.commits[-1].calls[0].counted) == sorted(counted)


async def test_who_is_fenced_keeps_nothing_any_more_and_says_so_once() -> None:
    store, told = Shared(fenced=True), []
    desk = Desk(store=store, on_fenced=told.append, max_stale=0.0)
    desk.feed(ONE, 0)
    assert not await desk.keeping.keep()
    assert not await desk.keeping.keep()
    store.fenced = False
    assert not await desk.keeping.keep(), "others have gone on by now"
    assert not await desk.keeping.may_go_ahead()
    assert (len(told), store.commits) == (1, [])


async def test_a_thread_that_cannot_be_started_costs_nothing_that_was_counted() -> None:
    desk = Desk()
    counted = desk.feed(ONE, 100)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(_Refusing())
    with pytest.raises(RuntimeError, match="new thread"):
        await desk.keeping.keep()
    loop.set_default_executor(ThreadPoolExecutor())
    assert await desk.keeping.keep()
    assert desk.paper.counted(ONE) == counted


async def test_an_error_that_nobody_foresaw_comes_out_where_it_is_waited_for_and_the_next_commit_is_made() -> None:
    desk = Desk()
    counted = desk.feed(ONE, 100)
    first = await _commit_under_way(desk)
    second = asyncio.ensure_future(desk.keeping.keep())
    await asyncio.sleep(0)
    desk.paper.bug = True
    desk.paper.gate.set()
    with pytest.raises(ZeroDivisionError):
        await first
    assert await second
    assert desk.paper.counted(ONE) == counted


class _Refusing(ThreadPoolExecutor):
    def submit(self, *args: object, **others: object) -> Future[Any]:
        raise RuntimeError("can't start new thread")
