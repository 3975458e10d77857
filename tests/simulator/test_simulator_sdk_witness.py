"""The vendor's own SDK reads the simulator without a complaint, token usage aside, which it cannot type."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from typing import Any

import pytest
from simulator_client import FAST, a_live_call, api, until

pytest.importorskip("smallestai", reason="the official SDK is not installed")


def client_of(base_url: str) -> Any:
    from smallestai import SmallestAI
    from smallestai.environment import SmallestAIEnvironment

    here = SmallestAIEnvironment(atoms=base_url, waves=base_url, waves_ws=base_url, payment=base_url)
    return SmallestAI(api_key="simulated-key", environment=here)


def holds_token_usage(event: dict[str, Any]) -> bool:
    return any(isinstance(record.get("value"), dict) for record in event.get("metrics", ()))


async def test_the_sdk_reads_a_whole_stream(caplog):
    async with api(**FAST | {"speed": 40.0, "seed": 8, "dialect": "2026"}) as (simulator, client):
        call_id = await a_live_call(simulator)
        sdk = client_of(simulator.base_url)

        def read() -> list[Any]:
            return list(sdk.atoms.live_transcripts.subscribe_to_live_events(call_id=call_id))

        with caplog.at_level(logging.INFO), warnings.catch_warnings():
            warnings.simplefilter("error")
            events = await asyncio.wait_for(asyncio.to_thread(read), 60)
        history = (await client.get(f"/conversation/{call_id}")).json()["data"]["events"]
    usage = [event for event in history if holds_token_usage(event)]
    plain = [event for event in history if not holds_token_usage(event)]
    assert usage
    assert all("prompt_tokens" in json.dumps(event) for event in usage)
    assert [event.event_type for event in events] == ["sse_init", *(e["event_type"] for e in plain), "sse_close"]
    assert [event.event_id for event in events[1:-1]] == [event["event_id"] for event in plain]
    complaints = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(complaints) == len(usage)
    assert all("prompt_tokens" in record.getMessage() for record in complaints)
    turn = next(event for event in events if event.event_type == "turn_latency")
    assert turn.total_turn_ms == turn.turn_latency > 0
    spoken = next(event for event in events if event.event_type == "tts_completed")
    assert isinstance(spoken.tts_latency, int)


@pytest.mark.parametrize("dialect", ["2025", "2026"])
async def test_the_sdk_reads_lists_details_agents_and_concurrency(dialect, caplog):
    async with api(**FAST | {"calls": 8, "total_calls": 8, "dialect": dialect}) as (simulator, _):
        await asyncio.wait_for(simulator.drained(), 60)
        sdk = client_of(simulator.base_url)

        def read() -> tuple[Any, list[Any], Any, Any]:
            listed = sdk.atoms.calls.list(limit=50)
            details = [sdk.atoms.calls.get(id=log.call_id) for log in listed.data.logs]
            return (
                listed,
                details,
                sdk.atoms.agents.list_agents(page=1, offset=50),
                sdk.atoms.concurrency.get_concurrency(),
            )

        with caplog.at_level(logging.INFO), warnings.catch_warnings():
            warnings.simplefilter("error")
            listed, details, agents, concurrency = await asyncio.wait_for(asyncio.to_thread(read), 60)
        calls = {e.call.call_id: e.call for e in simulator.switchboard.past.values()}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    roots = {call_id for call_id, call in calls.items() if not call.attempt}
    assert {log.call_id for log in listed.data.logs} == roots
    assert listed.data.pagination.total == len(roots)
    for detail in details:
        call = calls[detail.data.call_id]
        assert len(detail.data.events) == call.published()
        assert detail.data.agent.name
        assert detail.data.status == call.script().status
        assert all(line.role in ("agent", "user") and line.content for line in detail.data.transcript)
        if detail.data.turn_latency_metrics:
            assert len(detail.data.turn_latency_metrics.latencies) == detail.data.turn_latency_metrics.turns
    assert {agent.workflow_type for agent in agents.data.agents} == {"workflow_graph", "single_prompt"}
    assert concurrency.data.org_limit >= concurrency.data.total_reserved


@pytest.mark.parametrize(
    ("call_id", "error"),
    [("CALL-1700000000000-abcdef", "NotFoundError"), ("nonsense", "BadRequestError")],
)
async def test_the_sdk_understands_refusals(call_id, error):
    async with api(**FAST) as (simulator, _):
        await until(lambda: simulator.switchboard.begun)
        sdk = client_of(simulator.base_url)

        def read() -> str:
            try:
                list(sdk.atoms.live_transcripts.subscribe_to_live_events(call_id=call_id))
            except Exception as raised:  # noqa: BLE001 # the class is what is asked for
                return type(raised).__name__
            return ""

        assert await asyncio.to_thread(read) == error


async def test_the_sdk_reads_the_webhook_bodies():
    from smallestai.atoms.types import (
        WebhookEventAnalyticsCompleted,
        WebhookEventPostConversation,
        WebhookEventPreConversation,
    )

    from exporter.simulator.switchboard import Announcement
    from exporter.simulator.webhooks import delivery_body

    classes = {
        "pre-conversation": WebhookEventPreConversation,
        "post-conversation": WebhookEventPostConversation,
        "analytics-completed": WebhookEventAnalyticsCompleted,
    }
    async with api(**FAST) as (simulator, _):
        await asyncio.wait_for(simulator.drained(), 60)
        call = next(e.call for e in simulator.switchboard.past.values() if e.call.script().analytics)
    for event, webhook_class in classes.items():
        body = delivery_body(Announcement(event, call, 0), "https://example.com/hook")
        read = webhook_class.model_validate(body)
        assert read.metadata.call_id == call.call_id
