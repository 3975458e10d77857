"""Following calls: each once, whoever finds it, until the judge says that it is over."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn

from structlog.typing import FilteringBoundLogger

from exporter.calls.evidence import Evidence, ListSaid, Standing, WebhookSaid, Word, standing_of
from exporter.calls.judge import Patience
from exporter.calls.tracker import Tracker
from exporter.protocol.api import outcome_of
from exporter.receivers.around import Around, Limits
from exporter.receivers.client import AtomsApi
from exporter.receivers.directory import Directory
from exporter.receivers.discovery import FoundCall
from exporter.receivers.followed import Followed
from exporter.receivers.history import History
from exporter.receivers.late import BeforeResults, LateAnalytics
from exporter.receivers.places import Line, Newcomer, Places
from exporter.receivers.resume import Earlier

__all__ = ["Earlier", "Followed", "Following", "Limits"]

_FORGOTTEN_SECONDS: Final = 10.0
"""So long what turned out to be no call of ours is left alone, however often the list names it; doubled each time."""
_LONGEST_FORGOTTEN_SECONDS: Final = 600.0
_MOST_REMEMBERED: Final = 10_000
_LOOK_SECONDS: Final = 2.5
"""How often the calls are looked at for silence."""
_AT_ONCE: Final = 500
"""Calls looked at between two turns of the loop."""

WITHOUT_A_STREAM: Final = 256
"""So many calls beyond the streams there may be are followed by their log alone until there is one for them; those
behind them wait in line."""
LOOKED_UP: Final = 1_000
"""Calls at one time that were over before anybody followed them."""


class Following:
    """All calls being followed.

    :param spawn: starts a task in the group that owns the process' life.
    :param on_finished: told of every call that is over, for the checkpoint.
    :param on_forgotten: told of every call that turned out to be none of ours, for now.
    :param before_results: learns which results of a call's analytics others have counted.
    :param durable: events are collected for checkpoints.
    :param ours: whether calls of this id are followed here; others are left to whom they belong.
    :param clock: Unix time. Ages are measured by ``monotonic``, which nobody can set.
    """

    def __init__(
        self,
        api: AtomsApi,
        tracker: Tracker,
        history: History,
        directory: Directory,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        log: FilteringBoundLogger,
        rng: random.Random,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        limits: Limits | None = None,
        durable: bool = False,
        on_finished: Callable[[str], None] = lambda _: None,
        on_forgotten: Callable[[str], None] = lambda _: None,
        before_results: BeforeResults | None = None,
        ours: Callable[[str], bool] = lambda _: True,
    ) -> None:
        limits = limits or Limits()
        self._tracker = tracker
        self._log = log
        self._on_finished = on_finished
        self._on_forgotten = on_forgotten
        self._ours = ours
        self._monotonic = monotonic
        places = Places(limits.max_streams, telemetry=api.telemetry, log=log)
        self.waiting = Line(places, api.telemetry.bound_hit)
        """The calls that are not followed yet."""
        after = limits.analytics_delay if limits.reconcile else 0.0
        self._late = LateAnalytics(
            history,
            tracker,
            after=after,
            clock=monotonic,
            before_results=before_results,
            bound_hit=api.telemetry.bound_hit,
        )
        self._around = Around(
            api=api,
            tracker=tracker,
            history=history,
            directory=directory,
            spawn=spawn,
            log=log,
            rng=rng,
            clock=clock,
            monotonic=monotonic,
            api_time=api.time.now,
            places=places,
            patience=Patience(settle=limits.reconcile_delay, idle=limits.call_idle_limit, log_answers=limits.reconcile),
            limits=limits,
            late=self._late,
            durable=durable,
            before_results=before_results,
        )
        self._followed: dict[str, Followed] = {}
        self._with_stream: set[str] = set()  # ids of those that have one, or look for one
        self._looked_up: set[str] = set()  # ids of those that were over before
        self._draining = False
        self._forgotten: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.past_is_known = False
        """What an earlier life counted was restored: no call is left out because one may have counted it."""

    def __len__(self) -> int:
        return len(self._followed) + len(self.waiting)

    def calls(self) -> list[Followed]:
        """The calls on their way."""
        return list(self._followed.values())

    def drain(self) -> None:
        """Follow none any more that is not followed yet: those that are, are about to be let go."""
        self._draining = True

    def knows(self, call_id: str) -> bool:
        """The call is being followed, or was, or waits to be."""
        return call_id in self._followed or call_id in self.waiting or self._tracker.known(call_id)

    def follows(self, call_id: str) -> bool:
        """The call is being followed, or waits to be."""
        return call_id in self._followed or call_id in self.waiting

    def forgot(self, call_id: str) -> bool:
        """The call turned out to be none of ours once."""
        return call_id in self._forgotten

    def follow(
        self,
        found: FoundCall,
        *,
        earlier: Earlier | None = None,
        under_way: bool = False,
        first: Evidence | None = None,
    ) -> bool:
        """Follow a call from now on, or when it is its turn; ``False`` when that is being done, or was, or is not ours.

        :param earlier: what an earlier life of the process counted of it.
        :param under_way: an earlier life may have counted what its history holds, and nobody can tell.
        :param first: what is known of it already.
        """
        if self.knows(found.call_id) or not self._ours(found.call_id):
            return False
        if self._around.limits.leave_tests and found.is_test and earlier is None:
            return False
        under_way = under_way or (found.under_way and not self.past_is_known)
        newcomer = Newcomer(found, earlier, under_way, (first,) if first is not None else ())
        if not self._has_room(newcomer.is_over):
            return self.waiting.add(newcomer)
        self._begin(newcomer)
        return True

    def _has_room(self, is_over: bool) -> bool:
        if is_over:
            return len(self._looked_up) < LOOKED_UP
        return len(self._with_stream) < self._around.limits.max_streams + WITHOUT_A_STREAM

    def _begin(self, newcomer: Newcomer) -> None:
        found = newcomer.found
        (self._looked_up if newcomer.is_over else self._with_stream).add(found.call_id)
        followed = self._followed[found.call_id] = Followed(self._around, newcomer)
        self._around.spawn(self._guarded(followed))

    def _next(self) -> None:
        """Whoever waits for the room that there is now."""
        for is_over, taken in ((True, self.waiting.next_that_is_over), (False, self.waiting.next_that_goes_on)):
            while not self._draining and self._has_room(is_over) and (newcomer := taken()) is not None:
                self._begin(newcomer)

    def listed(self, found: FoundCall) -> None:
        """A list names a call that is news: it is followed, or the judge hears of it."""
        said = self.said_by_list(found)
        if not self._hears(found.call_id, said) and not self.is_forgotten(found.call_id):
            self.follow(found, first=said)

    def listed_again(self, found: FoundCall) -> None:
        """A list names a call that is none: the judge hears of it. One that goes on and that nobody follows (it was
        forgotten, or there was no room for it) is looked for again."""
        said = self.said_by_list(found)
        if self._hears(found.call_id, said) or self.is_forgotten(found.call_id):
            return
        if found.call_id in self._forgotten or (found.status and said.word.standing is Standing.GOES_ON):
            self.follow(found, first=said)

    def _hears(self, call_id: str, said: Evidence) -> bool:
        """Whether the call is followed, or will be: then it is said of it."""
        followed = self._followed.get(call_id)
        if followed is not None:
            followed.report(said)
        elif call_id in self.waiting:
            self.waiting.hear(call_id, said)
            self._next()
        else:
            return False
        return True

    def said_by_list(self, found: FoundCall) -> ListSaid:
        """What a list says of a call, for its judge."""
        outcome = outcome_of(found.status)
        return ListSaid(Word(standing_of(found.status, outcome), self._monotonic(), outcome, found.status))

    def told(
        self, found: FoundCall, outcome: str | None, ended_at: float | None, lasted_seconds: float | None = None
    ) -> None:
        """A webhook says that a call is over; one whose beginning was missed is followed for its history."""
        said = WebhookSaid(
            Word(Standing.OVER, self._monotonic(), outcome, ended_at=ended_at, lasted_seconds=lasted_seconds)
        )
        if not self._hears(found.call_id, said):
            self.follow(found, first=said)

    async def look_again(self) -> NoReturn:
        """Look at the logs of calls that have ended once more, when it is time."""
        await self._late.run()

    async def watch(self) -> NoReturn:
        """Notice silence: look at each call now and then, so that no event and no stream costs a timer."""
        pause = min(_LOOK_SECONDS, self._around.limits.call_idle_limit / 8)
        while True:
            await asyncio.sleep(pause)
            for number, followed in enumerate(self.calls()):
                followed.look()
                if number % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(0)

    async def _guarded(self, followed: Followed) -> None:
        """A call's outermost edge: whatever goes wrong in one call stays in it."""
        call_id = followed.found.call_id
        try:
            if await followed.follow():
                self._with_stream.discard(call_id)  # what is left of it needs none
                self._next()
                await followed.conclude()
                self._on_finished(call_id)
            elif followed.left_alone:
                self._tracker.forget(call_id)
                self._on_finished(call_id)
            else:
                self._forget(call_id)
        except Exception:  # the edge between one call and all the others
            log = self._log.bind(call_id=call_id)
            log.exception("following a call failed")
            self._abandon(call_id, log)
        finally:
            followed.close()
            self._followed.pop(call_id, None)
            self._with_stream.discard(call_id)
            self._looked_up.discard(call_id)
        self._next()

    def _abandon(self, call_id: str, log: FilteringBoundLogger) -> None:
        """End a call that has failed; its state may be what failed."""
        try:
            self._tracker.end(call_id, "lost")
        except Exception:  # as above
            log.exception("a failed call cannot be ended")
        self._tracker.forget(call_id)
        self._on_finished(call_id)

    # -- what is no call of ours, for now

    def _forget(self, call_id: str) -> None:
        self._tracker.drop(call_id)
        _, before = self._forgotten.pop(call_id, (0.0, _FORGOTTEN_SECONDS / 2))
        pause = min(before * 2, _LONGEST_FORGOTTEN_SECONDS)
        self._forgotten[call_id] = (self._monotonic() + pause, pause)
        if len(self._forgotten) > _MOST_REMEMBERED:
            self._forgotten.popitem(last=False)
        self._on_forgotten(call_id)

    def is_forgotten(self, call_id: str) -> bool:
        """The call is left alone for now."""
        until, _ = self._forgotten.get(call_id, (0.0, 0.0))
        return self._monotonic() < until
