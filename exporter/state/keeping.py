"""Nothing is shown before it is kept: when commits are made, what is in them, what happens when one fails.

A commit takes what changed in one moment on the event loop, so that the numbers of the series and the identities they
were counted from belong together, and writes it in a thread. One at a time; whoever asks while one is being written
shares the next. While the store fails, whoever shows numbers shows those last kept, for ``max_stale``; then, so that a
monitor does not go blind, the numbers as they are, after making sure that the next life does not go on from less.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from structlog.typing import FilteringBoundLogger

from exporter.calls.tracker import TrackedCall, Tracker
from exporter.errors import Interrupted
from exporter.outputs.prometheus import kept as numbers
from exporter.outputs.prometheus.kept import KeptSeries, Taken
from exporter.outputs.prometheus.scrapers import Scrapers
from exporter.outputs.prometheus.series import Labels, Store
from exporter.state.kept import CallNews, Commit, Fenced, LostData, PagesSeen, SavedState, StateStore
from exporter.waiting import Waiting

_SECONDS_BETWEEN_EXPIRIES = 600.0


class KeepingCounts(Protocol):
    """What is said about commits in metrics."""

    def committed(self, seconds: float) -> None:
        """One was written."""

    def commit_failed(self) -> None:
        """One could not be written."""


_Writing = asyncio.Future[list[KeptSeries]]
_NOTHING: Mapping[int, frozenset[str]] = {}


class _Cut(NamedTuple):
    """Everything that changed since the last commit, as of one moment."""

    number: int
    at: float
    tracked: list[TrackedCall]
    calls: list[CallNews]
    """Of each of them."""
    over: list[str]
    series: list[Taken]
    forgotten: list[tuple[str, Labels]]
    pages: PagesSeen
    counts_since: float | None
    anew: bool
    in_full: bool


class Keeping:
    """Keeps a store up to date with what is counted.

    A commit that cannot be written (a full disk) is part of the next one; counting goes on meanwhile.

    :param instance_id: who this is to those who tell several exporters apart; the same in every life of one state.
    :param interval_seconds: how often there is a commit where nobody asks for one.
    :param retention_seconds: how long calls that are over are remembered.
    :param max_stale_seconds: how long numbers may be shown that were kept, while none can be.
    :param on_fenced: told, once, that nothing will be kept any more, because others have taken over.
    """

    def __init__(
        self,
        store: StateStore,
        tracker: Tracker,
        series: Store,
        scrapers: Scrapers,
        *,
        instance_id: str,
        interval_seconds: float,
        retention_seconds: float,
        max_stale_seconds: float,
        clock: Callable[[], float],
        log: FilteringBoundLogger,
        counts: KeepingCounts,
        counts_since: Callable[[], float | None] = lambda: None,
        on_fenced: Callable[[Fenced], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._tracker = tracker
        self._series = series
        self._scrapers = scrapers
        self._interval = interval_seconds
        self._retention = retention_seconds
        self._max_stale = max_stale_seconds
        self._clock = clock
        self._log = log
        self._counts = counts
        self._instance_id = instance_id
        self._counts_since = counts_since
        self._on_fenced = on_fenced
        self._fenced = False
        self._in_full = False
        self._layouts = numbers.layouts(series)
        self._over: list[str] = []
        self._known: set[str] = set()
        self._held_back: dict[str, Mapping[int, frozenset[str]]] = {}  # facts that wait, as they are kept
        self._forgotten: list[tuple[str, Labels]] = []
        self._failing = False
        self._kept_at = time.monotonic()
        self._expired_at = clock()
        self._running: asyncio.Task[None] | None = None
        self._waiting: Waiting[bool] = Waiting()  # for the next one
        self._cuts = self._kept_cut = 0
        self._ended = False
        self._anew = False
        self._ahead_since_cut: int | None = None
        self._flagging = asyncio.Lock()
        self._nothing_to_go_on_from = False

    # -- the beginning

    def restore(self, state: SavedState) -> None:
        """Go on from what an earlier life left, before anything is counted or shown.

        Its numbers are taken only where what this life counts can be kept, and where the earlier life has shown no
        more than it kept. Otherwise they begin at 0, which whoever adds them up takes for what it is: a new beginning.
        """
        if state.trouble is not None:
            self._log.error(
                "what is counted cannot be kept now", reason=state.trouble, hint="it is tried again all the time"
            )
            self._failing = True
            # Should it turn out that there was something, it is not what this life counts on.
            self._nothing_to_go_on_from = self._anew = not state.readable
        ahead = state.ahead or (state.trouble is not None and self._store.go_ahead())
        if ahead:
            self._anew, self._ahead_since_cut = True, 0
            self._log.warning(
                "counters begin at 0",
                reason="the earlier life showed more than it could keep" if state.ahead else "nothing can be kept",
                hint="what was counted after the last commit may be counted again",
            )
            return
        came_back, anew = numbers.restore(self._series, state.series, state.layouts, state.pages.edition)
        self._scrapers.restore(state.pages.seen, state.pages.shown)
        for name in anew:
            self._log.warning("a metric begins anew", metric=name, reason="its labels or buckets are others now")
        if state.series:
            self._log.info("counters go on", series=came_back)
        else:
            why = "none were kept before" if state.readable else "nothing can be kept"
            self._log.info("counters begin at 0", reason=why)

    # -- what is kept

    def finished(self, call_id: str) -> None:
        """A call is over: the next commit forgets its events and remembers that."""
        self._over.append(call_id)
        self._known.discard(call_id)
        self._held_back.pop(call_id, None)

    async def run(self) -> None:
        """See to it that there is a commit every interval, until cancelled."""
        while True:
            await asyncio.sleep(self._interval if self._failing else max(self._interval - self.age_seconds, 0.0))
            if self._running is not None:
                await asyncio.wait([self._running])  # it is as good as one of our own
            if self._failing or self.age_seconds >= self._interval:
                await self.keep()

    async def keep(self, within_seconds: float | None = None) -> bool:
        """Whether everything counted up to now is kept, at the latest after ``within_seconds``.

        Nothing is left half-way: who is cancelled or does not wait any longer leaves the commit to finish.
        """
        kept = self._waiting.join()
        if self._running is None or self._running.done():
            self._begin()
        try:
            async with asyncio.timeout(within_seconds) as patience:
                return await kept
        except TimeoutError:
            if patience.expired():
                return False
            raise

    async def end(self) -> None:
        """Keep the last of it, and wait for whatever is being written; nothing is kept after that."""
        await self.keep()
        self._ended = True
        while self._running is not None and not self._running.done():
            await asyncio.wait([self._running])

    @property
    def next_commit(self) -> int:
        """The number of the commit in which everything will be that is counted now."""
        return self._cuts + 1

    def is_kept(self, number: int) -> bool:
        """Whether everything is kept that was in this commit, or was to be."""
        return self._kept_cut >= number  # what could not be written is part of the next one

    def _begin(self) -> None:
        """Write what there is now, for all who wait. Each turn of a busy loop is long: the thread begins at once, and
        whoever waits is answered in the turn in which it is known."""
        waiting, self._waiting = self._waiting, Waiting()
        if self._fenced or self._ended:
            waiting.answer(False)
            return
        try:
            cut = self._cut()
            writing = self._in_a_thread(cut)
        except Exception as problem:  # noqa: BLE001  # it comes out where it is waited for
            waiting.fail(problem)
            return
        self._running = asyncio.ensure_future(self._run_for(waiting, cut, writing))

    def _in_a_thread(self, cut: _Cut) -> _Writing:
        try:
            return asyncio.get_running_loop().run_in_executor(None, self._write, cut)
        except BaseException:  # no thread can be started
            self._give_back(cut)
            raise

    async def _run_for(self, waiting: Waiting[bool], cut: _Cut, writing: _Writing) -> None:
        try:
            written = await self._written(cut, writing)
            if not written and self._in_full and not cut.in_full:
                cut = self._cut()
                written = await self._written(cut, self._in_a_thread(cut))
            waiting.answer(written)
            if written:
                await self._tidy()
        except asyncio.CancelledError as cancelled:  # the loop ends: there is no next one
            waiting.fail(cancelled)
            self._waiting.fail(cancelled)
            raise
        except BaseException as problem:
            if not waiting.fail(problem):
                raise
        finally:
            self._running = None
            if self._waiting:
                self._begin()

    def lost_data(self, reason: str = "lost_data") -> None:
        """The store does not have what it had kept: the next commit gives it everything again."""
        if not self._in_full:
            self._log.warning("the store has lost what it had kept", reason=reason, hint="it gets all of it again")
        self._in_full = True

    async def _written(self, cut: _Cut, writing: _Writing) -> bool:
        began = time.perf_counter()
        rows: list[KeptSeries] | None = None
        try:
            rows = await writing
        except Fenced as fenced:
            self._fenced = self._failing = True
            self._on_fenced(fenced)
            return False
        except LostData as lost:
            self.lost_data(lost.reason)
            self._failing = True
            self._counts.commit_failed()
            return False
        except Interrupted as problem:
            if not self._failing:
                self._log.error(
                    "what is counted cannot be kept", reason=problem.reason, hint="pages show what was last kept"
                )
            self._failing = True
            self._counts.commit_failed()
            return False
        finally:
            if rows is None:
                self._give_back(cut)
        for taken, row in zip(cut.series, rows, strict=True):
            taken.child.kept = row.numbers
            if not taken.child.moved:
                taken.child.kept_version = taken.version
        self._scrapers.were_kept(cut.pages.seen, cut.pages.shown)
        self._counts.committed(time.perf_counter() - began)
        self._kept_at, self._kept_cut = time.monotonic(), cut.number
        self._anew = self._anew and not cut.anew
        self._in_full = self._in_full and not cut.in_full
        if self._failing:
            self._failing = False
            self._log.info("what is counted is kept again")
        await self._caught_up(cut)
        return True

    async def _tidy(self) -> None:
        """Whoever waited has been answered."""
        await asyncio.to_thread(self._store.tidy)
        now = self._clock()
        if now - self._expired_at > _SECONDS_BETWEEN_EXPIRIES:
            self._expired_at = now
            await self._expire(now)

    def _cut(self) -> _Cut:
        """Everything that is news, in one moment: nothing is counted while this runs."""
        self._cuts += 1
        if self._in_full:
            self._begin_again()
        tracked, calls = self._taken_calls()
        over, self._over = self._over, []
        gone, self._forgotten = [*self._forgotten, *numbers.forgotten(self._series)], []
        pages = PagesSeen(self._series.moment.edition, self._scrapers.shown, self._scrapers.seen())
        series = numbers.changed(self._series, everything=self._anew or self._in_full)
        since = self._counts_since()
        return _Cut(
            self._cuts, self._clock(), tracked, calls, over, series, gone, pages, since, self._anew, self._in_full
        )

    def _begin_again(self) -> None:
        """All of every call is news, and so are all that are over."""
        self._known.clear()
        self._held_back.clear()
        for tracked in self._tracker:
            tracked.uncommitted = array("Q", tracked.seen)
        self._over = list(dict.fromkeys([*self._tracker.finished(), *self._over]))

    def _write(self, cut: _Cut) -> list[KeptSeries]:
        """In a thread: everything into bytes, and those onto the disk. The series as they are kept now."""
        rows = [taken.packed() for taken in cut.series]
        self._store.save(
            Commit(
                at=cut.at,
                calls=cut.calls,
                over=cut.over,
                series=rows,
                forgotten=cut.forgotten,
                layouts=self._layouts,
                pages=cut.pages,
                instance_id=self._instance_id,
                counts_since=cut.counts_since,
                anew=cut.anew,
                in_full=cut.in_full,
            )
        )
        return rows

    def _taken_calls(self) -> tuple[list[TrackedCall], list[CallNews]]:
        """Calls of which there is news. Ten thousand of them are taken at a time: no more is done here than must be,
        and no less: what is done for each of them in a thread takes the loop ten times as long."""
        calls: list[TrackedCall] = []
        taken: list[CallNews] = []
        known, held_back = self._known, self._held_back
        for tracked in self._tracker:
            call, counted = tracked.call, tracked.uncommitted
            call_id = call.call_id
            if not counted and call_id in known and call_id not in held_back:
                continue
            # What waited may be counted by now, without an event of its own.
            waiting = tracked.waiting_facts() if call.waiting.size or tracked.owed else _NOTHING
            if not counted and call_id in known and held_back[call_id] == waiting:
                continue
            tracked.uncommitted = array("Q")
            known.add(call_id)
            if waiting:
                held_back[call_id] = waiting
            elif held_back:
                held_back.pop(call_id, None)
            calls.append(tracked)
            taken.append(CallNews(call_id, call.agent, call.channel, tracked.opened_at, counted or (), waiting))
        return calls, taken

    def _give_back(self, cut: _Cut) -> None:
        self._over[:0] = cut.over
        self._forgotten[:0] = cut.forgotten
        for tracked, news in zip(cut.tracked, cut.calls, strict=True):
            self._known.discard(news.call_id)
            if tracked.uncommitted is not None:
                tracked.uncommitted[:0] = array("Q", news.counted)

    async def _expire(self, now: float) -> None:
        try:
            await asyncio.to_thread(self._store.expire, now - self._retention)
        except Interrupted as problem:
            self._log.warning("the state file could not be cleaned", reason=problem.reason)

    # -- while nothing can be kept

    @property
    def age_seconds(self) -> float:
        """How old the numbers are that were last kept."""
        return time.monotonic() - self._kept_at

    @property
    def failing(self) -> bool:
        """The last commit failed."""
        return self._failing

    @property
    def ahead(self) -> bool:
        """Numbers are shown that are not kept, as where nothing is."""
        return not self._fenced and (self._ahead_since_cut is not None or self._nothing_to_go_on_from)

    async def may_go_ahead(self) -> bool:
        """Whether numbers that are not kept may be shown all the same: for ``max_stale`` they may not, and never
        where the next life could not be told of it."""
        if self._fenced:
            return False  # others have gone on from what is kept
        if self._ahead_since_cut is not None or self._nothing_to_go_on_from:
            self._ahead_since_cut = self._cuts
            return True
        if self.age_seconds < self._max_stale:
            return False
        async with self._flagging:
            if self._ahead_since_cut is None:
                if not await asyncio.to_thread(self._store.go_ahead):
                    return False
                self._log.warning("pages go ahead of what is kept", hint="after a restart counters will begin at 0")
            self._ahead_since_cut = self._cuts
        return True

    async def _caught_up(self, cut: _Cut) -> None:
        """Take the flag back, if this commit has all that anybody has seen."""
        async with self._flagging:
            if self._ahead_since_cut is not None and cut.number > self._ahead_since_cut and not self._anew:
                await asyncio.to_thread(self._store.caught_up)
                self._ahead_since_cut = None
                self._nothing_to_go_on_from = False
