"""Candidates, the source and the sink as processes: start them, give orders, read what they measured."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SETTLE_SECONDS = 2.5
SATURATED = 0.95
"""A process that uses more of a core than this cannot keep up: what it did not get to is not counted against it."""

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
CANDIDATES = {
    "floor": "floor",
    "ours": "atoms-exporter",
    "aiohttp_reading": "httpx over aiohttp, reading only",
    "handwritten": "httpx + httpx-sse + json + prometheus-client",
    "sdk": "official SDK + prometheus-client",
}
_HERE = Path(__file__).parent.parent


class Died(Exception):
    """A process ended, or did not answer in time; the message is the end of what it wrote to stderr."""


class Child:
    """A Python process of ours that speaks in lines of JSON.

    :param module: its name, or a file.
    :param tree: whose code it runs.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        cpu: int | None = None,
        tree: Path = _HERE,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(
            [sys.executable, *(() if module.endswith(".py") else ("-m",)), module, *arguments],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            preexec_fn=None if cpu is None else lambda: os.sched_setaffinity(0, {cpu}),
        )
        self._unread = b""

    def line(self, seconds: float) -> str:
        """The next line it writes; raises Died when there is none in time."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + seconds
        file = self.process.stdout.fileno()
        while b"\n" not in self._unread:
            ready, _, _ = select.select([file], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(file, 65536) if ready else b""
            if not data:
                self._errors.seek(0)
                said = self._errors.read().decode("utf-8", "replace")[-2000:]
                raise Died(said or f"no answer within {seconds:.0f} s")
            self._unread += data
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode()

    def order(self, command: str, seconds: float) -> dict[str, Any]:
        """Give an order, wait for the answer."""
        self.send(command)
        found: dict[str, Any] = json.loads(self.line(seconds))
        return found

    def send(self, command: str) -> None:
        """Give an order."""
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Whatever it does."""
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self._errors):
            if file is not None:
                file.close()


@dataclass(frozen=True)
class Rig:
    """Where processes run and with what certificates.

    ``reader_cpu`` and ``source_cpu`` are cores to bind to, None to leave it to the kernel. ``only_streams`` is the one
    size to measure, 0 for all.
    """

    reader_cpu: int | None
    source_cpu: int | None
    certificates: Path
    only_streams: int = 0

    @contextmanager
    def source(self, calls: int, *, tls: bool, singly: bool = False) -> Iterator[Load]:
        """The replaying API. ``singly``: each event comes when it is due, not with those of the same millisecond."""
        files = (
            ("--tls-certificate", f"{self.certificates}/server.crt", "--tls-key", f"{self.certificates}/server.key")
            if tls
            else ()
        )
        tick = ("--tick-milliseconds", "0") if singly else ()
        child = Child("benchmarks.source", "--calls", str(calls), *tick, *files, cpu=self.source_cpu)
        sink = Child("benchmarks.sink", cpu=self.source_cpu)
        try:
            urls = json.loads(child.line(30))
            ca = f"{self.certificates}/ca.crt" if tls else ""
            yield Load(urls["base_url"], urls["control"], ca, sink.line(30).strip())
        finally:
            child.end()
            sink.end()

    @contextmanager
    def candidate(self, name: str, load: Load, streams: int, *more: str, patience: float) -> Iterator[Reader]:
        """One that follows all streams. Raises Died when it cannot."""
        load.pace(0)
        deadline = time.monotonic() + 10
        while load.counts()["streams"] and time.monotonic() < deadline:  # of the candidate before
            time.sleep(0.1)
        arguments = [load.base_url, "--streams", str(streams), "--ca", load.ca, *more]
        child = Child(
            f"benchmarks.candidates.{name}", *arguments, *(("--otlp", load.sink) if name == "ours" else ()),
            cpu=self.reader_cpu,
        )  # fmt: skip
        try:
            yield Reader(child, load, json.loads(child.line(patience)))
        finally:
            child.end()


@dataclass(frozen=True)
class Load:
    """A running source and a running sink."""

    base_url: str
    control: str
    ca: str
    sink: str

    def pace(self, each: float) -> None:
        """Events per second on each stream from now on."""
        _get(f"{self.control}/rate?each={each}")

    def counts(self) -> dict[str, float]:
        """What was sent so far, and at what cost."""
        found: dict[str, float] = json.loads(_get(f"{self.control}/sent"))
        return found


class Reader:
    """A candidate that is connected. ``connected`` is what it said then."""

    def __init__(self, child: Child, load: Load, connected: dict[str, Any]) -> None:
        self.child = child
        self.load = load
        self.connected = connected

    def window(
        self, each: float, seconds: float, *, settle: float = SETTLE_SECONDS, scrape: bool = True
    ) -> dict[str, Any]:
        """Measure at a pace, with one scrape in the middle for those that serve metrics."""
        load = self.load
        load.pace(each)
        time.sleep(settle)
        before = load.counts()
        self.child.send(f"measure {seconds}")
        time.sleep(seconds / 2)
        try:
            if scrape and self.connected["metrics_url"]:
                _get(self.connected["metrics_url"], {"Accept": OPENMETRICS, "Accept-Encoding": "gzip"})
        except OSError as problem:
            raise Died(f"no page within a minute, it is that far behind: {problem}") from problem
        found: dict[str, Any] = json.loads(self.child.line(seconds + 60))
        after = load.counts()
        found["sent"] = after["sent"] - before["sent"]
        found["skipped"] = after["skipped"] - before["skipped"]
        found["source_cpu_seconds"] = after["cpu_seconds"] - before["cpu_seconds"]
        found["microseconds_per_event"] = found["cpu_seconds"] / max(1, found["events"]) * 1e6
        found["saturated"] = found["cpu_seconds"] / found["seconds"] > SATURATED
        return found

    def stalls(self, each: float, seconds: float, accepts: tuple[str, ...]) -> dict[str, Any]:
        """The loop's stalls while one scrape follows the other, with these Accept headers in turn."""
        self.load.pace(each)
        time.sleep(1)
        took: list[float] = []
        over = threading.Event()

        def scraping() -> None:
            number = 0
            while not over.is_set():
                began = time.monotonic()
                headers = {"Accept": accepts[number % len(accepts)], "Accept-Encoding": "gzip"}
                _get(self.connected["metrics_url"], headers)
                took.append(time.monotonic() - began)
                number += 1

        thread = threading.Thread(target=scraping)
        self.child.send(f"stalls {seconds}")
        thread.start()
        try:
            found: dict[str, Any] = json.loads(self.child.line(seconds + 60))
        finally:
            over.set()
            thread.join()
        return {**found, "scrapes": len(took), "scrape_seconds_mean": sum(took) / max(1, len(took))}


def _get(url: str, headers: dict[str, str] | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=60) as answer:
        body: bytes = answer.read()
    return body


@contextmanager
def certificates() -> Iterator[Path]:
    """An authority and a server certificate for 127.0.0.1, made by the openssl command."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)

        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        authority = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
        openssl(
            *("req", "-x509", *key, "-days", "2", "-subj", "/CN=bench", "-keyout", "ca.key", "-out", "ca.crt"),
            *authority,
        )
        openssl("req", "-new", *key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
        (directory / "server.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl(
            *("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "2"),
            *("-extfile", "server.ext", "-out", "server.crt"),
        )
        yield directory
