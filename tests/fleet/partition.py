"""A network between a replica and Redis that can be cut: it forwards bytes, until told to hold them.

While it holds, nothing gets through in either direction and nothing is closed, as with a firewall that drops packets or
a switch that died; new connections are accepted and left alone. What was on its way arrives late, when it goes on.

It runs in a thread with a loop of its own: a test that is busy must not be a network that is slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future


class Link:
    """Forwards from ``port`` of loopback to another port of it."""

    def __init__(self, to_port: int) -> None:
        self.to_port = to_port
        self.port = 0
        self._pumps: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Hold everything from now on."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def mend(self) -> None:
        """Go on, with what was held first."""
        self._loop.call_soon_threadsafe(self._open.set)

    @contextlib.contextmanager
    def serving(self) -> Iterator[Link]:
        serving: Future[int] = Future()
        thread = threading.Thread(target=asyncio.run, args=(self._serve(serving),), daemon=True)
        thread.start()
        self.port = serving.result(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._over.set)
            thread.join(10)

    async def _serve(self, serving: Future[int]) -> None:
        self._loop, self._open, self._over = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._open.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        serving.set_result(server.sockets[0].getsockname()[1])
        await self._over.wait()
        server.close()
        for task in list(self._pumps):
            task.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._forward(reader, writer))
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await self._open.wait()
            there, back = await asyncio.open_connection("127.0.0.1", self.to_port)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pump(reader, back))
                    both.create_task(self._pump(there, writer))
            finally:
                back.close()
        writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()
