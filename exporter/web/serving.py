"""Listening, TLS, limits on clients, and the end."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from exporter.address import ListenAddress, listening_socket
from exporter.web.access import WebConfigFile

__all__ = ["Limits", "RunningWeb", "serve"]


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take up, and all together."""

    connections: int = 512
    handshake_seconds: float = 10.0
    first_request_seconds: float = 15.0
    """From connecting to the end of the first request's headers."""
    idle_seconds: float = 125.0
    """Between two requests: longer than two scrapes a minute apart."""
    request_seconds: float = 120.0
    look_every_seconds: float = 1.0
    """How often renewed certificates and overdue connections are looked for."""


_SLACK_SECONDS = 5.0

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def serve(
    app: web.Application,
    listen: ListenAddress,
    web_config: WebConfigFile | None = None,
    limits: Limits | None = None,
) -> RunningWeb:
    """Start answering. Raises ConfigError naming the address when it cannot be had.

    The caller runs :meth:`RunningWeb.watch` in its task group and ends with :meth:`RunningWeb.close`.
    """
    access = web_config or WebConfigFile()
    sock = listening_socket(listen)
    running = RunningWeb(app, listen, sock, access, limits or Limits())
    try:
        await running.start()
    except BaseException:
        sock.close()
        raise
    return running


class RunningWeb:
    """A web server that is up. ``urls`` are what to open on this machine, with the real port."""

    def __init__(
        self,
        app: web.Application,
        listen: ListenAddress,
        sock: socket.socket,
        access: WebConfigFile,
        limits: Limits,
    ) -> None:
        self.port: int = sock.getsockname()[1]
        self._address = ListenAddress(listen.host, self.port)
        self._socket = sock
        self._access = access
        self._limits = limits
        self._busy: dict[object, float] = {}
        self._answered: dict[object, float] = {}
        self._met: dict[object, float] = {}
        app.middlewares.insert(0, self._mark)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=limits.idle_seconds,
            lingering_time=2.0,
            auto_decompress=False,  # a webhook is signed as it came over the wire, and unpacking needs no limit then
            max_line_size=8_190,
            max_field_size=8_190,
            logger=_logger(),
        )
        self._listener: asyncio.Server | None = None

    @property
    def urls(self) -> list[str]:
        """Where it answers."""
        return [self._address.url(tls=self._access.context is not None)]

    @property
    def connections(self) -> int:
        """Clients connected now."""
        return len(self._runner.server.connections) if self._runner.server is not None else 0

    async def start(self) -> None:
        """Begin to accept connections."""
        await self._runner.setup()
        self._listener = await self._listen()

    async def _listen(self) -> asyncio.Server:
        context = self._access.context
        return await asyncio.get_running_loop().create_server(
            self._connection,
            sock=self._socket.dup(),
            ssl=context,
            ssl_handshake_timeout=self._limits.handshake_seconds if context else None,
            ssl_shutdown_timeout=2.0 if context else None,
            backlog=128,
        )

    def _connection(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None or len(server.connections) >= self._limits.connections:
            return _Full()
        return server()

    @web.middleware
    async def _mark(self, request: web.Request, handler: Next) -> web.StreamResponse:
        clock = asyncio.get_running_loop().time
        self._busy[request.protocol] = clock()
        try:
            return await handler(request)
        finally:
            self._busy.pop(request.protocol, None)
            self._answered[request.protocol] = clock()

    async def watch(self) -> None:
        """Until cancelled: serve renewed certificates, turn away clients that only hold their connection."""
        while True:
            await asyncio.sleep(self._limits.look_every_seconds)
            if await asyncio.to_thread(self._access.changed):
                await self.renew()
            self.turn_away_the_slow(asyncio.get_running_loop().time())

    async def renew(self) -> None:
        """Accept new connections with the TLS settings as they are now; open connections and the queue stay."""
        before, self._listener = self._listener, await self._listen()
        if before is not None:
            before.close()

    def turn_away_the_slow(self, now: float) -> int:
        """Close connections that sent no request in time, or whose request takes for ever; gives how many.

        ``now`` is the event loop's time.
        """
        server = self._runner.server
        if server is None:
            return 0
        closed = 0
        connections = server.connections
        self._met = {connection: self._met.get(connection, now) for connection in connections}
        self._answered = {one: at for one, at in self._answered.items() if one in self._met}
        for connection in connections:
            if self._overdue(connection, now) and isinstance(connection.transport, asyncio.Transport):
                connection.transport.abort()
                closed += 1
        return closed

    def _overdue(self, connection: object, now: float) -> bool:
        if (started := self._busy.get(connection)) is not None:
            return now - started > self._limits.request_seconds
        if (answered := self._answered.get(connection)) is not None:
            # aiohttp closes idle connections itself; who is still here does not read the answer.
            return now - answered > self._limits.idle_seconds + _SLACK_SECONDS
        return now - self._met[connection] > self._limits.first_request_seconds

    async def close(self, timeout: float) -> None:
        """Stop accepting, let running requests finish within ``timeout`` seconds, then end them."""
        if self._listener is not None:
            self._listener.close()
        self._socket.close()
        server = self._runner.server
        if server is not None:
            await asyncio.sleep(0)  # what was accepted already gets its answer
            server.pre_shutdown()
            await server.shutdown(timeout / 2)  # aiohttp waits so long for the answer, then again for the connection
        await self._runner.cleanup()


class _Full(asyncio.Protocol):
    """The answer to a connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.abort()
        else:
            transport.close()


def _logger() -> logging.Logger:
    logger = logging.getLogger("exporter.web.http")
    if not any(isinstance(one, _NotHttp) for one in logger.filters):
        logger.addFilter(_NotHttp())
    return logger


class _NotHttp(logging.Filter):
    """What is not HTTP (port scanners, TLS to a plain port) is answered with 400, not logged with a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)
