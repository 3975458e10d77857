"""A name with several addresses is reached by whichever answers, and look-ups of names hold up nobody."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest
import uvloop

from exporter.network.addresses import DaemonLookups, connected_socket
from exporter.receivers.transport import PushTransport
from tests.network.peers import Peer, dead_address
from tests.support.peers import free_port

NAMES = {"dead-first.test": ["127.0.0.2", "127.0.0.1"], "dead.test": ["127.0.0.2"], "no.test": []}


class _Knowing:
    """An event loop whose name service knows the names above."""

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        addresses = NAMES.get(host, [host])
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]


class OnAsyncio(_Knowing, asyncio.SelectorEventLoop):
    pass


class OnUvloop(_Knowing, uvloop.Loop):
    pass


LOOPS = pytest.mark.parametrize("loop", [OnAsyncio, OnUvloop])


def run(loop: Any, coroutine: Any) -> Any:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(coroutine)


@LOOPS
def test_streams_are_opened_by_the_next_address_when_the_first_is_dead(loop: Any) -> None:
    async def several(port: int) -> list[int]:
        async with httpx.AsyncClient(transport=PushTransport(), timeout=10, trust_env=False) as client:
            asked = (client.get(f"http://dead-first.test:{port}/events") for _ in range(5))
            return [answer.status_code for answer in await asyncio.gather(*asked)]

    port = free_port()
    with dead_address(port), Peer(port=port):
        started = time.monotonic()
        assert run(loop, several(port)) == [200] * 5
        assert time.monotonic() - started < 8, "not one after the other's timeout"


@LOOPS
@pytest.mark.parametrize(("name", "error"), [("dead.test", httpx.ConnectTimeout), ("no.test", httpx.ConnectError)])
def test_a_name_that_leads_nowhere_is_a_failure_to_connect(loop: Any, name: str, error: type[Exception]) -> None:
    async def one(port: int) -> None:
        timeout = httpx.Timeout(10, connect=0.4)
        async with httpx.AsyncClient(transport=PushTransport(), timeout=timeout, trust_env=False) as client:
            await client.get(f"http://{name}:{port}/events")

    port = free_port()
    with dead_address(port), pytest.raises(error):
        run(loop, one(port))


@LOOPS
def test_all_addresses_refusing_is_told_at_once(loop: Any) -> None:
    with pytest.raises(ConnectionRefusedError):
        run(loop, connected_socket("dead-first.test", free_port()))


def test_look_ups_of_a_thread_of_its_own_answer_and_fail_like_others() -> None:
    async def look_up(host: str) -> Any:
        return await asyncio.get_running_loop().getaddrinfo(host, 80, type=socket.SOCK_STREAM)

    assert run(DaemonLookups, look_up("127.0.0.1"))[0][4] == ("127.0.0.1", 80)
    with pytest.raises(socket.gaierror):
        run(DaemonLookups, look_up("no-such-name.invalid"))


def test_a_look_up_that_hangs_keeps_no_process_from_ending() -> None:
    script = """
import asyncio, socket, threading
from exporter.network.addresses import DaemonLookups
def hang(*given, **options):
    threading.Event().wait()
socket.getaddrinfo = hang
async def give_up():
    try:
        async with asyncio.timeout(0.1):
            await asyncio.get_running_loop().getaddrinfo("backend.example", 4318)
    except TimeoutError:
        print("given up")
loop = DaemonLookups()
loop.run_until_complete(give_up())
loop.close()
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "given up\n", "")
