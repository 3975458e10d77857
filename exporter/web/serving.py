"""Listening, TLS, limits on clients, and the end."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from exporter.address import ListenAddress, listening_socket
from exporter.web.access import WebConfigFile

__all__ = ["RunningWeb", "serve"]

MAX_CONNECTIONS = 512
HANDSHAKE_SECONDS = 10.0
FIRST_REQUEST_SECONDS = 15.0
IDLE_SECONDS = 125.0
"""Kept open between requests: longer than two scrapes a minute apart."""
LONGEST_REQUEST_SECONDS = 120.0
_LOOK_EVERY_SECONDS = 1.0

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def serve(app: web.Application, listen: ListenAddress, web_config: WebConfigFile | None = None) -> RunningWeb:
    """Start answering. Raises ConfigError naming the address when it cannot be had.

    The caller runs :meth:`RunningWeb.watch` in its task group and ends with :meth:`RunningWeb.close`.
    """
    access = web_config or WebConfigFile()
    sock = listening_socket(listen)
    running = RunningWeb(app, listen, sock, access)
    try:
        await running.start()
    except BaseException:
        sock.close()
        raise
    return running


class RunningWeb:
    """A web server that is up. ``urls`` are what to open on this machine, with the real port."""

    def __init__(self, app: web.Application, listen: ListenAddress, sock: socket.socket, access: WebConfigFile) -> None:
        self.port: int = sock.getsockname()[1]
        self._address = ListenAddress(listen.host, self.port)
        self._socket = sock
        self._access = access
        self._busy: dict[object, float] = {}
        self._met: dict[object, float] = {}
        self._served: set[object] = set()
        app.middlewares.insert(0, self._mark)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=IDLE_SECONDS,
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
            ssl_handshake_timeout=HANDSHAKE_SECONDS if context else None,
            ssl_shutdown_timeout=2.0 if context else None,
            backlog=128,
        )

    def _connection(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None or len(server.connections) >= MAX_CONNECTIONS:
            return _Full()
        return server()

    @web.middleware
    async def _mark(self, request: web.Request, handler: Next) -> web.StreamResponse:
        self._busy[request.protocol] = asyncio.get_running_loop().time()
        try:
            return await handler(request)
        finally:
            self._busy.pop(request.protocol, None)
            self._served.add(request.protocol)

    async def watch(self) -> None:
        """Until cancelled: serve renewed certificates, turn away clients that only hold their connection."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            if await asyncio.to_thread(self._access.changed):
                await self.renew()
            self.turn_away_the_slow()

    async def renew(self) -> None:
        """Accept new connections with the TLS settings as they are now; open connections and the queue stay."""
        before, self._listener = self._listener, await self._listen()
        if before is not None:
            before.close()

    def turn_away_the_slow(self) -> int:
        """Close connections that sent no request in time, or whose request takes for ever; gives how many."""
        server = self._runner.server
        if server is None:
            return 0
        now, closed = asyncio.get_running_loop().time(), 0
        connections = server.connections
        self._met = {connection: self._met.get(connection, now) for connection in connections}
        self._served &= set(connections)
        for connection in connections:
            started = self._busy.get(connection)
            if started is not None:
                overdue = now - started > LONGEST_REQUEST_SECONDS
            else:
                overdue = connection not in self._served and now - self._met[connection] > FIRST_REQUEST_SECONDS
            if overdue and isinstance(connection.transport, asyncio.Transport):
                connection.transport.abort()
                closed += 1
        return closed

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
