"""The simulated Atoms API on a port."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from aiohttp import HttpVersion11, web

from . import call_logs
from .control import Control
from .dialects import connection_frame
from .faults import REQUEST_STATUS, Fault, Faults
from .hostile import Hostile
from .live import Call
from .oddities import ERROR_FRAME, Oddities
from .options import SimulatorOptions
from .streams import Stream, Wire
from .switchboard import Switchboard
from .webhooks import Postman

Handler = Callable[[web.Request], Awaitable[Any]]

BASE_PATHS = ("/atoms/v1", "/api/v1")
_CALL_ID = re.compile(r"CALL-\d{13}-[0-9a-f]{6}")
_ATTEMPTS: Mapping[str, Callable[[int], bool]] = {
    "initial": lambda attempt: attempt == 0,
    "retry": lambda attempt: attempt > 0,
    "all": lambda attempt: True,
}
"""``callAttemptFilter``; without one, a list has root calls only."""
_DEFAULT_LIMIT = 5
_MOST_ON_A_PAGE = 500
_MOST_REMEMBERED = 100_000
_LONGEST_SLEEP = 0.05
_SHORTEST_SLEEP = 0.002
_PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>"


class Simulator:
    """An Atoms API of its own: ``start`` it, point a client at the base URL, read the ``ledger``, ``stop`` it."""

    def __init__(self, options: SimulatorOptions) -> None:
        self.options = options
        self.faults = Faults(options.seed, options.faults, options.canary)
        self.wire = Wire()
        starts_at = time.time() if options.starts_at is None else options.starts_at
        self._starts_ms = int(starts_at * 1000)
        self._began: float | None = None
        self.oddities = Oddities(self.faults, options.speed)
        self.switchboard = Switchboard(options, self.faults, self._starts_ms, self.oddities)
        self.postman = Postman(options.webhook_url, options.webhook_secret, self.faults, options.canary)
        self.hostile = Hostile()
        self.control = Control(self)
        self.base_url = ""
        self._runner: web.AppRunner | None = None
        self._playing: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._asked: dict[tuple[str, str], int] = {}
        self._bursts: dict[tuple[str, str], int] = {}

    # -- life

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Serve and begin to play; returns the base URL. OSError when the port is taken."""
        app = web.Application(client_max_size=1024 * 1024)
        for base in BASE_PATHS:
            app.router.add_get(f"{base}/events", self._events)
            app.router.add_get(f"{base}/conversation", self._paced("conversation", self._conversations))
            app.router.add_get(f"{base}/conversation/{{call_id}}", self._paced("conversation", self._conversation))
            app.router.add_get(f"{base}/agent", self._paced("agent", self._agents))
            app.router.add_get(f"{base}/agent/{{agent_id}}", self._paced("agent", self._agent))
            app.router.add_get(f"{base}/concurrency", self._paced("concurrency", self._concurrency))
        self.control.add_routes(app)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=4096, ssl_context=self._tls())
        await site.start()
        bound = cast(tuple[str, int], self._runner.addresses[0])
        scheme = "https" if self.options.tls_certificate else "http"
        address = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.base_url = f"{scheme}://{address}:{bound[1]}{BASE_PATHS[0]}"
        if not self.options.paused:
            self.begin()
        return self.base_url

    def begin(self) -> None:
        """Start the clock, and the calls with it; ``start`` does so unless the options say ``paused``."""
        self._began = asyncio.get_running_loop().time()
        self._playing = asyncio.create_task(self._play(), name="simulator")

    async def stop(self) -> None:
        """Close everything; the ledger stays readable."""
        if self._playing is not None:
            self._playing.cancel()
            await asyncio.gather(self._playing, return_exceptions=True)
        self.switchboard.end_all()
        await self.postman.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def now_ms(self) -> int:
        """The simulated clock, Unix milliseconds."""
        if self._began is None:
            return self._starts_ms
        return self._starts_ms + int((asyncio.get_running_loop().time() - self._began) * 1000 * self.options.speed)

    @property
    def running(self) -> bool:
        """Whether it plays."""
        return self._playing is not None and not self._playing.done()

    def drain(self) -> None:
        """No new calls; those in progress go on to their end."""
        self.switchboard.drain = True

    async def drained(self) -> None:
        """Wait until all calls have ended (never-ending ones aside), no new one will begin, all webhooks are posted."""
        await self._idle.wait()

    def change_faults(self, faults: tuple[Fault, ...]) -> None:
        """Set these faults from now on, leave the others as they are."""
        self.faults.change(faults)
        self.switchboard.weather(self.now_ms())

    def clear_faults(self) -> None:
        """Behave from now on."""
        self.faults.clear()
        self.switchboard.weather(self.now_ms())

    @property
    def ledger(self) -> dict[str, Any]:
        """What happened and what was sent; see ``Control.ledger``."""
        return self.control.ledger()

    def _tls(self) -> ssl.SSLContext | None:
        if not self.options.tls_certificate:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.options.tls_certificate, self.options.tls_key or None)
        return context

    async def _play(self) -> None:
        loop = asyncio.get_running_loop()
        board = self.switchboard
        while True:
            now_ms = self.now_ms()
            due_ms = board.advance(now_ms, loop.time())
            if board.announcements:
                due = [announcement for announcement in board.announcements if announcement.due_ms <= now_ms]
                board.announcements = [a for a in board.announcements if a.due_ms > now_ms]
                for announcement in due:
                    self.postman.announce(announcement)
            if board.idle and not board.announcements and not self.postman.busy:
                self._idle.set()
            wait = _LONGEST_SLEEP if due_ms is None else (due_ms - now_ms) / 1000 / self.options.speed
            await asyncio.sleep(min(_LONGEST_SLEEP, max(_SHORTEST_SLEEP, wait)))

    # -- what every request goes through

    def _refusal(self, request: web.Request, endpoint: str, target: str = "") -> web.Response | None:
        """A fault, or a missing right; None: go on."""
        answer = self._fault_answer(endpoint, target)
        if answer is None and request.headers.get("Authorization", "") != f"Bearer {self.options.token}":
            answer = _error(401, "Unauthorized: invalid or expired token")
        if answer is not None:
            self.wire.requests[endpoint, answer.status] += 1
        return answer

    def _fault_answer(self, endpoint: str, target: str) -> web.Response | None:
        key = (endpoint, target)
        if len(self._asked) > _MOST_REMEMBERED:
            self._asked.clear()
        self._asked[key] = asked = self._asked.get(key, 0) + 1
        if self._bursts.get(key, 0) > 0:
            self._bursts[key] -= 1
            return _error(500, "Error consuming events")
        fault = self.faults.of_request(endpoint, self.faults.rng("request", endpoint, target, asked))
        if fault is None:
            return None
        if fault.name == "html":
            return web.Response(text=_PAGE, content_type="text/html")
        if fault.name == "server_error":
            self._bursts[key] = fault.burst - 1
        answer = _error(REQUEST_STATUS[fault.name], fault.name.replace("_", " "))
        if fault.name == "rate_limited":
            seconds = 2.0 if fault.seconds is None else fault.seconds
            answer.headers["Retry-After"] = f"{seconds:g}"
        return answer

    def _paced(self, endpoint: str, handler: Handler) -> Handler:
        """The same, as slowly as the faults in force will have it."""

        async def answer(request: web.Request) -> Any:
            key = ("pace", request.path)
            self._asked[key] = asked = self._asked.get(key, 0) + 1
            fault = self.faults.of_pace(endpoint, self.faults.rng("pace", request.path, asked))
            if fault is not None and fault.name == "slow":
                await asyncio.sleep(10.0 if fault.seconds is None else fault.seconds)
            answered = await handler(request)
            if fault is None or fault.name != "drip":
                return answered
            dripping = web.StreamResponse(status=answered.status, headers={"Content-Type": answered.content_type})
            await dripping.prepare(request)
            for byte in answered.body or b"":
                await dripping.write(bytes((byte,)))
                await asyncio.sleep(0.2 if fault.seconds is None else fault.seconds)
            return dripping

        return answer

    def _answer(self, endpoint: str, body: dict[str, Any]) -> web.Response:
        self.wire.requests[endpoint, 200] += 1
        return web.json_response(body)

    def _error(self, endpoint: str, status: int, message: str) -> web.Response:
        self.wire.requests[endpoint, status] += 1
        return _error(status, message)

    # -- GET /events

    async def _events(self, request: web.Request) -> web.StreamResponse:
        call_id = request.query.get("callId", "")
        refusal = self._refusal(request, "events", call_id)
        if refusal is not None:
            return refusal
        if (attack := self.hostile.get(call_id)) is not None:
            return await self.hostile.stream(request, attack)
        if not _CALL_ID.fullmatch(call_id):
            return self._error("events", 400, "callId is missing or invalid")
        call = self.switchboard.call(call_id)
        if call is None:
            return self._error("events", 404, "Call log not found")
        now_ms, now = self.now_ms(), asyncio.get_running_loop().time()
        odd = self.oddities.stream_answer(call, now_ms, now)
        if odd is not None:
            return self._odd("events", odd)
        if self.oddities.of("heartbeats", call) is None and self.switchboard.is_over(call_id, now_ms):
            self.switchboard.over_before_connect(call_id, now_ms)
            return self._error("events", 400, "Call already completed")
        if self.faults.strikes("mute", self.faults.rng("mute", call_id, call.connections)):
            await asyncio.get_running_loop().create_future()
        return await self._stream(request, call)

    def _odd(self, endpoint: str, status: int) -> web.Response:
        """An answer that is no stream, or no log."""
        self.wire.requests[endpoint, 200 if status == 299 else status] += 1
        match status:
            case 200:
                return web.json_response({"status": True, "message": "stream not available"})
            case 204:
                return web.Response(status=204)
            case 299:
                return web.Response(text=_PAGE, content_type="text/html")
            case 301:
                return web.Response(status=301, headers={"Location": "/sign-in"})
        return _error(status, "not available")

    async def _stream(self, request: web.Request, call: Call) -> web.StreamResponse:
        answer = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        )
        chunked = request.version >= HttpVersion11
        if chunked:
            answer.enable_chunked_encoding()
        now_ms = self.now_ms()
        try:
            await answer.prepare(request)
            await answer.write(connection_frame("sse_init", now_ms))
        except ConnectionResetError:  # the client has gone again
            return answer
        self.wire.requests["events", 200] += 1
        transport = request.transport
        if transport is None:
            return answer
        rng = self.faults.rng("stream", call.number, call.connections)
        stream = Stream(
            call.call_id,
            cast(asyncio.WriteTransport, transport),
            self.wire,
            self.faults,
            rng,
            chunked=chunked,
            beats=self.oddities.of("heartbeats", call) is not None,
        )
        if self.oddities.brings_an_error(call, now_ms):
            transport.write(b"%x\r\n%b\r\n" % (len(ERROR_FRAME), ERROR_FRAME) if chunked else ERROR_FRAME)
            self.wire.ended["error_frame"] += 1
            return answer
        last = request.headers.get("Last-Event-ID", "")
        if self.oddities.of("ids", call) is not None:
            stream.number = int(last) if last.isdigit() else 0
        self.switchboard.connect(call, stream, now_ms, after=stream.number if last else None)
        try:
            await stream.over
        finally:
            stream.end("gone")
            self.switchboard.disconnect(call, stream)
            if stream.refused is not None:
                self.oddities.refuse(call, stream.refused, asyncio.get_running_loop().time())
        answer.force_close()
        return answer

    # -- REST

    async def _conversations(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request, "conversation")
        if refusal is not None:
            return refusal
        query = request.query
        if query.get("sortBy", "updatedAt") != "updatedAt" or "dateFrom" in query or "dateTo" in query:
            return self._error("conversation", 504, "Gateway Timeout")
        try:
            page = int(query.get("page", 1))
            limit = min(_MOST_ON_A_PAGE, int(query.get("limit", _DEFAULT_LIMIT)))
        except ValueError:
            return self._error("conversation", 400, "page and limit are numbers")
        if page < 1 or limit < 1:
            return self._error("conversation", 400, "page and limit begin at 1")
        if self._strikes("strict_filter") and {"busy", "blocked"} & set(query.get("statusFilter", "").split(",")):
            return self._error("conversation", 400, "statusFilter: not a status")
        attempts = query.get("callAttemptFilter", "")
        if self._strikes("strict_attempts"):
            if attempts:
                return self._error("conversation", 400, "callAttemptFilter: not a parameter")
            attempts = "all"
        if attempts not in ("", *_ATTEMPTS):
            return self._error("conversation", 400, "callAttemptFilter: initial, retry or all")
        found = self._matching(query.get("statusFilter", ""), query.get("agentIds", ""), query.get("callTypes", ""))
        found = [call for call in found if _ATTEMPTS[attempts or "initial"](call.attempt)]
        if query.get("sortOrder", "desc") != "asc":
            found.reverse()
        begin, end = (page - 1) * limit, page * limit
        waiting = self._waiting(query.get("statusFilter", ""), attempts)
        shown = [self.switchboard.entry(call) for call in found[begin:end]]
        shown += waiting[max(0, begin - len(found)) : max(0, end - len(found))]
        total = len(found) + len(waiting)
        if not query.get("agentIds"):
            statuses = {status for status in query.get("statusFilter", "").split(",") if status}
            shown += self.hostile.crowd_entries(statuses, begin - total, end - total)
            total += self.hostile.crowd(statuses)
            shown += self.hostile.entries(statuses) if page == 1 else []
        pages = -(-total // limit)
        pagination = {
            "total": total,
            "page": page,
            "limit": limit,
            "hasMore": page < pages,
            "totalPages": pages,
        }
        return self._answer("conversation", {"status": True, "data": {"logs": shown, "pagination": pagination}})

    def _strikes(self, name: str) -> bool:
        return self.faults.strikes(name, self.faults.rng(name)) is not None

    def _waiting(self, statuses: str, attempts: str) -> list[dict[str, Any]]:
        """The queue, where the list is asked for it."""
        if statuses and "in_queue" not in statuses.split(","):
            return []
        entries = self.switchboard.queue.entries()
        return [entry for entry in entries if _ATTEMPTS[attempts or "initial"](entry["retryAttemptNumber"])]

    def _matching(self, statuses: str, agents: str, types: str) -> list[Call]:
        """Calls by the time of their last update, oldest first."""
        board = self.switchboard
        wanted = {status for status in statuses.split(",") if status}
        of_agents = {agent for agent in agents.split(",") if agent}
        of_types = {kind for kind in types.split(",") if kind}
        calls: list[Call] = list(board.live.values())
        if not wanted or wanted - {"in_progress", "active"}:
            calls.extend(ended.call for ended in board.past.values())
        if of_agents:
            calls = [call for call in calls if call.agent_id in of_agents]
        if of_types:
            calls = [call for call in calls if call.channel in of_types]
        if wanted:
            calls = [call for call in calls if board.status(call) in wanted]
        return sorted(calls, key=lambda call: (board.updated_ms(call), call.number))

    async def _conversation(self, request: web.Request) -> web.StreamResponse:
        call_id = request.match_info["call_id"]
        refusal = self._refusal(request, "conversation", call_id)
        if refusal is not None:
            return refusal
        if (attack := self.hostile.get(call_id)) is not None:
            return self.hostile.conversation(attack)
        call = self.switchboard.call(call_id)
        if call is None:
            return self._error("conversation", 404, "Call log not found")
        odd = self.oddities.log_answer(call, self.switchboard.ended_ms(call), self.now_ms())
        if odd is not None:
            return self._odd("conversation", odd)
        events = call.events()
        body = call_logs.conversation(call.script(), self.switchboard.entry(call), call.started_ms, events)
        if self.faults.strikes("no_history", self.faults.rng("history", call.number)):
            body["data"]["events"] = []
        if self.oddities.has_analytics(call, self.switchboard.ended_ms(call), self.now_ms()):
            body["data"]["postCallAnalytics"] = call_logs.analytics(call.script())
        return self._answer("conversation", body)

    async def _agents(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request, "agent")
        if refusal is not None:
            return refusal
        try:
            page, size = int(request.query.get("page", 1)), int(request.query.get("offset", 5))
        except ValueError:
            return self._error("agent", 400, "page and offset are numbers")
        if page < 1 or size < 1:
            return self._error("agent", 400, "page and offset begin at 1")
        return self._answer("agent", call_logs.agents_page(page, size, request.query.get("search", "")))

    async def _agent(self, request: web.Request) -> web.Response:
        agent_id = request.match_info["agent_id"]
        refusal = self._refusal(request, "agent", agent_id)
        if refusal is not None:
            return refusal
        found = call_logs.one_agent(agent_id)
        return self._answer("agent", found) if found else self._error("agent", 404, "Agent not found")

    async def _concurrency(self, request: web.Request) -> web.Response:
        refusal = self._refusal(request, "concurrency")
        if refusal is not None:
            return refusal
        limit = self.faults.limit
        return self._answer(
            "concurrency", call_logs.concurrency(max(100, self.options.calls * 2) if limit is None else limit)
        )


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"status": False, "errors": [message]}, status=status)


@asynccontextmanager
async def simulating(
    options: SimulatorOptions | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Simulator]:
    """A simulator that serves as long as the block lasts."""
    simulator = Simulator(options or SimulatorOptions())
    await simulator.start(host, port)
    try:
        yield simulator
    finally:
        await simulator.stop()
