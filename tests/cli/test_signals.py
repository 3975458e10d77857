"""Signals, at any moment: what was asked to stay ends in order, a second one ends anything at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.world import clean_environment, free_port

_STRUCK_WHILE_LOADING = """
import os, runpy, sys
class Strike:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Strike())
sys.argv = ["atoms-exporter", *{words!r}]
runpy.run_module("exporter", run_name="__main__")
"""


@contextmanager
def running(*words: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", *words],
        env=clean_environment(**env),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("words", "module"),
    [
        (["demo", "--calls", "1"], "exporter.cli.printing"),
        (["run"], "exporter.service"),
        (["simulate"], "uvloop"),
        (["rules"], "exporter.cli.app"),
        (["backfill", "--last", "1"], "opentelemetry.sdk.resources"),
    ],
)
def test_a_signal_while_it_is_still_loading_ends_it_without_a_word(words: list[str], module: str, number: int) -> None:
    code = _STRUCK_WHILE_LOADING.format(module=module, number=int(number), words=words)
    env = clean_environment(ATOMS_API_KEY="x", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert done.returncode == (0 if words[0] in ("demo", "run", "simulate") else -number)


class Silent:
    """A peer that takes connections and never answers."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        self.url = f"http://127.0.0.1:{server.getsockname()[1]}"
        self._taken: list[socket.socket] = []

    def asked(self) -> None:
        """Wait until somebody has come."""
        self._server.settimeout(30)
        self._taken.append(self._server.accept()[0])


@contextmanager
def silent() -> Iterator[Silent]:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server:
        yield Silent(server)


def waits_for_input(pid: int) -> None:
    """Wait until it reads its stdin: everything is loaded then."""
    deadline = time.monotonic() + 30
    while not Path(f"/proc/{pid}/syscall").read_text().startswith("0 0x0 "):  # read(0, …)
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended_within_a_second(process: subprocess.Popen[str], number: int) -> bool:
    began = time.monotonic()
    process.send_signal(number)
    process.wait(10)
    return time.monotonic() - began < 1.0


def test_a_second_one_ends_a_backfill_that_waits_for_its_backend_at_once() -> None:
    with silent() as api:
        env = {"ATOMS_API_KEY": "x", "ATOMS_BASE_URL": api.url, "OTEL_EXPORTER_OTLP_ENDPOINT": api.url}
        with running("backfill", "CALL-1", "CALL-2", **env) as process:
            api.asked()
            process.send_signal(signal.SIGINT)
            assert ended_within_a_second(process, signal.SIGINT)
            assert process.returncode != 0
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()


def test_a_hangup_ends_what_has_nothing_to_read_again() -> None:
    """A terminal that was closed."""
    for words in (("demo", "--calls", "1"), ("simulate", "--calls", "1")):
        process = subprocess.Popen(
            [sys.executable, "-m", "exporter", *words, "--web.listen-address", "127.0.0.1:0"],
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert "http://" in process.stdout.readline()
            process.send_signal(signal.SIGHUP)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.communicate()


def _ended(base_url: str, calls: int) -> None:
    """Wait until so many calls of a simulator are over."""
    deadline = time.monotonic() + 30
    while True:
        with urllib.request.urlopen(base_url.removesuffix("/atoms/v1") + "/_simulator/ledger", timeout=10) as answer:
            ended = json.load(answer)["ended"]
        if ended >= calls:
            return
        assert time.monotonic() < deadline, ended
        time.sleep(0.1)


SIMULATE = ["simulate", "--calls", "4", "--speed", "100", "--total-calls", "6", "--web.listen-address", "127.0.0.1:0"]


def test_a_backfill_towards_nobody_gives_up_names_whom_and_says_what_is_missing() -> None:
    """With a patience of seconds, not of a minute: the same code."""
    port = free_port()
    code = (
        "import sys, exporter.offline.delivery as delivery; delivery.PATIENCE_SECONDS = 2.0;"
        "sys.argv[0] = 'atoms-exporter'; from exporter.cli import main; main()"
    )
    simulator = subprocess.Popen(
        [sys.executable, "-m", "exporter", *SIMULATE],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert simulator.stdout is not None
        base_url = simulator.stdout.readline().strip()
        env = clean_environment(
            ATOMS_API_KEY="simulated-key",
            ATOMS_BASE_URL=base_url,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://user:pa55@127.0.0.1:{port}",
        )
        _ended(base_url, 3)
        done = subprocess.run(
            [sys.executable, "-c", code, "backfill", "--last", "3"],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        simulator.kill()
        simulator.communicate()
    assert done.returncode == 1, done.stderr
    assert f"127.0.0.1:{port}" in done.stderr
    assert "has taken nothing for 2 s: given up" in done.stderr
    assert re.search(r"[1-9]\d* spans were not delivered to .*, of [1-3] calls: CALL-", done.stderr)
    assert "Traceback" not in done.stderr
    assert "pa55" not in done.stderr


@pytest.mark.parametrize("words", [["replay", "-"], ["explain", "-"], ["explain", "CALL-1"]])
def test_what_only_computes_or_asks_ends_at_the_first_one(words: list[str]) -> None:
    with silent() as api:
        process = subprocess.Popen(
            [sys.executable, "-m", "exporter", *words],
            env=clean_environment(ATOMS_API_KEY="x", ATOMS_BASE_URL=api.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            if words[1] == "-":
                waits_for_input(process.pid)
            else:
                api.asked()
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == -signal.SIGINT
            assert time.monotonic() - began < 1.0
        finally:
            process.kill()
            said = process.communicate()[1]
        assert said == b""


def test_the_first_process_of_a_container_is_ended_too() -> None:
    """The kernel keeps a signal from process 1 unless it has a handler of its own for it."""
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-pf", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces of processes here")
    command = [unshare, "--pid", "--fork", "--kill-child", sys.executable, "-m", "exporter", "replay", "-"]
    process = subprocess.Popen(command, env=clean_environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 30
        while not children.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        inner = int(children.read_text())
        waits_for_input(inner)
        os.kill(inner, signal.SIGTERM)
        assert process.wait(10) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
