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
from exporter.web.connections import Client, Clients
from exporter.web.door import Door

__all__ = ["Limits", "RunningWeb", "serve"]


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take up, and all together."""

    connections: int = 512
    """At one time, TLS handshakes included. Beyond it the oldest idle one makes room."""
    handshake_seconds: float = 10.0
    first_request_seconds: float = 15.0
    """From connecting to the end of the first request's headers."""
    idle_seconds: float = 125.0
    """Between two requests: longer than two scrapes a minute apart."""
    request_seconds: float = 120.0
    look_every_seconds: float = 1.0
    """How often renewed certificates and overdue connections are looked for."""


_SLACK_SECONDS = 5.0
LONGEST_LINE_BYTES = 8_190
"""Of a request line, and of one header."""
MOST_HEADERS = 64

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def serve(
    app: web.Application,
    listen: ListenAddress,
    web_config: WebConfigFile | None = None,
    limits: Limits | None = None,
    bound_hit: Callable[[str], None] = lambda _: None,
) -> RunningWeb:
    """Start answering. Raises ConfigError naming the address when it cannot be had.

    The caller runs :meth:`RunningWeb.watch` in its task group and ends with :meth:`RunningWeb.close`.

    :param bound_hit: told ``connections`` whenever a client was sent away for want of room.
    """
    access = web_config or WebConfigFile()
    sock = listening_socket(listen)
    running = RunningWeb(app, listen, sock, access, limits or Limits(), bound_hit)
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
        bound_hit: Callable[[str], None],
    ) -> None:
        self.port: int = sock.getsockname()[1]
        self._address = ListenAddress(listen.host, self.port)
        self._socket = sock
        self._access = access
        self._limits = limits
        self._clients = Clients(limits.connections)
        self._inside: dict[object, Client] = {}
        self._door = Door(sock, self._clients, self._enter, self._forget_the_gone, bound_hit)
        app.middlewares.insert(0, self._mark)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=limits.idle_seconds,
            lingering_time=2.0,
            auto_decompress=False,  # a webhook is signed as it came over the wire, and unpacking needs no limit then
            max_line_size=LONGEST_LINE_BYTES,
            max_field_size=LONGEST_LINE_BYTES,
            max_headers=MOST_HEADERS,
            logger=_logger(),
        )
        self._accepting: asyncio.Task[None] | None = None

    @property
    def urls(self) -> list[str]:
        """Where it answers."""
        return [self._address.url(tls=self._access.context is not None)]

    @property
    def connections(self) -> int:
        """Clients connected now."""
        self._forget_the_gone()
        return sum(client.established for client in self._inside.values())

    async def start(self) -> None:
        """Begin to accept connections."""
        await self._runner.setup()
        self._accepting = asyncio.ensure_future(self._door.run())

    async def _enter(self, sock: socket.socket, client: Client) -> None:
        """One connection, until it is established: with the TLS settings as they are now. Raises OSError."""
        server = self._runner.server
        if server is None:
            raise ConnectionAbortedError
        context = self._access.context
        handler = server()
        self._inside[handler] = client
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: handler,
                sock,
                ssl=context,
                ssl_handshake_timeout=self._limits.handshake_seconds if context else None,
                ssl_shutdown_timeout=2.0 if context else None,
            )
        except BaseException:
            del self._inside[handler]
            raise
        client.end, client.established = transport.abort, True

    def _forget_the_gone(self) -> None:
        there = set(self._runner.server.connections) if self._runner.server is not None else set()
        gone = [handler for handler, client in self._inside.items() if client.established and handler not in there]
        for handler in gone:
            self._clients.discard(self._inside.pop(handler))

    @web.middleware
    async def _mark(self, request: web.Request, handler: Next) -> web.StreamResponse:
        clock = asyncio.get_running_loop().time
        client = self._inside.get(request.protocol)
        if client is None:  # gone before its request had its turn (this process has slept): there is nobody to answer
            raise asyncio.CancelledError
        client.busy_since = clock()
        try:
            response = await handler(request)
            if request.path == "/metrics" and response.status == 200:
                self._clients.scrape_answered(client)
            return response
        finally:
            client.busy_since, client.answered_at = None, clock()

    async def watch(self) -> None:
        """Until cancelled: serve renewed certificates, turn away clients that only hold their connection."""
        while True:
            await asyncio.sleep(self._limits.look_every_seconds)
            await asyncio.to_thread(self._access.changed)
            self.turn_away_the_slow(asyncio.get_running_loop().time())

    def turn_away_the_slow(self, now: float) -> int:
        """Close connections that sent no request in time, or whose request takes for ever; gives how many.

        ``now`` is the event loop's time.
        """
        self._forget_the_gone()
        overdue = [client for client in self._inside.values() if client.established and self._overdue(client, now)]
        for client in overdue:
            client.end()
        return len(overdue)

    def _overdue(self, client: Client, now: float) -> bool:
        if client.busy_since is not None:
            return now - client.busy_since > self._limits.request_seconds
        if client.answered_at is not None:
            # aiohttp closes idle connections itself; who is still here does not read the answer.
            return now - client.answered_at > self._limits.idle_seconds + _SLACK_SECONDS
        return now - client.came_at > self._limits.first_request_seconds

    async def close(self, timeout: float) -> None:
        """Stop accepting, let running requests finish within ``timeout`` seconds, then end them."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        self._socket.close()
        server = self._runner.server
        if server is not None:
            await asyncio.sleep(0)  # what was accepted already gets its answer
            server.pre_shutdown()
            await server.shutdown(timeout / 2)  # aiohttp waits so long for the answer, then again for the connection
        await self._runner.cleanup()


def _logger() -> logging.Logger:
    logger = logging.getLogger("exporter.web.http")
    if not any(isinstance(one, _NoErrorOfOurs) for one in logger.filters):
        logger.addFilter(_NoErrorOfOurs())
    return logger


class _NoErrorOfOurs(logging.Filter):
    """What clients do is not logged with a traceback: what is not HTTP (port scanners, TLS to a plain port) is answered
    with 400, and who leaves before the answer is complete (a scraper whose time is up) has left."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError | ConnectionError)
