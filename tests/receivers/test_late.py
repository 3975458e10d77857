"""Analytics that come late: which logs are looked at once more, and how often."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from upstream import Exchange, Upstream, api_for

from exporter.calls.observations import Agent
from exporter.calls.tracker import Tracker
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recorder import Outputs
from exporter.protocol.dispositions import Disposition
from exporter.receivers import late as late_analytics
from exporter.receivers.history import History
from exporter.receivers.late import MOST_WAITING, ONE_OF, TRIES, LateAnalytics

TELLS = Agent("a1", "Tells")
NEVER = Agent("a2", "Never")


class World:
    """A clock, an API that has analytics of the calls of one agent, and what is counted."""

    def __init__(self) -> None:
        self.now = 0.0
        self.metrics = Metrics(version="0")
        self.upstream = Upstream(self.log_of)

    async def log_of(self, exchange: Exchange) -> None:
        call_id = exchange.path.rpartition("/")[2]
        told = [{"identifier": "score", "value": "7", "dispositionMetricType": "INTEGER"}]
        metrics = told if call_id.startswith("CALL-told") else []
        data = {"callId": call_id, "status": "completed", "postCallAnalytics": {"dispositionMetrics": metrics}}
        await exchange.answer(200, json.dumps({"status": True, "data": data}).encode())

    async def looked(self, late: LateAnalytics) -> int:
        """Let all that is due be looked at; how many requests that took."""
        before = len(self.upstream.requests)
        self.now += 60.0
        await late.look()
        return len(self.upstream.requests) - before


async def test_logs_of_agents_with_late_analytics_are_looked_at_once_more_those_of_others_now_and_then() -> None:
    world = World()
    async with world.upstream.serving(), api_for(world.upstream.url) as (api, _):
        tracker = Tracker(Outputs(world.metrics))
        late = LateAnalytics(History(api, rng=random.Random(1)), tracker, after=60.0, clock=lambda: world.now)
        for number in range(TRIES):
            late.ended(f"CALL-told-{number}", TELLS)
            late.ended(f"CALL-never-{number}", NEVER)
            assert await world.looked(late) == 2
        for number in range(10, 60):
            late.ended(f"CALL-told-{number}", TELLS)
            late.ended(f"CALL-never-{number}", NEVER)
        assert await world.looked(late) == 50 + 50 // ONE_OF
    (told,) = world.metrics.store["atoms_disposition_value"].children.values()
    assert sum(told.counts) == TRIES + 50


async def test_results_of_which_nobody_can_say_who_counts_them_are_asked_for_again_and_count_once() -> None:
    world, asked, away = World(), [], True

    async def ask(call_id: str, given: Sequence[Disposition]) -> bool:
        asked.append(call_id)
        return not away

    async with world.upstream.serving(), api_for(world.upstream.url) as (api, _):
        tracker = Tracker(Outputs(world.metrics))
        history = History(api, rng=random.Random(1))
        late = LateAnalytics(history, tracker, after=60.0, clock=lambda: world.now, before_results=ask)
        late.unasked("CALL-ended", TELLS, [Disposition("score", 7)])
        late.ended("CALL-told-1", TELLS)
        assert await world.looked(late) == 1
        assert asked == ["CALL-ended", "CALL-told-1"]
        assert not world.metrics.store["atoms_disposition_value"].children
        away = False
        assert await world.looked(late) == 0, "its log was read"
        await late.look()
    assert asked == ["CALL-ended", "CALL-told-1"] * 2
    (told,) = world.metrics.store["atoms_disposition_value"].children.values()
    assert sum(told.counts) == 2


async def test_beyond_a_bound_results_that_wait_count_as_if_nobody_else_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_analytics, "MOST_UNASKED", 3)
    world = World()
    nobody: Any = None
    tracker, hit = Tracker(Outputs(world.metrics)), list[str]()
    late = LateAnalytics(nobody, tracker, after=0.0, clock=lambda: world.now, bound_hit=hit.append)
    for number in range(5):
        late.unasked(f"CALL-{number}", TELLS, [Disposition("score", 7)])
    (told,) = world.metrics.store["atoms_disposition_value"].children.values()
    assert (sum(told.counts), hit) == (2, ["calls", "calls"])


async def test_what_waits_for_its_second_look_is_bounded_and_nothing_waits_where_that_is_switched_off() -> None:
    world = World()
    async with world.upstream.serving(), api_for(world.upstream.url) as (api, _):
        history, tracker = History(api, rng=random.Random(1)), Tracker(Outputs(world.metrics))
        late = LateAnalytics(history, tracker, after=60.0, clock=lambda: world.now)
        never = LateAnalytics(history, tracker, after=0.0, clock=lambda: world.now)
        for number in range(MOST_WAITING + 100):
            late.ended(f"CALL-{number}", TELLS)
            never.ended(f"CALL-{number}", TELLS)
    assert (len(late), len(never)) == (MOST_WAITING, 0)
