"""One call on its way: what its witnesses say is reported to the judge, what the judge says is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from math import inf
from typing import Final

from msgspec.structs import replace

from exporter.calls.evidence import (
    Case,
    Evidence,
    LogAway,
    LogSaid,
    LogUnknown,
    NewEvents,
    Parting,
    Standing,
    StreamParted,
    Word,
    hear,
    standing_of,
)
from exporter.calls.judge import AskTheLog, NotOursForNow, Over, Verdict, may_open, outcome, weigh
from exporter.calls.observations import Agent
from exporter.calls.tracker import Progress, TrackedCall, natural_outcome
from exporter.errors import AtomsExporterError, Interrupted, Malformed, Refused
from exporter.protocol.api import UNKNOWN, CallLog, without_events
from exporter.protocol.labels import name_label
from exporter.receivers.around import Around
from exporter.receivers.backoff import Backoff
from exporter.receivers.client import OVERSIZE
from exporter.receivers.places import Newcomer
from exporter.receivers.resume import Resume
from exporter.receivers.stream import Subscription, within

_RESUME_SECONDS: Final = 60.0
"""How long a stream's first bytes may wait for the history of what came before them. After an edge has cut a thousand
streams their histories take their turns for as long, and bytes taken before them count where the call was before."""
_YOUNG_SECONDS: Final = 1.0
"""A call found this soon after its beginning has no history worth asking for."""
_MOST_HELD_BYTES: Final = 1 << 20
"""So much of the stream of a call that is over waits for its history at a time."""
_LOOKS_FOR_WHAT_IS_NOT_THERE: Final = 3
"""A log that is unknown, or that holds no events though there were some, is looked for so often."""


class Followed:
    """One call, from being found to its end.

    :param around: what all calls share.
    :param newcomer: the call, and what is known of it already.
    """

    __slots__ = (
        "_around",
        "_asking",
        "_case",
        "_changed",
        "_channel",
        "_earlier",
        "_held",
        "_held_bytes",
        "_kept_bytes",
        "_known",
        "_last_log",
        "_logged",
        "_news_at",
        "_parted",
        "_resume",
        "_resuming",
        "_strange",
        "_too_large",
        "_tried",
        "_under_way",
        "_verdict",
        "_version",
        "agent_id",
        "found",
        "left_alone",
        "state",
        "subscription",
        "tracked",
    )

    def __init__(self, around: Around, newcomer: Newcomer) -> None:
        found = newcomer.found
        self.found = found
        self.state = "pending"
        self.agent_id = found.agent_id
        self.tracked: TrackedCall | None = None
        self.subscription: Subscription | None = None
        self._around = around
        self._channel = found.channel
        self._version = found.version
        self.left_alone = False
        """It is a test, and tests are not followed."""
        self._earlier = newcomer.earlier
        self._under_way = newcomer.under_way
        self._case = Case(around.monotonic())
        for said in newcomer.said:
            self._case = hear(self._case, said)
        self._verdict: Verdict | None = None
        self._changed: asyncio.Event | None = None
        self._asking = False
        self._last_log: CallLog | None = None
        self._kept_bytes = 0
        self._known = 0
        self._news_at = -inf
        self._logged = 0
        self._resume: Resume | None = None
        self._resuming: asyncio.Timeout | None = None
        self._strange = False
        self._held: list[bytes] | None = None
        self._held_bytes = 0
        self._too_large = False  # its log goes beyond our bound: it will not become smaller
        self._tried = False
        self._parted = False  # a stream has ended, and nothing has made good yet what it missed since

    @property
    def quiet_seconds(self) -> float | None:
        """Since the last new event, by a clock that nobody can set; ``None`` when there was none."""
        if self.tracked is None or self._known == 0:
            return None
        return self._around.monotonic() - max(self._case.quiet_since, self._news_at)

    # -- what is said of the call, and what follows

    def report(self, evidence: Evidence) -> None:
        """One of its witnesses has said something."""
        if isinstance(evidence, StreamParted) and evidence.how in (Parting.CUT, Parting.CLOSED):
            self._parted = self._verdict is None
        self._case = hear(self._with_news(), evidence)
        self.weigh()

    def look(self) -> None:
        """Time has passed. What brings news is left alone: this is asked of every call, every few seconds."""
        known = self.news()
        if known != self._known:
            self._known = known
            self._news_at = self._around.monotonic()
        else:
            self._case = self._with_news()
            self.weigh()

    def weigh(self) -> None:
        """What follows from all that was said."""
        if self._verdict is None:
            self._judge()
        if self._changed is not None:
            self._changed.set()

    def _judge(self) -> None:
        verdict = weigh(self._case, self._around.patience, self._around.monotonic())
        if isinstance(verdict, Over | NotOursForNow):
            self._verdict = verdict
            within(self._resuming, 0.0)  # what waits to be read is worth more now than what came before
            if self.subscription is not None:
                self.subscription.end()
        elif isinstance(verdict, AskTheLog) and verdict.at < inf and not self._asking:
            self._asking = True
            self._around.spawn(self._ask())

    def _with_news(self) -> Case:
        known = self.news()
        if known != self._known:
            self._known = known
            self._news_at = self._around.monotonic()
        return hear(self._case, NewEvents(self._news_at)) if self._news_at > self._case.news_at else self._case

    async def _ask(self) -> None:
        """Ask the log while the judge wants it to be asked."""
        try:
            while self._verdict is None:
                verdict = weigh(self._case, self._around.patience, self._around.monotonic())
                if not isinstance(verdict, AskTheLog) or verdict.at == inf:
                    return
                if (pause := verdict.at - self._around.monotonic()) > 0:
                    await self._change_within(pause)
                else:
                    await self._ask_once(then=self._take_meanwhile)
        finally:
            self._asking = False

    async def _take_meanwhile(self, call_log: CallLog) -> None:
        """What has happened while there is no stream. One that is open, though silent, may bring it yet."""
        if not call_log.events or self._verdict is not None or self._stream_is_open():
            return
        resume = await self._begun()
        if not self._stream_is_open():
            await resume.take(call_log, self._around.clock())

    def _stream_is_open(self) -> bool:
        return self.subscription is not None and self.subscription.is_open

    async def _change(self) -> None:
        """Waits until something was said."""
        self._changed = self._changed or asyncio.Event()  # most calls never need one
        self._changed.clear()
        await self._changed.wait()

    async def _change_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._change()
        except TimeoutError:
            pass

    async def _ask_once(self, *, then: Callable[[CallLog], Awaitable[None]] | None = None) -> CallLog | None:
        """One question to the log, its answer reported; the log, if there was one.

        ``then`` is given the log while it is in hand. What is returned holds its events only if there is room for them.
        """
        asked_at = self._around.monotonic()
        if self._too_large:
            return None
        try:
            async with self._around.history.look(self.found.call_id) as call_log:
                return await self._had(call_log, asked_at, then)
        except Refused as refused:
            self.report(LogAway(asked_at) if refused.status == 401 else LogUnknown(asked_at))
        except (Interrupted, Malformed) as problem:
            if not self._is_too_large(problem):
                self.report(LogAway(asked_at))
        return None

    async def _had(
        self, call_log: CallLog, asked_at: float, then: Callable[[CallLog], Awaitable[None]] | None
    ) -> CallLog:
        """What a log says, while it is in hand."""
        self._learn(call_log)
        if len(call_log.events) > max(self._logged, self.news()):  # news, though no stream has brought them
            self._logged = len(call_log.events)
            self._case = hear(self._case, NewEvents(asked_at))
        word = _word(call_log, asked_at)
        if word.standing is Standing.STRANGE and not self._strange:
            self._strange = True
            self._around.strange_status(word.status)
        if word.standing is Standing.OVER or self._verdict is not None:
            call_log = self._last_log = await self._kept(call_log)
        self.report(LogSaid(word))
        if then is not None:
            await then(call_log)
        return call_log

    async def _kept(self, call_log: CallLog) -> CallLog:
        """The log for the end of the call: with its events where there is room for them, else they are taken now."""
        self._let_go_of_log()
        if self._around.keep_log(call_log.size_bytes):
            self._kept_bytes = call_log.size_bytes
            return call_log
        resume = await self._begun(ask=False)
        await resume.take(call_log, self._around.clock())
        return without_events(call_log)

    def _let_go_of_log(self) -> None:
        self._around.let_go_of_log(self._kept_bytes)
        self._last_log, self._kept_bytes = None, 0

    def _is_too_large(self, problem: Exception) -> bool:
        """A refusal by our own bound is none that passes: the log has been asked for the last time."""
        if not isinstance(problem, Malformed) or problem.reason != OVERSIZE:
            return False
        if not self._too_large:
            self._too_large = True
            says = "a call's history is beyond our bound and is not asked for again"
            self._around.log.warning(says, call_id=self.found.call_id, bound=str(problem))
            self.report(LogAway(inf))
        return True

    def _learn(self, call_log: CallLog) -> None:
        """Who answers, where nobody has said so yet."""
        self.agent_id = self.agent_id or call_log.agent_id
        self._version = self._version or call_log.version
        if self._channel == UNKNOWN:
            self._channel = call_log.channel

    # -- its stream

    def taker(self) -> Callable[[bytes], Progress]:
        """What takes each event's JSON."""
        if self._held is not None:
            return self._hold
        feed, clock, tracked = self._around.tracker.feed, self._around.clock, self.tracked
        assert tracked is not None, "bytes before the connection was announced"

        def take(payload: bytes) -> Progress:
            return feed(tracked, payload, clock())

        return take

    def _hold(self, payload: bytes) -> Progress:
        """The call is over and what this stream does not bring is yet to come: taken now, its events would count where
        the call was before the gap."""
        assert self._held is not None, "nothing is held before there is a reason"
        self._held.append(payload)
        self._held_bytes += len(payload)
        if self._held_bytes > _MOST_HELD_BYTES:
            self._let_go()
        return Progress.GOING_ON

    def _let_go(self) -> None:
        """Take what was held back."""
        held, self._held, self._held_bytes = self._held or (), None, 0
        take = self.taker()
        for payload in held:
            take(payload)
        self._held = []

    def news(self) -> int:
        """How many events of the call are known."""
        return len(self.tracked.seen) if self.tracked is not None else 0

    async def may_open(self) -> None:
        """Waits until the judge lets the stream be opened."""
        while not may_open(self._case, self._around.patience):
            await self._change()

    async def connected(self, connection: int) -> None:
        """A stream is open and its bytes wait for what it will not bring."""
        self.state = "following"
        resume = await self._begun()
        if connection == 1:
            resume.gap = not resume.is_new
        elif self._parted and self.subscription is not None and not self.subscription.says_the_last_id:
            resume.gap = True
        self._parted = False
        young = connection == 1 and resume.is_new and self._is_young()
        if young or self._too_large or not self._around.patience.log_answers:
            await resume.settled()
            return
        async with AsyncExitStack() as turn:
            try:
                async with asyncio.timeout(_RESUME_SECONDS if self._verdict is None else 0.0) as self._resuming:
                    call_log = await turn.enter_async_context(self._around.history.had(self.found.call_id))
            except (TimeoutError, AtomsExporterError) as problem:
                self._is_too_large(problem)
                await resume.settled()
                if self._verdict is not None:  # its history is asked for once more, at its end
                    self._held = self._held or []
                elif resume.gap:
                    self._goes_on_without(problem)
                return
            finally:
                self._resuming = None
            await resume.take(call_log, self._around.clock())

    def _goes_on_without(self, problem: Exception) -> None:
        self._around.log.warning(
            "a stream goes on without the history of what it missed",
            call_id=self.found.call_id,
            reason="too many wait for theirs" if isinstance(problem, TimeoutError) else str(problem),
            hint="until the next hop its events count at the node before",
        )

    def _is_young(self) -> bool:
        now, began_at = self._around.api_time(), self.found.created_at
        return now is not None and began_at is not None and now - began_at < _YOUNG_SECONDS

    async def _begun(self, *, ask: bool = True) -> Resume:
        """The call's state. Who answers is asked before anything is counted: a call's labels never change under way.

        :param ask: the log may be asked for that: not by who has it in hand.
        """
        agent = await self._who(ask=ask) if self._resume is None else Agent()
        if self._resume is None:  # somebody else may have begun it meanwhile
            now = self._around.clock()
            self.tracked = self._around.tracker.open(
                self.found.call_id, agent=agent, channel=self._channel, now=now, durable=self._around.durable
            )
            log = self._around.log.bind(call_id=self.found.call_id)
            log.debug("following a call", agent_id=agent.agent_id, channel=self._channel, source=self.found.source)
            self._resume = Resume(
                self._around.tracker,
                self.tracked,
                log,
                self._around.api.shares,
                earlier=self._earlier,
                under_way=self._under_way,
            )
        return self._resume

    async def _who(self, *, ask: bool) -> Agent:
        """Who answers: as the earlier life had it, if it has counted anything under that name."""
        around = self._around
        wants_version = around.limits.tell_versions and self._version is None
        nameless = self.agent_id is None and self._case.log is None
        earlier = self._earlier.agent if self._earlier is not None and len(self._earlier.counted) else None
        if ask and (wants_version or (nameless and earlier is None)) and around.patience.log_answers:
            await self._ask_once()
        if earlier is not None:
            agent = earlier
        else:
            agent = await around.directory.resolve(self.agent_id) if self.agent_id else Agent()
        return replace(agent, version=name_label(self._version)) if around.limits.tell_versions else agent

    # -- its life

    async def follow(self) -> bool:
        """Follow it until it is over; ``False`` when it turned out to be none of ours."""
        around = self._around
        if self._earlier is not None:
            await self._begun()
        elif around.limits.leave_tests and await self._is_a_test():
            around.log.debug("a test call is left alone", call_id=self.found.call_id)
            self.left_alone = True
            return False
        self.subscription = Subscription(
            around.api,
            self.found.call_id,
            self,
            place=self._place,
            backoff=Backoff(around.rng),
            log=around.log,
            idle_timeout=around.idle_timeout,
        )
        self.weigh()
        if self._verdict is not None:
            self.subscription.end()
        await self.subscription.run()
        self.subscription = None
        if isinstance(self._verdict, NotOursForNow):
            around.log.warning("not a call we can see", call_id=self.found.call_id)
            return False
        self.state = "reconciling"
        return True

    async def _is_a_test(self) -> bool:
        """Whether the API marks it as a test, before anything is counted of it; where neither list nor log says so
        after some looks, it is none."""
        backoff = Backoff(self._around.rng)
        for _ in range(_LOOKS_FOR_WHAT_IS_NOT_THERE):
            if self.found.is_test is not None or not self._around.patience.log_answers:
                break
            if (call_log := await self._ask_once()) is not None:
                return call_log.is_test is True
            await asyncio.sleep(backoff.delay())
        return self.found.is_test is True

    def _place(self) -> AbstractAsyncContextManager[None]:
        again, self._tried = self._tried, True
        return self._around.places.one(again=again)

    def close(self) -> None:
        """Nobody follows it any more."""
        self._let_go_of_log()

    async def conclude(self) -> None:
        """Its history, then its end."""
        around = self._around
        call_log = await self._last_word() if around.patience.log_answers else None
        resume = await self._begun()
        tracked = self.tracked
        assert tracked is not None, "it was begun a line ago"
        gap, heard = self._has_gap(), bool(self._held) or len(tracked.seen) > 0
        history = call_log is not None and (call_log.event_count > 0 or not gap or not heard)
        if call_log is not None and not call_log.taken:
            await resume.take(call_log, around.clock())
        if self._held:
            self._let_go()
        whole = tracked.call.ended and not gap
        if call_log is not None:
            results = (self.found.call_id, tracked.call.agent, call_log.dispositions)
            ask = around.before_results if call_log.dispositions else None
            asked = ask is None or await ask(self.found.call_id, call_log.dispositions)
            # Nothing is awaited from here to the end: what has no identity of an event is in one commit with it.
            around.tracker.fill_turns(tracked, call_log, around.clock())
            if asked:
                around.tracker.analysed(*results)
            else:
                around.late.unasked(*results)
            if not call_log.dispositions and len(tracked.seen):
                around.late.ended(self.found.call_id, tracked.call.agent)
        natural = natural_outcome(tracked.call)
        ended = outcome(self._case, natural=natural, whole=whole, history=history, patience=around.patience)
        around.tracker.end(
            self.found.call_id,
            ended,
            at=(call_log.ended_at if call_log is not None else None) or _said_to_have_ended(self._case),
            began_at=call_log.created_at if call_log is not None else None,
            lasted_seconds=(call_log.duration_seconds if call_log is not None else None)
            or _said_to_have_lasted(self._case),
            log=call_log,
        )
        around.log.info(
            "call ended",
            call_id=self.found.call_id,
            outcome=ended,
            events=len(tracked.seen),
            recovered=tracked.recovered,
        )

    async def _last_word(self) -> CallLog | None:
        """The log of the call that has ended: looked for until it is final and whole, or patience is at its end."""
        around = self._around
        if self._last_log is not None and self._is_whole(self._last_log):
            return self._last_log
        if not around.enter_reconciling():
            self._unreconciled(reason="too many ended at once")
            return self._last_log
        try:
            return await self._look_for_the_end()
        finally:
            around.leave_reconciling()

    async def _look_for_the_end(self) -> CallLog | None:
        around = self._around
        until = around.monotonic() + around.end_patience
        backoff = Backoff(around.rng)
        if self.news():
            await asyncio.sleep(around.patience.settle)
        looks = 0
        while True:
            call_log = await self._ask_once()
            case, now = self._case, around.monotonic()
            away = call_log is None and case.log_away_at > case.log_unknown_at
            looks += not away
            if call_log is not None and self._is_enough(call_log, looks):
                return call_log
            if self._too_large:
                await self._word_of_another(now + 2 * around.patience.grace)
                self._unreconciled(reason="its log is beyond our bound")
                return self._last_log
            if away and now >= until:
                self._unreconciled(reason="its log cannot be had")
                return self._last_log
            if not away and call_log is None and looks >= _LOOKS_FOR_WHAT_IS_NOT_THERE:
                self._unreconciled(reason="its log is unknown")
                return self._last_log
            await asyncio.sleep(min(backoff.delay(), max(0.0, until - now) if away else 30.0))

    async def _word_of_another(self, until: float) -> None:
        """Waits for a list or a webhook to say how a call ended whose log cannot tell."""
        while self._case.webhook is None and self._case.list_over is None:
            if (left := until - self._around.monotonic()) <= 0:
                return
            await self._change_within(left)

    def _is_whole(self, call_log: CallLog) -> bool:
        """It holds all that the stream has brought: nothing is missing that the API still has to write."""
        return call_log.event_count >= self.news()

    def _is_enough(self, call_log: CallLog, looks: int) -> bool:
        if not call_log.event_count and self.news() and self._has_gap():
            return looks >= max(_LOOKS_FOR_WHAT_IS_NOT_THERE, self._around.end_looks)
        if isinstance(self._verdict, Over) and self._verdict.outcome == "lost":
            return True
        return call_log.outcome is not None or self._strange or looks >= self._around.end_looks

    def _has_gap(self) -> bool:
        """Events may be missing that no history has given."""
        return self._parted or self._resume is None or self._resume.gap

    def _unreconciled(self, *, reason: str) -> None:
        self._around.log.warning("a call cannot be reconciled", call_id=self.found.call_id, reason=reason)


def _word(call_log: CallLog, asked_at: float) -> Word:
    standing = standing_of(call_log.status, call_log.outcome)
    return Word(standing, asked_at, call_log.outcome, call_log.status, ended_at=call_log.ended_at)


def _said_to_have_lasted(case: Case) -> float | None:
    return case.webhook.lasted_seconds if case.webhook is not None else None


def _said_to_have_ended(case: Case) -> float | None:
    words = (case.log, case.webhook, case.list_over)
    return next((word.ended_at for word in words if word is not None and word.ended_at is not None), None)
