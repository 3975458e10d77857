"""Faults of connections, requests and frames do what they say, and the ledger stays exact."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter

import httpx
import pytest
from simulator_client import FAST, a_live_call, api, frames, ids, raw_stream, types, until

from exporter.simulator import Fault, parse_faults, script

SLOWLY = FAST | {"speed": 40.0}
LIVE = {"calls": 3, "speed": 4.0, "ramp_seconds": 0.0, "starts_at": 1_767_225_600.0}


def faults(text: str) -> tuple[Fault, ...]:
    return parse_faults(text)


async def follow(client: httpx.AsyncClient, call_id: str, connections: list[list[dict]]) -> None:
    """Reconnect at once until the call is over."""
    while True:
        try:
            async with client.stream("GET", "/events", params={"callId": call_id}) as answer:
                if answer.status_code == 400:
                    return
                got: list[dict] = []
                connections.append(got)
                if answer.status_code != 200:
                    continue
                async for line in answer.aiter_lines():
                    if line.startswith("data:"):
                        try:
                            got.append(json.loads(line[5:]))
                        except json.JSONDecodeError:
                            got.append({"event_type": "?"})
                        if got[-1]["event_type"] == "sse_close":
                            return
        except httpx.RemoteProtocolError:
            got.append({"event_type": "!cut"})


async def history(client: httpx.AsyncClient, call_id: str) -> list[dict]:
    return (await client.get(f"/conversation/{call_id}")).json()["data"]["events"]


async def what_comes_before_silence(reader: asyncio.StreamReader, seconds: float = 1.0) -> bytes:
    """Everything until nothing has come for a while; the connection has to stay open."""
    received = b""
    while True:
        try:
            chunk = await asyncio.wait_for(reader.read(65536), seconds)
        except TimeoutError:
            return received
        assert chunk, "closed"
        received += chunk


# -- notation


def test_faults_are_written_on_the_command_line():
    drop, slow, big = parse_faults("drop=0.1:after=5:times=2, slow_node:node_id=10007:factor=3,oversize=1:size=50M")
    assert drop == Fault("drop", 0.1, after=5, times=2)
    assert slow == Fault("slow_node", node_id="10007", factor=3.0)
    assert big.size == 50 * 1024 * 1024
    assert parse_faults("") == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nonsense=1", "no fault 'nonsense'"),
        ("drop=2", "between 0 and 1"),
        ("drop=often", "probability is a number"),
        ("drop=1:later=5", "no parameter 'later'"),
        ("drop=1:after", "name=value"),
        ("slow_node", "node_id is missing"),
        ("oversize=1:size=60M", "size is between"),
        ("html=1:on=moon", "on is events"),
    ],
)
def test_a_fault_that_cannot_be_is_named(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse_faults(text)


# -- connections


async def test_drop_cuts_in_the_middle_of_a_frame():
    async with api(**LIVE | {"faults": faults("drop:after=6:times=1")}) as (simulator, client):
        call_id = await a_live_call(simulator)
        reader, writer = await raw_stream(simulator, call_id)
        received = await asyncio.wait_for(reader.read(-1), 20)
        writer.close()
        assert not received.endswith(b"0\r\n\r\n")
        last = received.rstrip(b"\r\n").rsplit(b"data: ", 1)[1]
        with pytest.raises(json.JSONDecodeError):
            json.loads(last)
        assert simulator.wire.ended == {"cut": 1}
        again = asyncio.create_task(frames(client, call_id))
        await until(lambda: simulator.wire.connections == 2)
        simulator.drain()
        await simulator.stop()
        missed = await again
        assert "metrics" not in types(missed)[:1]


async def test_what_a_gap_loses_is_in_the_history():
    async with api(**SLOWLY | {"faults": faults("gap:after=10:times=3"), "seed": 8}) as (simulator, client):
        call_id = await a_live_call(simulator)
        connections: list[list[dict]] = []
        await asyncio.wait_for(follow(client, call_id, connections), 60)
        seen = {event_id for got in connections for event_id in ids(got)}
        everything = set(ids(await history(client, call_id)))
        assert len(connections) == 4
        assert seen < everything
        assert simulator.wire.ended["closed_early"] == 3
        assert all("sse_close" not in types(got) for got in connections[:-1])


async def test_a_replay_begins_again_at_the_start():
    async with api(**SLOWLY | {"faults": faults("replay:after=25:times=2"), "seed": 8}) as (simulator, client):
        call_id = await a_live_call(simulator)
        connections: list[list[dict]] = []
        await asyncio.wait_for(follow(client, call_id, connections), 60)
        events = await history(client, call_id)
        assert len(connections) == 3
        for got in connections:
            assert ids(got) == ids(events)[: len(ids(got))]
        assert ids(connections[-1]) == ids(events)


@pytest.mark.parametrize(("reconnect", "from_start"), [("live", False), ("replay", True)])
async def test_what_a_client_that_comes_back_gets_is_selectable(reconnect, from_start):
    options = SLOWLY | {"faults": faults("drop:after=20:times=1"), "reconnect": reconnect, "seed": 8}
    async with api(**options) as (simulator, client):
        call_id = await a_live_call(simulator)
        connections: list[list[dict]] = []
        await asyncio.wait_for(follow(client, call_id, connections), 60)
        events = ids(await history(client, call_id))
        assert (ids(connections[1])[0] == events[0]) is from_start
        assert ids(connections[1])[-1] == events[-1]


async def test_silence_is_silent_for_its_time_and_then_goes_on():
    async with api(**LIVE | {"faults": faults("silence:after=3:seconds=1.5:times=1")}) as (simulator, client):
        call_id = await a_live_call(simulator)
        loop, arrivals = asyncio.get_running_loop(), []
        async with client.stream("GET", "/events", params={"callId": call_id}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    arrivals.append(loop.time())
                if len(arrivals) > 12:
                    break
        gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
        assert max(gaps) >= 1.3
        assert simulator.wire.lost > 0


async def test_half_open_sends_nothing_more_and_never_closes():
    async with api(**FAST | {"speed": 60.0, "faults": faults("half_open:after=2")}) as (simulator, client):
        call_id = await a_live_call(simulator)
        reader, writer = await raw_stream(simulator, call_id)
        await asyncio.wait_for(simulator.drained(), 60)
        received = await what_comes_before_silence(reader)
        assert b"sse_close" not in received
        assert received.count(b"data: ") < len(await history(client, call_id))
        writer.close()


async def test_mute_accepts_and_never_answers():
    async with api(**LIVE | {"faults": faults("mute")}) as (simulator, _):
        reader, writer = await raw_stream(simulator, await a_live_call(simulator))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 1)
        writer.close()


async def test_no_close_leaves_the_stream_open_after_call_end():
    async with api(**FAST | {"speed": 60.0, "faults": faults("no_close")}) as (simulator, _):
        reader, writer = await raw_stream(simulator, await a_live_call(simulator))
        await asyncio.wait_for(simulator.drained(), 60)
        received = await what_comes_before_silence(reader)
        assert b'"call_end"' in received or b'"call_cancelled"' in received
        assert b"sse_close" not in received
        writer.close()


async def test_no_call_end_closes_a_stream_that_never_said_it_was_over():
    async with api(**SLOWLY | {"faults": faults("no_call_end"), "seed": 4}) as (simulator, client):
        call_id = await a_live_call(simulator)
        events = await frames(client, call_id)
        assert types(events)[-1] == "sse_close"
        assert "call_end" not in types(events)
        log = (await client.get(f"/conversation/{call_id}")).json()["data"]
        assert log["status"] == simulator.switchboard.call(call_id).script().status
        assert "call_end" not in types(log["events"])


async def test_a_call_that_never_ends_stays_active_and_quiet():
    async with api(**FAST | {"faults": faults("never_ends")}) as (simulator, client):
        await until(lambda: len(simulator.switchboard.live) == 4)
        await asyncio.wait_for(simulator.drained(), 60)
        going_on = {"statusFilter": "active,in_progress", "callAttemptFilter": "all"}
        logs = (await client.get("/conversation", params=going_on)).json()["data"]["logs"]
        assert len(logs) == 4
        for log in logs:
            assert "call_end" not in types(await history(client, log["callId"]))
        assert simulator.ledger["ended"] == 0
        call_id = logs[0]["callId"]
        reader, writer = await raw_stream(simulator, call_id)
        assert b"sse_init" in await what_comes_before_silence(reader)
        writer.close()


async def test_over_before_connect_is_listed_active_but_refused():
    async with api(**LIVE | {"faults": faults("over_before_connect"), "total_calls": 3}) as (simulator, client):
        await until(lambda: len(simulator.switchboard.live) == 3)
        logs = (await client.get("/conversation", params={"statusFilter": "active,in_progress"})).json()["data"]["logs"]
        call_id = logs[0]["callId"]
        assert (await client.get("/events", params={"callId": call_id})).status_code == 400
        log = (await client.get(f"/conversation/{call_id}")).json()["data"]
        assert log["status"] not in ("active", "in_progress")
        call = simulator.switchboard.call(call_id)
        assert types(log["events"]) == [event.kind for event in call.script().happenings]
        assert simulator.control.totals().total("events_total") == len(log["events"])


# -- requests


@pytest.mark.parametrize(
    ("name", "status"), [("unauthorized", 401), ("forbidden", 403), ("not_found", 404), ("server_error", 500)]
)
async def test_statuses_on_demand(name, status):
    async with api(**LIVE | {"faults": faults(f"{name}:times=1:burst=1")}) as (simulator, client):
        call_id = await a_live_call(simulator)
        answer = await client.get("/events", params={"callId": call_id})
        assert answer.status_code == status
        assert answer.json()["status"] is False
        assert (await client.get("/conversation")).status_code == 200
        assert simulator.faults.struck == {name: 1}
        async with client.stream("GET", "/events", params={"callId": call_id}) as answer:
            assert answer.status_code == 200


async def test_server_errors_come_in_bursts():
    async with api(**LIVE | {"faults": faults("server_error:times=1:burst=4:on=conversation")}) as (_, client):
        statuses = [(await client.get("/conversation")).status_code for _ in range(6)]
        assert statuses == [500, 500, 500, 500, 200, 200]


async def test_429_says_when_to_come_back():
    async with api(**LIVE | {"faults": faults("rate_limited:seconds=7:on=any")}) as (_, client):
        for path in ("/conversation", "/agent", "/events?callId=x"):
            answer = await client.get(path)
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "7"


async def test_html_instead_of_json():
    async with api(**LIVE | {"faults": faults("html:on=any")}) as (_, client):
        answer = await client.get("/conversation")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/html")
        with pytest.raises(json.JSONDecodeError):
            answer.json()


# -- frames


@pytest.mark.parametrize("name", ["malformed", "nan", "oversize:size=20k"])
async def test_garbage_frames_are_extra_and_counted_apart(name):
    options = SLOWLY | {"faults": faults(f"{name.split(':')[0]}=0.5:{name.partition(':')[2] or 'burst=1'}"), "seed": 8}
    async with api(**options) as (simulator, client):
        call_id = await a_live_call(simulator)
        reader, writer = await raw_stream(simulator, call_id)
        received = await asyncio.wait_for(reader.read(-1), 60)
        writer.close()
        garbage = simulator.ledger["garbage"]
        known = ids(await history(client, call_id))
        short = name.split(":")[0]
        assert received.count(f"{call_id}_{short}_".encode()) == garbage[short] > 0
        assert all(received.count(f'"event_id":"{event_id}"'.encode()) == 1 for event_id in known)
        if short == "nan":
            assert received.count(b'"turn_latency":NaN') == garbage["nan"]
        if short == "oversize":
            assert len(received) > garbage["oversize"] * 20_000
        await asyncio.wait_for(simulator.drained(), 60)
        events = sum(simulator.control.totals().counts("events_total").values())
        assert events == sum(len(script(8, number).happenings) for number in range(4))


async def test_an_event_of_fifty_megabytes():
    async with api(**LIVE | {"faults": faults("oversize:size=50M:times=1")}) as (simulator, _):
        reader, writer = await raw_stream(simulator, await a_live_call(simulator))
        most = 0
        while most < 50 * 1024 * 1024:
            chunk = await asyncio.wait_for(reader.read(1 << 20), 30)
            assert chunk
            most += len(chunk)
        writer.close()


async def test_duplicates_are_the_same_event_again():
    async with api(**SLOWLY | {"faults": faults("duplicate=0.4"), "seed": 8}) as (simulator, client):
        call_id = await a_live_call(simulator)
        got = Counter(ids(await frames(client, call_id)))
        assert set(got) == set(ids(await history(client, call_id)))
        assert sum(got.values()) - len(got) == simulator.ledger["wire"]["duplicated"] > 0


@pytest.mark.parametrize(("name", "crosses_nodes"), [("reorder", False), ("reorder_hops", True)])
async def test_reordering_loses_nothing_and_respects_nodes_unless_told_otherwise(name, crosses_nodes):
    fixed = {"agent_node_state", "hopping", "call_start", "call_end", "call_cancelled"}
    crossed = swapped = 0
    for seed in (8, 9, 10):
        async with api(**SLOWLY | {"faults": faults(f"{name}=0.6"), "seed": seed}) as (
            simulator,
            client,
        ):
            call_id = await a_live_call(simulator)
            received = await frames(client, call_id)
            known = await history(client, call_id)
            assert sorted(ids(received)) == sorted(ids(known))
            kinds = {event["event_id"]: event["event_type"] for event in known}
            order = [ids(known).index(event_id) for event_id in ids(received)]
            for place in range(len(order) - 1):
                if order[place] > order[place + 1]:
                    swapped += 1
                    pair = {kinds[ids(known)[order[place]]], kinds[ids(known)[order[place + 1]]]}
                    crossed += bool(pair & fixed)
    assert swapped > 0
    assert (crossed > 0) is crosses_nodes


async def test_noise_is_within_the_standard():
    from httpx_sse import aconnect_sse

    async with api(**SLOWLY | {"faults": faults("noise=0.5"), "seed": 8}) as (simulator, client):
        call_id = await a_live_call(simulator)
        async with aconnect_sse(client, "GET", "/events", params={"callId": call_id}) as source:
            received = [json.loads(sse.data) async for sse in source.aiter_sse() if sse.data]
        assert ids(received) == ids(await history(client, call_id))
        assert simulator.faults.struck["noise"] > 0
