"""One replica in its fleet: everything that has to do with the others, put together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from exporter.calls.evidence import Evidence, Standing, WebhookSaid, Word
from exporter.errors import Interrupted
from exporter.fleet.connecting import AsyncRedis, Redis, goes_on, meaning, shown_url
from exporter.fleet.facts import Row
from exporter.fleet.membership import About, Membership, MembershipCounts, View, joined
from exporter.fleet.owning import Owning, OwningCounts, found_call
from exporter.fleet.seat import Seat
from exporter.fleet.sharing import Sharing
from exporter.fleet.store import RedisStore
from exporter.receivers.following import Following
from exporter.state.kept import Fenced, SavedState

Spawn = Callable[[Coroutine[Any, Any, None]], object]
_PATIENCE_SECONDS = 5.0
_COMMIT_PATIENCE_SECONDS = 10.0
_ASKS_FOR_RESULTS = 60
_ASKS_AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Settings:
    """Where the fleet is, and who this replica is in it."""

    url: str
    name: str
    namespace: str
    lease_seconds: float
    version: str
    password: str | None = None

    def redis(self) -> AsyncRedis:
        """For the loop: no answer is worth waiting for when the lease is over meanwhile."""
        patience = min(_PATIENCE_SECONDS, self.lease_seconds / 2)
        return AsyncRedis(self.url, self.namespace, password=self.password, patience_seconds=max(patience, 2.0))


class FleetCounts(MembershipCounts, OwningCounts, Protocol):
    """What is said about the fleet in metrics."""

    def seen(self, *, members: int, owned: int, unowned: int, polls: bool) -> None:
        """The fleet as the last renewal told it."""


class Owner(Protocol):
    """Whoever counts what is followed here."""

    def fenced(self, why: Fenced) -> None:
        """Others have taken over: end."""

    def lost_data(self, store_knows: bool) -> None:
        """Calls have to be looked for again, and, where the store has not met it, Redis has to be given everything."""

    def polls(self, does: bool) -> None:
        """Whether this replica asks the API for its lists."""


class Member:
    """A replica that has joined.

    It holds its seat from the beginning of ``membership()`` to its end; ``attach`` makes it claim calls.
    """

    def __init__(self, settings: Settings, redis: AsyncRedis, seat: Seat, log: FilteringBoundLogger) -> None:
        self.seat = seat
        self.store = RedisStore(
            Redis(
                settings.url,
                settings.namespace,
                password=settings.password,
                patience_seconds=_COMMIT_PATIENCE_SECONDS,
            ),
            seat,
            lease_seconds=settings.lease_seconds,
        )
        self.saved = SavedState()
        self.where = f"{shown_url(settings.url)}, as {settings.name}"
        self._settings = settings
        self._redis = redis
        self._log = log
        self._since = time.time()
        self._fenced: Fenced | None = None
        self._left = False
        self._owner: Owner | None = None
        self._counts: FleetCounts | None = None
        self._following: Following | None = None
        self._room: Callable[[], int] = lambda: 0
        self._polls = False
        self._renewing: asyncio.Task[None] | None = None
        self._membership = Membership(
            redis,
            seat,
            settings.lease_seconds,
            log,
            about=self._about,
            counts=self,
            on_fenced=self._on_fenced,
            on_lost=self._on_lost,
            on_view=self._on_view,
        )

    @property
    def view(self) -> View:
        """The fleet as it was last told."""
        return self._membership.view

    # -- its life

    async def begin(self) -> None:
        """Hold the seat from now on, and read what an earlier life of this name left; waits for Redis."""
        self._renewing = asyncio.create_task(self._membership.run())
        self._renewing.add_done_callback(self._no_longer_renewed)
        while True:
            try:
                self.saved = await asyncio.to_thread(self.store.load_numbers)
                return
            except Interrupted as problem:
                self._log.warning("what was kept cannot be read yet", reason=problem.reason)
                await asyncio.sleep(1.0)

    async def leave(self) -> bool:
        """Give up the seat and all calls, after the last commit of what was counted. Whether that is done.

        What this replica shows can still be kept, until somebody else has its name.
        """
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
            self._renewing = None
        if not self._left and self._fenced is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    self._left = await self._membership.leave()
        return self._left

    async def end(self) -> None:
        """Leave, unless it has left, or was thrown out."""
        await self.leave()
        await self._redis.aclose()

    def attach(
        self,
        following: Following,
        *,
        counts: FleetCounts,
        bound_hit: Callable[[str], None],
        room: Callable[[], int],
        ended: Callable[[str], None],
    ) -> Sharing:
        """Calls can be followed now; who finds some tells what is returned."""
        self._counts, self._following, self._room = counts, following, room
        self.owning = Owning(
            self._redis,
            self.seat,
            self._settings.lease_seconds,
            following,
            self.store,
            self._log,
            counts,
            room=room,
            ended=ended,
            evidence=lambda row: _evidence(following, row),
        )
        self.sharing = Sharing(
            self._redis,
            self.seat,
            following,
            self.owning,
            self._log,
            look_soon=self._membership.look_soon,
            past_is_known=self.saved.existed,
            bound_hit=bound_hit,
            look_again=self._look_again,
        )
        return self.sharing

    def start(self, owner: Owner, spawn: Spawn) -> None:
        """Claim, publish and hear, in the group that owns the process' life; the owner is told of all from now on."""
        self._owner = owner
        spawn(self.owning.run())
        spawn(self.sharing.publish())
        spawn(self.sharing.hear())
        if self._fenced is not None:
            owner.fenced(self._fenced)
        self._on_view(self.view)
        self._membership.look_soon()

    async def counted_since(self) -> tuple[float | None, float | None]:
        """From when on calls that ended are counted, and when anybody last kept anything; Unix time. Waits for
        Redis."""
        fields = ["counts_since", "committed_at"]
        while goes_on():
            try:
                with meaning():
                    since, at = await self._redis.client.hmget(f"{self._redis.prefix}fleet", fields)
                return _number(since), _number(at)
            except Interrupted:
                await asyncio.sleep(1.0)
        raise asyncio.CancelledError

    async def said_by_others(self, identities: Iterable[str], *, patient: bool = False) -> list[str] | None:
        """Which of these another replica has counted; the rest are for this one to count. Waits for the commit of
        another that is about to count one, or until that one is gone; and for Redis: after a while in vain it is not
        known (``None``), and none may be counted yet, unless ``patient``.
        """
        asked, in_vain = list(identities), 0
        while asked:
            try:
                answers = await self._redis.run("say", self.seat.name, self.seat.epoch, *asked)
            except Interrupted:
                in_vain += 1
                if not goes_on() or (in_vain >= _ASKS_FOR_RESULTS and not patient):
                    return None
            else:
                if 2 not in answers:
                    return [each for each, mine in zip(asked, answers, strict=False) if mine == 0]
            await asyncio.sleep(_ASKS_AGAIN_SECONDS)
        return []

    # -- what its membership tells

    def _about(self) -> About:
        calls = len(self._following) if self._following is not None else 0
        return About(self._since, calls, max(self._room(), 0), self._settings.version)

    def _on_fenced(self, why: Fenced) -> None:
        self._fenced = why
        if self._owner is not None:
            self._owner.fenced(why)

    def _no_longer_renewed(self, renewing: asyncio.Task[None]) -> None:
        """Whatever broke: without a lease there is nothing to be done but to end."""
        if not renewing.cancelled() and (broken := renewing.exception()) is not None:
            self._log.error("the lease cannot be renewed", exc_info=broken)
            self._on_fenced(Fenced("its lease could not be renewed"))

    def _look_again(self) -> None:
        if self._owner is not None:
            self._owner.lost_data(True)

    def _on_lost(self, store_knows: bool) -> None:
        if not store_knows:
            self.store.lose()
        if self._owner is not None:
            self._owner.lost_data(store_knows)

    def _on_view(self, view: View) -> None:
        if self._owner is None or self._counts is None:
            return
        self._counts.seen(members=len(view.members), owned=view.owned, unowned=view.unowned, polls=view.polls)
        self.owning.seen(view)
        if view.polls != self._polls:
            self._polls = view.polls
            self._owner.polls(view.polls)

    def renewed(self, seconds: float, *, late: bool) -> None:
        """For its membership."""
        if self._counts is not None:
            self._counts.renewed(seconds, late=late)


@contextlib.asynccontextmanager
async def member_of(settings: Settings, log: FilteringBoundLogger) -> AsyncIterator[Member]:
    """Join, and leave at the end."""
    redis = settings.redis()
    about = About(time.time(), 0, 0, settings.version)
    seat = await joined(redis, settings.name, lease_seconds=settings.lease_seconds, about=about, log=log)
    log.info("joined the fleet", replica=settings.name, redis=shown_url(settings.url), founded=seat.founded)
    member = Member(settings, redis, seat, log)
    try:
        await member.begin()
        yield member
    finally:
        await member.end()


def _evidence(following: Following, row: Row) -> Evidence | None:
    """What a row says of its call, for its judge."""
    found = found_call(row)
    if row.kind == "told":
        word = Word(
            Standing.OVER,
            time.monotonic(),
            row.outcome,
            ended_at=row.ended_at,
            lasted_seconds=row.lasted_seconds,
        )
        return WebhookSaid(word)
    return following.said_by_list(found) if row.kind == "listed" else None


def _number(text: bytes | None) -> float | None:
    try:
        return float(text or 0) or None
    except ValueError:
        return None
