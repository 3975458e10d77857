"""What a fleet asks of one Redis: keys, commits, leases, a takeover, of as many calls as wanted, without their streams.

python -m benchmarks.fleet                      # 100,000 calls on 12 replicas; a minute, two quiet cores
python -m benchmarks.fleet --calls 10000 --replicas 4
python -m benchmarks.fleet --write              # the table in docs/fleet.md

Each replica is the store that `run` uses, one after the other; Redis is a real one with an append-only file. What Redis
needs is its own word (INFO): its CPU says how much of the time between two commits it works.
"""

from __future__ import annotations

import argparse
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.report import about, put
from exporter.calls.observations import Agent
from exporter.fleet.connecting import Redis
from exporter.fleet.facts import Row, found
from exporter.fleet.seat import Seat
from exporter.fleet.store import RedisStore
from exporter.outputs.prometheus.children import packed
from exporter.outputs.prometheus.kept import KeptSeries
from exporter.state.kept import CallNews, Commit

DOCS = Path(__file__).parents[1] / "docs" / "fleet.md"
_LEASE_MS = 15_000
_AT_ONCE = 200
_AGENT = Agent("66f0a1c2d3e4f5a6b7c8d901", "Business Funding - Lead Qualification", False)
_EVENTS_AN_HOUR = 20_000
_BUCKETS = 18


@dataclass
class Figures:
    """Seconds, megabytes, and how many."""

    commits: list[float] = field(default_factory=list)
    redis_commit: list[float] = field(default_factory=list)
    own_commit: list[float] = field(default_factory=list)
    claim_seconds: float = 0.0
    redis_claim: float = 0.0
    renewal: float = 0.0
    takeover_seconds: float = 0.0
    calls_megabytes: float = 0.0
    identity_bytes: float = 0.0
    series_megabytes: float = 0.0


@contextmanager
def redis_server() -> Iterator[int]:
    """A Redis of its own with an append-only file, as a fleet wants it; its port."""
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("redis-server is not installed: on Debian: apt-get install redis-server")
    with tempfile.TemporaryDirectory() as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        command += ["--appendonly", "yes", "--logfile", f"{folder}/redis.log"]
        process = subprocess.Popen(command)
        try:
            yield port
        finally:
            process.terminate()
            process.wait(30)


class Bench:
    """So many replicas on one Redis."""

    def __init__(self, port: int, replicas: int, calls: int) -> None:
        self._url = f"redis://127.0.0.1:{port}/0"
        self.redis = self._reached()
        self.figures = Figures()
        self._rng = random.Random(1)
        self._wait_for_it()
        self.seats = [self._seated(f"replica-{number}") for number in range(replicas)]
        self.redis.client.hset(f"{self.redis.prefix}fleet", "back_at", "1")  # it has been there for long
        share = calls // replicas
        self.calls = {
            seat.name: [f"CALL-{1758124225863 + place * share + each}-80752e" for each in range(share)]
            for place, seat in enumerate(self.seats)
        }
        self.stores = {seat.name: RedisStore(self._reached(), seat, lease_seconds=15.0) for seat in self.seats}
        self._series: dict[str, list[KeptSeries]] = {}

    def _reached(self) -> Redis:
        return Redis(self._url, "bench", patience_seconds=60.0)

    def _wait_for_it(self) -> None:
        from redis.exceptions import ConnectionError as NotThere

        for _ in range(200):
            try:
                self.redis.client.ping()
                return
            except NotThere:
                time.sleep(0.05)

    def _seated(self, name: str) -> Seat:
        _, epoch, fleet_id, version, _ = self.redis.run("join", name, 3_600_000, b"", uuid4().hex)
        return Seat(name, epoch.decode(), fleet_id.decode(), version)

    def redis_cpu(self) -> float:
        """Seconds of CPU that Redis' main thread has used."""
        told: dict[str, Any] = self.redis.client.info("cpu")
        return float(told["used_cpu_user_main_thread"] + told["used_cpu_sys_main_thread"])

    def megabytes(self) -> float:
        """Memory of its data."""
        return float(self.redis.client.info("memory")["used_memory"]) / 1e6

    # -- what a fleet does

    def find_and_claim(self) -> None:
        """All calls are found by one and claimed by their owners."""
        before, memory, began = self.redis_cpu(), self.megabytes(), time.perf_counter()
        for seat in self.seats:
            for some in _parts(self.calls[seat.name]):
                rows = [
                    part
                    for call in some
                    for part in (call, found(Row("listed", call, _AGENT.agent_id, "webcall", "active", 1.0)), "new")
                ]
                self.redis.run("publish", *rows)
                answer = self.redis.run("claim", seat.name, seat.epoch, _LEASE_MS, *some)
                assert answer[1] == b"claimed"
        self.figures.claim_seconds = time.perf_counter() - began
        self.figures.redis_claim = self.redis_cpu() - before
        self.figures.calls_megabytes = self.megabytes() - memory

    def commit_round(self, events: int, series: int, *, measured: bool = True) -> None:
        """Each replica keeps what it counted since the last time: news of all its calls, and its series."""
        for seat in self.seats:
            bits = self._rng.getrandbits
            news = [
                CallNews(call, _AGENT, "webcall", 1.0, [bits(64) for _ in range(events)], {})
                for call in self.calls[seat.name]
            ]
            commit = Commit(time.time(), news, series=self._changed(seat.name, series), layouts={"a": "histogram"})
            before, began, own = self.redis_cpu(), time.perf_counter(), time.process_time()
            self.stores[seat.name].save(commit)
            if measured:
                self.figures.own_commit.append(time.process_time() - own)
                self.figures.commits.append(time.perf_counter() - began)
                self.figures.redis_commit.append(self.redis_cpu() - before)

    def _changed(self, name: str, series: int) -> list[KeptSeries]:
        rows = self._series.setdefault(
            name,
            [
                KeptSeries("a", (_AGENT.agent_id, _AGENT.name, f"node-{each}"), b"", 1, 1.0, None, False)
                for each in range(series)
            ],
        )
        numbers = packed([self._rng.random() * 100, *range(_BUCKETS)])
        return [row._replace(numbers=numbers) for row in rows]

    def renew(self) -> None:
        """What a lease costs, every few seconds, each replica."""
        before, many = self.redis_cpu(), 200
        for number in range(many):
            seat = self.seats[number % len(self.seats)]
            self.redis.run("renew", seat.name, seat.epoch, seat.fleet_id, 3_600_000, b"")
        self.figures.renewal = (self.redis_cpu() - before) / many

    def take_over(self) -> None:
        """One is taken for dead; the others claim what it had, and read what was counted of it."""
        dead, *living = self.seats
        self.redis.client.zadd(f"{self.redis.prefix}leases", {dead.name: 1})
        began = time.perf_counter()
        self.redis.run("bury", living[0].name, living[0].epoch, 0, dead.name, dead.epoch)
        for number, some in enumerate(_parts(self.calls[dead.name])):
            seat = living[number % len(living)]
            self.redis.run("claim", seat.name, seat.epoch, 0, *some)
            self.redis.client.mget([f"{self.redis.prefix}ids:{call}" for call in some])
        self.figures.takeover_seconds = time.perf_counter() - began


def _parts(calls: Sequence[str]) -> Iterator[Sequence[str]]:
    return (calls[place : place + _AT_ONCE] for place in range(0, len(calls), _AT_ONCE))


def measure(port: int, replicas: int, calls: int, events: int, series: int, rounds: int) -> Figures:
    """All of it, one after the other."""
    bench = Bench(port, replicas, calls)
    bench.find_and_claim()
    memory = bench.megabytes()
    bench.commit_round(0, series, measured=False)
    bench.figures.series_megabytes = bench.megabytes() - memory
    memory = bench.megabytes()
    for _ in range(rounds):
        bench.commit_round(events, series)
    each = calls // replicas * replicas
    bench.figures.identity_bytes = (bench.megabytes() - memory) * 1e6 / (each * events * rounds)
    bench.renew()
    bench.take_over()
    return bench.figures


def table(found: Figures, asked: argparse.Namespace) -> str:
    """The figures, in Markdown."""
    calls, replicas = asked.calls, asked.replicas
    commit, redis = statistics.median(found.commits), statistics.median(found.redis_commit)
    own, events = statistics.median(found.own_commit), calls // replicas * asked.events
    busy = redis * replicas / asked.seconds
    an_hour = found.identity_bytes * _EVENTS_AN_HOUR / 1e3
    rows = [
        (f"a commit of one replica: {calls // replicas:,} calls, {asked.events} events each, {asked.series:,} series",
         f"{commit * 1e3:.0f} ms, of which Redis {redis * 1e3:.0f} ms"),
        ("its CPU in the replica", f"{own * 1e3:.0f} ms: {own * 1e6 / events:.2f} µs an event"),
        (f"Redis' CPU while all {replicas} commit every {asked.seconds:g} s", f"{busy:.0%} of one core"),
        ("the same for 1,000 calls", f"{busy * 1000 / calls:.2%}"),
        ("a renewal of a lease", f"{found.renewal * 1e6:.0f} µs"),
        ("to find and claim a call", f"{found.redis_claim / calls * 1e6:.0f} µs"),
        ("memory of 1,000 calls, before their first event", f"{found.calls_megabytes / calls * 1e6:.0f} kB"),
        ("memory of an event", f"{found.identity_bytes:.0f} bytes: {an_hour:.0f} kB for a call of an hour"),
        (f"memory of a replica's {asked.series:,} series", f"{found.series_megabytes / replicas:.0f} MB"),
        (f"one replica's {calls // replicas:,} calls claimed by the others, with what was counted of them",
         f"{found.takeover_seconds:.1f} s"),
    ]  # fmt: skip
    lines = [f"| {calls:,} calls on {replicas} replicas, one Redis | |", "|---|---|"]
    lines += [f"| {what} | {figure} |" for what, figure in rows]
    return "\n".join([*lines, "", f"({about()})"])


def main() -> None:
    """Print the table; with ``--write`` put it into docs/fleet.md."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--calls", type=int, default=100_000)
    given.add_argument("--replicas", type=int, default=12)
    given.add_argument("--events", type=int, default=45, help="of each call between two commits")
    given.add_argument("--series", type=int, default=5_000, help="of each replica that changed between two commits")
    given.add_argument("--rounds", type=int, default=3)
    given.add_argument("--seconds", type=float, default=15.0, help="between two commits of a replica")
    given.add_argument("--write", action="store_true", help="put the table into docs/fleet.md")
    asked = given.parse_args()
    with redis_server() as port:
        text = table(measure(port, asked.replicas, asked.calls, asked.events, asked.series, asked.rounds), asked)
    print(text)
    if asked.write:
        put(DOCS, "<!-- table: python -m benchmarks.fleet --write -->", "<!-- end -->", text)


if __name__ == "__main__":
    main()
