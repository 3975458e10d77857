"""Webhooks end to end, alone and beside polling; reconciliation, and what happens where it cannot be done."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx

from exporter.simulator import parse_faults, signature
from tests.system.books import differences, report
from tests.system.test_bad_input import frame, upstream
from tests.system.world import SECRET, Exporter, until, world

_CALL = f"CALL-{time.time_ns() // 1_000_000:013d}-80752e"  # begun just now: of an old one no webhook would be news
_OUTCOMES = "atoms_calls_ended_total"


async def _post(exporter: Exporter, body: dict[str, Any] | bytes, secret: str = SECRET, **headers: str) -> int:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx.AsyncClient(base_url=exporter.url, trust_env=False) as client:
        given = {"X-Signature": signature(secret, raw), **headers}
        return (await client.post("/webhooks/atoms", content=raw, headers=given)).status_code


def _webhook(event: str, call_id: str = _CALL, **metadata: Any) -> dict[str, Any]:
    return {
        "event": f"a1.{event}",
        "id": f"delivery-{event}-{call_id}",
        "metadata": {"agentId": "a1", "callId": call_id, "conversationType": "webcall", **metadata},
    }


async def test_webhooks_alone_find_every_call_and_no_call_is_asked_for_at_the_list(tmp_path: Path) -> None:
    async with world(tmp_path, polls=False, calls=8, total_calls=16) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        await here.played()
        page = await exporter.settled()
        assert not (unequal := differences(here.ledger, page)), report(unequal)
        assert page.total("atoms_exporter_discovery_requests_total", source="poll") == 0
        for kind in ("pre-conversation", "post-conversation", "analytics-completed"):
            sent = here.ledger["webhooks"]["sent"][kind]
            assert page.total("atoms_exporter_webhooks_total", event=kind, outcome="accepted") == sent > 0
        assert here.ledger["webhooks"]["answers"]["pre-conversation"] == {"202": 16}


async def test_polling_alone_finds_every_call_that_lasts_longer_than_a_look(tmp_path: Path) -> None:
    async with world(tmp_path, webhooks=False, calls=6, total_calls=6, speed=10.0) as here:
        exporter = await here.exporter(metrics__disposition_values="{}")
        here.simulator.begin()
        await here.played()
        page = await exporter.settled()
        ledger = here.simulator.control.ledger(books=True)
        followed = [call for call in ledger["calls"] if f"call_id={call}" in exporter.log]
        short = {call: entry for call, entry in ledger["calls"].items() if call not in followed}
        for entry in short.values():
            assert entry["ended_ms"] - entry["started_ms"] < 30_000, "three seconds of ours"
        assert len(followed) >= 3
        assert page.events == sum(ledger["calls"][call]["events"] for call in followed)


async def test_the_endpoint_takes_what_is_signed_and_nothing_else(tmp_path: Path) -> None:
    async with world(tmp_path, calls=1, total_calls=1, polls=False) as here:
        here.env["ATOMS_WEBHOOK_SECRET"] = f"old-secret,{SECRET}"
        exporter = await here.exporter()
        hello = _webhook("something-new")
        assert await _post(exporter, hello) == 202
        assert await _post(exporter, hello) == 202, "a repeated delivery is acknowledged"
        assert await _post(exporter, hello | {"id": "2"}, secret="old-secret") == 202, "while secrets rotate"
        assert await _post(exporter, hello | {"id": "3"}, secret="stolen") == 401
        assert await _post(exporter, hello | {"id": "4"}, **{"X-Signature": ""}) == 401
        assert await _post(exporter, b"{") == 400
        assert await _post(exporter, b" " * (1 << 20) + b"{}") == 413
        page = await exporter.page()
        outcomes = {
            outcome: page.total("atoms_exporter_webhooks_total", outcome=outcome)
            for outcome in ("accepted", "duplicate", "bad_signature", "malformed", "too_large")
        }
        assert outcomes == {"accepted": 2, "duplicate": 1, "bad_signature": 2, "malformed": 1, "too_large": 1}


async def test_an_analysis_that_is_played_again_after_a_restart_counts_once(tmp_path: Path) -> None:
    state = str(tmp_path / "state.db")
    async with world(tmp_path, calls=1, total_calls=1, polls=False) as here:
        call_id = f"CALL-{int(time.time() * 1000)}-80752e"
        analysis = _webhook("analytics-completed", call_id)
        analysis["metadata"]["analytics"] = {
            "dispositionMetrics": [{"identifier": "kept", "value": True, "dispositionMetricType": "BOOLEAN"}]
        }
        first = await here.exporter(state__path=state)
        assert await _post(first, analysis) == 202
        await until(lambda: first.page_now().total("atoms_disposition_results_total") == 1)
        assert await first.stop() == 0
        second = await here.exporter(state__path=state)
        assert await _post(second, analysis) == 202, "acknowledged"
        page = await second.page()
        assert page.total("atoms_exporter_webhooks_total", outcome="duplicate") == 1
        assert page.total("atoms_disposition_results_total") == 1
        long_ago = _webhook("analytics-completed", "CALL-1500000000000-80752e")
        assert await _post(second, long_ago) == 202
        assert (await second.page()).total("atoms_exporter_bounds_hit_total", what="webhook_age") == 1


async def test_without_a_secret_there_is_no_endpoint(tmp_path: Path) -> None:
    async with world(tmp_path, webhooks=False, calls=1, total_calls=1) as here:
        exporter = await here.exporter()
        assert await _post(exporter, _webhook("pre-conversation")) == 404


async def test_a_call_that_ended_before_anybody_told_us_is_counted_from_its_history(tmp_path: Path) -> None:
    async with world(tmp_path, polls=False, calls=1, total_calls=1, faults=parse_faults("webhook_missing=1")) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        await here.played()
        (call_id,) = here.ledger["calls"]
        entry = here.ledger["calls"][call_id]
        metadata = {"agentId": entry["agent_id"], "callId": call_id, "conversationType": "webcall"}
        metadata["callData"] = {"callStatus": "completed"}
        await _post(exporter, {"event": "x.post-conversation", "id": "1", "metadata": metadata})
        await until(lambda: "call ended" in exporter.log)
        page = await exporter.settled()
        assert page.events == entry["events"]
        assert page.total("atoms_exporter_events_recovered_total") == entry["events"]


async def test_without_events_in_the_history_the_summary_fills_the_missing_turns_once(tmp_path: Path) -> None:
    latencies = [900, 1690, 1690, 3200]
    async with world(tmp_path, calls=1, total_calls=1) as here, upstream() as api:
        here.simulator.base_url = api.url
        stamp = "2026-03-02T10:00:{:02d}.000Z"
        turn = {"event_type": "turn_latency", "call_id": _CALL, "interrupted": False}
        api.events = [
            frame({"event_type": "call_start", "event_id": "e0", "call_id": _CALL, "timestamp": stamp.format(1)}),
            frame(
                {**turn, "event_id": "e1", "turn_latency": 1690, "total_turn_ms": 1690, "timestamp": stamp.format(9)}
            ),
            frame({"event_type": "call_end", "event_id": "e2", "call_id": _CALL, "timestamp": stamp.format(30)}),
        ]
        transitions = [
            {"turn": n, "latency": ms, "bot_start": 1772445600000 + n * 5000} for n, ms in enumerate(latencies)
        ]
        summary = {"turns": len(latencies), "latencies": latencies, "transitions": transitions}
        api.history = {"callId": _CALL, "status": "completed", "agentId": "a1", "agent": {"_id": "a1", "name": "Anna"}}
        api.history |= {"events": [], "turnLatencyMetrics": summary}
        exporter = await here.exporter()
        assert await _post(exporter, _webhook("pre-conversation")) == 202
        await until(lambda: "call ended" in exporter.log)
        page = await exporter.settled()
        assert page.total("atoms_turn_latency_seconds_count") == 4
        assert abs(page.total("atoms_turn_latency_seconds_sum") - sum(latencies) / 1000) < 1e-6
        assert page.total(_OUTCOMES, outcome="completed") == 1


async def test_a_call_that_cannot_be_reconciled_ends_as_lost_and_says_so(tmp_path: Path) -> None:
    faults = parse_faults("gap=1:after=20:times=1,server_error=1:burst=1000:on=conversation")
    settings = {"history.patience": "3s"}
    async with world(
        tmp_path, calls=1, total_calls=1, polls=False, faults=faults, settings=settings, speed=10.0
    ) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        await here.played()
        page = await exporter.settled()
        if not here.ledger["faults"].get("gap"):
            return  # the only call was over before it was followed
        assert page.total(_OUTCOMES, outcome="lost") == page.total(_OUTCOMES) == 1
        assert "a call cannot be reconciled" in exporter.log
        assert "outcome=lost" in exporter.log


async def test_an_unbroken_stream_needs_no_history_to_be_complete(tmp_path: Path) -> None:
    faults = parse_faults("server_error=1:burst=1000:on=conversation")
    settings = {"history.patience": "3s"}
    async with world(tmp_path, calls=6, total_calls=6, polls=False, faults=faults, settings=settings) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        await here.played()
        page = await exporter.settled()
        assert not (unequal := differences(here.ledger, page, logs=False)), report(unequal)
        assert page.total(_OUTCOMES, outcome="lost") == 0


async def test_while_draining_webhooks_are_turned_away(tmp_path: Path) -> None:
    async with world(tmp_path, calls=1, total_calls=1, polls=False) as here:
        exporter = await here.exporter()
        answers: list[int] = []

        async def knock() -> None:
            while exporter.process.poll() is None:
                try:
                    answers.append(await _post(exporter, _webhook("pre-conversation")))
                except httpx.TransportError:
                    return

        knocking = asyncio.ensure_future(knock())
        await until(lambda: answers)
        assert await exporter.stop() == 0
        await knocking
        assert set(answers) <= {202, 503}
