"""SIGINT, SIGTERM, SIGHUP. The first ends a command in order, a second one at once, whatever it is doing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h"
_STAYING = frozenset({"run", "demo", "simulate"})


def before_anything_runs(words: list[str]) -> None:
    """Until a command says otherwise a signal ends the process without a word.

    What was asked to stay ends with 0, as it does later; anything else dies of the signal, as tools do. ``words`` are
    the command line.
    """
    command = next((word for word in words if not word.startswith("-")), "")
    for number in ENDING:
        signal.signal(number, _leave if command in _STAYING else _at_once())
    if command == "run" and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it reads everything anyway


def in_order(end: Callable[[], None], reload: Callable[[], None] | None = None) -> None:
    """In a running loop: the first signal calls ``end``, the next one ends the process at once.

    SIGHUP calls ``reload``; a command that has nothing to read again takes it for the end of its terminal.
    """
    import asyncio  # not before it is needed: the first signal may come any moment

    loop = asyncio.get_running_loop()

    def first(number: int) -> None:
        for each in ENDING:
            loop.remove_signal_handler(each)
            signal.signal(each, _at_once())
        end()

    for number in ENDING:
        loop.add_signal_handler(number, first, number)
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, reload if reload is not None else end)


def _at_once() -> Callable[[int, FrameType | None], NoReturn] | signal.Handlers:
    """The kernel's own way, which works in the middle of anything; but it spares process 1, the one of a container."""
    if os.getpid() == 1 or sys.stderr is None or sys.stderr.isatty():
        return _die
    return signal.SIG_DFL


def _die(number: int, frame: FrameType | None) -> NoReturn:
    if sys.stderr is not None and sys.stderr.isatty():
        os.write(sys.stderr.fileno(), _SHOW_CURSOR)  # a progress bar may have hidden it
    os._exit(128 + number)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(0)
