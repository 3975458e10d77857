"""A crash at every step of counting, keeping and showing: what scrapers add up is what happened.

The exporter is the real one from the tracker to the page; the store is a model that survives crashes, fails when told
to, and dies before or after it has written; the scrapers are models of what Prometheus makes of pages.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parse

from exporter.calls.identity import SeenEvents
from exporter.calls.observations import Agent
from exporter.calls.tracker import Tracker
from exporter.errors import Interrupted
from exporter.outputs.prometheus.kept import KeptSeries
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.prometheus.pages import Showing
from exporter.outputs.prometheus.scrapers import Scrape, Scrapers
from exporter.outputs.recorder import Outputs
from exporter.state.keeping import Keeping
from exporter.state.kept import Commit, SavedCall, SavedState
from tests.support.wire import heard, payloads

CALLS = ("CALL-1758124225863-00000a", "CALL-1758124225863-00000b", "CALL-1758124225863-00000c")
TURNS = "atoms_user_turns_total"


class _Crash(BaseException):
    """The process is gone."""


@dataclass
class Disk:
    """What survives: the last commit that was written whole, and the flag."""

    series: dict[tuple[str, tuple[str, ...]], KeptSeries] = field(default_factory=dict)
    counted: dict[str, list[int]] = field(default_factory=dict)
    last: Commit | None = None
    flag: bool = False
    full: bool = False
    stuck: bool = False  # not even the flag can be written
    dies: str = ""

    def load(self) -> SavedState:
        calls = []
        for call_id, identities in self.counted.items():
            seen = SeenEvents()
            for identity in identities:
                seen.add(identity)
            calls.append(SavedCall(call_id, _agent(call_id), "webcall", 0.0, seen, {}))
        state = SavedState(calls, existed=self.last is not None, series=list(self.series.values()), ahead=self.flag)
        if self.last is not None:
            state = replace(state, layouts=self.last.layouts, pages=self.last.pages)
        return replace(state, trouble="full") if self.full else state

    def save(self, commit: Commit) -> None:
        if self.dies == "before":
            raise _Crash
        if self.full:
            raise Interrupted("full", reason="SQLITE_FULL")
        if commit.anew:
            self.series = {}
        self.series |= {(row.family, row.labels): row for row in commit.series}
        for call in commit.calls:
            self.counted.setdefault(call.call_id, []).extend(call.counted)
        self.last = commit
        if self.dies == "after":
            raise _Crash

    def go_ahead(self) -> bool:
        self.flag = self.flag or not self.stuck
        return not self.stuck

    def caught_up(self) -> None:
        self.flag = False

    def tidy(self) -> None:
        pass

    def expire(self, before: float) -> None:
        pass

    def close(self) -> None:
        pass


class Line:
    """A connection of a scraper: gone with the life it was made to."""

    closed = False

    def is_closing(self) -> bool:
        return self.closed


@dataclass
class Scraper:
    """What Prometheus knows: for each series the last value, and how much it grew; the first value is a beginning."""

    before: dict[str, float] = field(default_factory=dict)
    grown: float = 0.0
    steps_back: int = 0
    line: Line = field(default_factory=Line)

    def takes(self, page: str) -> None:
        for family in parse(page):
            for sample in family.samples:
                if sample.name == TURNS:
                    key = sample.labels["agent_id"]
                    before = self.before.get(key)
                    if before is not None:
                        self.steps_back += sample.value < before
                        self.grown += sample.value if sample.value < before else sample.value - before
                    self.before[key] = sample.value


def _agent(call_id: str) -> Agent:
    return Agent(f"agent of {call_id}", "A", True)


class World:
    """One exporter after the other on one disk, calls that go on meanwhile, scrapers."""

    def __init__(self, scrapers: int, max_stale: float) -> None:
        self.disk = Disk()
        self.max_stale = max_stale
        self.scrapers = [Scraper() for _ in range(scrapers)]
        self.happened: dict[str, list[bytes]] = {}
        self.went_ahead = False
        self.begin()

    def begin(self) -> None:
        """A new life: what was kept, then the history of the calls."""
        for scraper in self.scrapers:
            scraper.line = Line()
        self.disk.dies = ""
        metrics = Metrics(version="0")
        self.tracker = Tracker(Outputs(metrics))
        seen_by = Scrapers()
        log = structlog.wrap_logger(structlog.testing.ReturnLogger(), processors=[structlog.testing.LogCapture()])
        self.keeping = Keeping(
            self.disk,
            self.tracker,
            metrics.store,
            seen_by,
            instance_id="me",
            interval_seconds=3600,
            retention_seconds=3600,
            max_stale_seconds=self.max_stale,
            clock=lambda: 0.0,
            log=log,
            counts=_Nobody(),
        )
        saved = self.disk.load()
        self.keeping.restore(saved)
        self.went_ahead = self.went_ahead or self.disk.flag
        self.showing = Showing(metrics, seen_by, self.keeping, clock=lambda: 0.0)
        for call in saved.calls:
            self.tracker.resume(self._open(call.call_id), call.counted, call.waiting)
        self.histories_to_come = set(self.happened)

    def history(self, call_id: str) -> None:
        """What happened to a call before this life, as its stream or its log tells."""
        if call_id in self.histories_to_come:
            self.histories_to_come.discard(call_id)
            tracked, said = self._open(call_id), self.happened[call_id]
            self.tracker.recover(tracked, said, 0.0)

    def _open(self, call_id: str) -> Any:
        return self.tracker.open(call_id, agent=_agent(call_id), channel="webcall", durable=True)

    def event(self, call_id: str) -> None:
        self.history(call_id)
        said = self.happened.setdefault(call_id, [])
        (payload,) = payloads([heard(100 * len(said) + 100)], call_id=call_id)
        said.append(payload)
        self.tracker.feed(self._open(call_id), payload, 0.0)

    async def page(self, who: int, until: str = "") -> None:
        """One scrape; ``until`` says where the process dies."""
        scraper = self.scrapers[who]
        self.disk.dies = until if until in ("before", "after") else ""
        try:
            page = await self.showing.page("", (), Scrape("same", scraper.line, 10.0))
        except _Crash:
            return self.begin()
        self.went_ahead = self.went_ahead or self.disk.flag
        if until == "answered":
            return self.begin()
        scraper.takes(page.body.decode())
        if until == "delivered":
            return self.begin()
        page.went_out()
        return None

    @property
    def truth(self) -> int:
        return sum(len(said) for said in self.happened.values())


class _Nobody:
    def committed(self, seconds: float) -> None:
        pass

    def commit_failed(self) -> None:
        pass


_A = CALLS[0]
_SEEN = [("event", _A), ("page", ""), ("page", "")]
_MORE = [("event", _A), ("page", ""), ("crash", ""), ("page", ""), ("page", "")]
"""After these, each of the rules of this design is what keeps a scraper from adding up something else."""

_steps = st.lists(
    st.one_of(
        st.tuples(st.just("event"), st.sampled_from(CALLS)),
        st.tuples(st.just("event"), st.sampled_from(CALLS)),
        st.tuples(st.just("page"), st.sampled_from(("", "", "before", "after", "answered", "delivered"))),
        st.tuples(st.just("checkpoint"), st.sampled_from(("", "before", "after"))),
        st.tuples(st.just("crash"), st.just("")),
        st.tuples(st.just("history"), st.sampled_from(CALLS)),
        st.tuples(st.just("disk"), st.sampled_from(("full", "free"))),
    ),
    min_size=12,
    max_size=30,
)


async def _play(here: World, steps: list[tuple[str, str]]) -> None:
    for who in range(len(here.scrapers)):
        await here.page(who)
    turn = 0
    for what, how in steps:
        if what == "event":
            here.event(how)
        elif what == "page":
            await here.page(turn % len(here.scrapers), how)
            turn += 1
        elif what == "checkpoint":
            here.disk.dies = how
            try:
                await here.keeping.keep()
            except _Crash:
                here.begin()
            here.disk.dies = ""
        elif what == "crash":
            here.begin()
        elif what == "history":
            here.history(how)
        else:
            here.disk.full = how == "full"
    here.disk.full = False
    for call_id in CALLS:
        here.history(call_id)
    for _ in range(4):
        for who in range(len(here.scrapers)):
            await here.page(who)


@settings(max_examples=25 if settings().max_examples <= 40 else settings().max_examples)
@given(_steps, st.integers(1, 2))
@example([*_SEEN, ("crash", ""), ("page", ""), ("page", "")], 1)  # who has seen what is kept
@example([*_SEEN, *_MORE], 1)  # nothing is shown before it is kept
@example([*_SEEN, ("disk", "full"), *_MORE], 1)  # while nothing is kept, pages show what was
@example([("event", _A), ("checkpoint", ""), ("crash", ""), ("page", ""), ("page", "")], 2)  # kept, and seen by nobody
def test_whatever_happens_what_scrapers_add_up_is_what_happened(steps: list[tuple[str, str]], scrapers: int) -> None:
    """A disk that is full now and then costs nothing as long as it has room again within ``max_stale``, and a life
    that begins on a full disk cannot even set the flag: pages stay as kept."""
    here = World(scrapers, max_stale=3600.0)
    here.disk.stuck = True
    asyncio.run(_play(here, steps))
    for scraper in here.scrapers:
        assert scraper.steps_back == 0
        assert scraper.grown == here.truth


@settings(max_examples=25 if settings().max_examples <= 40 else settings().max_examples)
@given(_steps, st.integers(1, 2))
def test_where_pages_went_ahead_of_what_was_kept_all_that_follows_is_exact(
    steps: list[tuple[str, str]], scrapers: int
) -> None:
    """After pages that went ahead, a crash makes counters begin at 0. What was counted since the last commit may then
    be counted again, what was kept but not shown yet is not shown any more, and the log says so; what comes after is
    exact again. Without a crash, or without having gone ahead, nothing is lost at all."""
    here = World(scrapers, max_stale=0.0)
    asyncio.run(_play(here, steps))
    before = [scraper.grown for scraper in here.scrapers]
    if not here.went_ahead:
        assert before == [here.truth] * scrapers
    asyncio.run(_play(here, [("event", call_id) for call_id in CALLS]))
    assert [scraper.grown for scraper in here.scrapers] == [grown + len(CALLS) for grown in before]
