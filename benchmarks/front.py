"""How long the page at ``/`` takes while thousands of calls are followed, and how late the event loop is meanwhile.

``python -m benchmarks.front [--calls 2000] [--pages 100]`` starts a simulator and the exporter as processes, waits
until all calls are followed, and asks for the page seldom enough that none is one that was kept: percentiles, and the
share of the loop's wake-ups that were later than 50 ms with and without anybody asking. Figures need a quiet machine.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

import httpx

from dashboards.rehearsal import Rehearsal

BETWEEN_SECONDS = 1.1
"""A page is kept for a second."""
LATE = 0.05
EVENTS_PER_SECOND = 3.0
"""Of each call. They do not end: two thousand calls of a minute are thirty new ones a second, too many to play here."""


def lag(exporter: str) -> tuple[float, float]:
    """Wake-ups of the event loop so far: all, and those within ``LATE`` seconds."""
    text = httpx.get(f"{exporter}/metrics", timeout=60).text
    name = "atoms_exporter_event_loop_lag_seconds"
    within = re.search(rf'^{name}_bucket{{le="{LATE}"}} (\S+)', text, re.M)
    every = re.search(rf"^{name}_count (\S+)", text, re.M)
    return (float(every[1]), float(within[1])) if every and within else (0.0, 0.0)


def late_share(exporter: str, before: tuple[float, float]) -> float:
    """Share of the wake-ups since ``before`` that were late."""
    every, within = (now - then for now, then in zip(lag(exporter), before, strict=True))
    return 1 - within / every if every else 0.0


def followed(exporter: str) -> float:
    """Streams that are open."""
    found = re.search(r'^atoms_exporter_streams{state="open"} (\S+)', httpx.get(f"{exporter}/metrics").text, re.M)
    return float(found[1]) if found else 0.0


def measured(stage: Rehearsal, pages: int) -> str:
    """One line."""
    before = lag(stage.exporter)
    time.sleep(pages * BETWEEN_SECONDS)
    alone, before = late_share(stage.exporter, before), lag(stage.exporter)
    took = []
    with httpx.Client(timeout=60) as client:
        for _ in range(pages):
            time.sleep(BETWEEN_SECONDS)
            began = time.perf_counter()
            answer = client.get(stage.exporter)
            took.append(time.perf_counter() - began)
            answer.raise_for_status()
    took.sort()
    p50, p95 = took[len(took) // 2], took[int(len(took) * 0.95)]
    return (
        f"{followed(stage.exporter):.0f} calls, {pages} pages of {len(answer.content):,} bytes: "
        f"p50 {p50 * 1000:.1f} ms, p95 {p95 * 1000:.1f} ms; "
        f"the loop later than {LATE * 1000:.0f} ms: {alone:.2%} alone, {late_share(stage.exporter, before):.2%} asked"
    )


def main(arguments: list[str]) -> None:
    """The line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--pages", type=int, default=100)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"ATOMS_EXPORTER_DISCOVERY__POLL__LIMIT": "500", "ATOMS_EXPORTER_DISCOVERY__POLL__INTERVAL": "2s"}
        endless = ("--events-rate", str(EVENTS_PER_SECOND))
        rehearsal = Rehearsal(Path(folder), calls=given.calls, speed=1.0, settings=settings, options=endless)
        with rehearsal.serving() as stage:
            wanted = 0.95 * given.calls
            stage.wait_for(f"{given.calls} calls", lambda: followed(stage.exporter) >= wanted, 600, every=2)
            sys.stdout.write(measured(stage, given.pages) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
