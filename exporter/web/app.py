"""The paths this exporter answers, as one aiohttp application."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable, Mapping
from traceback import clear_frames
from types import MappingProxyType
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from exporter.errors import Malformed
from exporter.outputs.prometheus.pages import GZIP_FROM_BYTES, compressed
from exporter.web.access import WebConfigFile
from exporter.web.browsing import Browsing, html
from exporter.web.gatekeeper import Gatekeeper, cross_origin
from exporter.web.pages import message_page
from exporter.web.ports import CallsView, FollowAnswer, WebhookAnswer, WebPorts
from exporter.web.scraping import scrape_of
from exporter.web.sending import Bodies, BodyTooLarge, NoRoomForBody, Pages

__all__ = ["build_app"]

MAX_WEBHOOK_BYTES = 1 << 20
MAX_API_BYTES = 16 << 10
CALLS_ON_A_PAGE = 1_000
MOST_CALLS_ON_A_PAGE = 5_000
SLOW_BODY_SECONDS = 10.0

_WEBHOOK_STATUS: Mapping[WebhookAnswer, int] = MappingProxyType(
    {
        WebhookAnswer.ACCEPTED: 202,
        WebhookAnswer.DUPLICATE: 202,
        WebhookAnswer.ELSEWHERE: 202,
        WebhookAnswer.BAD_SIGNATURE: 401,
        WebhookAnswer.MALFORMED: 400,
        WebhookAnswer.TOO_LARGE: 413,
        WebhookAnswer.UNAVAILABLE: 503,
    }
)
_FOLLOW_STATUS: Mapping[FollowAnswer, int] = MappingProxyType(
    {
        FollowAnswer.ACCEPTED: 202,
        FollowAnswer.ALREADY: 409,
        FollowAnswer.ELSEWHERE: 421,
        FollowAnswer.MALFORMED: 400,
        FollowAnswer.UNAVAILABLE: 503,
    }
)
_API_IS_OFF = (
    "following a call by request is off: set authentication in web.config_file, or web.allow_unauthenticated_api: true"
)
_RELOAD_IS_OFF = (
    "reading the configuration again is off: set authentication in web.config_file, or web.enable_lifecycle"
)
_PLAIN_HEADERS = MappingProxyType({"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"})

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_app(
    ports: WebPorts,
    web_config: WebConfigFile | None = None,
    *,
    allow_unauthenticated_api: bool = False,
    enable_lifecycle: bool = False,
    slow_body_seconds: float = SLOW_BODY_SECONDS,
) -> web.Application:
    """The application; ``web_config`` is the same object that :func:`exporter.web.serve` is given."""
    access = web_config or WebConfigFile()
    site = _Site(ports, access, allow_unauthenticated_api, slow_body_seconds, enable_lifecycle)
    browsing = Browsing(ports)
    open_paths = frozenset({ports.webhook_path}) if ports.webhook else frozenset()
    gate = Gatekeeper(access, open_paths=open_paths, bound_hit=ports.bound_hit)
    app = web.Application(
        middlewares=[_told(ports.asked), _plain_errors, gate.middleware], client_max_size=MAX_API_BYTES
    )
    app.router.add_get("/", browsing.front)
    app.router.add_get("/calls/{call}", browsing.call)
    app.router.add_get("/metrics", site.metrics)
    app.router.add_get("/-/healthy", site.healthy)
    app.router.add_get("/-/ready", site.ready)
    app.router.add_get("/api/v1/calls", site.calls)
    app.router.add_post("/api/v1/calls", site.follow)
    if ports.reload is not None:
        app.router.add_post("/-/reload", site.reload)
        app.router.add_put("/-/reload", site.reload)  # Prometheus takes both
    if ports.webhook is not None:
        app.router.add_post(ports.webhook_path, site.webhook)
    app.on_response_prepare.append(gate.dress)
    return app


def _told(asked: Callable[[], None]) -> Middleware:
    @web.middleware
    async def told(request: web.Request, handler: Next) -> web.StreamResponse:
        asked()
        return await handler(request)

    return told


@web.middleware
async def _plain_errors(request: web.Request, handler: Next) -> web.StreamResponse:
    """Errors of the router (404, 405, 413) in our words: JSON for programs, a small page for browsers."""
    try:
        return await handler(request)
    except (OSError, asyncio.CancelledError) as gone:
        clear_frames(gone.__traceback__)  # who left holds the error, its frames the page: until a collector comes
        raise
    except web.HTTPException as error:
        headers = {name: value for name, value in error.headers.items() if name in ("Allow", "WWW-Authenticate")}
        if error.status == 404 and "text/html" in request.headers.get("Accept", ""):
            return html(message_page("Not found", "There is nothing here."), 404)
        return _problem(error.status, error.reason.lower(), headers)


def _problem(status: int, says: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return _json({"error": says}, status, headers)


def _json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    text = json.dumps(content, ensure_ascii=False) + "\n"
    together = {**_PLAIN_HEADERS, **(headers or {})}
    return web.Response(status=status, text=text, content_type="application/json", headers=together)


class _Site:
    """The answers, one method per path."""

    def __init__(
        self, ports: WebPorts, access: WebConfigFile, api_open: bool, slow_body_seconds: float, lifecycle: bool
    ) -> None:
        self._ports = ports
        self._access = access
        self._api_open = api_open
        self._lifecycle = lifecycle
        self._pages = Pages(ports.bound_hit)
        self._bodies = Bodies(slow_body_seconds, ports.bound_hit)
        self._gzipping: dict[int, tuple[bytes, asyncio.Future[bytes]]] = {}

    async def healthy(self, request: web.Request) -> web.Response:
        return web.Response(text="atoms-exporter is healthy.\n", headers=_PLAIN_HEADERS)

    async def ready(self, request: web.Request) -> web.Response:
        ready, reason = self._ports.ready()
        if ready:
            return web.Response(text="atoms-exporter is ready.\n", headers=_PLAIN_HEADERS)
        return web.Response(status=503, text=f"atoms-exporter is not ready: {reason}\n", headers=_PLAIN_HEADERS)

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        names = tuple(dict.fromkeys(request.query.getall("name[]", [])))
        accept = ",".join(request.headers.getall("Accept", []))
        gzipped = _takes_gzip(",".join(request.headers.getall("Accept-Encoding", [])))
        try:
            rendered = await self._ports.render(accept, names, scrape_of(request), gzipped)
        except Malformed as problem:
            return _problem(400, str(problem))
        page = rendered.body
        headers = {**_PLAIN_HEADERS, "Content-Type": rendered.content_type, "Vary": "Accept, Accept-Encoding"}
        if gzipped and len(page) >= GZIP_FROM_BYTES:
            page = rendered.gzipped or await self._gzipped(page)
            headers["Content-Encoding"] = "gzip"
        return await self._pages.send(request, page, headers, rendered.went_out)

    async def _gzipped(self, page: bytes) -> bytes:
        """Compressed in a thread, once for all who wait for a page that who asked first for it does not take so."""
        if id(page) not in self._gzipping:
            running = asyncio.get_running_loop().run_in_executor(None, compressed, page)
            self._gzipping[id(page)] = page, running  # the page too: while it is here nothing else has its id
            running.add_done_callback(lambda _: self._gzipping.pop(id(page), None))
        return await asyncio.shield(self._gzipping[id(page)][1])

    async def calls(self, request: web.Request) -> web.StreamResponse:
        asked = [_number(request.query.get(name), usual) for name, usual in (("page", 1), ("limit", CALLS_ON_A_PAGE))]
        if None in asked:
            return _problem(400, "page and limit are whole numbers from 1")
        page, limit = (number for number in asked if number is not None)
        view = await self._ports.calls(page, min(limit, MOST_CALLS_ON_A_PAGE))
        headers = {**_PLAIN_HEADERS, "Content-Type": "application/json; charset=utf-8"}
        return await self._pages.send(request, await asyncio.to_thread(_listed, view), headers)

    async def follow(self, request: web.Request) -> web.Response:
        if not (self._api_open or self._access.current.authenticates):
            return _problem(403, _API_IS_OFF)
        if cross_origin(request):
            return _problem(403, "requests from pages of other sites are refused")
        try:
            body = await self._bodies.receive(request, MAX_API_BYTES)
        except BodyTooLarge:
            return _problem(413, f"the body may have {MAX_API_BYTES} bytes", {"Connection": "close"})
        except TimeoutError:
            return _problem(408, "the body came too slowly", {"Connection": "close"})
        call_id = _call_id(body)
        if call_id is None:
            return _problem(400, 'the body must be {"callId": "CALL-…"}')
        answer = await self._ports.follow(call_id)
        if answer is FollowAnswer.ACCEPTED:
            return _json({"callId": call_id, "status": answer.value}, 202)
        return _problem(_FOLLOW_STATUS[answer], _FOLLOW_SAYS[answer])

    async def reload(self, request: web.Request) -> web.Response:
        if self._ports.reload is None or not (self._lifecycle or self._access.current.authenticates):
            return _problem(403, _RELOAD_IS_OFF)
        if cross_origin(request):
            return _problem(403, "requests from pages of other sites are refused")
        usable, says = await self._ports.reload()
        return _json({"status": says}) if usable else _problem(500, says)

    async def webhook(self, request: web.Request) -> web.Response:
        if self._ports.webhook is None:
            raise web.HTTPNotFound
        try:
            body = await self._bodies.receive(request, MAX_WEBHOOK_BYTES)
        except BodyTooLarge:
            self._ports.webhook_turned_away(WebhookAnswer.TOO_LARGE)
            return _problem(413, f"the body may have {MAX_WEBHOOK_BYTES} bytes", {"Connection": "close"})
        except TimeoutError:
            self._ports.webhook_turned_away(WebhookAnswer.MALFORMED)
            return _problem(408, "the body came too slowly", {"Connection": "close"})
        except NoRoomForBody:
            self._ports.webhook_turned_away(WebhookAnswer.UNAVAILABLE)
            return _problem(503, "too many large bodies at once", {"Connection": "close", "Retry-After": "1"})
        answer = await self._ports.webhook(body, request.headers.get("X-Signature"))
        status = _WEBHOOK_STATUS[answer]
        if status == 202:
            return _json({"status": answer.value}, status)
        return _problem(status, answer.value.replace("_", " "))


def _listed(view: CallsView) -> bytes:
    """In a thread: a thousand calls are half a megabyte."""
    calls = [dataclasses.asdict(call) for call in view.calls]
    for call in calls:
        if call["last_event_age_seconds"] is not None:
            call["last_event_age_seconds"] = round(call["last_event_age_seconds"], 3)
    answer = {"calls": calls, "page": view.page, "pages": view.pages, "total": view.total}
    return (json.dumps(answer, ensure_ascii=False) + "\n").encode("utf-8", "replace")


def _number(given: str | None, usual: int) -> int | None:
    if given is None:
        return usual
    return int(given) if given.isascii() and given.isdigit() and len(given) <= 9 and int(given) else None


_FOLLOW_SAYS = MappingProxyType(
    {
        FollowAnswer.ALREADY: "this call is followed already",
        FollowAnswer.ELSEWHERE: "this call belongs to another shard: ask every one of them",
        FollowAnswer.MALFORMED: "callId must be a call id such as CALL-1758124225863-80752e",
        FollowAnswer.UNAVAILABLE: "no more calls can be followed now",
    }
)


def _call_id(body: bytes) -> str | None:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    call_id = content.get("callId") if isinstance(content, dict) and len(content) == 1 else None
    return call_id if isinstance(call_id, str) else None


def _takes_gzip(accepted: str) -> bool:
    """Whether Accept-Encoding names gzip (or everything) with a quality above 0."""
    quality: dict[str, float] = {}
    for entry in accepted.lower().split(","):
        coding, _, parameters = entry.partition(";")
        name, _, value = parameters.strip().partition("=")
        try:
            quality[coding.strip()] = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            quality[coding.strip()] = 0.0
    return quality.get("gzip", quality.get("*", 0.0)) > 0
