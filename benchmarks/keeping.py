"""What keeping costs.

python -m benchmarks.keeping                    # its parts, in this process: the moment on the event loop, the
                                                # commit, a start; ten seconds
git worktree add ../before 99f257b
python -m benchmarks.keeping ../before --write  # a running exporter beside the version before: scrapes, stalls,
                                                # events, the start; ten minutes, two quiet cores
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import tempfile
import time
from pathlib import Path

import structlog

from benchmarks.keeping_beside import HERE, QUICK, Size, measured, table, write
from benchmarks.live import Rig
from benchmarks.pages import change, fill
from benchmarks.report import about
from exporter.calls.observations import Agent
from exporter.calls.tracker import Tracker
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.prometheus.scrapers import Scrapers
from exporter.outputs.recorder import Outputs
from exporter.state.keeping import Keeping
from exporter.state.sqlite import SQLiteStore


class _Nobody:
    def committed(self, seconds: float) -> None:
        """Not counted."""

    def commit_failed(self) -> None:
        """Not counted."""


class Desk:
    """Calls in flight and series, and a store on this disk."""

    def __init__(self, path: Path) -> None:
        self.metrics = Metrics(version="0", max_series_per_metric=1_000_000)
        self.tracker = Tracker(Outputs(self.metrics))
        self.store = SQLiteStore(path)
        self.keeping = Keeping(
            self.store,
            self.tracker,
            self.metrics.store,
            Scrapers(),
            instance_id="bench",
            interval_seconds=3600,
            retention_seconds=3600,
            max_stale_seconds=3600,
            clock=time.time,
            log=structlog.get_logger("bench"),
            counts=_Nobody(),
        )

    def calls(self, calls: int, events: int, rng: random.Random) -> None:
        """So many events more in each of so many calls."""
        for number in range(calls):
            tracked = self.tracker.open(f"CALL-{number:013d}-80752e", agent=Agent("a1", "A", True), durable=True)
            assert tracked.uncommitted is not None
            tracked.uncommitted.extend(rng.getrandbits(64) for _ in range(events))


async def measure(calls: int, events: int, lines: int, share: float, repeat: int) -> dict[str, float]:
    """Seconds: of CPU, the worst moment on the loop; of time, a commit altogether, a start on what was kept."""
    gc.freeze()  # as the command line does it
    gc.set_threshold(50_000, 20, 100)
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        desk = Desk(path)
        fill(desk.metrics.store, lines)
        desk.calls(calls, events, rng)
        await desk.keeping.keep()
        cuts, commits = [], []
        for _ in range(repeat):
            desk.calls(calls, events, rng)
            change(desk.metrics.store, share)
            began = time.thread_time()
            cut = desk.keeping._cut()
            cuts.append(time.thread_time() - began)
            desk.keeping._give_back(cut)
            began = time.perf_counter()
            assert await desk.keeping.keep()
            commits.append(time.perf_counter() - began)
        desk.store.close()
        size = path.stat().st_size
        began = time.perf_counter()
        again = Desk(path)
        again.keeping.restore(again.store.load())
        start = time.perf_counter() - began
        again.store.close()
    return {"cut": max(cuts), "commit": sorted(commits)[len(commits) // 2], "start": start, "megabytes": size / 1e6}


def main() -> None:
    """Print the figures: of this tree's parts; or, with another tree, of both trees running."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("tree", nargs="?", type=Path, help="the version before, in a work tree of its own")
    given.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    given.add_argument("--quick", action="store_true", help="beside another tree: 1,000 calls, one run")
    given.add_argument("--no-pin", action="store_true", help="let the kernel choose the cores")
    given.add_argument("--calls", type=int, default=10_000)
    given.add_argument("--events", type=int, default=45, help="of each call between two scrapes")
    given.add_argument("--lines", type=int, default=50_000, help="of the page")
    given.add_argument("--share", type=float, default=0.4, help="of the series that change between two scrapes")
    given.add_argument("--repeat", type=int, default=5)
    asked = given.parse_args()
    if asked.tree is not None:
        _beside(asked.tree.resolve(), quick=asked.quick, pinned=not asked.no_pin, into_docs=asked.write)
        return
    found = asyncio.run(measure(asked.calls, asked.events, asked.lines, asked.share, asked.repeat))
    for name, figure in found.items():
        print(f"{name:10} {figure:.1f} MB" if name == "megabytes" else f"{name:10} {figure * 1000:.1f} ms")


def _beside(tree: Path, *, quick: bool, pinned: bool, into_docs: bool) -> None:
    cores = sorted(os.sched_getaffinity(0))
    pinned = pinned and len(cores) > 1
    size = QUICK if quick else Size()
    rig = Rig(cores[0] if pinned else None, cores[1] if pinned else None, Path())
    found = measured(rig, [tree, HERE], size)
    text = table(found, size, about())
    print(text)
    if into_docs:
        write(text)


if __name__ == "__main__":
    main()
