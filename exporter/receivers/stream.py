"""One call's event stream, through every reconnect, until the call is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Final, NamedTuple

import httpx
from structlog.typing import FilteringBoundLogger

from exporter.calls.tracker import Progress
from exporter.errors import Interrupted, Refused
from exporter.network.codings import UnknownCoding
from exporter.receivers.answers import transport_failure
from exporter.receivers.backoff import Backoff
from exporter.receivers.client import AtomsApi
from exporter.receivers.reading import Reader, reader_for

TOKEN_RETRY_SECONDS: Final = 30.0
"""A refused token is tried again this slowly: it may be granted rights while we run."""

NOT_FOUND_TRIES: Final = 4
"""A webhook may announce a call before its log can be found: about seven seconds of patience."""

LONGEST_RETRY_SECONDS: Final = 30.0
"""The longest reconnection time (``retry:``) we let a server set."""

SHORT_SECONDS: Final = 60.0
"""A stream that its server ends sooner than this was not worth opening."""

_GOING_ON: Final = Progress.GOING_ON  # looking it up in its enum for each event would cost more than the comparison


class Ended(Enum):
    """How following a call came to its end."""

    FINISHED = "finished"
    """The call ended in the stream, or somebody said that it had."""
    OVER = "over"
    """The API answers 400: the call was over before, or was never one."""
    NOT_FOUND = "not_found"
    """The API does not know the call, and said so several times."""
    REFUSED = "refused"
    """We may not see this call."""
    IDLE = "idle"
    """Nothing happened in the call for so long that nothing will."""


class Ending(NamedTuple):
    """The end of a subscription: ``status`` is the HTTP status where one decided it."""

    how: Ended
    status: int | None
    payloads: int
    connections: int


class Subscription:
    """Follows one call. ``run()`` returns when the call is over and can be cancelled at any time.

    :param on_payload: takes each event's JSON at once and says what it learnt; it must not block. What it raises ends
        the subscription.
    :param on_connected: awaited after each successful connect and before its first bytes are handed over (they wait,
        bounded); the argument is the number of the connection, from 1. The place to fetch what a gap has lost.
    :param idle_timeout: seconds without a byte after which a connection is taken for dead.
    :param call_idle_limit: seconds without an event, on streams that work, after which the call is given up.
    :param end_grace: seconds to wait for the rest once the call has ended.
    """

    __slots__ = (
        "_api",
        "_backoff",
        "_call_idle_limit",
        "_deadline",
        "_end_grace",
        "_fresh",
        "_goodbyes",
        "_heard_at",
        "_idle_timeout",
        "_log",
        "_look",
        "_max_event_bytes",
        "_not_found",
        "_on_connected",
        "_on_payload",
        "_opened_at",
        "_over",
        "_quiet_since",
        "_retry_seconds",
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
        *,
        on_payload: Callable[[bytes], Progress],
        on_connected: Callable[[int], Awaitable[None]],
        backoff: Backoff,
        log: FilteringBoundLogger,
        idle_timeout: float = 60.0,
        call_idle_limit: float = 900.0,
        end_grace: float = 3.0,
        max_event_bytes: int = 1 << 20,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.call_id = call_id
        self.payloads = 0
        self.connections = 0
        self._api = api
        self._on_payload = on_payload
        self._on_connected = on_connected
        self._backoff = backoff
        self._log = log
        self._idle_timeout = idle_timeout
        self._call_idle_limit = call_idle_limit
        self._end_grace = end_grace
        self._max_event_bytes = max_event_bytes
        self._sleep = sleep
        self._state: str | None = None
        self._over: Ended | None = None
        self._retry_seconds = 0.0
        self._opened_at = 0.0
        self._goodbyes = 0
        self._not_found = 0
        self._fresh = True  # no event on this connection yet
        self._quiet_since = 0.0
        self._heard_at = 0.0
        self._look: asyncio.TimerHandle | None = None
        self._deadline: asyncio.Timeout | None = None

    def call_ended(self) -> None:
        """Somebody else knows that the call is over: take what still comes, then end."""
        self._over = Ended.FINISHED
        self._end_within(self._end_grace if self._state == "open" else 0.0)

    def give_up(self) -> None:
        """Nothing is expected of this call any more: end now."""
        self._over = Ended.IDLE
        self._end_within(0.0)

    async def run(self) -> Ending:
        """Follow the call to its end."""
        self._quiet_since = asyncio.get_running_loop().time()
        try:
            while True:
                self._move("connecting")
                outcome = await self._connection()
                if isinstance(outcome, Ending):
                    return outcome
                await self._wait(outcome)
                if self._over is not None:
                    return self._ending(self._over)
                self._api.telemetry.stream_reconnected(outcome.reason)
        finally:
            self._move(None)

    async def _connection(self) -> Ending | Interrupted:
        """One connection, from opening to its end."""
        try:
            response = await self._api.open_stream(self.call_id)
        except Refused as refused:
            return self._refused(refused.status)
        except Interrupted as interrupted:
            self._quiet_since = asyncio.get_running_loop().time()  # an outage says nothing about the call
            return interrupted
        self.connections += 1
        self._not_found = 0
        self._fresh = True
        self._opened_at = asyncio.get_running_loop().time()
        self._move("open")
        try:
            await self._on_connected(self.connections)
        except BaseException:
            await response.aclose()
            raise
        try:
            reader = reader_for(response, self._max_event_bytes, self._api.shares)
        except UnknownCoding as error:
            await response.aclose()
            self._api.telemetry.bound_hit("stream_coding")
            return Interrupted(str(error), reason="content_type")
        del response  # with its request it is some kilobytes that nobody needs while the stream lasts
        cause = await self._read(reader)
        return cause if self._over is None else self._ending(self._over)

    async def _read(self, reader: Reader) -> Interrupted:
        """Everything one connection brings; returns why it ended."""
        self._heard_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(None) as self._deadline:
                self._watch(reader, -1, self.payloads)
                if self._over is not None:
                    self._end_within(self._end_grace)
                await reader.drain(self._take, self._falls_behind)
        except TimeoutError:
            return Interrupted("silence", reason="idle")
        except httpx.RequestError as error:
            failure = transport_failure(error)
            return Interrupted(str(failure), reason="idle" if failure.reason == "timeout" else "cut")
        except _StreamClosed:
            return Interrupted("the server closed the stream", reason="sse_close")
        finally:
            self._deadline = None
            if self._look is not None:
                self._look.cancel()
            for _ in range(reader.oversize):
                self._api.telemetry.event_rejected("oversize")
            if reader.retry_seconds is not None:
                self._retry_seconds = min(reader.retry_seconds, LONGEST_RETRY_SECONDS)
        return Interrupted("the stream ended", reason="cut")

    def _watch(self, reader: Reader, fed: int, payloads: int) -> None:
        """Notice silence by looking at counters eight times per ``idle_timeout``, so that no event costs a timer."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if reader.fed != fed:
            self._heard_at = now
        if self.payloads != payloads and not self._fresh:
            self._quiet_since = now
        if now - self._quiet_since >= self._call_idle_limit:
            self.give_up()
        elif now - self._heard_at >= self._idle_timeout:
            self._end_within(0.0)
        else:
            pause = min(self._idle_timeout, self._call_idle_limit) / 8
            self._look = loop.call_later(pause, self._watch, reader, reader.fed, self.payloads)

    def _take(self, payload: bytes) -> None:
        self.payloads += 1
        if self._fresh and b'"sse_init"' not in payload and b'"sse_close"' not in payload:
            self._fresh = False
            self._backoff.reset()
        progress = self._on_payload(payload)
        if progress is not _GOING_ON:
            self._learn(progress)

    def _falls_behind(self) -> None:
        self._api.telemetry.bound_hit("stream_share")
        self._log.warning(
            "a stream brings more than its share and is read more slowly than it comes", call_id=self.call_id
        )

    def _learn(self, progress: Progress) -> None:
        if progress is Progress.CALL_ENDED and self._over is None:
            self.call_ended()
        elif progress is Progress.STREAM_CLOSED:
            raise _StreamClosed

    def _refused(self, status: int) -> Ending | Interrupted:
        if status == 401:
            self._quiet_since = asyncio.get_running_loop().time()
            return Interrupted("token refused", reason="unauthorized", retry_after_seconds=TOKEN_RETRY_SECONDS)
        if self._over is not None:
            return self._ending(self._over, status)
        if status == 400:
            return self._ending(Ended.OVER, status)
        if status != 404:
            self._log.warning("call refused", call_id=self.call_id, status=status)
            return self._ending(Ended.REFUSED, status)
        self._not_found += 1
        if self._not_found >= NOT_FOUND_TRIES:
            self._log.warning("call not found", call_id=self.call_id, status=status)
            return self._ending(Ended.NOT_FOUND, status)
        return Interrupted("call not found", reason="not_found")

    async def _wait(self, interrupted: Interrupted) -> None:
        """Back off, unless the end of the call becomes known meanwhile."""
        if self._over is not None:
            return
        asked = max(
            interrupted.retry_after_seconds or 0.0, self._retry_seconds, self._pause_after_goodbyes(interrupted)
        )
        delay = self._backoff.delay(at_least_seconds=asked)
        self._log.debug(
            "stream interrupted",
            call_id=self.call_id,
            reason=interrupted.reason,
            detail=str(interrupted),
            retry_in_seconds=round(delay, 1),
        )
        self._move("waiting")
        try:
            async with asyncio.timeout(None) as self._deadline:
                await self._sleep(delay)
        except TimeoutError:
            pass  # told to end
        finally:
            self._deadline = None

    def _pause_after_goodbyes(self, interrupted: Interrupted) -> float:
        """A server that says goodbye soon after every greeting may play a finished call again and again: its events
        are no reason to come back at once."""
        lasted = asyncio.get_running_loop().time() - self._opened_at
        self._goodbyes = self._goodbyes + 1 if interrupted.reason == "sse_close" and lasted < SHORT_SECONDS else 0
        return min(2.0 ** min(self._goodbyes - 1, 9), LONGEST_RETRY_SECONDS) if self._goodbyes > 1 else 0.0

    def _ending(self, how: Ended, status: int | None = None) -> Ending:
        self._log.debug("stream over", call_id=self.call_id, how=how.value, status=status, payloads=self.payloads)
        return Ending(how, status, self.payloads, self.connections)

    def _end_within(self, seconds: float) -> None:
        deadline = self._deadline
        if deadline is None or deadline.expired():
            return
        at = asyncio.get_running_loop().time() + seconds
        before = deadline.when()
        if before is None or at < before:
            deadline.reschedule(at)

    def _move(self, state: str | None) -> None:
        self._api.telemetry.stream_state(self._state, state)
        self._state = state


class _StreamClosed(Exception):
    """The stream said goodbye: nothing comes after it."""
