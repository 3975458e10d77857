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

import httpx
import pytest

from tests.command import command
from tests.system.world import clean_environment
from tests.web.test_pages import said

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
    ended = command(*_WORDS, "--duration", "3")
    assert ended.code == 0, ended.err
    assert re.search(r"^metrics: http://127\.0\.0\.1:\d+/metrics$", ended.out, re.MULTILINE)
    assert "\x1b" not in ended.out
    assert "Traceback" not in ended.err


def test_the_other_dialect_is_spoken_too() -> None:
    assert command(*_WORDS, "--duration", "1", "--seed", "7", "--dialect", "2025").code == 0


def test_an_incident_is_named_by_the_page_with_a_call_that_shows_it() -> None:
    words = ("demo", "--incident", "--calls", "60", "--speed", "20", "--web.listen-address", "127.0.0.1:0")
    command_line = [sys.executable, "-m", "exporter", *words]
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, env=clean_environment(), text=True) as demo:
        try:
            url, slowed = _told(demo, "are callers suffering?"), _told(demo, "incident")
            node = slowed.rpartition(" times as long in ")[2]
            deadline = time.monotonic() + 60
            while f"is slow in {node}" not in (page := said(httpx.get(url, trust_env=False).text)):
                assert time.monotonic() < deadline, page
                time.sleep(0.5)
        finally:
            demo.kill()
    assert re.search(r"Such a call: CALL-\d{13}-[0-9a-f]{6}", page)


def test_the_demo_says_how_to_explain_one_of_its_calls_by_its_id_or_its_trace_id() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "exporter", *_WORDS], stdout=subprocess.PIPE, env=clean_environment(), text=True
    ) as demo:
        try:
            url, how = _told(demo, "are callers suffering?"), _told(demo, "one call")
            key, _, words = how.partition(" atoms-exporter ")
            env = {"ATOMS_API_KEY": key.removeprefix("ATOMS_API_KEY=")}
            deadline = time.monotonic() + 60
            while not (calls := _answered(url)):
                assert time.monotonic() < deadline
                time.sleep(0.5)
            for named in (calls[0]["call_id"], calls[0]["trace_id"]):
                asked = words.replace("CALL-…", named).split()
                shown = command(*asked, "--exporter", url, env=env)
                assert shown.code == 0, shown.err
                assert calls[0]["call_id"] in shown.out
        finally:
            demo.kill()


def _answered(url: str) -> list[dict[str, str]]:
    listed = httpx.get(f"{url}api/v1/calls", trust_env=False).json()["calls"]
    return [call for call in listed if call["turns"]]


def _told(demo: subprocess.Popen[str], what: str) -> str:
    """What a line of a demo in a pipe says."""
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith(f"{what}: "):
            return line.removeprefix(f"{what}: ").strip()
    raise AssertionError(f"it ended without a word about {what}")
