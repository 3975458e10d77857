"""Real programs that tests run against. In CI a missing one is a failure, elsewhere a skip that says how to get it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def missing(message: str) -> None:
    """Tests against the real thing must run in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


_PACKAGES = {"promtool": "prometheus", "amtool": "prometheus-alertmanager", "alertmanager": "prometheus-alertmanager"}
"""Debian's package of a program, where it is not called like the program."""


def _found(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _how_to_get(name: str) -> str:
    return f"{name} is not installed: on Debian: apt-get install {_PACKAGES.get(name, name)}"


def need_program(name: str, how: str = "") -> str:
    """The path of a program; ``how`` says how to get it, where Debian has none of it."""
    found = _found(name)
    if found is None:
        missing(f"{name} is not installed: {how}" if how else _how_to_get(name))
    return str(found)


def needs(*names: str) -> pytest.MarkDecorator:
    """Marks tests that call these programs by name: in CI they run, whether or not these are there."""
    absent = [name for name in names if _found(name) is None]
    reason = "; ".join(map(_how_to_get, absent))
    return pytest.mark.skipif(bool(absent) and os.environ.get("CI") != "true", reason=reason)


@contextlib.contextmanager
def nginx_in(folder: Path, http: str) -> Iterator[subprocess.Popen[bytes]]:
    """nginx as its distribution ships it, with ``http`` as what stands in its ``http {}`` block, until the block ends.

    SIGHUP makes it read its certificates again. It listens where the block says (ask ``free_port`` for a port); its
    log is ``folder/error.log``.
    """
    program = need_program("nginx")
    folder.mkdir(parents=True, exist_ok=True)
    paths = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers may not enter a test's folder
    configuration.write_text(
        f"{user}\ndaemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"events {{ worker_connections 1024; }}\nhttp {{\naccess_log off;\n{paths}{http}\n}}\n"
    )
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        ports = [int(port) for port in re.findall(r"listen\s+(?:[\w.\[\]:]+:)?(\d+)", http)]
        _wait_for(lambda: all(_listening(port) for port in ports), process, folder / "error.log")
        yield process
    finally:
        _end(process)


class RedisServer:
    """A Redis server of its own. Started again it has the same port, and with ``--appendonly yes`` what was written.

    ``options`` are as on its command line.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        program = need_program("redis-server")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._log = folder / "redis.log"
        self._command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        self._command += ["--logfile", str(self._log), *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Run, from what was kept; returns when it has read that: it listens before."""
        process = self._process = subprocess.Popen(self._command)
        _wait_for(lambda: _listening(self.port) and not self._is_loading(), process, self._log)

    def _is_loading(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5.0) as line:
            line.sendall(b"PING\r\n")
            return line.recv(64).startswith(b"-LOADING")
        return True

    def stop(self) -> None:
        """Ask it to end, and wait."""
        if self._process is not None:
            _end(self._process)
            self._process = None

    def kill(self) -> None:
        """End it without asking."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def redis_in(folder: Path, *options: str) -> Iterator[int]:
    """A Redis server of its own; gives its port. ``options`` as on its command line."""
    server = RedisServer(folder, *options)
    try:
        server.start()
        yield server.port
    finally:
        server.stop()


def rotel_in(folder: Path) -> Rotel:
    """A collector, starting."""
    found = importlib.util.find_spec("rotel")
    if found is None or found.origin is None:
        missing("rotel is not installed: pip install 'atoms-exporter[test]'")
        raise AssertionError
    return Rotel(Path(found.origin).parent / "rotel-agent", folder)


class Rotel:
    """A real collector that prints what it receives."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._out = folder / "rotel.log"
        self.http_port, self.grpc_port = free_port(), free_port()
        arguments = {
            "--otlp-http-endpoint": f"127.0.0.1:{self.http_port}",
            "--otlp-grpc-endpoint": f"127.0.0.1:{self.grpc_port}",
            "--debug-log-verbosity": "detailed",
            "--exporter": "blackhole",
            "--pid-file": str(folder / "pid"),
        }
        command = [str(binary), "start", *(part for pair in arguments.items() for part in pair)]
        command += ["--debug-log", "traces", "--debug-log", "metrics"]
        with self._out.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out)

    def listening(self) -> bool:
        """Whether both receivers take connections."""
        return all(_listening(port) for port in (self.http_port, self.grpc_port))

    def printed(self) -> str:
        """All it said so far, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self._out.read_text("utf-8", "replace"))

    def stop(self) -> None:
        """End it."""
        _end(self._process)


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _wait_for(true: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float = 20.0) -> None:
    """Until a program that was started is ready; fails with its log when it ended or took too long."""
    deadline = time.monotonic() + seconds
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text("utf-8", "replace") if log.exists() else "nothing"
            pytest.fail(f"{process.args!r} does not listen; it said: {said[-2000:]}")
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
