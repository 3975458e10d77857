"""The receivers against the simulated Atoms API: what it sent and keeps is what they got."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest
import structlog
from upstream import api_for

from exporter.calls.evidence import EndInStream, Evidence, Parting, StreamParted
from exporter.calls.tracker import Progress
from exporter.receivers.backoff import Backoff
from exporter.receivers.client import AtomsApi
from exporter.receivers.directory import Directory
from exporter.receivers.discovery import FoundCall, Poll
from exporter.receivers.history import History
from exporter.receivers.stream import Ending, Subscription
from exporter.simulator import SimulatorOptions, parse_faults, simulating

LOG = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
PROGRESS = {
    "call_end": Progress.CALL_ENDED,
    "call_cancelled": Progress.CALL_ENDED,
    "sse_close": Progress.STREAM_CLOSED,
}
FAULTS = (
    "drop=0.6,replay=0.3,noise=0.2,duplicate=0.05,malformed=0.05,oversize=0.01,"
    "server_error=0.2,rate_limited=0.1:seconds=0"
)


class Follower:
    """Follows whatever is found, once, and keeps the ids of the events of each call."""

    def __init__(self, api: AtomsApi, **options: Any) -> None:
        self.api = api
        self.options = options
        self.ids: dict[str, set[str]] = {}
        self.endings: dict[str, Ending] = {}
        self.malformed = 0
        self.tasks: list[asyncio.Task[None]] = []

    def found(self, call: FoundCall) -> None:
        if call.call_id not in self.ids:
            self.ids[call.call_id] = set()
            self.tasks.append(asyncio.ensure_future(self._follow(call.call_id)))

    async def _follow(self, call_id: str) -> None:
        backoff = Backoff(random.Random(1), first_seconds=0.02, ceiling_seconds=0.1)
        owner = Owner(self, self.ids[call_id])
        owner.subscription = Subscription(
            self.api,
            call_id,
            owner,
            place=contextlib.nullcontext,
            backoff=backoff,
            log=LOG,
            idle_timeout=5.0,
            end_grace=1.0,
            **self.options,
        )
        self.endings[call_id] = await owner.subscription.run()


class Owner:
    """Takes the end in the stream, or a 400, for the end."""

    def __init__(self, follower: Follower, ids: set[str]) -> None:
        self.follower = follower
        self.ids = ids
        self.subscription: Subscription | None = None

    def taker(self) -> Callable[[bytes], Progress]:
        return self.take

    def take(self, payload: bytes) -> Progress:
        try:
            event = msgspec.json.decode(payload)
        except msgspec.DecodeError:
            self.follower.malformed += 1
            return Progress.GOING_ON
        if "event_id" in event:
            self.ids.add(event["event_id"])
        return PROGRESS.get(event["event_type"], Progress.GOING_ON)

    def news(self) -> int:
        return len(self.ids)

    def report(self, evidence: Evidence) -> None:
        refused = isinstance(evidence, StreamParted) and evidence.how is Parting.REFUSED
        if self.subscription is not None and (refused or isinstance(evidence, EndInStream)):
            self.subscription.end()

    async def may_open(self) -> None:
        pass

    async def connected(self, number: int) -> None:
        pass


@pytest.mark.parametrize("faults", ["", FAULTS])
@pytest.mark.parametrize(("dialect", "way"), [("2025", "pushed"), ("2026", "portable")])
async def test_every_event_of_every_call_arrives(dialect: Any, way: str, faults: str) -> None:
    options = SimulatorOptions(
        calls=8, total_calls=8, ramp_seconds=0, speed=30, dialect=dialect, reconnect="replay", linger_seconds=6000,
        token="secret-token",
        faults=parse_faults(faults) if faults else (),
    )  # fmt: skip
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    transport = httpx.AsyncHTTPTransport(limits=limits) if way == "portable" else None
    async with simulating(options) as simulator:
        url = simulator.base_url
        async with api_for(url, transport=transport) as (api, heard):
            heard.stream_state = lambda before, after: None  # type: ignore[method-assign]  # the order of one, not of all
            follower = Follower(api)
            poll = Poll(
                api, follower.found, backoff=Backoff(random.Random(1), first_seconds=0.1), log=LOG,
                interval=0.2, limit=3,
            )  # fmt: skip
            polling = asyncio.ensure_future(poll.run())
            try:
                await asyncio.wait_for(simulator.drained(), 60)
            finally:
                polling.cancel()
            await asyncio.wait_for(asyncio.gather(*follower.tasks), 60)
            simulator.clear_faults()
            history = History(api, rng=random.Random(1))
            logs = [await history.fetch(call_id) for call_id in follower.ids]
            names = [(await Directory(api, log=LOG).resolve(log.agent_id or "")).name for log in logs]
            recent = [call.call_id async for call in history.recent(5)]
    assert len(follower.ids) > 4  # the shortest calls may be over between two looks at the list
    for log in logs:
        events = [msgspec.json.decode(event) for event in log.events]
        kinds = [event["event_type"] for event in events]
        # A stream that is cut after the call's end is not opened again: what follows it is for the history.
        ends = next(i for i, kind in enumerate(kinds) if PROGRESS.get(kind) is Progress.CALL_ENDED)
        assert {event["event_id"] for event in events[: ends + 1]} <= follower.ids[log.call_id]
        assert bool(faults) or {event["event_id"] for event in events} == follower.ids[log.call_id]
        assert log.outcome is not None
    assert all(name != "unknown" and name == log.agent_name for name, log in zip(names, logs, strict=True))
    assert len(recent) == 5
    if not faults:
        assert heard.counts["rejected", "oversize"] == 0
        assert {ending.connections for ending in follower.endings.values()} == {1}
