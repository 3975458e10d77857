"""All attacks at once beside honest calls, and the table of the run.

python -m tests.attack                    # five minutes, 200 calls
python -m tests.attack --write            # … and put the table into docs/faults.md
python -m tests.attack --seconds 20 --calls 20
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import itertools
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from exporter.simulator.hostile import HOSTILE
from tests.attack.clients import CLIENTS, attacking
from tests.attack.victims import Watch, honest_settled, losses, watching
from tests.system.books import Page
from tests.system.world import world

DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"
_BEGIN, _END = "<!-- table: python -m tests.attack --write -->", "<!-- end of attack -->"
_WAVE_SECONDS = 20.0
MOST_MIB = 1024
"""Of the process under all attacks at once."""


@dataclass
class Run:
    """What one run showed."""

    seconds: float
    calls: int = 0
    sent: int = 0
    problems: list[str] = field(default_factory=list)
    watch: Watch = field(default_factory=Watch)
    bounds: dict[str, int] = field(default_factory=dict)

    def take(self, page: Page) -> None:
        """What the bounds have counted."""
        rows = page.rows("atoms_exporter_bounds_hit_total", ["what"])
        self.bounds = {what: int(value) for (what,), value in sorted(rows.items())}

    def table(self) -> str:
        """For the documentation."""
        watch = self.watch
        minutes = ", ".join(f"{size / 2**20:.0f}" for size in watch.bytes_by_minute)
        rows = [
            ("when", f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {commit()}"),
            ("how long", f"{self.seconds:g} s, {len(HOSTILE)} kinds of hostile calls, {len(CLIENTS)} kinds of clients"),
            ("honest calls", f"{self.calls:,}, {self.sent:,} events"),
            ("not as the ledger has it", f"{len(self.problems)}"),
            ("scrapes answered, unanswered", f"{watch.scrapes:,}, {len(watch.unanswered):,}"),
            ("probes answered", f"{watch.probes:,}"),
            ("slowest of them", f"{watch.slowest_seconds:.1f} s"),
            ("memory before, at most", f"{watch.first_bytes / 2**20:.0f} MiB, {watch.most_bytes / 2**20:.0f} MiB"),
            ("memory at the beginning of each minute", f"{minutes} MiB"),
            ("bounds hit", ", ".join(f"`{what}` {times:,}" for what, times in self.bounds.items())),
        ]
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def commit() -> str:
    """The commit that ran, marked when files differed from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=DOCUMENT.parent, capture_output=True, text=True).stdout.strip()

    changed = bool(git("status", "--porcelain", "--untracked-files=no"))
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" and changes" if changed else "")


async def run(folder: Path, *, seconds: float, calls: int) -> Run:
    """Everything at once; what came of it."""
    found = Run(seconds)
    async with world(folder, calls=calls, total_calls=calls * 2, speed=5.0) as here:
        exporter = await here.exporter(log__level="info")
        assert (await exporter.get("/metrics")).status_code == 200
        here.simulator.begin()
        ids: set[str] = set()
        async with watching(exporter) as found.watch, attacking(exporter.url):
            loop = asyncio.get_running_loop()
            ends = loop.time() + seconds
            for kind in itertools.cycle(HOSTILE):
                if loop.time() >= ends:
                    break
                ids.update(here.simulator.hostile.begin(kind, 2, _WAVE_SECONDS, here.simulator.now_ms()))
                await asyncio.sleep(min(2.0, max(0.0, ends - loop.time())))
        await here.played(600)
        page = await honest_settled(exporter, ids, 300)
        found.take(page)
        ledger = here.ledger
        found.calls, found.sent = int(ledger["begun"]), int(ledger["published"])
        found.problems = losses(here, page) + found.watch.unanswered
        if found.watch.most_bytes > MOST_MIB << 20:
            found.problems.append(f"{found.watch.most_bytes / 2**20:.0f} MiB")
        if "Traceback" in exporter.log:
            found.problems.append("a traceback in the log")
        if await exporter.stop() != 0:
            found.problems.append("the exit code is not 0")
    return found


def write(table: str) -> None:
    """Put the table between its marks."""
    text = DOCUMENT.read_text("utf-8")
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    DOCUMENT.write_text(f"{before}{_BEGIN}\n{table}\n{_END}{after}", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--calls", type=int, default=200, help="honest calls at one time")
    parser.add_argument("--write", action="store_true", help="put the table into docs/faults.md")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        found = asyncio.run(run(Path(folder), seconds=options.seconds, calls=options.calls))
    sys.stdout.write(found.table() + "\n")
    for problem in found.problems:
        sys.stderr.write(f"{problem}\n")
    if options.write:
        write(found.table())
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
