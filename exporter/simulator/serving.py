"""The simulator as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from .options import SimulatorOptions
from .server import Simulator


async def serve(
    options: SimulatorOptions, host: str, port: int, on_ready: Callable[[Simulator], None], stop: asyncio.Event
) -> None:
    """Serve until ``stop`` is set or ``options.duration`` seconds are over. OSError when the port is taken."""
    simulator = Simulator(options)
    await simulator.start(host, port)
    try:
        on_ready(simulator)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), options.duration)
    finally:
        await simulator.stop()


def run_forever(
    options: SimulatorOptions, host: str, port: int, on_ready: Callable[[Simulator], None] = lambda simulator: None
) -> None:
    """Run in an event loop of its own (uvloop where there is one) until SIGINT, SIGTERM or the duration ends it.

    Raises the limit of open files as far as it may, for thousands of streams. OSError when the port is taken.
    """
    _open_many_files()

    async def until_signalled() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, stop.set)
        await serve(options, host, port, on_ready, stop)

    _run(until_signalled())


def _run(main: Coroutine[Any, Any, None]) -> None:
    try:
        from uvloop import new_event_loop
    except ImportError:  # not for this platform
        asyncio.run(main)
        return
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main)


def _open_many_files() -> None:
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # not allowed here: fewer streams, no harm
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
