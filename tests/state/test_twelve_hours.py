"""Twelve hours of simulated calls, scraped every fifteen seconds, as fast as it goes: what the state file takes."""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path

import pytest

from exporter.calls.observations import Agent
from exporter.protocol.decode import decode_event
from exporter.protocol.units import unix_seconds
from exporter.simulator import recorded
from exporter.state.sqlite import SQLiteStore
from tests.support.desk import Desk
from tests.support.wire import encoded

_HOURS = 12
_SCRAPE_SECONDS = 15
_CALLS_AT_ONCE = 40
_RECORDINGS = 60
_RETENTION_SECONDS = 3600.0


def _recordings() -> list[tuple[str, list[tuple[float, bytes]]]]:
    """Calls of the simulator: id, and events by seconds since the first."""
    found = []
    for number in range(_RECORDINGS):
        lines = [encoded(event) for event in recorded(1, number)]
        times = [unix_seconds(decode_event(line)[0].timestamp) or 0.0 for line in lines]
        call_id = decode_event(lines[0])[0].call_id
        assert call_id is not None
        found.append((call_id, [(at - times[0], line) for at, line in zip(times, lines, strict=True)]))
    return found


class _Traffic:
    """So many calls at once, each a recording under an id of its own."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._recordings = _recordings()
        self._live: dict[str, tuple[float, deque[tuple[float, bytes]]]] = {}
        self.begun = self.events = 0

    def until(self, now: float) -> None:
        """All that happens up to then."""
        while len(self._live) < _CALLS_AT_ONCE:
            theirs, lines = self._recordings[self.begun % _RECORDINGS]
            ours = f"CALL-{self.begun:013d}-abcdef"
            self._live[ours] = now, deque((at, line.replace(theirs.encode(), ours.encode())) for at, line in lines)
            self.begun += 1
        desk = self._desk
        desk.now = now
        for call_id, (began_at, lines) in list(self._live.items()):
            tracked = desk.tracker.open(call_id, agent=Agent(f"a{self.begun % 6}", "A"), now=now, durable=True)
            while lines and lines[0][0] <= now - began_at:
                desk.tracker.feed(tracked, lines.popleft()[1], now)
                self.events += 1
            if not lines:
                desk.tracker.end(call_id, "completed")
                desk.keeping.finished(call_id)
                del self._live[call_id]


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_the_state_file_does_not_grow_in_twelve_hours_of_calls(tmp_path: Path) -> None:
    desk = Desk(store=SQLiteStore(tmp_path / "state.db"), retention=_RETENTION_SECONDS)
    traffic, sizes = _Traffic(desk), []
    began_at = desk.now
    for scrape in range(1, _HOURS * 3600 // _SCRAPE_SECONDS + 1):
        traffic.until(began_at + scrape * _SCRAPE_SECONDS)
        assert await desk.keeping.keep()
        if scrape * _SCRAPE_SECONDS % 3600 == 0:
            sizes.append(sum(file.stat().st_size for file in tmp_path.iterdir()))
    kib = ", ".join(f"{size / 1024:,.0f}" for size in sizes)
    sys.stdout.write(f"\n{traffic.begun:,} calls, {traffic.events:,} events; KiB after each hour: {kib}\n")
    assert max(sizes[2:]) <= 1.1 * sizes[1]
