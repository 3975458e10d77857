"""The service in this process, beside a simulator: what only its parts together can show."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from exporter.calls.tracker import Progress, TrackedCall
from exporter.config import load
from exporter.errors import ConfigError
from exporter.outputs.prometheus.exposition import render
from exporter.outputs.prometheus.metrics import Metrics
from exporter.receivers import followed
from exporter.receivers.connection import Connection
from exporter.receivers.deliveries import Deliveries
from exporter.receivers.discovery import FoundCall
from exporter.receivers.stream import Subscription
from exporter.receivers.webhook import Webhooks
from exporter.service import Service
from exporter.simulator import AGENTS, Simulator, SimulatorOptions, parse_faults, signature
from exporter.web import RunningWeb, WebhookAnswer
from tests.system.books import Page, differences, report
from tests.system.world import until

SECRET = "simulated-secret"


@dataclass
class Stage:
    """A service and the simulator it follows."""

    service: Service
    simulator: Simulator
    log: structlog.testing.LogCapture
    url: str

    @property
    def page(self) -> Page:
        metrics = self.service.metrics
        metrics.refresh()
        _, body = render(metrics.store, metrics.others, "application/openmetrics-text")
        return Page(body.decode())

    def said(self, event: str) -> list[dict[str, Any]]:
        return [dict(entry) for entry in self.log.entries if entry["event"] == event]

    async def idle(self) -> Page:
        """Everything played and followed to its end."""
        await asyncio.wait_for(self.simulator.drained(), 60)
        await until(lambda: not len(self.service.following), 60, "no call followed")
        return self.page


@asynccontextmanager
async def stage(
    settings: dict[str, Any] | None = None, *, clock: Callable[[], float] = time.time, **options: Any
) -> AsyncIterator[Stage]:
    """Both running; the service is stopped politely at the end."""
    given = {"calls": 4, "total_calls": 4, "speed": 60.0, "ramp_seconds": 0.0, "paused": True} | options
    given.setdefault("starts_at", 4_000_000_000.0)
    simulator = Simulator(SimulatorOptions(**given))
    base_url = await simulator.start()
    flags = {
        "api.base_url": base_url,
        "api.api_key": "simulated-key",
        "web.listen_address": "127.0.0.1:0",
        "discovery.poll.interval": 1.0,
        "discovery.poll.limit": 500,
        "discovery.webhook.secret": SECRET,
        "history.delay": 0.05,
        "shutdown_timeout": 5.0,
    }
    capture = structlog.testing.LogCapture()
    log = structlog.wrap_logger(structlog.testing.ReturnLogger(), processors=[capture])
    started: asyncio.Future[RunningWeb] = asyncio.get_running_loop().create_future()
    config = load(flags | (settings or {}), {}, None)
    service = Service(config, {}, log, on_started=started.set_result, clock=clock, rng=random.Random(1))
    running = asyncio.ensure_future(service.run())
    try:
        web = await asyncio.wait_for(started, 20)
        yield Stage(service, simulator, capture, web.urls[0])
    finally:
        service.stop()
        await asyncio.wait_for(running, 20)
        await simulator.stop()


async def test_what_goes_wrong_in_one_call_stays_in_it() -> None:
    async with stage(calls=4, total_calls=4) as here:
        unlucky: list[str] = []
        feed = here.service.tracker.feed

        def failing(tracked: TrackedCall, payload: bytes, now: float) -> Progress:
            call_id = tracked.call.call_id
            if len(tracked.seen) > 3 and (not unlucky or call_id in unlucky):
                unlucky.append(call_id)
                raise RuntimeError("something nobody thought of")
            return feed(tracked, payload, now)

        here.service.tracker.feed = failing  # type: ignore[method-assign] # the fault of this test
        here.simulator.begin()
        page = await here.idle()
        assert len(here.said("following a call failed")) == 1
        assert page.total("atoms_calls_ended_total", outcome="lost") == 1
        assert page.total("atoms_calls_ended_total") == 4
        ledger = here.simulator.ledger
        others = sum(entry["events"] for call, entry in ledger["calls"].items() if call not in unlucky)
        everything = sum(entry["events"] for entry in ledger["calls"].values())
        assert others <= page.events < everything


async def test_a_call_that_cannot_even_be_ended_takes_nobody_with_it() -> None:
    async with stage(calls=3, total_calls=3) as here:
        unlucky: list[str] = []
        end = here.service.tracker.end

        def failing(call_id: str, outcome: str, *, at: float | None = None) -> None:
            if not unlucky or call_id in unlucky:
                unlucky.append(call_id)
                raise RuntimeError("something nobody thought of")
            end(call_id, outcome, at=at)

        here.service.tracker.end = failing  # type: ignore[method-assign] # the fault of this test
        here.simulator.begin()
        page = await here.idle()
        assert len(here.said("a failed call cannot be ended")) == 1
        assert page.total("atoms_calls_ended_total") == 2


async def test_no_more_streams_than_allowed_are_open_and_all_calls_are_counted_in_the_end() -> None:
    async with stage({"api.max_streams": 2}, calls=6, total_calls=6, speed=30.0) as here:
        here.simulator.begin()
        most = 0
        while not here.simulator.switchboard.idle:
            page = here.page
            states = [page.total("atoms_exporter_streams", state=state) for state in ("connecting", "open")]
            most = max(most, int(sum(states)))
            await asyncio.sleep(0.02)
        page = await here.idle()
        assert not (unequal := differences(here.simulator.ledger, page, busy=False)) or all(
            "disposition" in line for line in unequal
        ), report(unequal)
        assert 0 < most <= 2


async def test_a_call_is_followed_once_whoever_finds_it() -> None:
    async with stage(calls=1, total_calls=1, speed=40.0) as here:
        here.simulator.begin()
        await until(lambda: len(here.service.following))
        (followed,) = here.service.following.calls()
        found = followed.found
        for source in ("static", "poll", "webhook", "api"):
            assert not here.service.following.follow(FoundCall(found.call_id, source=source))
        (call,) = here.service.overview.going_on()
        assert call.call_id == found.call_id
        await until(lambda: not len(here.service.following), 60)
        assert not here.service.following.follow(found), "nor a second time, when it is over"
        here.service.following.told(found, "failed", None)
        assert not len(here.service.following)
        assert here.page.total("atoms_calls_ended_total") == 1


async def test_a_call_that_only_a_webhook_knows_lasted_as_long_as_that_says() -> None:
    async with stage({"history.enabled": "false"}, calls=1, total_calls=1, speed=40.0) as here:
        found = FoundCall("CALL-1767225600000-abcdef", source="webhook")
        here.service.following.told(found, "busy", 1_767_225_700.0, 95.0)
        await until(lambda: here.page.total("atoms_calls_ended_total", outcome="busy"), 30)
        assert here.page.total("atoms_call_duration_seconds_sum") == 95


async def test_a_clock_that_steps_ends_no_call() -> None:
    ahead = 0.0

    def clock() -> float:
        return time.time() + ahead

    faults = parse_faults("replay=1:after=10:times=2")
    async with stage(clock=clock, calls=2, total_calls=2, speed=20.0, faults=faults) as here:
        here.simulator.begin()
        await until(lambda: here.page.events > 10)
        ahead = 1200.0
        page = await here.idle()
        assert not (unequal := differences(here.simulator.ledger, page, busy=False)), report(unequal)
        assert page.total("atoms_calls_ended_total", outcome="lost") == 0


async def test_an_empty_history_after_a_gap_is_no_reconciliation() -> None:
    faults = parse_faults("gap=1:after=15:times=1,no_history=1")
    async with stage({"history.attempts": 1}, calls=1, total_calls=1, speed=15.0, faults=faults) as here:
        here.simulator.begin()
        page = await here.idle()
        assert here.simulator.ledger["faults"]["gap"] == 1
        assert page.events < here.simulator.ledger["published"]
        assert page.total("atoms_calls_ended_total", outcome="lost") == 1, "and not completed, as if nothing had gone"


async def test_a_stream_that_goes_on_without_the_history_of_a_gap_says_so_and_every_sum_is_exact(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(followed, "_RESUME_SECONDS", 0.1)
    faults = parse_faults("gap=1,slow=1:seconds=1:on=conversation")
    async with stage(speed=20.0, faults=faults) as here:
        here.simulator.begin()
        page = await here.idle()
        assert {entry["reason"] for entry in here.said("a stream goes on without the history of what it missed")} == {
            "too many wait for theirs"
        }
        at_nodes = [line for line in differences(here.simulator.ledger, page, busy=False) if "node_id=" not in line]
        assert at_nodes == []
        assert page.events == here.simulator.ledger["published"]
        for family in ("atoms_turn_latency_seconds_count", "atoms_node_visits_total", "atoms_node_hops_total"):
            assert page.total(family) == sum(each["value"] for each in here.simulator.ledger["totals"][family])


async def test_calls_that_are_over_are_freed_without_the_cycle_collector() -> None:
    """It hardly ever comes (``cli``: a full collection stalls every stream), and what waits for it is all of a call."""
    faults = parse_faults(
        "drop=0.3,gap=0.2,no_close=0.3,server_error=0.3:burst=2:on=any,html=0.2,refused=0.2,silence=0.1"
    )
    async with stage({"api.idle_timeout": "1s"}, calls=6, total_calls=12, faults=faults) as here:
        gc.collect()
        gc.disable()
        try:
            here.simulator.begin()
            await here.idle()
            await asyncio.sleep(0.1)
            alive = Counter(type(each) for each in gc.get_objects())
        finally:
            gc.enable()
        of_a_call = (TrackedCall, Subscription, Connection, httpx.ReadError)
        assert max(alive[kind] for kind in of_a_call) <= 1, "of twelve; the last may be in somebody's hand"


async def test_what_nobody_knows_is_no_call_and_may_be_asked_for_again() -> None:
    async with (
        stage({"web.allow_unauthenticated_api": "true"}, calls=1, total_calls=1) as here,
        httpx.AsyncClient(base_url=here.url, trust_env=False) as client,
    ):

        async def ask() -> int:
            return (await client.post("/api/v1/calls", json={"callId": "CALL-1758124225863-80752e"})).status_code

        assert [await ask(), await ask()] == [202, 409]
        await until(lambda: here.said("not a call we can see"), 30)
        await until(lambda: not len(here.service.following))
        assert await ask() == 202, "it may be there by now"
        assert here.page.total("atoms_calls_started_total") == here.page.total("atoms_calls_ended_total") == 0


async def test_at_info_a_call_is_its_end() -> None:
    async with stage(calls=3, total_calls=3, faults=parse_faults("gap=0.5:after=20")) as here:
        here.simulator.begin()
        await here.idle()
        about_calls = [dict(entry) for entry in here.log.entries if "call_id" in entry and entry["log_level"] == "info"]
        assert [entry["event"] for entry in about_calls] == ["call ended"] * 3


async def test_calls_are_shown_with_where_they_are() -> None:
    async with stage({"web.allow_unauthenticated_api": "true"}, calls=4, total_calls=4, speed=10.0) as here:
        here.simulator.begin()
        async with httpx.AsyncClient(base_url=here.url, trust_env=False) as client:

            async def in_a_node() -> list[dict[str, Any]]:
                calls = (await client.get("/api/v1/calls")).json()["calls"]
                return [call for call in calls if call["node_name"]]

            call = (await until(in_a_node, 30))[0]
            assert call["agent_name"] not in (None, "unknown")
            assert call["events"] > 0
            assert (await client.post("/api/v1/calls", json={"callId": call["call_id"]})).status_code == 409
            assert (await client.get("/-/ready")).status_code == 200
            landing = (await client.get("/")).text
            assert "following" in landing.lower() or call["call_id"] in landing


async def test_the_list_of_ended_calls_that_wait_for_their_history_is_bounded() -> None:
    async with stage({"history.max_pending": 1}, calls=6, total_calls=6) as here:
        here.simulator.begin()
        await until(lambda: here.page.total("atoms_exporter_streams", state="open") >= 3)
        here.simulator.change_faults(parse_faults("server_error=1:on=conversation"))
        refused = await until(lambda: here.said("a call cannot be reconciled"), 60)
        assert {entry["reason"] for entry in refused} == {"too many ended at once"}
        here.simulator.clear_faults()
        page = await here.idle()
        assert page.total("atoms_calls_ended_total", outcome="lost") >= 1
        assert page.total("atoms_calls_ended_total") == 6


async def test_a_state_file_of_a_stranger_ends_the_start(tmp_path: Path) -> None:
    stranger = tmp_path / "notes"
    stranger.write_text("not a database")
    config = load({"api.api_key": "x", "state.path": str(stranger)}, {}, None)
    with pytest.raises(ConfigError, match="not a state file"):
        Service(config, {}, structlog.get_logger())


async def test_an_otlp_protocol_nobody_speaks_ends_the_start() -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP"):
        Service(load({"api.api_key": "x"}, {}, None), env, structlog.get_logger())


# -- deliveries


def _delivery(event: str, call_id: str = "CALL-1", **metadata: Any) -> tuple[bytes, str]:
    body = {"event": f"a1.{event}", "id": f"{event}-{call_id}", "metadata": {"callId": call_id, **metadata}}
    raw = json.dumps(body).encode()
    return raw, signature(SECRET, raw)


async def test_a_delivery_that_finds_the_queue_full_may_come_again() -> None:
    metrics = Metrics(version="0")
    webhooks = Webhooks([SECRET], telemetry=metrics)
    log = structlog.get_logger()
    deliveries = Deliveries(webhooks, None, None, metrics, tracker=None, log=log, longest_queue=2)  # type: ignore[arg-type] # nobody works the queue off
    answers = [await deliveries.take(*_delivery("pre-conversation", f"CALL-{n}")) for n in (1, 2, 3, 3)]
    assert answers == [WebhookAnswer.ACCEPTED] * 2 + [WebhookAnswer.UNAVAILABLE] * 2, "and not DUPLICATE"
    deliveries.draining = True
    assert await deliveries.take(*_delivery("pre-conversation", "CALL-4")) is WebhookAnswer.UNAVAILABLE


async def test_deliveries_that_have_piled_up_leave_others_their_turns() -> None:
    """As many as may wait are worked off when the name comes that they wait for."""
    told: list[str] = []

    class Told:
        def follow(self, found: FoundCall) -> bool:
            told.append(found.call_id)
            return True

    metrics, turns = Metrics(version="0"), 0
    deliveries = Deliveries(
        Webhooks([SECRET], telemetry=metrics),
        Told(),  # type: ignore[arg-type] # told of calls that begin, nothing else
        None,  # type: ignore[arg-type] # nobody asks for names
        metrics,
        tracker=None,  # type: ignore[arg-type] # nothing is counted
        log=structlog.get_logger(),
    )
    for number in range(500):
        await deliveries.take(*_delivery("pre-conversation", f"CALL-{number}"))
    working = asyncio.ensure_future(deliveries.run())
    while len(told) < 500:
        turns += 1
        await asyncio.sleep(0)
    working.cancel()
    assert turns >= 500


async def test_calls_that_begin_do_not_wait_for_the_names_of_other_agents() -> None:
    """``GET /agent/{id}`` takes longer than anybody waits; analyses of many agents stand before a call that begins."""
    async with stage(calls=1, total_calls=1, faults=parse_faults("slow:seconds=60:on=agent")) as here:
        asked: list[str] = []
        follow = here.service.following.follow

        def heard(found: FoundCall, **how: Any) -> bool:
            asked.append(found.call_id)
            return follow(found, **how)

        here.service.following.follow = heard  # type: ignore[method-assign] # to see when it is told
        async with httpx.AsyncClient(base_url=here.url, trust_env=False) as client:
            for number in range(20):
                raw, signed = _delivery("analytics-completed", f"CALL-{number}", agentId=f"agent-{number}")
                answer = await client.post("/webhooks/atoms", content=raw, headers={"X-Signature": signed})
                assert answer.status_code == 202
            raw, signed = _delivery("pre-conversation", "CALL-now", agentId="agent-now")
            await client.post("/webhooks/atoms", content=raw, headers={"X-Signature": signed})
            await until(lambda: "CALL-now" in asked, 5)


async def test_the_first_look_at_the_calls_does_not_wait_for_the_list_of_agents() -> None:
    async with stage(calls=3, total_calls=3, faults=parse_faults("slow:seconds=60:on=agent")) as here:
        here.simulator.begin()
        await until(lambda: here.page.total("atoms_exporter_discovery_requests_total", source="poll", outcome="ok"), 5)
        assert here.page.total("atoms_exporter_up") == 1


async def test_a_list_that_drips_is_given_up_and_said_to_be_down() -> None:
    faults = parse_faults("drip:on=conversation")
    async with stage({"api.request_timeout": "0.5s"}, calls=1, total_calls=1, faults=faults) as here:
        here.simulator.begin()
        timed_out = {"source": "poll", "outcome": "timeout"}
        await until(lambda: here.page.total("atoms_exporter_discovery_requests_total", **timed_out), 10)
        assert here.page.total("atoms_exporter_up") == 0
        async with httpx.AsyncClient(base_url=here.url, trust_env=False) as client:
            ready = await client.get("/-/ready")
        assert ready.status_code == 503
        assert "no complete answer in time" in ready.text
        assert "not answered yet" not in ready.text
        (told,) = here.said("calls cannot be listed")[:1]
        assert told["url"].endswith("/conversation")
        assert told["reason"] == "timeout"


@pytest.mark.parametrize(("fault", "says"), [("unauthorized", "401"), ("not_found", "404"), ("html", "text/html")])
async def test_an_api_that_answers_and_gives_no_list_is_not_ready_and_says_why(fault: str, says: str) -> None:
    async with stage(calls=1, total_calls=1, faults=parse_faults(f"{fault}:on=any")) as here:
        here.simulator.begin()
        async with httpx.AsyncClient(base_url=here.url, trust_env=False) as client:

            async def told() -> bool:
                return says in (await client.get("/-/ready")).text

            await until(told, 10)
            assert (await client.get("/-/ready")).status_code == 503
            assert here.page.total("atoms_exporter_up") == 0
            here.simulator.clear_faults()
            if fault != "html":  # which is tried again within seconds; a refusal after half a minute
                return

            async def ready() -> bool:
                return (await client.get("/-/ready")).status_code == 200

            await until(ready, 30)
            assert here.page.total("atoms_exporter_up") == 1


async def test_a_delivery_that_cannot_be_worked_off_is_logged_and_the_next_one_is() -> None:
    async with stage(calls=1, total_calls=1, speed=20.0) as here:
        follow = here.service.following.follow
        asked: list[str] = []

        def failing(found: FoundCall, **how: Any) -> bool:
            asked.append(found.call_id)
            if found.call_id == "CALL-bad":
                raise RuntimeError("something nobody thought of")
            return follow(found, **how)

        here.service.following.follow = failing  # type: ignore[method-assign] # the fault of this test
        async with httpx.AsyncClient(base_url=here.url, trust_env=False) as client:
            for call_id in ("CALL-bad", "CALL-good"):
                raw, signed = _delivery("pre-conversation", call_id)
                answer = await client.post("/webhooks/atoms", content=raw, headers={"X-Signature": signed})
                assert answer.status_code == 202
        await until(lambda: "CALL-good" in asked)
        assert len(here.said("a delivery could not be worked off")) == 1


async def test_analytics_become_dispositions_of_the_named_agent() -> None:
    words = '{"sentiment": ["positive"]}'
    async with stage({"metrics.disposition_values": words}, calls=1, total_calls=1) as here:
        agent = AGENTS[0]
        metrics = [
            {"identifier": "goal", "value": True, "dispositionMetricType": "BOOLEAN"},
            {"identifier": "sentiment", "value": "positive", "dispositionMetricType": "STRING"},
            {"identifier": "summary", "value": "Alex, +1 555 0100, wants a refund", "dispositionMetricType": "STRING"},
            {"identifier": "score", "value": 7, "dispositionMetricType": "INTEGER"},
            {"identifier": "odd", "value": None, "dispositionMetricType": "INTEGER"},
        ]
        analytics = {"summary": "text", "dispositionMetrics": metrics, "successMetrics": []}
        raw, signed = _delivery("analytics-completed", agentId=agent.id, analytics=analytics)
        async with httpx.AsyncClient(base_url=here.url, trust_env=False) as client:
            await client.post("/webhooks/atoms", content=raw, headers={"X-Signature": signed})
        await until(lambda: here.page.total("atoms_disposition_results_total"))
        page = here.page
        results = page.rows("atoms_disposition_results_total", ("agent_name", "identifier", "value"))
        assert results[agent.name, "goal", "true"] == 1
        assert results[agent.name, "sentiment", "positive"] == 1
        assert not any("555" in value for _, _, value in results)
        assert page.total("atoms_disposition_value_sum", identifier="score") == 7
