"""Faults of content, webhooks and the control door; the ledger stays exact."""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest
from simulator_client import FAST, Receiver, a_live_call, api, frames, ids, until

from exporter.simulator import AGENTS, FAULTS, Fault, book_of, parse_faults
from exporter.simulator.book import Book
from exporter.simulator.happenings import Conditions
from exporter.simulator.scenario import script

SLOWLY = FAST | {"speed": 40.0}
LIVE = {"calls": 3, "speed": 4.0, "ramp_seconds": 0.0, "starts_at": 1_767_225_600.0}


def faults(text: str) -> tuple[Fault, ...]:
    return parse_faults(text)


async def history(client: httpx.AsyncClient, call_id: str) -> list[dict]:
    return (await client.get(f"/conversation/{call_id}")).json()["data"]["events"]


# -- content


async def test_negative_latencies_and_unknown_events_are_in_stream_history_and_ledger():
    options = FAST | {"speed": 60.0, "faults": faults("negative_latency,unknown_event"), "seed": 8}
    async with api(**options) as (simulator, client):
        call_id = await a_live_call(simulator)
        received = await frames(client, call_id)
        assert ids(received) == ids(await history(client, call_id))
        await asyncio.wait_for(simulator.drained(), 60)
        totals = simulator.control.totals()
        garbage = simulator.ledger["garbage"]
        assert garbage["negative_latency"] == totals.total("samples_skipped_total", reason="negative") > 0
        assert garbage["unknown_event"] == totals.total("events_total", event_type="sentiment_shift") > 0
        assert totals.total("atoms_turn_latency_seconds_count") == garbage["negative_latency"]


async def test_a_skewed_clock_is_hours_off_in_every_event():
    async with api(**FAST | {"faults": faults("clock_skew:hours=-7"), "dialect": "2025"}) as (simulator, client):
        await asyncio.wait_for(simulator.drained(), 60)
        for call_id, ended in simulator.switchboard.past.items():
            first = (await history(client, call_id))[0]
            assert first["timestamp"] * 1000 == pytest.approx(ended.call.started_ms - 7 * 3_600_000, abs=1000)


async def test_failing_tools_and_calls_are_in_the_ledger():
    options = FAST | {"calls": 12, "total_calls": 12, "faults": faults("tool_failure,call_failure"), "seed": 6}
    async with api(**options) as (simulator, _):
        await asyncio.wait_for(simulator.drained(), 60)
        totals = simulator.control.totals()
        assert totals.total("atoms_calls_ended_total", outcome="failed") == 12
        assert totals.total("atoms_agent_errors_total", severity="fatal") == 12
        tools = totals.total("atoms_tool_calls_total")
        assert totals.total("atoms_tool_call_failures_total") == tools > 0


async def test_an_agent_falls_silent_while_its_callers_go_on_speaking():
    options = FAST | {"faults": faults("silent_agent"), "seed": 3}
    async with api(**options) as (simulator, _):
        await asyncio.wait_for(simulator.drained(), 60)
        totals = simulator.control.totals()
        assert totals.total("atoms_user_turns_total") > 0
        assert totals.total("atoms_turn_latency_seconds_count") == 0
        assert totals.total("atoms_calls_ended_total", outcome="failed") < totals.total("atoms_calls_ended_total")


async def test_an_agent_errs_in_every_turn_beside_its_answer():
    options = FAST | {"faults": faults("agent_error"), "seed": 3}
    async with api(**options) as (simulator, _):
        await asyncio.wait_for(simulator.drained(), 60)
        totals = simulator.control.totals()
        turns = totals.total("atoms_turn_latency_seconds_count")
        assert totals.total("atoms_agent_errors_total", code="E_SIMULATED") == turns > 0


async def test_no_call_begins_while_none_may_and_they_come_when_it_is_over():
    async with api(calls=4, speed=100, ramp_seconds=0, faults=faults("no_calls")) as (simulator, client):
        control = simulator.base_url.replace("/atoms/v1", "/_simulator/faults")
        await until(lambda: simulator.faults.struck["no_calls"] >= 8)
        assert simulator.switchboard.begun == 0
        await client.delete(control)
        await until(lambda: simulator.switchboard.begun >= 4)


async def test_no_history_leaves_the_turns_of_the_log_only():
    async with api(**FAST | {"faults": faults("no_history")}) as (simulator, client):
        await asyncio.wait_for(simulator.drained(), 60)
        for call_id, ended in simulator.switchboard.past.items():
            data = (await client.get(f"/conversation/{call_id}")).json()["data"]
            assert data["events"] == []
            turns = book_of(ended.call.script()).total("atoms_turn_latency_seconds_count")
            assert len((data["turnLatencyMetrics"] or {"latencies": []})["latencies"]) == turns


async def test_a_node_slows_down_at_run_time():
    async with api(calls=10, speed=100, ramp_seconds=0, seed=2) as (simulator, client):
        control = simulator.base_url.replace("/atoms/v1", "/_simulator/faults")
        answer = await client.post(control, json={"slow_node": {"node_id": "20002", "factor": 6}})
        assert answer.json()["active"][0]["factor"] == 6.0

        def mean_seconds(node: str) -> float:
            totals = simulator.control.totals()
            count = totals.total("atoms_turn_latency_seconds_count", node_id=node)
            return totals.total("atoms_turn_latency_seconds_sum", node_id=node) / count if count > 15 else 0.0

        slow = await until(lambda: mean_seconds("20002"), 60)
        usual = await until(lambda: mean_seconds("20001"), 60)
        assert slow > 3 * usual
        await client.delete(control)
        assert (await client.get(control)).json()["active"] == []


async def test_history_agrees_with_the_stream_although_the_weather_changed_in_between():
    async with api(**LIVE | {"speed": 40.0, "seed": 8, "total_calls": 3}) as (simulator, client):
        call_id = await a_live_call(simulator, events=30)
        reading = asyncio.create_task(frames(client, call_id))
        nodes = [node.id for agent in AGENTS for node in agent.nodes]
        every_node = tuple(Fault("slow_node", node_id=node_id, factor=3) for node_id in nodes)
        simulator.change_faults((*every_node, Fault("tool_failure", 1.0)))
        received = await reading
        assert received[1:-1] == await history(client, call_id)
        await asyncio.wait_for(simulator.drained(), 60)
        call = simulator.switchboard.call(call_id)
        assert call.book().total("events_total") == len(received) - 2


# -- webhooks


@pytest.mark.parametrize("name", ["webhook_duplicate", "webhook_reorder", "webhook_bad_signature", "webhook_missing"])
async def test_webhook_faults(name):
    async with Receiver() as receiver:
        async with api(**FAST | {"webhook_url": receiver.url, "faults": faults(name)}) as (simulator, _):
            await asyncio.wait_for(simulator.drained(), 60)
            sent = simulator.ledger["webhooks"]
            calls = set(simulator.switchboard.past)
        by_call = {call_id: [b for _, _, b in receiver.got if b["metadata"]["callId"] == call_id] for call_id in calls}
        deliveries = Counter(body["id"] for _, _, body in receiver.got)
        if name == "webhook_duplicate":
            assert set(deliveries.values()) == {2}
        elif name == "webhook_reorder":
            for bodies in by_call.values():
                kinds = [body["metadata"]["eventType"] for body in bodies]
                assert kinds == [] or kinds[0] != "pre-conversation"
        elif name == "webhook_bad_signature":
            strangers = [b for _, _, b in receiver.got if b["metadata"]["callId"] not in calls]
            assert len(strangers) == sent["forged"] == len(receiver.got) / 2
        else:
            assert receiver.got == []
            assert sent["missing"]["pre-conversation"] == 4


# -- the door


async def test_faults_are_set_listed_and_cleared_at_run_time():
    async with api(**LIVE) as (simulator, client):
        control = simulator.base_url.replace("/atoms/v1", "/_simulator/faults")
        listed = (await client.get(control)).json()
        assert set(listed["known"]) == set(FAULTS)
        await client.post(control, json={"drop": 0.5, "silence": {"probability": 0.1, "seconds": 3}})
        active = (await client.get(control)).json()["active"]
        assert [(fault["name"], fault["probability"]) for fault in active] == [("drop", 0.5), ("silence", 0.1)]
        await client.post(control, json={"drop": 0})
        assert [fault["name"] for fault in (await client.get(control)).json()["active"]] == ["silence"]
        for wrong in ('{"nonsense": 1}', "[1]", "{", '{"drop": true}', '{"drop": {"often": 1}}'):
            answer = await client.post(control, content=wrong)
            assert answer.status_code == 400
            assert answer.json()["errors"]


def test_the_same_seed_draws_the_same_fates():
    from exporter.simulator.faults import Faults

    fates = []
    for _ in range(2):
        drawn = Faults(5, parse_faults("drop=0.3,silence=0.3"))
        fates.append([drawn.of_connection(drawn.rng("stream", number, 0)) for number in range(50)])
    assert fates[0] == fates[1]
    assert {fate.name for fate in fates[0] if fate} == {"drop", "silence"}
    assert None in fates[0]


# -- what is known when calls are over

WORDS = "atoms_first_word_seconds"


def totals_of(**conditions: float) -> Book:
    """The books of forty calls, summed."""
    together = Book()
    for number in range(40):
        together.add_book(book_of(script(3, number, ((0, Conditions(**conditions)),))))
    return together


def test_a_mute_agent_says_nothing_in_a_call_and_one_without_a_greeting_speaks_later():
    usual, mute = totals_of(), totals_of(no_greeting=1.0, silent_agent=1.0)
    later = totals_of(no_greeting=1.0)
    assert mute.total(f"{WORDS}_count") == 0
    assert 0 < later.total(f"{WORDS}_count") <= usual.total(f"{WORDS}_count")
    assert later.total(f"{WORDS}_sum") > 3 * usual.total(f"{WORDS}_sum")


def test_a_late_greeting_moves_the_first_word_and_nothing_before_it():
    usual, late = totals_of(), totals_of(late_greeting=1.0, greeting_late_ms=6000)
    calls = usual.total(f"{WORDS}_count")
    assert late.total(f"{WORDS}_count") == calls
    assert late.total(f"{WORDS}_sum") - usual.total(f"{WORDS}_sum") == pytest.approx(6 * calls)


def test_calls_with_a_broken_end_are_completed_and_say_why_they_ended():
    broken = totals_of(broken_end=1.0)
    reasons = "atoms_call_end_reasons_total"
    assert sum(broken.total(reasons, reason=why) for why in ("connection_error", "system_error", "timeout")) > 20
    assert broken.total(reasons, reason="user_hangup") == 0
    assert broken.total("atoms_calls_ended_total", outcome="completed") > 20


def test_calls_that_are_not_let_through_have_their_end_as_only_event_or_none_and_are_counted():
    calls = [script(3, number, ((0, Conditions(blocked=1.0, never_ends=1.0)),)) for number in range(40)]
    assert {call.status for call in calls} == {"blocked"}
    assert {tuple(event.kind for event in call.happenings) for call in calls} == {(), ("call_end",)}
    blocked = totals_of(blocked=1.0)
    assert blocked.total("atoms_calls_ended_total", outcome="blocked") == 40
    assert blocked.total("atoms_calls_started_total") == 40
    assert blocked.total("atoms_call_end_reasons_total", reason="unknown") == 40
    assert blocked.total("atoms_call_cost_total") == blocked.total("atoms_call_setup_seconds_count") == 0


def test_a_call_is_blocked_or_as_it_would_have_been():
    usual = [script(3, number) for number in range(40)]
    some = [script(3, number, ((0, Conditions(blocked=0.5)),)) for number in range(40)]
    let_through = [(was, call) for was, call in zip(usual, some, strict=True) if call.outcome != "blocked"]
    assert 10 < len(let_through) < 30
    assert all(was == call for was, call in let_through)


async def test_list_and_log_call_a_blocked_call_blocked_and_webhooks_that_come_at_its_end_failed():
    async with Receiver() as receiver:
        options = FAST | {"calls": 6, "total_calls": 6, "faults": faults("blocked"), "webhook_url": receiver.url}
        async with api(**options) as (simulator, client):
            await asyncio.wait_for(simulator.drained(), 30)
            asked = {"statusFilter": "busy,blocked", "callAttemptFilter": "all", "limit": 10}
            rows = (await client.get("/conversation", params=asked)).json()["data"]["logs"]
            logs = [(await client.get(f"/conversation/{row['callId']}")).json()["data"] for row in rows]
        told = [body["metadata"] for _, _, body in receiver.got]
    assert len(rows) == len(told) == 6
    assert {row["status"] for row in (*rows, *logs)} == {"blocked"}
    assert {row["disconnectionReason"] for row in logs} == {None}
    assert {one["eventType"] for one in told} == {"post-conversation"}
    assert {one["callData"]["callStatus"] for one in told} == {"failed"}


def test_dear_calls_cost_so_many_times_as_much():
    usual, dear = totals_of(), totals_of(dear=1.0, dear_factor=4.0)
    assert dear.total("atoms_call_cost_total") == pytest.approx(4 * usual.total("atoms_call_cost_total"), rel=0.01)
