"""From a name to a connection, whichever of its addresses answers (RFC 8305, "Happy Eyeballs").

A name often has several addresses, and one of them may be dead: a connection to it is neither made nor refused, for
minutes. So the next address is tried after a quarter of a second beside it, and the first that answers is taken.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any, Final

import aiohappyeyeballs

NEXT_ADDRESS_AFTER_SECONDS: Final = 0.25
"""RFC 8305's Connection Attempt Delay; httpx (anyio) and gRPC take the same."""


async def connected_socket(host: str, port: int) -> socket.socket:
    """A connection to the first address of ``host`` that answers. Raises OSError (``socket.gaierror`` for no such
    name, UnicodeError for one that no resolver would take). No time limit of its own."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await aiohappyeyeballs.start_connection(
        found, happy_eyeballs_delay=NEXT_ADDRESS_AFTER_SECONDS, interleave=1, loop=loop
    )


class DaemonLookups(asyncio.SelectorEventLoop):
    """An event loop for a thread of its own, whose look-ups of names never keep the process from ending.

    asyncio looks names up in threads that the interpreter waits for at its end: half a minute where the name server
    is away.
    """

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """As ``socket.getaddrinfo``."""
        answer: asyncio.Future[Any] = self.create_future()
        threading.Thread(target=self._look_up, args=(answer, host, port, options), daemon=True).start()
        return await answer

    def _look_up(self, answer: asyncio.Future[Any], host: Any, port: Any, options: dict[str, Any]) -> None:
        found, failure = None, None
        try:
            found = socket.getaddrinfo(host, port, **options)
        except Exception as error:  # noqa: BLE001  # it goes to who asked
            failure = error
        try:
            self.call_soon_threadsafe(_settle, answer, found, failure)
        except RuntimeError:  # the loop was closed meanwhile: nobody waits
            pass


def _settle(answer: asyncio.Future[Any], found: Any, failure: Exception | None) -> None:
    if answer.done():  # given up
        return
    if failure is not None:
        answer.set_exception(failure)
    else:
        answer.set_result(found)
