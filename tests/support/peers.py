"""Real programs that tests run against. In CI a missing one is a failure, elsewhere a skip that says how to get it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest


def missing(message: str) -> None:
    """Tests against the real thing must run in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def need_program(name: str, how: str) -> str:
    """The path of a program; ``how`` says how to get it."""
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is not installed: {how}")
    return str(found)


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
        self.http_port, self.grpc_port = _free_port(), _free_port()
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
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
