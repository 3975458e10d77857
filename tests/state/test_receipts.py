"""An answer that says that something is kept comes after the commit that holds it; many answers share one."""

from __future__ import annotations

import asyncio
import threading

from hypothesis import given
from hypothesis import strategies as st

from exporter.calls.observations import Agent
from exporter.protocol.dispositions import Disposition
from exporter.state.receipts import LONGEST_PAUSE_SECONDS, TIMES_AS_LONG, Receipts
from tests.support.desk import ONE, Desk
from tests.system.world import until


class Clock:
    """Time that passes when somebody sleeps, or is told to."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def count(desk: Desk, number: int) -> None:
    desk.tracker.analysed(f"CALL-{number}", Agent("a1"), [Disposition("booked", True)])
    desk.keeping.finished(f"webhook:{number:02x}")


def held(desk: Desk) -> list[str]:
    return [each for _, over in desk.paper.saved for each in over]


async def test_the_answer_comes_after_the_commit_that_holds_it() -> None:
    desk = Desk()
    receipts = Receipts(desk.keeping)
    desk.paper.gate = threading.Event()
    count(desk, 1)
    asking = asyncio.ensure_future(receipts.kept(receipts.number))
    await until(lambda: desk.paper.inside)
    assert not asking.done(), "it is being written"
    desk.paper.gate.set()
    assert await asking
    assert held(desk) == ["webhook:01"]


async def test_many_who_ask_share_one_commit_and_who_comes_while_it_is_written_gets_the_next() -> None:
    desk, clock = Desk(), Clock()
    receipts = Receipts(desk.keeping, clock=clock, sleep=clock.sleep)
    desk.paper.gate = threading.Event()
    asking = []
    for number in range(50):
        count(desk, number)
        asking.append(asyncio.ensure_future(receipts.kept(receipts.number)))
    await until(lambda: desk.paper.inside)
    for number in range(50, 100):
        count(desk, number)
        asking.append(asyncio.ensure_future(receipts.kept(receipts.number)))
    desk.paper.gate.set()
    assert all(await asyncio.gather(*asking))
    assert [len(over) for _, over in desk.paper.saved] == [50, 50]


async def test_a_commit_that_somebody_else_has_asked_for_is_as_good() -> None:
    desk = Desk()
    receipts = Receipts(desk.keeping)
    count(desk, 1)
    number = receipts.number
    await desk.keeping.keep()
    assert await receipts.kept(number)
    assert len(desk.paper.saved) == 1


async def test_when_the_commit_fails_it_is_said_so_and_what_was_counted_is_in_the_next_one() -> None:
    desk = Desk()
    receipts = Receipts(desk.keeping)
    desk.paper.failing = True
    count(desk, 1)
    number = receipts.number
    assert not await receipts.kept(number)
    assert not await receipts.kept(number), "and whoever asks again hears what is true then"
    desk.paper.failing = False
    assert await receipts.kept(number)
    assert held(desk) == ["webhook:01"]
    assert desk.paper.series("atoms_disposition_results_total")[0], "with the counts"


async def test_while_pages_show_more_than_is_kept_it_is_as_where_nothing_is() -> None:
    desk = Desk(max_stale=0.0)
    receipts = Receipts(desk.keeping)
    desk.paper.failing = True
    count(desk, 1)
    assert not await receipts.kept(receipts.number)
    assert await desk.keeping.may_go_ahead()
    assert await receipts.kept(receipts.number)


async def test_after_the_last_commit_nothing_is_kept_any_more() -> None:
    desk = Desk()
    receipts = Receipts(desk.keeping)
    count(desk, 1)
    number = receipts.number
    await desk.keeping.end()
    assert await receipts.kept(number)
    count(desk, 2)
    assert not await receipts.kept(receipts.number)
    assert held(desk) == ["webhook:01"]


async def test_commits_for_answers_take_a_share_of_the_time_however_fast_they_are_asked_for() -> None:
    desk, clock = Desk(), Clock()
    taken = 0.03

    class Slow:
        next_commit = property(lambda _: desk.keeping.next_commit)
        ahead = False

        def is_kept(self, number: int) -> bool:
            return desk.keeping.is_kept(number)

        async def keep(self) -> bool:
            clock.now += taken
            return await desk.keeping.keep()

    receipts = Receipts(Slow(), clock=clock, sleep=clock.sleep)
    began = clock.now
    for number in range(10):
        count(desk, number)
        assert await receipts.kept(receipts.number)
    assert 10 * taken / (clock.now - began) < 1.2 / TIMES_AS_LONG, "but for the first, which need not wait"
    taken = 2.0
    for number in range(10, 13):
        count(desk, number)
        assert await receipts.kept(receipts.number)
    assert clock.slept[-1] == LONGEST_PAUSE_SECONDS, "an answer does not wait for longer than that and two commits"


@given(st.lists(st.sampled_from(["count", "scrape", "full", "room", "ask"]), max_size=25))
def test_whatever_happens_nobody_hears_that_it_is_kept_before_it_is(deeds: list[str]) -> None:
    async def play() -> None:
        desk, clock = Desk(), Clock()
        receipts = Receipts(desk.keeping, clock=clock, sleep=clock.sleep)
        counted: dict[str, int] = {}
        asking: list[asyncio.Task[None]] = []

        async def ask(what: str, number: int) -> None:
            if await receipts.kept(number):
                assert what in held(desk)

        for place, deed in enumerate(deeds):
            match deed:
                case "count":
                    count(desk, place)
                    counted[f"webhook:{place:02x}"] = receipts.number
                case "scrape":
                    asking.append(asyncio.ensure_future(_kept(desk)))
                case "full" | "room":
                    desk.paper.failing = deed == "full"
                case _:
                    asking += [asyncio.ensure_future(ask(*each)) for each in counted.items()]
            await asyncio.sleep(0)
        await asyncio.gather(*asking)
        desk.paper.failing = False
        for what, number in counted.items():
            assert await receipts.kept(number)
            assert held(desk).count(what) == 1

    asyncio.run(play())


async def _kept(desk: Desk) -> None:
    desk.feed(ONE)
    await desk.keeping.keep()
