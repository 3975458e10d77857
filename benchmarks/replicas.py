"""What an event costs when several replicas share the calls over Redis, beside one process that has them all.

python -m benchmarks.replicas                   # 8,000 calls; one process and four replicas, in turns; ten minutes
python -m benchmarks.replicas --calls 1000 --seconds 30
python -m benchmarks.replicas --write           # the table in docs/fleet.md

Both sides are ``atoms-exporter run`` bound to one core, with everything kept (a file here, Redis there), scraped
every 15 s; the simulator and Redis have the other core. CPU is the kernel's word on all threads of all replicas, by the
events they counted; Redis' is told beside it. Simulated calls never end, and each brings three events a second.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.endurance import SCRAPE_SECONDS, Process, call_events, open_streams
from benchmarks.fleet import redis_server
from benchmarks.live import Child, Died
from benchmarks.offline import _free_port
from benchmarks.report import about, put
from exporter.fleet.connecting import Redis

DOCS = Path(__file__).parents[1] / "docs" / "fleet.md"
_CONNECT_SECONDS = 300
_SETTLE_SECONDS = 20
_CONFIG = """\
api: {{base_url: "{base_url}", max_streams: {streams}}}
discovery: {{poll: {{limit: 500}}}}
history: {{enabled: false}}
{keeping}
web: {{listen_address: "127.0.0.1:{port}"}}
log: {{level: error}}
"""


@dataclass(frozen=True)
class Measured:
    """Of one run: microseconds of CPU an event, of the exporter and of Redis; events a second; MiB of all replicas."""

    event: float
    redis_event: float
    events_per_second: float
    memory_mib: float


@contextmanager
def _running(base_url: str, otlp: str, calls: int, replicas: int, redis_port: int | None) -> Iterator[list[Process]]:
    """So many replicas that follow all calls between them."""
    _, reader_cpu = _cores()
    with tempfile.TemporaryDirectory() as name, ExitStack() as ends:
        processes = []
        for number in range(replicas):
            folder = Path(name) / str(number)
            folder.mkdir()
            keeping = f'state: {{path: "{folder}/state.db"}}'
            if redis_port is not None:
                keeping = f'fleet: {{redis_url: "redis://127.0.0.1:{redis_port}/0", name: "replica-{number}"}}'
            port = _free_port()
            config = folder / "config.yml"
            config.write_text(_CONFIG.format(base_url=base_url, streams=calls + 100, port=port, keeping=keeping))
            processes.append(Process(config, port, otlp, reader_cpu))
            ends.callback(processes[-1].end)
        began = time.monotonic()
        while (followed := sum(map(open_streams, processes))) < calls:
            if time.monotonic() - began > _CONNECT_SECONDS:
                raise Died(f"{followed:.0f} of {calls} streams open after {_CONNECT_SECONDS} s")
            time.sleep(1)
        yield processes


def measured(calls: int, seconds: float, replicas: int) -> Measured:
    """One process with a file for ``replicas`` of 1, else so many over a Redis of their own."""
    source_cpu, _ = _cores()
    with ExitStack() as ends:
        books = Child("benchmarks.booked", "--calls", str(calls), cpu=source_cpu)
        ends.callback(books.end)
        sink = Child("benchmarks.sink", cpu=source_cpu)
        ends.callback(sink.end)
        base_url, otlp = json.loads(books.line(120))["base_url"], sink.line(30).strip()
        port = ends.enter_context(redis_server()) if replicas > 1 else None
        processes = ends.enter_context(_running(base_url, otlp, calls, replicas, port))
        _scraped(processes, _SETTLE_SECONDS)
        events, cpu, redis, at = _events(processes), _cpu(processes), _redis_cpu(port), time.monotonic()
        _scraped(processes, seconds)
        new, took = _events(processes) - events, time.monotonic() - at
        return Measured(
            (_cpu(processes) - cpu) / new * 1e6,
            (_redis_cpu(port) - redis) / new * 1e6,
            new / took,
            sum(process.rss_kib() for process in processes) / 1024,
        )


def _scraped(processes: list[Process], seconds: float) -> None:
    """So long, with a scrape of each now and then, as Prometheus would: that is when things are kept."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        time.sleep(min(left, SCRAPE_SECONDS))
        for process in processes:
            process.scrape()


def _events(processes: list[Process]) -> float:
    return sum(call_events(process.metrics()) for process in processes)


def _cpu(processes: list[Process]) -> float:
    return sum(process.cpu_seconds() for process in processes)


def _redis_cpu(port: int | None) -> float:
    """Seconds of CPU that Redis has used, all its threads."""
    if port is None:
        return 0.0
    told = Redis(f"redis://127.0.0.1:{port}/0", "bench", patience_seconds=10.0).client.info("cpu")
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


def _cores() -> tuple[int, int]:
    """One for the simulator and Redis, one for the exporter."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("two cores are needed: one for the simulator and Redis, one for the exporter")
    return cores[0], cores[1]


def table(calls: int, replicas: int, one: list[Measured], many: list[Measured]) -> str:
    """The figures, in Markdown."""

    def median(runs: list[Measured], of: str) -> float:
        return statistics.median(getattr(run, of) for run in runs)

    sides = ((f"one process, {calls:,} calls", one), (f"{replicas} replicas, {calls:,} calls between them", many))
    lines = ["| | CPU an event | Redis' CPU an event | events/s | memory of all |", "|---|---|---|---|---|"]
    for name, runs in sides:
        redis = f"{median(runs, 'redis_event'):.2f} µs" if median(runs, "redis_event") else "–"
        lines.append(
            f"| {name} | {median(runs, 'event'):.1f} µs | {redis} | {median(runs, 'events_per_second'):,.0f} "
            f"| {median(runs, 'memory_mib'):,.0f} MiB |"
        )
    more = median(many, "event") / median(one, "event") - 1
    each = "; ".join(f"{name}: " + ", ".join(f"{run.event:.1f}" for run in runs) for name, runs in sides)
    return "\n".join([*lines, "", f"An event costs {more:+.1%} in the fleet. (Runs in turns, µs: {each}. {about()})"])


def main() -> None:
    """Print the table; with ``--write`` put it into docs/fleet.md."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--calls", type=int, default=8_000)
    given.add_argument("--replicas", type=int, default=4)
    given.add_argument("--seconds", type=float, default=60.0, help="measured in each run")
    given.add_argument("--rounds", type=int, default=2, help="runs of each side, in turns")
    given.add_argument("--write", action="store_true", help="put the table into docs/fleet.md")
    asked = given.parse_args()
    one: list[Measured] = []
    many: list[Measured] = []
    for _ in range(asked.rounds):
        one.append(measured(asked.calls, asked.seconds, 1))
        many.append(measured(asked.calls, asked.seconds, asked.replicas))
    text = table(asked.calls, asked.replicas, one, many)
    print(text)
    if asked.write:
        put(DOCS, "<!-- table: python -m benchmarks.replicas --write -->", "<!-- end -->", text)


if __name__ == "__main__":
    main()
