"""The simulated API over HTTP."""

from __future__ import annotations

import asyncio
import hmac
import ssl
import subprocess

import httpx
import pytest
from simulator_client import FAST, Receiver, a_live_call, api, frames, ids, types, until

from exporter.simulator import AGENTS, SimulatorOptions, book_of, parse_faults, recorded, script, signature, simulating
from tests.support.peers import need_program

UNKNOWN = "CALL-1700000000000-abcdef"


async def test_a_stream_has_the_whole_call_between_init_and_close():
    async with api(**FAST | {"speed": 20.0}) as (simulator, client):
        call_id = await a_live_call(simulator)
        events = await frames(client, call_id)
        log = (await client.get(f"/conversation/{call_id}")).json()["data"]
    assert events[0]["event_type"] == "sse_init"
    assert events[-1]["event_type"] == "sse_close"
    assert {"event_time"} == set(events[0]) - {"event_type"}
    assert events[1:-1] == log["events"]


@pytest.mark.parametrize("dialect", ["2025", "2026"])
async def test_what_is_served_is_what_is_recorded(dialect):
    """Beside times and the call id, which follow the clock."""
    async with api(**FAST | {"dialect": dialect, "seed": 5}) as (simulator, client):
        await asyncio.wait_for(simulator.drained(), 30)
        calls = {ended.call.number: ended.call for ended in simulator.switchboard.past.values()}
        for number in range(4):
            served = (await client.get(f"/conversation/{calls[number].call_id}")).json()["data"]["events"]
            assert types(served) == types(recorded(5, number, dialect))
            assert [e.get("metrics") for e in served] == [e.get("metrics") for e in recorded(5, number, dialect)]


async def test_the_content_type_is_an_event_stream():
    async with api(**FAST | {"speed": 5.0}) as (simulator, client):
        call_id = await a_live_call(simulator)
        async with client.stream("GET", "/events", params={"callId": call_id}) as answer:
            assert answer.headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 400),
        ({"callId": ""}, 400),
        ({"callId": "CALL-1-2"}, 400),
        ({"callId": "CALL-1700000000000-abcdef/../x"}, 400),
        ({"callId": UNKNOWN}, 404),
    ],
)
async def test_bad_and_unknown_call_ids(query, status):
    async with api(**FAST) as (_, client):
        answer = await client.get("/events", params=query)
        assert answer.status_code == status
        assert answer.json()["status"] is False
        assert answer.json()["errors"]


async def test_a_completed_call_cannot_be_streamed_unless_it_lingers():
    async with api(**FAST) as (simulator, client):
        await asyncio.wait_for(simulator.drained(), 30)
        call_id = next(iter(simulator.switchboard.past))
        assert (await client.get("/events", params={"callId": call_id})).status_code == 400
    async with api(**FAST | {"linger_seconds": 1e6}) as (simulator, client):
        await asyncio.wait_for(simulator.drained(), 30)
        call_id = next(iter(simulator.switchboard.past))
        again = await frames(client, call_id)
        assert types(again)[-1] == "sse_close"
        assert again[1:-1] == (await client.get(f"/conversation/{call_id}")).json()["data"]["events"]


@pytest.mark.parametrize(
    "path", ["/events?callId=x", "/conversation", f"/conversation/{UNKNOWN}", "/agent", "/concurrency"]
)
async def test_a_wrong_token_is_refused_everywhere(path):
    async with api(**FAST) as (simulator, client):
        for header in ("Bearer wrong", "simulated-key", ""):
            answer = await client.get(path, headers={"Authorization": header})
            assert answer.status_code == 401
        assert simulator.ledger["wire"]["requests"]


async def test_both_base_paths_are_served():
    async with api(**FAST) as (simulator, client):
        old = simulator.base_url.replace("/atoms/v1", "/api/v1")
        assert (await client.get(f"{old}/agent")).status_code == 200


EVERY = {"callAttemptFilter": "all"}


async def test_a_list_has_root_calls_only_unless_it_is_asked_for_retries():
    async with api(**FAST | {"calls": 30, "total_calls": 60}) as (simulator, client):
        await asyncio.wait_for(simulator.drained(), 60)

        async def listed(**params: str) -> set[str]:
            answer = await client.get("/conversation", params={"limit": 500, **params})
            return {log["callId"] for log in answer.json()["data"]["logs"]}

        retries = {ended.call.call_id for ended in simulator.switchboard.past.values() if ended.call.attempt}
        assert retries
        assert await listed(callAttemptFilter="retry") == retries
        assert await listed() == await listed(callAttemptFilter="initial")
        assert await listed() == await listed(**EVERY) - retries
        assert (await client.get("/conversation", params={"callAttemptFilter": "both"})).status_code == 400
        simulator.change_faults(parse_faults("strict_attempts=1"))
        assert (await client.get("/conversation", params=EVERY)).status_code == 400
        assert len(await listed()) == 60


async def test_over_the_limit_outbound_calls_wait_and_callers_are_dropped_without_a_word():
    async with api(calls=20, total_calls=60, speed=60, ramp_seconds=0, faults=parse_faults("limit=1:calls=3")) as (
        simulator,
        client,
    ):
        board = simulator.switchboard
        await until(lambda: board.queue and board.dropped)
        queue = await client.get("/conversation", params=EVERY | {"statusFilter": "in_queue", "limit": 1})
        assert queue.json()["data"]["pagination"]["total"] > 0
        assert {log["status"] for log in queue.json()["data"]["logs"]} == {"in_queue"}
        assert (await client.get("/concurrency")).json()["data"]["orgLimit"] == 3
        assert len(board.live) <= 3
        simulator.clear_faults()
        await asyncio.wait_for(simulator.drained(), 60)
        assert not board.queue
        waited = [ended.call for ended in board.past.values() if ended.call.waited_ms]
        assert {call.channel for call in waited} == {"telephony_outbound"}
        assert board.begun + sum(board.dropped.values()) == 60
        assert sum(each["value"] for each in simulator.ledger["dropped"]) == sum(board.dropped.values())
        log = (await client.get(f"/conversation/{waited[0].call_id}")).json()["data"]
        assert {event["call_id"] for event in log["events"]} == {waited[0].call_id}


async def test_a_slow_carrier_lets_outbound_calls_wait_and_no_others_and_more_are_handed_in_all_the_same():
    options = FAST | {
        "calls": 10,
        "total_calls": 60,
        "faults": parse_faults("slow_carrier=1:seconds=60"),
        "speed": 60.0,
    }
    async with api(**options) as (simulator, client):
        board = simulator.switchboard
        await until(lambda: len(board.queue) >= 10)
        waiting = (await client.get("/conversation", params={"statusFilter": "in_queue", "limit": 1})).json()["data"]
        assert waiting["pagination"]["total"] >= 5
        assert (await client.get("/concurrency")).json()["data"]["orgLimit"] == 100
        assert {call.channel for call in board.live.values()} - {"telephony_outbound"}
        simulator.clear_faults()
        await asyncio.wait_for(simulator.drained(), 60)
        waited = [ended.call for ended in board.past.values() if ended.call.waited_ms]
        assert len(waited) >= 10
        assert {call.channel for call in waited} == {"telephony_outbound"}
        assert (board.begun, sum(board.dropped.values())) == (60, 0)


async def test_calls_are_listed_newest_first_in_pages():
    async with api(**FAST | {"calls": 20, "total_calls": 20}) as (simulator, client):
        await asyncio.wait_for(simulator.drained(), 30)
        first = (await client.get("/conversation", params=EVERY)).json()["data"]
        assert len(first["logs"]) == 5
        assert first["pagination"] == {"total": 20, "page": 1, "limit": 5, "hasMore": True, "totalPages": 4}
        pages = [
            (await client.get("/conversation", params=EVERY | {"page": page, "limit": 7})).json()["data"]
            for page in (1, 2, 3, 4)
        ]
        assert [page["pagination"]["hasMore"] for page in pages] == [True, True, False, False]
        logs = [log for page in pages for log in page["logs"]]
        assert len({log["callId"] for log in logs}) == 20
        assert [log["updatedAt"] for log in logs] == sorted((log["updatedAt"] for log in logs), reverse=True)


async def test_the_page_size_is_clamped_silently():
    async with api(**FAST) as (_, client):
        page = (await client.get("/conversation", params={"limit": 9999})).json()["data"]
        assert page["pagination"]["limit"] == 500


async def test_calls_are_filtered_by_status_agent_and_type():
    async with api(calls=12, total_calls=30, speed=60, ramp_seconds=0) as (simulator, client):
        await until(lambda: simulator.switchboard.ended >= 5)

        async def listed(**query):
            return (await client.get("/conversation", params={"limit": 500, **query})).json()["data"]["logs"]

        live = await listed(statusFilter="active,in_progress")
        assert {log["status"] for log in live} == {"active", "in_progress"}
        over = await listed(statusFilter="completed,failed,no_answer,cancelled")
        assert over
        assert not {log["status"] for log in over} & {"active", "in_progress"}
        wanted = live[0]
        assert {log["agentId"] for log in await listed(agentIds=wanted["agentId"])} == {wanted["agentId"]}
        assert {log["type"] for log in await listed(callTypes=wanted["type"])} == {wanted["type"]}


@pytest.mark.parametrize("query", [{"sortBy": "createdAt"}, {"dateFrom": "2026-01-01"}, {"dateTo": "2026-01-01"}])
async def test_the_full_scan_times_out(query):
    async with api(**FAST) as (_, client):
        assert (await client.get("/conversation", params=query)).status_code == 504


@pytest.mark.parametrize("query", [{"page": "x"}, {"limit": "0"}, {"page": "-1"}])
async def test_page_numbers_are_checked(query):
    async with api(**FAST) as (_, client):
        assert (await client.get("/conversation", params=query)).status_code == 400


async def test_a_call_in_progress_shows_its_events_so_far():
    async with api(**FAST | {"speed": 10.0}) as (simulator, client):
        call_id = await a_live_call(simulator, events=20)
        log = (await client.get(f"/conversation/{call_id}")).json()["data"]
        assert 20 <= len(log["events"]) < len(simulator.switchboard.call(call_id).script().happenings)
        assert log["status"] in ("active", "in_progress")
        assert log["agent"]["_id"] == log["agentId"]
        assert log["duration"] == 0


async def test_an_unknown_call_has_no_log():
    async with api(**FAST) as (_, client):
        assert (await client.get(f"/conversation/{UNKNOWN}")).status_code == 404
        assert (await client.get("/conversation/CALL%2F..%2Fetc")).status_code == 404


async def test_agents_come_in_pages_with_their_workflow_type():
    async with api(**FAST) as (_, client):
        first = (await client.get("/agent", params={"page": 1, "offset": 4})).json()["data"]
        second = (await client.get("/agent", params={"page": 2, "offset": 4})).json()["data"]
        assert first["total"] == len(AGENTS)
        found = first["agents"] + second["agents"]
        assert [(a["_id"], a["name"], a["workflowType"]) for a in found] == [
            (agent.id, agent.name, agent.workflow_type) for agent in AGENTS
        ]
        one = (await client.get(f"/agent/{AGENTS[0].id}")).json()["data"]
        assert one["name"] == AGENTS[0].name
        assert (await client.get("/agent/nobody")).status_code == 404
        assert (await client.get("/agent", params={"offset": "many"})).status_code == 400


async def test_concurrency_adds_up():
    async with api(**FAST) as (_, client):
        data = (await client.get("/concurrency")).json()["data"]
        assert data["orgLimit"] == data["totalReserved"] + data["unreservedPool"]


async def test_so_many_calls_are_kept_going():
    async with api(calls=8, speed=200, ramp_seconds=0) as (simulator, _):
        await until(lambda: simulator.switchboard.ended >= 30)
        assert 1 <= len(simulator.switchboard.live) <= 8
        simulator.drain()
        await asyncio.wait_for(simulator.drained(), 30)
        assert not simulator.switchboard.live
        assert simulator.switchboard.begun == simulator.switchboard.ended


async def test_the_ledger_is_the_sum_of_the_calls_that_have_ended():
    async with api(**FAST | {"calls": 10, "total_calls": 25, "seed": 3}) as (simulator, client):
        await asyncio.wait_for(simulator.drained(), 30)
        ledger = (await client.get(simulator.base_url.replace("/atoms/v1", "/_simulator/ledger?books=1"))).json()
        totals = simulator.control.totals()
    assert ledger["begun"] == ledger["ended"] == 25
    assert ledger["published"] == totals.total("events_total") == sum(c["events"] for c in ledger["calls"].values())
    for family in ("atoms_llm_tokens_total", "atoms_node_hops_total", "atoms_turn_latency_seconds_count"):
        whole = sum(row["value"] for row in ledger["totals"][family])
        parts = sum(row["value"] for call in ledger["calls"].values() for row in call["book"].get(family, []))
        alone = sum(book_of(script(3, number)).total(family) for number in range(25))
        assert whole == parts == alone
    outcomes = [call["outcome"] for call in ledger["calls"].values()]
    assert outcomes.count("completed") == totals.total("atoms_calls_ended_total", outcome="completed")


async def test_the_ledger_so_far_counts_calls_in_progress():
    async with api(calls=6, speed=5, ramp_seconds=0) as (simulator, _):
        await until(lambda: simulator.switchboard.published > 100)
        so_far = simulator.control.totals(so_far=True).total("events_total")
        assert so_far == simulator.switchboard.published
        assert simulator.control.totals().total("events_total") <= so_far


async def test_the_wire_counts_what_a_client_receives():
    async with api(**FAST | {"speed": 30.0}) as (simulator, client):
        call_id = await a_live_call(simulator)
        received = await frames(client, call_id)
        wire = simulator.ledger["wire"]
    assert wire["connections"] == 1
    assert wire["frames"] == len(received) - 2
    assert wire["ended"] == {"closed": 1}


async def test_two_clients_may_follow_one_call():
    async with api(**FAST | {"speed": 15.0}) as (simulator, client):
        call_id = await a_live_call(simulator)
        first, second = await asyncio.gather(frames(client, call_id), frames(client, call_id))
        assert set(ids(second)) <= set(ids(first)) or set(ids(first)) <= set(ids(second))
        assert types(first)[-1] == types(second)[-1] == "sse_close"


async def test_three_webhooks_of_every_call_are_signed():
    async with Receiver() as receiver:
        options = FAST | {"calls": 6, "total_calls": 6, "webhook_url": receiver.url, "webhook_secret": "s3"}
        async with api(**options) as (simulator, _):
            await asyncio.wait_for(simulator.drained(), 30)
            calls = {ended.call.call_id: ended.call.script() for ended in simulator.switchboard.past.values()}
            sent = simulator.ledger["webhooks"]
    for raw, signed, _ in receiver.got:
        assert hmac.compare_digest(signed, hmac.new(b"s3", raw, "sha256").hexdigest())
        assert signed == signature("s3", raw)
    bodies = [body for _, _, body in receiver.got]
    for event in ("pre-conversation", "post-conversation"):
        of_event = [body for body in bodies if body["metadata"]["eventType"] == event]
        assert sorted(body["metadata"]["callId"] for body in of_event) == sorted(calls)
        assert sent["sent"][event] == 6
        assert all(body["event"] == f"{body['metadata']['agentId']}.{event}" for body in of_event)
    with_analytics = {call_id for call_id, call in calls.items() if call.analytics}
    analysed = [body for body in bodies if body["metadata"]["eventType"] == "analytics-completed"]
    assert {body["metadata"]["callId"] for body in analysed} == with_analytics
    kinds = {m["dispositionMetricType"] for b in analysed for m in b["metadata"]["analytics"]["dispositionMetrics"]}
    assert kinds == {"BOOLEAN", "STRING", "INTEGER"}
    told = sent["dispositions"]
    assert sum(row["value"] for row in told["atoms_disposition_results_total"]) == 2 * len(analysed)
    assert sum(row["value"] for row in told["atoms_disposition_value_count"]) == len(analysed)
    assert len({body["id"] for body in bodies}) == len(bodies)


async def test_webhooks_tell_how_a_call_ended():
    async with Receiver() as receiver:
        async with api(**FAST | {"calls": 60, "total_calls": 60, "webhook_url": receiver.url}) as (simulator, _):
            await asyncio.wait_for(simulator.drained(), 60)
            outcomes = {e.call.call_id: e.call.script().outcome for e in simulator.switchboard.past.values()}
        words = {"completed": "completed", "no_answer": "no-answer", "cancelled": "canceled"}
        words |= {"busy": "busy", "failed": "failed"}
        ends = [body["metadata"] for _, _, body in receiver.got if body["event"].endswith("post-conversation")]
        assert len(ends) == 60
        assert all(words[outcomes[end["callId"]]] == end["callData"]["callStatus"] for end in ends)
        assert len({end["callData"]["callStatus"] for end in ends}) >= 3


async def test_an_endpoint_that_is_not_there_does_no_harm():
    async with api(**FAST | {"webhook_url": "http://127.0.0.1:9/hook"}) as (simulator, _):
        await asyncio.wait_for(simulator.drained(), 30)
        assert simulator.ledger["webhooks"]["answers"]["pre-conversation"] == {"0": 4}


async def test_timestamps_follow_the_simulated_clock():
    async with api(**FAST | {"speed": 300.0}) as (simulator, client):
        await asyncio.wait_for(simulator.drained(), 30)
        logs = (await client.get("/conversation")).json()["data"]["logs"]
        assert all(log["createdAt"].startswith("2026-01-01T00:") for log in logs)
        assert simulator.now_ms() > 1_767_225_600_000


async def test_stopping_ends_streams_and_keeps_the_ledger():
    async with simulating(SimulatorOptions(calls=3, ramp_seconds=0)) as simulator:
        call_id = await a_live_call(simulator)
        headers = {"Authorization": "Bearer simulated-key"}
        async with httpx.AsyncClient(base_url=simulator.base_url, headers=headers, timeout=20) as client:
            reading = asyncio.create_task(frames(client, call_id))
            await until(lambda: simulator.wire.connections == 1)
            await simulator.stop()
            await asyncio.wait_for(reading, 20)
    assert simulator.ledger["begun"] == 3


async def test_it_speaks_tls(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    openssl = need_program("openssl")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *subject, "-days", "2"], check=True, capture_output=True)
    options = FAST | {"speed": 40.0, "tls_certificate": str(certificate), "tls_key": str(key)}
    async with simulating(SimulatorOptions(**options)) as simulator:
        assert simulator.base_url.startswith("https://")
        call_id = await a_live_call(simulator)
        context = ssl.create_default_context(cafile=str(certificate))
        headers = {"Authorization": "Bearer simulated-key"}
        async with httpx.AsyncClient(
            base_url=simulator.base_url, headers=headers, timeout=20, verify=context
        ) as client:
            events = await frames(client, call_id)
            assert events[1:-1] == (await client.get(f"/conversation/{call_id}")).json()["data"]["events"]
