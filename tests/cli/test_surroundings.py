"""Streams that are closed, full, or not UTF-8; files that are packed: one line, the right exit code, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Said, command
from tests.system.world import clean_environment

ROOT = Path(__file__).parents[2]
CALL = ROOT / "docs" / "example" / "call.json"
FULL = Path("/dev/full")

needs_a_full_device = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def shell(line: str, **env: str) -> Said:
    """A line of shell in which ``$X`` is the command."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        capture_output=True,
        env=clean_environment(X=f"{sys.executable} -m exporter", CALL=str(CALL), **env),
        timeout=60,
        check=False,
    )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


@needs_a_full_device
@pytest.mark.parametrize("words", ["explain $CALL", "--version", "--help"])
def test_a_full_disk_is_one_line_and_exit_code_1(words: str) -> None:
    said = shell(f"$X {words} > /dev/full")
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert "No space left on device" in said.err


def test_a_closed_stdout_is_one_line_and_exit_code_1() -> None:
    said = shell("$X rules >&-")
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "stdout is closed" in said.err


def test_a_closed_stdin_is_one_line_and_exit_code_2() -> None:
    said = shell("$X explain - <&-")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "closed" in said.err


def test_a_closed_stderr_changes_no_result() -> None:
    assert "groups:" in shell("$X rules 2>&-").out
    assert shell("$X nonsense 2>&-").code == 2


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    said = shell("$X rules | head -n 1")
    assert (said.code, said.err) == (0, "")


@pytest.mark.parametrize("where", [">&-", "> /dev/null 2>&-", pytest.param("> /dev/full", marks=needs_a_full_device)])
def test_the_demo_needs_nobody_who_listens(where: str) -> None:
    said = shell(f"$X demo --calls 1 --duration 0.5 --web.listen-address 127.0.0.1:0 {where}")
    assert (said.code, said.err) == (0, "")


def test_the_demo_ends_when_its_reader_has_seen_enough() -> None:
    """It writes four lines at the start, one soon after, and one more every ten seconds."""
    said = shell("timeout 40 $X demo --calls 1 --speed 5 --web.listen-address 127.0.0.1:0 2>&1 | head -n 2")
    assert said.code == 0
    assert said.out.count("\n") == 2
    assert "Traceback" not in said.out + said.err


def test_what_comes_out_of_a_pipe_is_utf_8_whatever_the_locale() -> None:
    said = shell("$X explain $CALL && ! $X explain nowhere/ü.json", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert said.code == 0
    assert "◀ slowest" in said.out
    assert "nowhere/ü.json does not exist" in said.err


def test_a_file_name_that_is_no_text_is_named_all_the_same() -> None:
    said = shell(r"$X explain $'/nowhere/\xff\x1b[31m.json'")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "\x1b" not in said.err


def test_a_gzip_recording_is_read_from_a_pipe() -> None:
    said = shell("gzip -c $CALL | $X explain -")
    assert (said.code, said.err) == (0, "")
    assert "Dental Clinic" in said.out


def test_what_comes_from_outside_moves_no_cursor_and_wraps_no_line() -> None:
    """Wrapped lines cannot be grepped."""
    name = "An\x1b[2Jna\x07\r\u202e" + " of a very long name" * 5
    call = CALL.read_text().replace("Dental Clinic", json.dumps(name)[1:-1])
    said = command("explain", "-", given=call.encode())
    assert said.code == 0
    assert "[2Jna" in said.out
    assert not any(character in said.out for character in "\x1b\x07\r\u202e")
    lines = said.out.splitlines()
    assert max(map(len, lines)) > 130
    assert lines == [line.rstrip() for line in lines]


def test_a_level_that_is_none_is_one_line() -> None:
    said = command("demo", "--log.level", "x")
    assert (said.code, said.err.count("\n")) == (2, 1)
    assert "--log.level" in said.err
