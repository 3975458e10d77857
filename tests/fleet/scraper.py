"""What Prometheus would make of all replicas together: increments added up, whatever falls taken for a reset.

It visits each replica as Prometheus does and knows it by its name, which stays when the process does not. Beside that
it notes what must never be: a counter that fell, a call that two replicas say they follow.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from itertools import combinations

from aiohttp import ClientError, ClientSession, ClientTimeout

from tests.fleet.world import Fleet, Replica
from tests.system.books import Page
from tests.system.world import until

_COUNTERS = ("_total", "_count", "_sum", "_bucket")
_OF_A_LIFE = "atoms_exporter_checkpoint"
"""What a process says of its own commits begins at 0 with it, as it should."""
_ACTIVE = "atoms_calls_active{"
_HEADERS = {
    "User-Agent": "Prometheus/2.42.0",
    "Accept": "text/plain;version=0.0.4",
    "X-Prometheus-Scrape-Timeout-Seconds": "5",
}


class Scraper:
    """Visits every replica of a fleet that answers, every ``interval`` seconds, and adds up."""

    def __init__(self, here: Fleet, interval: float = 0.25, *, ask_for_calls: bool = True) -> None:
        self._fleet = here
        self._interval = interval
        self._ask_for_calls = ask_for_calls
        self._last: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._gauges: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._grown: defaultdict[str, float] = defaultdict(float)
        self.fell: list[str] = []
        """Counters that fell, one line each: whatever fell was added once more."""
        self.visits: defaultdict[str, int] = defaultdict(int)
        self.followed: dict[str, set[str]] = {}
        """Call ids by replica, as each has last said; who does not answer follows nothing we know of."""
        self.seen_at: dict[str, dict[str, float]] = defaultdict(dict)
        """When each replica first said that it follows a call."""
        self._shared: dict[tuple[str, str, str], float] = {}
        self.shared_seconds: defaultdict[tuple[str, str, str], float] = defaultdict(float)
        """Two replicas and a call that both said they follow: for how long at a stretch, at most."""

    async def run(self, session: ClientSession) -> None:
        while True:
            began = time.monotonic()
            await self.round(session)
            await asyncio.sleep(max(0.02, self._interval - (time.monotonic() - began)))

    async def round(self, session: ClientSession) -> None:
        """One visit to each."""
        await asyncio.gather(*(self._visit(session, replica) for replica in self._fleet.alive))
        for name in self.followed.keys() - {replica.name for replica in self._fleet.alive}:
            del self.followed[name]
        now = time.monotonic()
        shared = {
            (one, other, call_id)
            for one, other in combinations(sorted(self.followed), 2)
            for call_id in self.followed[one] & self.followed[other]
        }
        self._shared = {each: self._shared.get(each, now) for each in shared}
        for each, since in self._shared.items():
            self.shared_seconds[each] = max(self.shared_seconds[each], now - since)

    async def _visit(self, session: ClientSession, replica: Replica) -> None:
        try:
            async with session.get(f"{replica.url}/metrics", headers=_HEADERS) as answer:
                text = await answer.text()
                if answer.status != 200:
                    return
            self._take(replica.name, text)
            self.visits[replica.name] += 1
            if not self._ask_for_calls:
                return
            async with session.get(f"{replica.url}/api/v1/calls") as answer:
                calls = (await answer.json())["calls"]
        except (ClientError, TimeoutError, OSError):
            self.followed.pop(replica.name, None)
            return
        self.followed[replica.name] = {call["call_id"] for call in calls if call["ended_at"] is None}
        for call_id in self.followed[replica.name]:
            self.seen_at[replica.name].setdefault(call_id, time.monotonic())

    def _take(self, name: str, text: str) -> None:
        last, gauges = self._last[name], self._gauges[name]
        gauges.clear()
        for series, value in _samples(text):
            if not series.startswith("atoms_"):
                continue
            if not series.partition("{")[0].endswith(_COUNTERS):
                gauges[series] = value
                continue
            before = last.get(series)
            last[series] = value
            if before is None:  # a series' first value is where it begins
                continue
            if value < before and not series.startswith(_OF_A_LIFE):
                self.fell.append(f"{name}: {series} fell from {before:g} to {value:g}")
            self._grown[series] += value if value < before else value - before

    async def visited_again(self, times: int = 3, seconds: float = 60.0) -> None:
        """Until each replica that lives has been visited so often from now on: what is new is shown at 0 first."""
        before = dict(self.visits)

        def visited() -> bool:
            return all(self.visits[each.name] >= before.get(each.name, 0) + times for each in self._fleet.alive)

        await until(visited, seconds, "visits to all replicas")

    def active(self, name: str) -> int:
        """How many calls a replica follows, by its last page."""
        return int(sum(value for series, value in self._gauges[name].items() if series.startswith(_ACTIVE)))

    def added_up(self) -> Page:
        """All counters' growth over all replicas; gauges as they are now, added up."""
        sums: defaultdict[str, float] = defaultdict(float, self._grown)
        for last in self._last.values():
            for series in last:
                sums[series] += 0.0  # shown, and perhaps never grown
        for replica in self._fleet.alive:
            for series, value in self._gauges[replica.name].items():
                sums[series] += value
        return Page("".join(f"{series} {value!r}\n" for series, value in sums.items()))

    def shared_for_longer_than(self, seconds: float, *, unless: Iterable[str] = ()) -> list[str]:
        """Calls that two said they follow for longer, one line each; replicas in ``unless`` are left aside."""
        aside = set(unless)
        return [
            f"{call_id} was followed by {one} and {other} for {shared:.1f} s"
            for (one, other, call_id), shared in self.shared_seconds.items()
            if shared > seconds and not {one, other} & aside
        ]


def _samples(text: str) -> list[tuple[str, float]]:
    found = []
    for line in text.splitlines():
        if line and line[0] != "#":
            series, _, value = line.rpartition(" ")
            found.append((series, float(value)))
    return found


@contextlib.asynccontextmanager
async def scraped(scraper: Scraper) -> AsyncIterator[Scraper]:
    """Visits begin, one to every replica before the block does."""
    async with ClientSession(timeout=ClientTimeout(total=4)) as session:
        await scraper.round(session)
        task = asyncio.create_task(scraper.run(session))
        try:
            yield scraper
        finally:
            task.cancel()
            await asyncio.wait([task])
