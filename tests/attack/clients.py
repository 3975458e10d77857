"""Clients that take all there is of our port, until they are cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

Attacker = Callable[[str], Awaitable[None]]
STRANGER = "127.0.0.2"
"""Attackers come from another address of loopback than scrapers."""


async def _connect(url: str, address: str = STRANGER) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    where = urlsplit(url)
    return await asyncio.open_connection(where.hostname, where.port, local_addr=(address, 0))


async def idle(url: str, connections: int = 700) -> None:
    """Opens connections and says nothing, for ever again."""
    held: list[asyncio.StreamWriter] = []
    while True:
        with contextlib.suppress(OSError):
            held.append((await _connect(url))[1])
        if len(held) > connections:
            held.pop(0).close()
        await asyncio.sleep(0.001)


async def not_reading(url: str, connections: int = 60) -> None:
    """Asks for the page and does not read it."""
    held: list[asyncio.StreamWriter] = []
    while True:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        where = urlsplit(url)
        try:
            sock.bind((STRANGER, 0))
            await asyncio.get_running_loop().sock_connect(sock, (where.hostname, where.port))
            _, writer = await asyncio.open_connection(sock=sock, limit=1024)
        except OSError:
            sock.close()
            await asyncio.sleep(0.01)
            continue
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        held.append(writer)
        if len(held) > connections:
            held.pop(0).close()
        await asyncio.sleep(0.02)


async def _ask(url: str, request: bytes) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await _connect(url)
        try:
            writer.write(request)
            await writer.drain()
            while await reader.read(1 << 16):
                pass
        finally:
            writer.close()


async def many_forms(url: str) -> None:
    """Asks for the page with ever new headers and selections."""
    for number in itertools.count():
        accept = f"application/x-{number}, text/plain;q=0.{number % 10}"
        query = f"?name[]=atoms_turn_latency_seconds&name[]=n{number}" if number % 4 == 0 else ""
        request = f"GET /metrics{query} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        await _ask(url, request.encode())


async def large_bodies(url: str) -> None:
    """Sends webhooks of a megabyte that nobody has signed."""
    head = b"POST /webhooks/atoms HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n"
    while True:
        await asyncio.gather(*(_ask(url, head + b"x" * 1_000_000) for _ in range(8)))


CLIENTS: Mapping[str, Attacker] = {
    "idle connections": idle,
    "pages that nobody reads": not_reading,
    "a page for each header": many_forms,
    "large unsigned webhooks": large_bodies,
}


@contextlib.asynccontextmanager
async def attacking(url: str, *names: str) -> AsyncIterator[None]:
    """These, all if none is named, for as long as the block lasts: in a process of their own, so that they and those
    who watch do not wait for each other."""
    command = [sys.executable, "-m", "tests.attack.clients", url, *(names or CLIENTS)]
    process = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2])
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def _all(url: str, names: Sequence[str]) -> None:
    await asyncio.gather(*(CLIENTS[name](url) for name in names))


if __name__ == "__main__":
    asyncio.run(_all(sys.argv[1], sys.argv[2:]))
