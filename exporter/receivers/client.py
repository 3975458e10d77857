"""The Atoms API: one client for its JSON answers, one for its event streams, and what both learn about it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

import httpx
from structlog.typing import FilteringBoundLogger

from exporter.calls.telemetry import Telemetry
from exporter.errors import AtomsExporterError, ConfigError, Interrupted, Malformed, Refused
from exporter.network.codings import BrokenCoding, UnknownCoding, codings_of
from exporter.network.proxies import Proxies
from exporter.network.shown import shown_text, shown_url
from exporter.network.transport import Routed, Transport, answered, close, decoded
from exporter.network.trust import Trust
from exporter.protocol import api
from exporter.receivers.answers import failure_label, judge, media_type, transport_failure
from exporter.receivers.api_time import ApiTime
from exporter.receivers.room import LARGE_BYTES, NO_ROOM, Hold, Room
from exporter.receivers.shares import Shares
from exporter.receivers.token import Token
from exporter.receivers.transport import PushTransport


class Most(NamedTuple):
    """The bounds of an answer: bytes after decompression, and commas. A list of 8 million zeros has 16 megabytes, and
    takes a hundred times as much memory once it is one of objects; each of them needs a comma."""

    body_bytes: int
    commas: int


MOST_OF_A_HISTORY: Final = Most(32 << 20, 1_000_000)
"""A call of an hour has some ten megabytes of history."""

MOST_OF_A_PAGE: Final = Most(16 << 20, 300_000)
"""A page has 500 calls at most, or 100 agents."""

AT_ONCE_BYTES: Final = 256 << 10
"""Larger answers are made sense of in a thread: a page of 300,000 rows takes a second, with a NaN in it three."""

OVERSIZE: Final = "oversize"
"""The reason of a refusal by these bounds: the same answer would be refused again."""

FAILURES_BEFORE_A_WORD: Final = 5
"""So many streams in a row that cannot be opened are worth a warning; one may be anything."""

LIST: Final = "poll"
"""The source whose answers say whether the API works for us, where calls are looked for in its list."""

_OUTCOMES: Final = {
    "timeout": "timeout",
    "rate_limited": "rate_limited",
    "content_type": "unreadable",
    "content_coding": "unreadable",
}
_OUTCOMES_BY_STATUS: Final = {401: "unauthorized", 403: "unauthorized", 404: "not_found"}
Answer = TypeVar("Answer")


class AtomsApi:
    """Asks the API, and tells operators once when it stops or starts to accept the token.

    :param token: the bearer token; it is sent to ``base_url`` only, redirects are not followed. One that comes from a
        file is read again when the API refuses it.
    :param env: the environment, for proxies and for whom to trust.
    :param connect_timeout: seconds to open a connection.
    :param connect_concurrency: streams being opened at one time.
    :param read_timeout: seconds until an ordinary request must have been answered, body and all.
    :param idle_timeout: seconds of silence after which a stream counts as dead.
    :param judged_by_list: whether the API counts as up by the list of calls alone: the answers about single calls are
        good and bad for reasons of their own. False where no list is read.
    """

    def __init__(
        self,
        base_url: str,
        token: str | Token,
        *,
        telemetry: Telemetry,
        log: FilteringBoundLogger,
        env: Mapping[str, str] | None = None,
        user_agent: str = "atoms-exporter",
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        idle_timeout: float = 60.0,
        connect_concurrency: int = 50,
        judged_by_list: bool = True,
        clock: Callable[[], float] = time.time,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.telemetry = telemetry
        self.shares = Shares(telemetry.bound_hit)
        self.log = log
        self.clock = clock
        self.time = ApiTime()
        self._base_url = base_url
        self._read_timeout = read_timeout
        self._open_timeout = connect_timeout + idle_timeout
        self._judged_by_list = judged_by_list
        self.token = token if isinstance(token, Token) else Token(token)
        self._token_refused = False
        self._told_of = self.token.value
        self._unopened = 0
        # Thousands of calls may be found at once, and httpx takes 0.3 ms to make and send a request: a few at a
        # time between two turns of the loop keep the open streams running (449 ms of stall without, measured).
        self._building = asyncio.Semaphore(4)
        self.room = Room()
        headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        environment = {} if env is None else env
        proxies = Proxies.of(environment)
        trust = Trust(environment)
        try:
            self._streams = httpx.AsyncClient(
                base_url=base_url,
                headers={**headers, "Accept": "text/event-stream", "Cache-Control": "no-store"},
                transport=transport
                or Routed(
                    proxies,
                    direct=PushTransport(connect_concurrency=connect_concurrency, trust=trust, shares=self.shares),
                    proxied=Transport(trust, proxies, keep=0),
                ),
                timeout=httpx.Timeout(idle_timeout, connect=connect_timeout, pool=None),
                trust_env=False,
            )
            self._answers = httpx.AsyncClient(
                base_url=base_url,
                headers={**headers, "Accept": "application/json", "Accept-Encoding": "gzip, deflate"},
                transport=Transport(trust, proxies),
                timeout=httpx.Timeout(read_timeout, connect=connect_timeout, pool=None),
                trust_env=False,
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise ConfigError("api.base_url", f"cannot be used: {error}") from error

    def shown_url(self, *path: str) -> str:
        """Where a question goes, fit for a log."""
        return "/".join((shown_url(self._base_url).rstrip("/"), *path))

    async def open_stream(self, call_id: str, *, last_event_id: str = "") -> httpx.Response:
        """The answer to ``GET /events``, its body unread; the caller closes it.

        ``last_event_id`` is the last ``id:`` of an earlier stream of this call, if it had any.

        Raises Refused or Interrupted for everything that is not an event stream.
        """
        try:
            response = await self._authenticated(lambda token: self._open(call_id, last_event_id, token))
        except Refused as refused:
            self._learn("stream", refused.status, refused)
            raise
        except Interrupted as interrupted:
            self._learn("stream", None, interrupted)
            self._unopened += 1
            if self._unopened == FAILURES_BEFORE_A_WORD:
                self.log.warning("streams cannot be opened", url=self.shown_url("events"), cause=str(interrupted))
            raise
        self._learn("stream", 200, None)
        if self._unopened >= FAILURES_BEFORE_A_WORD:
            self.log.info("streams can be opened again")
        self._unopened = 0
        return response

    async def _open(self, call_id: str, last_event_id: str, authorization: Mapping[str, str]) -> httpx.Response:
        async with self._building:
            headers = {**authorization, "Last-Event-ID": last_event_id} if last_event_id else authorization
            request = self._streams.build_request("GET", "/events", params={"callId": call_id}, headers=headers)
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(self._open_timeout):
                response = await self._streams.send(request, stream=True)
        except (httpx.RequestError, TimeoutError) as error:
            raise self._counted(transport_failure(error)) from error
        self.time.heard(response.headers.get("date"))
        problem = judge(response, now=self.clock()) or _unfit(response, "text/event-stream")
        if problem is not None:
            await close(response)
            reason = problem.reason if isinstance(problem, Interrupted) else ""
            if reason == "content_coding":
                self.telemetry.bound_hit("stream_coding")
            self.telemetry.stream_failed(failure_label(response.status_code, reason))
            try:
                raise problem
            finally:
                del problem  # its traceback holds this frame: only the cycle collector would free both
        return response

    def _counted(self, failure: Interrupted) -> Interrupted:
        self.telemetry.stream_failed(failure_label(None, failure.reason))
        return failure

    async def _authenticated(self, ask: Callable[[Mapping[str, str]], Awaitable[Answer]]) -> Answer:
        """Ask with the token; where it is refused and its file holds another by now, once more with that."""
        token = self.token.value
        try:
            return await ask({"Authorization": f"Bearer {token}"})
        except Refused as refused:
            if refused.status != 401 or not await self.token.renewed(token):
                raise
        if self._told_of != self.token.value:
            self._told_of = self.token.value
            self.log.info("the API refused the token; its file holds another one, which is used from now on")
        return await ask({"Authorization": f"Bearer {self.token.value}"})

    async def get(
        self,
        *path: str,
        source: str,
        read: Callable[[bytes], Answer],
        params: Mapping[str, Any] | None = None,
        hold: Hold | None = None,
    ) -> Answer:
        """An ordinary answer, read within bounds and within ``read_timeout``.

        ``path`` are the segments, unquoted. ``source`` names the asker in the metrics. ``read`` makes sense of the
        body, or raises Malformed. ``hold`` is for who needs the answer for longer than ``read``: as long as it lasts no
        other large one is had. Raises Refused, Interrupted, Malformed.
        """
        outcome = "error"
        try:
            where = "/" + "/".join(quote(segment, safe="") for segment in path)
            most = MOST_OF_A_HISTORY if source == "history" else MOST_OF_A_PAGE
            async with AsyncExitStack() as own:
                held: Hold = hold if hold is not None else await own.enter_async_context(self.room.hold(waits=True))
                body = await self._authenticated(lambda token: self._get(where, params, token, most, held))
                answer = read(body) if len(body) <= AT_ONCE_BYTES else await asyncio.to_thread(read, body)
        except Refused as refused:
            outcome = _OUTCOMES_BY_STATUS.get(refused.status, "error")
            self._learn(source, refused.status, refused)
            raise
        except Interrupted as interrupted:
            if interrupted.reason == NO_ROOM:
                outcome = "ok"
                raise
            outcome = _OUTCOMES.get(interrupted.reason, "error")
            self._learn(source, None, interrupted)
            raise
        except Malformed as malformed:
            outcome = "unreadable"
            if malformed.reason == OVERSIZE:
                self.telemetry.bound_hit("answer_bytes")
            self._learn(source, None, malformed)
            raise
        else:
            outcome = "ok"
            self._learn(source, 200, None)
            if isinstance(answer, api.Answer) and answer.surprises:
                self.telemetry.answer_surprised(answer.surprises)
        finally:
            self.telemetry.discovery_request(source, outcome)
        return answer

    async def _get(
        self,
        path: str,
        params: Mapping[str, Any] | None,
        authorization: Mapping[str, str],
        most: Most,
        hold: Hold,
    ) -> bytes:
        try:
            async with (
                asyncio.timeout(self._read_timeout),
                answered(self._answers, "GET", path, params=params, headers=authorization) as response,
            ):
                self.time.heard(response.headers.get("date"))
                problem = judge(response, now=self.clock()) or _unfit(response, "json")
                try:
                    if problem is not None:
                        raise problem
                finally:
                    del problem  # its traceback holds this frame: only the cycle collector would free both
                return await self._body(response, most, hold)
        except (httpx.RequestError, TimeoutError) as error:
            raise transport_failure(error) from error

    async def _body(self, response: httpx.Response, most: Most, hold: Hold) -> bytes:
        body = bytearray()
        try:
            async with aclosing(decoded(response)) as pieces:
                async for piece in pieces:
                    if len(body) <= LARGE_BYTES < len(body) + len(piece):
                        await hold.becomes_large()
                    body += piece
                    if len(body) > most.body_bytes:
                        raise Malformed(f"an answer of more than {most.body_bytes} bytes", reason=OVERSIZE)
                    await asyncio.sleep(0)  # a bomb brings many pieces without anything to wait for
        except BrokenCoding as error:
            raise Interrupted(f"the API answered with {error}", reason="content_coding") from None
        if body.count(b",") > most.commas:
            raise Malformed(f"an answer of more than {most.commas} items", reason=OVERSIZE)
        return bytes(body)

    def judge_by_list(self, whether: bool) -> None:
        """From now on the list is read here, or it is not."""
        self._judged_by_list = whether

    def _learn(self, source: str, status: int | None, problem: AtomsExporterError | None) -> None:
        """What an answer says about the API and about us. Where no list is read, 400, 403 and 404 are about one call:
        the API works and knows us."""
        if self._judged_by_list:
            if source == LIST:
                self.telemetry.api_answered(problem is None, str(problem or ""))
        else:
            good = problem is None or (isinstance(problem, Refused) and status != 401)
            self.telemetry.api_answered(good, str(problem or ""))
        if status == 401 and not self._token_refused:
            self._token_refused = True
            self.log.error("the API refuses the token", status=401, hint="check ATOMS_API_KEY; retrying slowly")
        elif self._token_refused and problem is None:
            self._token_refused = False
            self.log.info("the API accepts the token again")

    async def aclose(self) -> None:
        """Close both clients and every stream."""
        await self._streams.aclose()
        await self._answers.aclose()


def _unfit(response: httpx.Response, wanted: str) -> Interrupted | None:
    """Why an answer with a good status cannot be used all the same."""
    kind = media_type(response)
    if wanted not in kind:
        shown = shown_text(kind, 80) or "without a content type"
        return Interrupted(
            f"the API answered {shown} instead of {wanted}: is the base URL right?",
            reason="content_type",
        )
    try:
        codings_of(response.headers.get("content-encoding", ""))
    except UnknownCoding as error:
        return Interrupted(f"the API answered in {error}", reason="content_coding")
    return None
