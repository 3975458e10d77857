"""Ten thousand live calls for minutes: ``atoms-exporter run`` itself against the simulator and its books."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.live import OPENMETRICS, Child, Died, Rig
from benchmarks.offline import _free_port

CONNECT_SECONDS = 240
SETTLE_SECONDS = 10
SCRAPE_SECONDS = 15
_READ = tuple(
    f"atoms_exporter_{name}"
    for name in (
        "streams", "events_total", "events_duplicate_total", "event_lag_seconds", "event_loop_lag_seconds",
        "spans_exported_total",
    )
)  # fmt: skip
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") / 1024

_CONFIG = """\
api: {{base_url: "{base_url}", max_streams: {streams}}}
discovery: {{poll: {{limit: 500}}}}
history: {{enabled: false}}
state: {{path: ""}}
web: {{listen_address: "127.0.0.1:{port}"}}
log: {{level: error}}
"""


class Process:
    """``atoms-exporter run``, seen from outside: its metrics, and what the kernel says of it."""

    def __init__(self, config: Path, port: int, otlp: str, cpu: int | None) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._own = "?" + "&".join(f"name[]={name}" for name in _READ)
        self._errors = config.with_name("stderr").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "exporter", "run", "--config.file", str(config)],
            env={
                **os.environ,
                "ATOMS_API_KEY": "simulated-key",
                "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
                "OTEL_METRICS_EXPORTER": "none",
            },
            stderr=self._errors,
            preexec_fn=None if cpu is None else lambda: os.sched_setaffinity(0, {cpu}),
        )

    def metrics(self) -> dict[tuple[str, str], float]:
        """Samples of some of its own metrics, by name and first label value."""
        with urllib.request.urlopen(self._url + self._own, timeout=30) as answer:
            page = answer.read().decode()
        return {
            (sample.name, next(iter(sample.labels.values()), "")): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def scrape(self) -> int:
        """The whole page, as Prometheus asks for it; its size as it comes. It is not read: that would cost as much
        as all the rest, on a core that the exporter or the simulator needs."""
        headers = {"Accept": OPENMETRICS, "Accept-Encoding": "gzip"}
        with urllib.request.urlopen(urllib.request.Request(self._url, headers=headers), timeout=30) as answer:
            return len(answer.read())

    def cpu_seconds(self) -> float:
        """User and system time of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def rss_kib(self) -> float:
        """Resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * _PAGE_KIB

    def end(self) -> None:
        """As an operator would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._errors.close()


def endurance(rig: Rig, calls: int, seconds: float) -> dict[str, Any]:
    """Follow, wait, stop the simulator, compare. Raises Died when it never got that far."""
    books = Child("benchmarks.booked", "--calls", str(calls), cpu=rig.source_cpu)
    sink = Child("benchmarks.sink", cpu=rig.source_cpu)
    with tempfile.TemporaryDirectory() as name:
        base_url, port = json.loads(books.line(60))["base_url"], _free_port()
        config = Path(name) / "config.yml"
        config.write_text(_CONFIG.format(base_url=base_url, streams=calls + 100, port=port))
        exporter = Process(config, port, sink.line(30).strip(), rig.reader_cpu)
        try:
            began = time.monotonic()
            while open_streams(exporter) < calls:
                if time.monotonic() - began > CONNECT_SECONDS:
                    raise Died(f"{open_streams(exporter):.0f} of {calls} streams open after {CONNECT_SECONDS} s")
                time.sleep(0.5)
            connected = time.monotonic() - began
            time.sleep(SETTLE_SECONDS)
            first, cpu, at = exporter.metrics(), exporter.cpu_seconds(), time.monotonic()
            page_bytes = 0
            source_before = books.order("so far", 60)
            while (left := seconds - (time.monotonic() - at)) > 0:
                time.sleep(min(left, SCRAPE_SECONDS))
                page_bytes = exporter.scrape()
            last, cpu, took = exporter.metrics(), exporter.cpu_seconds() - cpu, time.monotonic() - at
            source_after, rss = books.order("so far", 60), exporter.rss_kib()
            ledger = books.order("stop", 120)
            deadline = time.monotonic() + 30
            while call_events(end := exporter.metrics()) < ledger["published"] and time.monotonic() < deadline:
                time.sleep(0.5)
        finally:
            exporter.end()
            books.end()
            sink.end()
    counted = {key[1]: value for key, value in end.items() if key[0] == "atoms_exporter_events_total" and value}
    wrong = {kind: [n, counted.get(kind, 0)] for kind, n in ledger["events"].items() if counted.get(kind, 0) != n}
    events = call_events(last) - call_events(first)
    return {
        "calls": calls,
        "seconds": took,
        "simulators": 1,
        "connect_seconds": connected,
        "published": ledger["published"],
        "counted": int(call_events(end)),
        "lost": int(ledger["published"] - call_events(end)),
        "different_by_type": wrong,
        "duplicates": int(end["atoms_exporter_events_duplicate_total", ""]),
        "connections": ledger["connections"],
        "events_per_second": events / took,
        "lag_p50": _quantile(first, last, 0.5),
        "lag_p99": _quantile(first, last, 0.99),
        "stall_p99": _quantile(first, last, 0.99, "atoms_exporter_event_loop_lag_seconds"),
        "cpu_share": cpu / took,
        "microseconds_per_event": cpu / events * 1e6,
        "page_bytes": page_bytes,
        "spans": int(end["atoms_exporter_spans_exported_total", ""]),
        "rss_mib": rss / 1024,
        "kib_per_call": rss / calls,
        "simulator_cpu_share": (source_after["cpu_seconds"] - source_before["cpu_seconds"]) / took,
        "load": os.getloadavg()[0],
    }


def open_streams(exporter: Process) -> float:
    """How many there are; none while it does not answer."""
    try:
        return exporter.metrics().get(("atoms_exporter_streams", "open"), 0.0)
    except OSError:
        return 0.0


def call_events(metrics: Mapping[tuple[str, str], float]) -> float:
    """Events of calls: what opens and closes a stream is none."""
    return sum(
        value
        for (name, kind), value in metrics.items()
        if name == "atoms_exporter_events_total" and kind not in ("sse_init", "sse_close")
    )


def _quantile(
    first: Mapping[tuple[str, str], float],
    last: Mapping[tuple[str, str], float],
    q: float,
    name: str = "atoms_exporter_event_lag_seconds",
) -> float:
    """Interpolated within its bucket, like PromQL's ``histogram_quantile``."""
    key = f"{name}_bucket"
    buckets = sorted((float(le), value - first[key, le]) for (n, le), value in last.items() if n == key)
    wanted, lower, below = q * buckets[-1][1], 0.0, 0.0
    for bound, cumulative in buckets:
        if cumulative >= wanted:
            if bound == float("inf"):
                break
            return lower + (bound - lower) * (wanted - below) / max(1.0, cumulative - below)
        lower, below = bound, cumulative
    return lower
