"""What keeping costs a running exporter, beside the version before: scrapes, the event loop, events, a start."""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.live import OPENMETRICS, Child, Died, Load, Rig
from benchmarks.offline import _free_port
from benchmarks.report import put

HERE = Path(__file__).resolve().parents[1]
DOCUMENT = HERE / "docs" / "performance.md"
BEGIN, END = "<!-- table: python -m benchmarks.keeping TREE --write -->", "<!-- end of table -->"
PACE = 3.0
_SCRAPER = {
    "Accept": OPENMETRICS,
    "Accept-Encoding": "gzip",
    "User-Agent": "Prometheus/2.42.0",
    "X-Prometheus-Scrape-Timeout-Seconds": "10",
}


@dataclass(frozen=True)
class Size:
    """How much of it. ``events`` are of each call that is in flight at a start, ``apart`` seconds between scrapes."""

    calls: int = 10_000
    series: int = 50_000
    seconds: float = 75.0
    apart: float = 15.0
    calls_at_start: int = 1_000
    events: int = 1_000
    repeat: int = 2


QUICK = Size(calls=1_000, series=50_000, seconds=16.0, apart=4.0, calls_at_start=1_000, events=1_000, repeat=1)

Figures = dict[str, float]


class _Scraper:
    """Prometheus, as far as the exporter can tell: one connection, its headers, a page now and then."""

    def __init__(self, url: str) -> None:
        split = urlsplit(url)
        self._line = http.client.HTTPConnection(split.hostname or "", split.port, timeout=60)
        self.took: list[float] = []

    def scrape(self) -> float:
        began = time.perf_counter()
        self._line.request("GET", "/metrics", headers=_SCRAPER)
        answer = self._line.getresponse()
        answer.read()
        if answer.status != 200:
            raise Died(f"a scrape was answered {answer.status}")
        self.took.append(time.perf_counter() - began)
        return self.took[-1]


@contextmanager
def _candidate(rig: Rig, tree: Path, load: Load, calls: int, size: Size, state: Path, events: int) -> Iterator[Child]:
    load.pace(0)
    deadline = time.monotonic() + 30
    while load.counts()["streams"] and time.monotonic() < deadline:  # of the candidate before
        time.sleep(0.1)
    child = Child(
        str(HERE / "benchmarks" / "candidates" / "kept.py"),
        *(load.base_url, "--streams", str(calls), "--series", str(size.series), "--otlp", load.sink),
        cpu=rig.reader_cpu,
        tree=tree,
        env={"BENCHMARK_STATE": str(state), "BENCHMARK_EVENTS": str(events)},
    )
    try:
        yield child
    finally:
        child.end()


def running(rig: Rig, tree: Path, load: Load, size: Size, folder: Path) -> Figures:
    """Events at the pace, a scrape now and then: what an event, a scrape, and the loop take."""
    with _candidate(rig, tree, load, size.calls, size, folder / "running.db", 0) as child:
        url = json.loads(child.line(120 + size.calls / 20))["metrics_url"]
        load.pace(PACE)
        scraper = _Scraper(url)
        for _ in range(2):  # the first page is rendered from nothing, and series are new to the scraper
            scraper.scrape()
            time.sleep(size.apart / 3)
        scraper.took.clear()
        over = threading.Event()

        def scraping() -> None:
            while not over.wait(size.apart):
                scraper.scrape()

        thread = threading.Thread(target=scraping)
        sent = load.counts()
        child.send(f"stalls {size.seconds}")
        thread.start()
        try:
            found = json.loads(child.line(size.seconds + 60))
            skipped = load.counts()["skipped"] - sent["skipped"]
        finally:
            over.set()
            thread.join()
    return {
        "scrape": statistics.median(scraper.took),
        "slowest scrape": max(scraper.took),
        "stall p99": found["stall_p99"],
        "slowest stall": found["stall_max"],
        "event": found["cpu_seconds"] / max(1, found["events"]),
        "events/s": found["events"] / found["seconds"],
        "skipped": skipped,
        "rss": found["rss_kib"] * 1024,
    }


def starting(rig: Rig, tree: Path, load: Load, size: Size, folder: Path) -> Figures:
    """A life that dies with calls in flight, then the next one: from the command to the end of its first page."""
    state = folder / "starting.db"
    with _candidate(rig, tree, load, size.calls_at_start, size, state, size.events) as child:
        url = json.loads(child.line(180))["metrics_url"]
        load.pace(PACE)
        scraper = _Scraper(url)
        for _ in range(2):
            scraper.scrape()
            time.sleep(6)  # the version before writes what it has counted every five seconds
    load.pace(0)
    took = [_first_page(rig, tree, load, state) for _ in range(3)]
    return {
        "start": statistics.median(wall for wall, _ in took),
        "start CPU": statistics.median(cpu for _, cpu in took),
        "state file": float(state.stat().st_size),
    }


def _first_page(rig: Rig, tree: Path, load: Load, state: Path) -> tuple[float, float]:
    """Seconds until it is there, and of CPU until then."""
    port = _free_port()
    options = {
        "api.base_url": load.base_url,
        "history.enabled": "false",
        "web.listen_address": f"127.0.0.1:{port}",
        "metrics.max_series_per_metric": "100000",
        "state.path": str(state),
    }
    with tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "exporter", "run", *(f"--set={key}={value}" for key, value in options.items())],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "ATOMS_API_KEY": "simulated-key"},
            stdout=errors,
            stderr=errors,
            preexec_fn=None if rig.reader_cpu is None else lambda: os.sched_setaffinity(0, {rig.reader_cpu or 0}),
        )
        try:
            while time.perf_counter() - began < 120:
                try:
                    _Scraper(f"http://127.0.0.1:{port}/metrics").scrape()
                    return time.perf_counter() - began, _cpu_seconds(process.pid)
                except (OSError, http.client.HTTPException):
                    if process.poll() is not None:
                        break
                    time.sleep(0.01)
            errors.seek(0)
            raise Died(errors.read().decode("utf-8", "replace")[-2000:] or "no page within two minutes")
        finally:
            process.kill()
            process.wait()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(rig: Rig, trees: list[Path], size: Size) -> dict[str, list[Figures]]:
    """Of each tree, run by run; the trees take turns, so that a busy minute of the machine falls on both."""
    found: dict[str, list[Figures]] = {str(tree): [] for tree in trees}
    for _ in range(size.repeat):
        for tree in trees:
            with tempfile.TemporaryDirectory() as name:
                with rig.source(size.calls, tls=False) as load:
                    run = running(rig, tree, load, size, Path(name))
                with rig.source(size.calls_at_start, tls=False) as load:
                    run |= starting(rig, tree, load, size, Path(name))
            found[str(tree)].append(run)
            print(tree.name, {key: round(value, 6) for key, value in run.items()}, file=sys.stderr, flush=True)
    return found


_ROWS = (
    ("a scrape, median", "scrape", 1e3, "ms", "at most 100 ms longer"),
    ("the slowest scrape", "slowest scrape", 1e3, "ms", ""),
    ("the event loop is late, p99", "stall p99", 1e3, "ms", "at most 30 ms"),
    ("… at worst", "slowest stall", 1e3, "ms", ""),
    ("CPU per event", "event", 1e6, "µs", "at most 5 % more"),
    ("memory", "rss", 2**-20, "MiB", ""),
    ("from the command to the first page", "start", 1, "s", "under 2 s"),
    ("… of CPU", "start CPU", 1, "s", ""),
    ("state file", "state file", 2**-20, "MiB", ""),
)


def table(found: dict[str, list[Figures]], size: Size, about: str) -> str:
    """The best run of each tree: what others did on the machine meanwhile only ever adds."""
    before, now = ({key: min(run[key] for run in runs) for key in runs[0]} for runs in found.values())
    lines = [
        f"{about}; the better of {size.repeat} runs. {size.calls:,} calls × {PACE:g} events/s, {size.series:,} series "
        f"of which a fifth change between scrapes, a scrape every {size.apart:g} s; the start with {size.series:,} "
        f"kept series and {size.calls_at_start:,} calls of {size.events:,} events in flight (the version before keeps "
        "no series: its first page is nearly empty).",
        "",
        "| | the version before | now | ratio | promised |",
        "|---|---|---|---|---|",
    ]
    for what, key, factor, unit, promise in _ROWS:
        one, other = before[key] * factor, now[key] * factor
        ratio = f"{other / one:.2f}" if one else ""
        lines.append(f"| {what} | {one:.3g} {unit} | {other:.3g} {unit} | {ratio} | {promise} |")
    return "\n".join(lines)


def write(text: str) -> None:
    """Into the document, at its place."""
    put(DOCUMENT, BEGIN, END, text)
