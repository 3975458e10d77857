"""A replica with a thousand calls dies: they are followed again soon, and the API is not overrun with questions."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from exporter.simulator import parse_faults
from tests.fleet.replicas import replicas, told
from tests.system.world import until

A, B = "replica-0", "replica-1"
_CALLS = 2_000
_HISTORY_SECONDS = 0.05
_HISTORIES_AT_ONCE = 8
_PATIENCE_SECONDS = 30.0
_LEASE_SECONDS = 6.0


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_a_thousand_orphaned_calls_are_followed_again_within_half_a_minute(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "calls": _CALLS,
        "total_calls": _CALLS,
        "events_rate": 0.1,
        "speed": 1.0,
        "webhooks": False,
        # Each answer takes so long that who asks for more than its share at once would be seen to.
        "faults": parse_faults(f"slow=1:seconds={_HISTORY_SECONDS}:on=conversation"),
        "settings": {"history.concurrency": str(_HISTORIES_AT_ONCE)},
    }
    how: dict[str, Any] = {"lease": _LEASE_SECONDS, "interval": 1.0, "ask_for_calls": False}
    async with replicas(tmp_path, (A, B), **how, **options) as here:
        here.fleet.simulator.begin()
        active = here.scraper.active
        await until(lambda: active(A) + active(B) == _CALLS, 120, "all calls are followed")
        orphans = active(B)
        assert orphans > _CALLS * 0.4
        asked = here.fleet.simulator.wire.requests
        began, before = time.monotonic(), asked["conversation", 200]
        here.fleet.kill(B)
        fastest, rates = 0.0, []
        while active(A) < _CALLS:
            then, so_far = time.monotonic(), asked["conversation", 200]
            await asyncio.sleep(0.5)
            rates.append((asked["conversation", 200] - so_far) / (time.monotonic() - then))
            fastest = max(rates)
            late = time.monotonic() - began > _LEASE_SECONDS + _PATIENCE_SECONDS
            assert not late, f"{_CALLS - active(A)} of {orphans} are followed by nobody"
        took = time.monotonic() - began
        histories = asked["conversation", 200] - before
        told(
            f"{orphans} orphans were followed again {took:.1f} s after a kill (lease {_LEASE_SECONDS:g} s); "
            f"{histories} histories asked for, at most {fastest:.0f} a second"
        )
        assert fastest <= 1.5 * _HISTORIES_AT_ONCE / _HISTORY_SECONDS
