"""One call's event stream, through every reconnect, until the call is over. Whether it is over, others decide."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, Protocol

import httpx
from structlog.typing import FilteringBoundLogger

from exporter.calls.evidence import EndInStream, Evidence, Parting, StreamOpened, StreamParted
from exporter.calls.tracker import Progress
from exporter.errors import Interrupted, Refused
from exporter.network.codings import UnknownCoding
from exporter.network.transport import close
from exporter.receivers.answers import transport_failure
from exporter.receivers.backoff import Backoff
from exporter.receivers.client import AtomsApi
from exporter.receivers.reading import Reader, reader_for

TOKEN_RETRY_SECONDS: Final = 30.0
"""A refused token is tried again this slowly: it may be granted rights while we run."""

LONGEST_RETRY_SECONDS: Final = 30.0
"""The longest reconnection time (``retry:``) we let a server set."""

TRIES_IN_VAIN: Final = 4
"""After so many tries in a row that brought nothing new, a call cannot be followed, and an operator is told."""

_GOING_ON: Final = Progress.GOING_ON  # looking it up in its enum for each event would cost more than the comparison


class Owner(Protocol):
    """Whose stream this is: takes what comes, and knows whether the call goes on."""

    def taker(self) -> Callable[[bytes], Progress]:
        """What takes each event's JSON; it must not block. What it raises ends the subscription."""

    def news(self) -> int:
        """How many events of the call are known: grows with each that nobody had seen before."""

    def report(self, evidence: Evidence) -> None:
        """Something that may tell whether the call is over."""

    async def connected(self, connection: int) -> None:
        """A stream is open, the first one is number 1; its bytes wait, bounded, for what a gap has lost."""

    async def may_open(self) -> None:
        """Waits until the stream may be opened (again)."""


class Ending(NamedTuple):
    """The end of a subscription."""

    payloads: int
    connections: int


class Subscription:
    """Follows one call. ``run()`` returns when it was told that the call is over and can be cancelled at any time.

    :param place: one of the places for streams that are open or being opened; who waits for its next try has none.
    :param idle_timeout: seconds without a byte after which a connection is taken for dead.
    :param end_grace: seconds to wait for the rest once the call has ended.
    """

    __slots__ = (
        "_api",
        "_backoff",
        "_deadline",
        "_end_grace",
        "_heard_at",
        "_idle",
        "_idle_timeout",
        "_in_vain",
        "_last_event_id",
        "_log",
        "_look",
        "_max_event_bytes",
        "_on_payload",
        "_over",
        "_owner",
        "_place",
        "_retry_seconds",
        "_said",
        "_sleep",
        "_state",
        "call_id",
        "connections",
        "payloads",
    )

    def __init__(
        self,
        api: AtomsApi,
        call_id: str,
        owner: Owner,
        *,
        place: Callable[[], AbstractAsyncContextManager[object]],
        backoff: Backoff,
        log: FilteringBoundLogger,
        idle_timeout: float = 60.0,
        end_grace: float = 3.0,
        max_event_bytes: int = 1 << 20,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.call_id = call_id
        self.payloads = 0
        self.connections = 0
        self._api = api
        self._owner = owner
        self._place = place
        self._backoff = backoff
        self._log = log
        self._idle_timeout = idle_timeout
        self._end_grace = end_grace
        self._max_event_bytes = max_event_bytes
        self._sleep = sleep
        self._state: str | None = None
        self._over = False
        self._retry_seconds = 0.0
        self._last_event_id = ""
        self._in_vain = 0
        self._said = False
        self._heard_at = 0.0
        self._on_payload: Callable[[bytes], Progress] = _nobody
        self._look: asyncio.TimerHandle | None = None
        self._idle: asyncio.Timeout | None = None
        self._deadline: asyncio.Timeout | None = None

    @property
    def is_open(self) -> bool:
        """Whether events can come."""
        return self._state == "open"

    @property
    def says_the_last_id(self) -> bool:
        """Whether the next connection goes on where the last one ended, by the standard: frames carry ids."""
        return self._last_event_id != ""

    def end(self) -> None:
        """The call is over: take what still comes, then end."""
        if not self._over:
            self._over = True
            within(self._deadline, self._end_grace if self.is_open else 0.0)

    async def run(self) -> Ending:
        """Follow the call to its end."""
        try:
            async with asyncio.timeout(None) as self._deadline:
                while not self._is_over():
                    interrupted = await self._try()
                    if not self._is_over():
                        await self._wait(interrupted)
        except TimeoutError:
            if not self._over:
                raise
        finally:
            self._deadline = None
            self._move(None)
        if self._said:
            self._log.warning("a call could not be followed to its end", call_id=self.call_id)
        self._log.debug("stream over", call_id=self.call_id, payloads=self.payloads, connections=self.connections)
        return Ending(self.payloads, self.connections)

    def _is_over(self) -> bool:
        return self._over

    async def _try(self) -> Interrupted:
        """Open the stream when that makes sense and there is room, and read it to its end; returns why it ended."""
        await self._owner.may_open()
        async with self._place():
            try:
                before, interrupted, how = await self._connect()
            finally:
                self._move(None if self._over else "waiting")
        if self._owner.news() > before:
            self._succeeds()
            self._backoff.reset()
        else:
            self._in_vain += 1
        self._owner.report(StreamParted(how, time.monotonic()))
        return interrupted

    async def _connect(self) -> tuple[int, Interrupted, Parting]:
        """One connection, from opening to its end. Returns how many events were known before its first, and its end."""
        known = self._owner.news()
        self._move("connecting")
        try:
            response = await self._api.open_stream(self.call_id, last_event_id=self._last_event_id)
        except Refused as refused:
            return known, *self._refused(refused.status)
        except Interrupted as failure:
            return known, failure, Parting.FAILED
        known, interrupted = await self._connection(response)
        return known, interrupted, Parting.CLOSED if interrupted.reason == "sse_close" else Parting.CUT

    async def _connection(self, response: httpx.Response) -> tuple[int, Interrupted]:
        """What an open stream brings. Returns how many events were known before its first, and why it ended."""
        self.connections += 1
        self._move("open")
        self._owner.report(StreamOpened(time.monotonic()))
        try:
            await self._owner.connected(self.connections)
        except BaseException:
            await close(response)
            raise
        self._on_payload = self._owner.taker()
        known = self._owner.news()
        try:
            reader = reader_for(response, self._max_event_bytes, self._api.shares)
        except UnknownCoding as error:
            await close(response)
            self._api.telemetry.bound_hit("stream_coding")
            return known, Interrupted(str(error), reason="content_type")
        del response  # with its request it is some kilobytes that nobody needs while the stream lasts
        return known, await self._read(reader, known)

    async def _read(self, reader: Reader, known: int) -> Interrupted:
        """Everything one connection brings; returns why it ended."""
        self._heard_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(None) as self._idle:
                self._watch(reader, -1, known)
                await reader.drain(self._take, self._falls_behind)
        except TimeoutError:
            return Interrupted("silence", reason="idle")
        except httpx.RequestError as error:
            failure = transport_failure(error)
            return Interrupted(str(failure), reason="idle" if failure.reason == "timeout" else "cut")
        except _StreamClosed:
            return Interrupted("the server closed the stream", reason="sse_close")
        finally:
            self._idle = None
            if self._look is not None:
                self._look.cancel()
            for _ in range(reader.oversize):
                self._api.telemetry.event_rejected("oversize")
            if reader.retry_seconds is not None:
                self._retry_seconds = min(reader.retry_seconds, LONGEST_RETRY_SECONDS)
            if reader.last_event_id is not None:
                self._last_event_id = _fit_for_a_header(reader.last_event_id)
        return Interrupted("the stream ended", reason="cut")

    def _watch(self, reader: Reader, fed: int, known: int) -> None:
        """Notice silence by looking at counters eight times per ``idle_timeout``, so that no event costs a timer."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if reader.fed != fed:
            self._heard_at = now
        if self._in_vain and self._owner.news() > known:
            self._succeeds()
        if now - self._heard_at >= self._idle_timeout:
            within(self._idle, 0.0)
        else:
            self._look = loop.call_later(self._idle_timeout / 8, self._watch, reader, reader.fed, known)

    def _take(self, payload: bytes) -> None:
        self.payloads += 1
        progress = self._on_payload(payload)
        if progress is not _GOING_ON:
            self._learn(progress)

    def _falls_behind(self) -> None:
        self._api.telemetry.bound_hit("stream_share")
        self._log.warning(
            "a stream brings more than its share and is read more slowly than it comes", call_id=self.call_id
        )

    def _learn(self, progress: Progress) -> None:
        if progress is Progress.CALL_ENDED and not self._over:
            self._owner.report(EndInStream(time.monotonic()))
        elif progress is Progress.STREAM_CLOSED:
            raise _StreamClosed

    def _refused(self, status: int) -> tuple[Interrupted, Parting]:
        """It says nothing for sure: the call may be over, not there yet, none of ours, or an edge is in a mood."""
        if status == 401:
            slowly = TOKEN_RETRY_SECONDS
            return Interrupted("token refused", reason="unauthorized", retry_after_seconds=slowly), Parting.FAILED
        return Interrupted(f"HTTP {status}", reason="not_found" if status == 404 else "refused"), Parting.REFUSED

    async def _wait(self, interrupted: Interrupted) -> None:
        """Back off, unless the end of the call becomes known meanwhile."""
        asked = max(interrupted.retry_after_seconds or 0.0, self._retry_seconds)
        delay = self._backoff.delay(at_least_seconds=asked)
        self._log.debug(
            "stream interrupted",
            call_id=self.call_id,
            reason=interrupted.reason,
            detail=str(interrupted),
            retry_in_seconds=round(delay, 1),
        )
        if self._in_vain >= TRIES_IN_VAIN and not self._said:
            self._said = True
            self._log.warning(
                "a call cannot be followed",
                call_id=self.call_id,
                reason=interrupted.reason,
                answer=str(interrupted),
                tries=self._in_vain,
            )
        self._move("failing" if self._said else "waiting")
        await self._sleep(delay)
        if not self._over:
            self._api.telemetry.stream_reconnected(interrupted.reason)

    def _succeeds(self) -> None:
        """Something new has come."""
        self._in_vain = 0
        if self._said:
            self._said = False
            self._log.warning("a call is followed again", call_id=self.call_id)

    def _move(self, state: str | None) -> None:
        if state != self._state:
            self._api.telemetry.stream_state(self._state, state)
            self._state = state


def within(deadline: asyncio.Timeout | None, seconds: float) -> None:
    """Let a deadline pass in so many seconds at the latest."""
    if deadline is None or deadline.expired():
        return
    at = asyncio.get_running_loop().time() + seconds
    before = deadline.when()
    if before is None or at < before:
        deadline.reschedule(at)


def _nobody(payload: bytes) -> Progress:
    """Nobody takes it yet."""
    return _GOING_ON


def _fit_for_a_header(event_id: bytes) -> str:
    """The id, if a request can carry it; else none."""
    text = event_id.decode("utf-8", "replace").strip()
    return text if text.isascii() and text.isprintable() else ""


class _StreamClosed(Exception):
    """The stream said goodbye: nothing comes after it."""
