"""Following calls: each once, from being found to its last event, with its history for what the stream missed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from exporter.calls.identity import SeenEvents
from exporter.calls.observations import Agent
from exporter.calls.tracker import Progress, TrackedCall, Tracker, natural_outcome
from exporter.errors import AtomsExporterError, Interrupted, Malformed, Refused
from exporter.protocol.api import CallLog
from exporter.receivers.backoff import Backoff
from exporter.receivers.client import AtomsApi
from exporter.receivers.directory import Directory
from exporter.receivers.discovery import FoundCall
from exporter.receivers.history import History
from exporter.receivers.stream import Ended, Ending, Subscription

_RESUME_SECONDS: Final = 20.0
"""How long a stream's first bytes may wait for the history of what came before them."""
_YOUNG_SECONDS: Final = 1.0
"""A call found this soon after its beginning has no history worth asking for."""


@dataclass(frozen=True)
class Limits:
    """How calls are followed; seconds."""

    max_streams: int = 4000
    idle_timeout: float = 60.0
    call_idle_limit: float = 900.0
    reconcile: bool = True
    reconcile_delay: float = 2.0
    """The API needs a moment to write a call's log."""
    reconcile_attempts: int = 6
    most_reconciling: int = 10_000
    """Ended calls that may wait for their history at once."""


@dataclass(frozen=True)
class Earlier:
    """What an earlier life of the process knew of a call: the events it counted, and the facts it held back."""

    counted: SeenEvents
    waiting: Mapping[int, frozenset[str]]


class Followed:
    """One call on its way, for who asks about it."""

    __slots__ = ("found", "outcome_hint", "state", "subscription", "tracked")

    def __init__(self, found: FoundCall) -> None:
        self.found = found
        self.state = "pending"
        self.subscription: Subscription | None = None
        self.tracked: TrackedCall | None = None
        self.outcome_hint: str | None = None


class Following:
    """All calls being followed.

    :param spawn: starts a task in the group that owns the process' life.
    :param on_finished: told of every call that is over, for the checkpoint.
    :param durable: events are collected for checkpoints.
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
        limits: Limits | None = None,
        durable: bool = False,
        on_finished: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._api = api
        self._tracker = tracker
        self._history = history
        self._directory = directory
        self._spawn = spawn
        self._log = log
        self._rng = rng
        self._clock = clock
        self._limits = limits or Limits()
        self._durable = durable
        self._on_finished = on_finished
        self._slots = asyncio.Semaphore(self._limits.max_streams)
        self._followed: dict[str, Followed] = {}
        self._reconciling = 0
        self._waiting = 0

    def __len__(self) -> int:
        return len(self._followed)

    def calls(self) -> list[Followed]:
        """The calls on their way."""
        return list(self._followed.values())

    def knows(self, call_id: str) -> bool:
        """The call is being followed, or was."""
        return call_id in self._followed or self._tracker.known(call_id)

    def follow(
        self,
        found: FoundCall,
        *,
        earlier: Earlier | None = None,
        under_way: bool = False,
        outcome: str | None = None,
    ) -> bool:
        """Follow a call from now on; ``False`` when that is being done, or was.

        :param outcome: the call is over, and this is how it ended.
        :param earlier: what an earlier life of the process counted of it.
        :param under_way: the call began before this process, which cannot tell what an earlier life counted of it:
            what its history holds so far is not counted.
        """
        if self.knows(found.call_id):
            return False
        followed = self._followed[found.call_id] = Followed(found)
        followed.outcome_hint = outcome
        self._spawn(self._guarded(followed, earlier, under_way))
        return True

    def over(self, call_id: str, outcome: str | None) -> bool:
        """Somebody knows that a call has ended (a webhook): take what still comes, then reconcile."""
        followed = self._followed.get(call_id)
        if followed is None:
            return False
        followed.outcome_hint = outcome
        if followed.subscription is not None:
            followed.subscription.call_ended()
        return True

    async def _guarded(self, followed: Followed, earlier: Earlier | None, under_way: bool) -> None:
        """A call's outermost edge: whatever goes wrong in one call stays in it."""
        call_id = followed.found.call_id
        log = self._log.bind(call_id=call_id)
        try:
            await self._follow(followed, earlier, under_way, log)
        except Exception:  # the edge between one call and all the others
            log.exception("following a call failed")
            self._abandon(call_id, log)
        finally:
            self._followed.pop(call_id, None)

    def _abandon(self, call_id: str, log: FilteringBoundLogger) -> None:
        """End a call that has failed; its state may be what failed."""
        try:
            self._tracker.end(call_id, "lost")
        except Exception:  # as above
            log.exception("a failed call cannot be ended")
            self._tracker.forget(call_id)
        self._on_finished(call_id)

    async def _follow(
        self, followed: Followed, earlier: Earlier | None, under_way: bool, log: FilteringBoundLogger
    ) -> None:
        found = followed.found
        agent = await self._agent(found)
        tracked = self._tracker.open(
            found.call_id, agent=agent, channel=found.channel, now=self._clock(), durable=self._durable
        )
        followed.tracked = tracked
        resume = _Resume(self, followed, tracked, earlier, under_way, log)
        feed, clock = self._tracker.feed, self._clock

        def on_payload(payload: bytes) -> Progress:
            return feed(tracked, payload, clock())

        subscription = followed.subscription = Subscription(
            self._api,
            found.call_id,
            on_payload=on_payload,
            on_connected=resume.connected,
            backoff=Backoff(self._rng),
            log=log,
            idle_timeout=self._limits.idle_timeout,
            call_idle_limit=self._limits.call_idle_limit,
        )
        if followed.outcome_hint is not None:
            subscription.call_ended()
        log.info("following a call", agent_id=agent.agent_id, channel=found.channel, source=found.source)
        async with self._place():
            followed.state = "following"
            ending = await subscription.run()
        followed.state = "reconciling"
        await self._conclude(followed, tracked, ending, resume, log)

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the streams there may be. Who has to wait is counted; the log says when that begins and ends."""
        waits = self._slots.locked()
        if waits:
            self._api.telemetry.bound_hit("streams")
            if not self._waiting:
                self._log.warning("more calls than streams: calls wait", max_streams=self._limits.max_streams)
            self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            if waits:
                self._waiting -= 1
                if not self._waiting:
                    self._log.info("no call waits for a stream any more")
        try:
            yield
        finally:
            self._slots.release()

    async def _agent(self, found: FoundCall) -> Agent:
        """Who answers; asked before anything is counted, so that a call's labels never change under way."""
        agent_id = found.agent_id
        if agent_id is None and self._limits.reconcile:
            try:
                agent_id = (await self._history.fetch(found.call_id, attempts=2)).agent_id
            except AtomsExporterError:
                agent_id = None
        return await self._directory.resolve(agent_id) if agent_id else Agent()

    # -- the end

    async def _conclude(
        self, followed: Followed, tracked: TrackedCall, ending: Ending, resume: _Resume, log: FilteringBoundLogger
    ) -> None:
        call_id = followed.found.call_id
        outcome, call_log = await self._reconciled(followed, tracked, ending, resume, log)
        if outcome is None:
            log.warning("not a call we can see", status=ending.status)
            self._tracker.forget(call_id)
        else:
            self._tracker.end(call_id, outcome, at=_ended_at(call_log))
            log.info("call ended", outcome=outcome, events=len(tracked.seen), recovered=tracked.recovered)
        self._on_finished(call_id)

    async def _reconciled(
        self, followed: Followed, tracked: TrackedCall, ending: Ending, resume: _Resume, log: FilteringBoundLogger
    ) -> tuple[str | None, CallLog | None]:
        """How the call ended, after its history has given what the stream missed; ``None``: it was never a call."""
        seen_anything = len(tracked.seen) > 0
        if ending.how is Ended.REFUSED and not seen_anything:
            return None, None
        if not self._limits.reconcile:
            if not seen_anything and ending.how is Ended.NOT_FOUND:
                return None, None
            return followed.outcome_hint or natural_outcome(tracked.call), None
        if self._reconciling >= self._limits.most_reconciling:
            log.warning("a call cannot be reconciled", reason="too many ended at once")
            return self._unreconciled(followed, tracked, ending), None
        self._reconciling += 1
        try:
            await asyncio.sleep(self._limits.reconcile_delay if seen_anything else 0.0)
            call_log = await self._history.fetch_ended(followed.found.call_id, attempts=self._limits.reconcile_attempts)
        except Refused as refused:
            if refused.status == 404 and not seen_anything and followed.found.source in ("static", "api"):
                return None, None
            log.warning("a call cannot be reconciled", status=refused.status)
            return self._unreconciled(followed, tracked, ending), None
        except (Interrupted, Malformed) as problem:
            log.warning("a call cannot be reconciled", reason=problem.reason)
            return self._unreconciled(followed, tracked, ending), None
        finally:
            self._reconciling -= 1
        resume.take(call_log)
        if not call_log.events:
            self._tracker.fill_turns(tracked, call_log.turn_latencies, self._clock())
        # The webhook's word first: it knows "busy", for which the call log has only "failed".
        outcome = followed.outcome_hint or call_log.outcome or natural_outcome(tracked.call)
        return outcome, call_log

    def _unreconciled(self, followed: Followed, tracked: TrackedCall, ending: Ending) -> str:
        """Complete only if one unbroken stream showed the call's own end."""
        whole = ending.connections == 1 and tracked.call.ended
        return (followed.outcome_hint or natural_outcome(tracked.call)) if whole else "lost"

    # -- what the resume needs

    async def history_so_far(self, call_id: str) -> CallLog | None:
        """The history of a call in progress, if it can be had soon."""
        try:
            async with asyncio.timeout(_RESUME_SECONDS):
                return await self._history.fetch(call_id)
        except (TimeoutError, AtomsExporterError):
            return None

    @property
    def tracker(self) -> Tracker:
        """The calls' state."""
        return self._tracker

    def now(self) -> float:
        """Unix time."""
        return self._clock()

    def is_stale(self, last_event_at: float) -> bool:
        """Whether a call has been without a new event for so long that nothing will come."""
        return self._clock() - last_event_at >= self._limits.call_idle_limit

    @property
    def reconciles(self) -> bool:
        """Histories may be asked for."""
        return self._limits.reconcile


class _Resume:
    """Takes a call's history into its state: at the first connection what an earlier life knew, afterwards what a
    gap has lost, before the new connection's first bytes."""

    __slots__ = ("_earlier", "_followed", "_following", "_log", "_tracked", "_under_way")

    def __init__(
        self,
        following: Following,
        followed: Followed,
        tracked: TrackedCall,
        earlier: Earlier | None,
        under_way: bool,
        log: FilteringBoundLogger,
    ) -> None:
        self._following = following
        self._followed = followed
        self._tracked = tracked
        self._earlier = earlier
        self._under_way = under_way
        self._log = log
        if earlier is not None:
            following.tracker.resume(tracked, earlier.counted)

    async def connected(self, connection: int) -> None:
        """A stream is open and its bytes wait."""
        found, last = self._followed.found, self._tracked.last_event_at
        subscription = self._followed.subscription
        if subscription is not None and last is not None and self._following.is_stale(last):
            subscription.give_up()  # nothing but repetitions: a dead call that is played again and again
            return
        if not self._following.reconciles or (connection == 1 and self._is_young(found)):
            return
        call_log = await self._following.history_so_far(found.call_id)
        if call_log is None:
            self._log.debug("no history to resume from", connection=connection)
            return
        self.take(call_log)

    def _is_young(self, found: FoundCall) -> bool:
        if self._earlier is not None or self._under_way or found.created_at is None:
            return False
        return self._following.now() - found.created_at < _YOUNG_SECONDS

    def take(self, call_log: CallLog) -> None:
        """The history into the state: rebuilt, muted or recovered, as the call's past demands."""
        tracker, tracked, now = self._following.tracker, self._tracked, self._following.now()
        earlier, self._earlier = self._earlier, None
        under_way, self._under_way = self._under_way, False
        if earlier is not None:
            recovered = tracker.rebuild(tracked, earlier.waiting, call_log.events, now)
        elif under_way and not len(tracked.seen):
            tracker.mute_before(tracked, call_log.events, now)
            return
        else:
            recovered = tracker.recover(tracked, call_log.events, now, only_after_first=under_way)
        if recovered:
            self._log.info("recovered what the stream missed", events=recovered)


def _ended_at(call_log: CallLog | None) -> float | None:
    """When a call ended, by what the API says of it."""
    if call_log is None:
        return None
    if call_log.ended_at is not None:
        return call_log.ended_at
    if call_log.created_at is None or call_log.duration_seconds is None:
        return None
    return call_log.created_at + call_log.duration_seconds
