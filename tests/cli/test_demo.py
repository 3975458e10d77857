"""The demo as a person sees it: in a terminal, and in a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

import pytest

from tests.command import command
from tests.system.world import clean_environment

_WORDS = ("demo", "--calls", "6", "--speed", "20", "--web.listen-address", "127.0.0.1:0")


def in_a_terminal(seconds: float, columns: int, rows: int, *words: str) -> tuple[int, str]:
    """What a terminal of this size shows of a command; its exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    env = clean_environment(TERM="xterm-256color")
    env.pop("NO_COLOR")
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", *words], stdin=theirs, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # it has ended
                break
            if not piece:
                break
            shown += piece
        return process.wait(10), shown.decode("utf-8", "replace")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("columns", [80, 140])
def test_a_terminal_shows_what_to_open_and_the_calls_as_they_go(columns: int) -> None:
    code, shown = in_a_terminal(60, columns, 30, *_WORDS, "--duration", "3.5")
    assert code == 0, shown[-2000:]
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    assert re.search(r"http://127\.0\.0\.1:\d+/metrics", plain)
    assert "Traceback" not in plain
    assert re.search(r"CALL-\d{13}-[0-9a-f]{6}", plain)
    assert re.search(r"\d\.\d\d s", plain), "a turn's latency"
    assert re.search(r"[1-9]\d* turns answered", plain)
    assert "Ctrl-C" in plain
    assert all(len(line.rstrip()) <= columns for line in re.split(r"[\r\n]+", plain))


def test_a_pipe_gets_lines_without_colours() -> None:
    said = command(*_WORDS, "--duration", "3")
    assert said.code == 0, said.err
    assert re.search(r"^metrics: http://127\.0\.0\.1:\d+/metrics$", said.out, re.MULTILINE)
    assert "\x1b" not in said.out
    assert "Traceback" not in said.err


def test_the_other_dialect_is_spoken_too() -> None:
    assert command(*_WORDS, "--duration", "1", "--seed", "7", "--dialect", "2025").code == 0
