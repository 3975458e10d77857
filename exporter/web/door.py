"""The door: accepts connections, and has somebody leave where there is no room for one more."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from exporter.web.connections import Client, Clients, network

__all__ = ["Door"]

_AT_ONCE: Final = 4
"""Connections accepted in one turn of the event loop: a flood of them must not keep streams from being read."""
_SAY_EVERY_SECONDS: Final = 60.0
_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE_SECONDS: Final = 0.1


class Door:
    """Lets clients in until cancelled.

    :param enter: serves one connection; it returns once the connection is established, or has failed, and sets
        ``client.end``.
    :param gone: takes those out of ``clients`` whose connection ended meanwhile.
    :param bound_hit: told ``connections`` whenever somebody was sent away for want of room.
    """

    def __init__(
        self,
        sock: socket.socket,
        clients: Clients,
        enter: Callable[[socket.socket, Client], Awaitable[None]],
        gone: Callable[[], None],
        bound_hit: Callable[[str], None],
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._clients = clients
        self._enter = enter
        self._gone = gone
        self._bound_hit = bound_hit
        self._said_at = -_SAY_EVERY_SECONDS
        self._log = structlog.get_logger("exporter.web")

    async def run(self) -> None:
        """Accept, until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            accepted = 0
            while True:
                try:
                    sock, peer = await loop.sock_accept(self._socket)
                except OSError as error:
                    if error.errno in _NO_DESCRIPTORS:
                        self._out_of_descriptors(error)
                    await asyncio.sleep(_PAUSE_SECONDS)
                    continue
                self._admit(group, sock, peer)
                accepted += 1
                if accepted % _AT_ONCE == 0:
                    await asyncio.sleep(0)

    def _admit(self, group: asyncio.TaskGroup, sock: socket.socket, peer: Any) -> None:
        now = asyncio.get_running_loop().time()
        place = network(peer)
        if len(self._clients) >= self._clients.most:
            self._gone()
        may_come, leaves = self._clients.room_for(place, now)
        if leaves is not None:
            self._send_away(leaves)
        if leaves is not None or not may_come:
            self._bound_hit("connections")
            self._say("clients hold more connections than there is room for", connections=self._clients.most)
        if not may_come:
            sock.close()
            return
        client = Client(place, now, end=lambda: None)
        self._clients.add(client)
        task = group.create_task(self._entering(sock, client))
        client.end = task.cancel

    async def _entering(self, sock: socket.socket, client: Client) -> None:
        try:
            await self._enter(sock, client)
        except OSError:  # a handshake that failed: a scanner, another protocol, somebody who left
            self._clients.discard(client)
            sock.close()
        except BaseException:
            self._clients.discard(client)
            sock.close()
            raise

    def _send_away(self, client: Client) -> None:
        self._clients.discard(client)
        client.end()

    def _out_of_descriptors(self, error: OSError) -> None:
        """The process has no descriptor for one more: somebody idle gives his."""
        self._gone()
        idle = [client for client in self._clients if client.busy_since is None and not client.scraped]
        if idle:
            self._send_away(min(idle, key=lambda client: client.heard_at))
        self._bound_hit("connections")
        self._say("no descriptor for one more client", err=error.strerror)

    def _say(self, says: str, **fields: Any) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._said_at >= _SAY_EVERY_SECONDS:
            self._said_at = now
            self._log.warning(says, hint="atoms_exporter_bounds_hit_total counts them", **fields)
