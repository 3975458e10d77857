"""The Atoms API: one client for its JSON answers, one for its event streams, and what both learn about it."""

from __future__ import annotations

import asyncio
import ipaddress
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from structlog.typing import FilteringBoundLogger

from exporter.calls.telemetry import Telemetry
from exporter.errors import ConfigError, Interrupted, Malformed, Refused
from exporter.receivers.answers import failure_label, judge, media_type, transport_failure
from exporter.receivers.shares import Shares
from exporter.receivers.token import Token
from exporter.receivers.transport import PushTransport

MAX_ANSWER_BYTES: Final = 64 << 20
"""A call of hours has some megabytes of history; more than this is not an answer."""

Answer = TypeVar("Answer")

_OUTCOMES: Final = {"timeout": "timeout", "rate_limited": "rate_limited"}
_OUTCOMES_BY_STATUS: Final = {401: "unauthorized", 403: "unauthorized", 404: "not_found"}


class AtomsApi:
    """Asks the API, and tells operators once when it stops or starts to accept the token.

    :param token: the bearer token; it is sent to ``base_url`` only, redirects are not followed. One that comes from a
        file is read again when the API refuses it.
    :param connect_timeout: seconds to open a connection.
    :param connect_concurrency: streams being opened at one time.
    :param read_timeout: seconds until an ordinary request must have been answered.
    :param idle_timeout: seconds of silence after which a stream counts as dead.
    """

    def __init__(
        self,
        base_url: str,
        token: str | Token,
        *,
        telemetry: Telemetry,
        log: FilteringBoundLogger,
        user_agent: str = "atoms-exporter",
        connect_timeout: float = 5.0,
        read_timeout: float = 30.0,
        idle_timeout: float = 60.0,
        connect_concurrency: int = 50,
        clock: Callable[[], float] = time.time,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.telemetry = telemetry
        self.shares = Shares(telemetry.bound_hit)
        self.log = log
        self.clock = clock
        self.token = token if isinstance(token, Token) else Token(token)
        self._token_refused = False
        self._told_of = self.token.value
        # Thousands of calls may be found at once, and httpx takes 0.3 ms to make and send a request: a few at a
        # time between two turns of the loop keep the open streams running (449 ms of stall without, measured).
        self._building = asyncio.Semaphore(4)
        headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
        try:
            self._streams = httpx.AsyncClient(
                base_url=base_url,
                headers={**headers, "Accept": "text/event-stream", "Cache-Control": "no-store"},
                transport=transport or PushTransport(connect_concurrency=connect_concurrency, shares=self.shares),
                mounts=environment_proxies() if transport is None else None,
                timeout=httpx.Timeout(idle_timeout, connect=connect_timeout, pool=None),
            )
            self._answers = httpx.AsyncClient(
                base_url=base_url,
                headers={**headers, "Accept": "application/json", "Accept-Encoding": "gzip, deflate"},
                timeout=httpx.Timeout(read_timeout, connect=connect_timeout),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=16),  # its users limit themselves,
            )
        except (httpx.InvalidURL, ValueError, ImportError) as error:  # ImportError: SOCKS without its package
            raise ConfigError("api.base_url", f"cannot be used (or the proxy environment cannot): {error}") from error

    async def open_stream(self, call_id: str) -> httpx.Response:
        """The answer to ``GET /events``, its body unread; the caller closes it.

        Raises Refused or Interrupted for everything that is not an event stream.
        """
        return await self._authenticated(lambda authorization: self._open(call_id, authorization))

    async def _open(self, call_id: str, authorization: Mapping[str, str]) -> httpx.Response:
        async with self._building:
            request = self._streams.build_request("GET", "/events", params={"callId": call_id}, headers=authorization)
            await asyncio.sleep(0)
        try:
            response = await self._streams.send(request, stream=True)
        except httpx.RequestError as error:
            self.telemetry.api_answered(False)
            failure = transport_failure(error)
            self.telemetry.stream_failed(failure_label(None, failure.reason))
            raise failure from error
        problem = judge(response, now=self.clock()) or _not_a(response, "text/event-stream")
        self._learn(response.status_code, problem)
        if problem is not None:
            await response.aclose()
            reason = problem.reason if isinstance(problem, Interrupted) else ""
            self.telemetry.stream_failed(failure_label(response.status_code, reason))
            raise problem
        return response

    async def get(self, *path: str, source: str, params: Mapping[str, Any] | None = None) -> bytes:
        """The JSON body of an ordinary answer, read within bounds.

        ``path`` are the segments, unquoted. ``source`` names the asker in the metrics. Raises Refused, Interrupted,
        or Malformed for a body beyond any sense.
        """
        outcome = "error"
        try:
            where = "/" + "/".join(quote(segment, safe="") for segment in path)
            body = await self._authenticated(lambda authorization: self._get(where, params, authorization))
            outcome = "ok"
        except Refused as refused:
            outcome = _OUTCOMES_BY_STATUS.get(refused.status, "error")
            raise
        except Interrupted as interrupted:
            outcome = _OUTCOMES.get(interrupted.reason, "error")
            raise
        finally:
            self.telemetry.discovery_request(source, outcome)
        return body

    async def _authenticated(self, ask: Callable[[Mapping[str, str]], Awaitable[Answer]]) -> Answer:
        """Ask with the token; where it is refused and its file holds another by now, once more with that."""
        token = self.token.value
        try:
            return await ask({"Authorization": f"Bearer {token}"})
        except Refused as refused:
            if refused.status != 401:
                raise
            if not await self.token.renewed(token):
                self._refused_us()
                raise
        if self._told_of != self.token.value:
            self._told_of = self.token.value
            self.log.info("the API refused the token; its file holds another one, which is used from now on")
        try:
            return await ask({"Authorization": f"Bearer {self.token.value}"})
        except Refused as refused:
            if refused.status == 401:
                self._refused_us()
            raise

    async def _get(self, path: str, params: Mapping[str, Any] | None, authorization: Mapping[str, str]) -> bytes:
        body = bytearray()
        try:
            async with self._answers.stream("GET", path, params=params, headers=authorization) as response:
                problem = judge(response, now=self.clock()) or _not_a(response, "json")
                self._learn(response.status_code, problem)
                if problem is not None:
                    raise problem
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise Malformed(f"an answer of more than {MAX_ANSWER_BYTES} bytes", reason="oversize")
        except httpx.RequestError as error:
            self.telemetry.api_answered(False)
            raise transport_failure(error) from error
        return bytes(body)

    def _learn(self, status: int, problem: Refused | Interrupted | None) -> None:
        """400, 403 and 404 are about one call: the API works and knows us. 401 waits until no other token is left."""
        if status == 401:
            return
        self.telemetry.api_answered(problem is None or isinstance(problem, Refused))
        if self._token_refused and problem is None:
            self._token_refused = False
            self.log.info("the API accepts the token again")

    def _refused_us(self) -> None:
        self.telemetry.api_answered(False)
        if not self._token_refused:
            self._token_refused = True
            self.log.error("the API refuses the token", status=401, hint="check ATOMS_API_KEY; retrying slowly")

    async def aclose(self) -> None:
        """Close both clients and every stream."""
        await self._streams.aclose()
        await self._answers.aclose()


def _not_a(response: httpx.Response, wanted: str) -> Interrupted | None:
    kind = media_type(response)
    if wanted in kind:
        return None
    return Interrupted(
        f"the API answered {kind or 'without a content type'} instead of {wanted}: is the base URL right?",
        reason="content_type",
    )


def environment_proxies() -> dict[str, httpx.AsyncBaseTransport | None]:
    """The proxy environment (``HTTPS_PROXY``, ``NO_PROXY`` …) as mounts, by the rules httpx applies itself.

    httpx applies them only to a client without a transport of its own. A URL that goes through a proxy gets httpx's
    transport; ``None`` sends one past the proxies.
    """
    proxies = urllib.request.getproxies()
    mounts: dict[str, httpx.AsyncBaseTransport | None] = {}
    for scheme in ("http", "https", "all"):
        if address := proxies.get(scheme):
            mounts[f"{scheme}://"] = httpx.AsyncHTTPTransport(
                proxy=address if "://" in address else f"http://{address}",
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            )
    for host in (entry.strip() for entry in proxies.get("no", "").split(",")):
        if host == "*":
            return {}
        if host:
            mounts[_bypass(host)] = None
    return mounts


def _bypass(host: str) -> str:
    """One entry of ``NO_PROXY`` as a URL pattern: names match their subdomains too."""
    if "://" in host:
        return host
    try:
        version = ipaddress.ip_address(host.split("/")[0]).version
    except ValueError:
        return f"all://{host}" if host.lower() == "localhost" else f"all://*{host}"
    return f"all://[{host}]" if version == 6 else f"all://{host}"
