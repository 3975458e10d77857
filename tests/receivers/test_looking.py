"""Calls, names and histories from the API: asked the vendor's way, remembered, and patient with its failures."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog
from upstream import Exchange, Heard, MostlyOne, Naps, Upstream, api_for

from exporter.calls.observations import Agent
from exporter.errors import Interrupted, Malformed, Refused
from exporter.protocol.api import decode_call_page
from exporter.receivers.api_time import Start
from exporter.receivers.attempts import AttemptFilter
from exporter.receivers.backoff import Backoff
from exporter.receivers.client import Most
from exporter.receivers.directory import Directory
from exporter.receivers.discovery import ENDED, ENDED_FOR_SOME, FoundCall, Poll, static_calls
from exporter.receivers.history import History

CALL = "CALL-1758124225863-80752e"
LOG = structlog.get_logger()


def json_of(data: Any) -> Callable[[Exchange], Awaitable[None]]:
    async def play(exchange: Exchange) -> None:
        await exchange.answer(200, json.dumps({"status": True, "data": data}).encode())

    return play


def failing(status: int, kind: str = "application/json", **headers: str) -> Callable[[Exchange], Awaitable[None]]:
    async def play(exchange: Exchange) -> None:
        await exchange.answer(status, b"<html>", kind, **headers)

    return play


def page(*calls: str, more: bool = False) -> Callable[[Exchange], Awaitable[None]]:
    logs = [{"callId": call, "agentId": "a1", "status": "active", "type": "webcall"} for call in calls]
    return json_of({"logs": logs, "pagination": {"hasMore": more}})


class Stop(Exception):
    """Enough naps."""


class NapsUntil(Naps):
    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        if len(self.asked) >= self.limit:
            raise Stop
        await asyncio.sleep(0)


async def poll(
    upstream: Upstream, looks: int, clock: Callable[[], float] = lambda: 0.0, **options: Any
) -> tuple[list[FoundCall], list[float], Heard]:
    found: list[FoundCall] = []
    naps = NapsUntil(looks)
    async with upstream.serving(), api_for(upstream.url) as (api, heard):
        options = {"backoff": Backoff(MostlyOne()), "log": LOG, "sleep": naps, "clock": clock, **options}
        with pytest.raises(Stop):
            await Poll(api, found.append, **options).run()
    return found, naps.asked, heard


async def test_the_list_is_asked_for_as_the_vendor_wants_it() -> None:
    upstream = Upstream(page("c1"))
    options = {"agent_ids": ["a1", "a2"], "call_types": ["webcall", "telephony_inbound"]}
    found, naps, heard = await poll(upstream, 1, limit=50, **options)
    assert found == [FoundCall("c1", "a1", "webcall", "active", None, "poll")]
    assert naps == [10.0]
    assert upstream.requests[0].path == "/api/v1/conversation"
    assert upstream.requests[0].query == {
        "page": "1",
        "limit": "50",
        "statusFilter": "active,in_progress",
        "callAttemptFilter": "all",
        "agentIds": "a1,a2",
        "callTypes": "webcall,telephony_inbound",
    }
    assert upstream.requests[0].headers["authorization"] == "Bearer secret-token"
    assert (heard.counts["request", "poll", "ok"], heard.up) == (1, True)


async def test_the_next_page_is_read_only_while_there_is_something_new() -> None:
    upstream = Upstream(
        page("c1", "c2", more=True), page("c3", more=False), page("c4", "c1", more=True), page("c2", "c3", more=True)
    )
    found, _, _ = await poll(upstream, 2)
    assert [call.call_id for call in found] == ["c1", "c2", "c3", "c4"]
    assert [request.query["page"] for request in upstream.requests] == ["1", "2", "1", "2"]


async def test_a_look_that_failed_half_way_is_made_good_by_the_next() -> None:
    upstream = Upstream(page("c1", more=True), failing(500), page("c1", more=True), page("c2", more=True), page("c3"))
    found, _, _ = await poll(upstream, 2)
    assert [call.call_id for call in found] == ["c1", "c2", "c3"]


async def test_now_and_then_the_list_is_read_to_its_end() -> None:
    async def play(exchange: Exchange) -> None:
        first = exchange.query["page"] == "1"
        await page("c1" if first else "slipped" if len(upstream.requests) > 20 else "c2", more=first)(exchange)

    upstream = Upstream(play)
    found, _, _ = await poll(upstream, 30)
    assert [call.call_id for call in found] == ["c1", "c2", "slipped"]
    assert len(upstream.requests) == 30 + 2


async def test_of_the_calls_that_are_over_only_those_since_the_start_are_news() -> None:
    def over(*calls: tuple[str, str | None], more: bool = True) -> Callable[[Exchange], Awaitable[None]]:
        logs = [{"callId": call, "status": "failed", "createdAt": began} for call, began in calls]
        return json_of({"logs": logs, "pagination": {"hasMore": more}})

    before, after = "2026-03-02T09:59:59Z", "2026-03-02T10:00:00.500Z"
    upstream = Upstream(
        over(("c1", before), ("c2", None)),  # the past: not a page further into it
        over(("c3", after), ("c1", before)),
        over(("c4", before)),
        over(("c5", after), ("c3", after)),
        over(("c1", before)),
    )
    found, _, _ = await poll(upstream, 40, statuses=ENDED, ended=True, start=Start(1772445600.0, 0.0))
    assert [(call.call_id, call.status) for call in found] == [("c3", "failed"), ("c5", "failed")]
    assert [request.query["page"] for request in upstream.requests[:5]] == ["1", "1", "2", "1", "2"]
    assert {request.query["page"] for request in upstream.requests[5:]} == {"1"}, "never to its end: it has none"
    assert upstream.requests[0].query["statusFilter"] == "completed,failed,no_answer,cancelled"


async def test_calls_that_were_over_at_the_first_look_are_the_past_even_where_our_clock_is_slow() -> None:
    def over(*calls: tuple[str, int]) -> Callable[[Exchange], Awaitable[None]]:
        logs = [{"callId": call, "status": "completed", "createdAt": began} for call, began in calls]
        return json_of({"logs": logs, "pagination": {"hasMore": True}})

    first, late = over(("c1", 1_772_445_000), ("c2", 1_772_445_600)), over(("c0", 1_772_444_000))
    upstream = Upstream(failing(500), first, over(("c3", 1_772_445_601)), late)
    found, _, _ = await poll(upstream, 3, statuses=ENDED, ended=True, start=Start(1_772_400_000.0, 0.0))
    assert [call.call_id for call in found] == ["c3"], "not c0, which was over before, too, but was updated only now"


NOON = 1_772_445_600
NOON_SAID = "Mon, 02 Mar 2026 10:00:00 GMT"


def rows_at_noon(*calls: tuple[str, float], more: bool = False) -> Callable[[Exchange], Awaitable[None]]:
    """A list whose answer says what time it is for the API: noon. Calls by their age in seconds."""
    logs = [{"callId": call, "status": "completed", "createdAt": NOON - age} for call, age in calls]
    body = json.dumps({"status": True, "data": {"logs": logs, "pagination": {"hasMore": more}}}).encode()

    async def play(exchange: Exchange) -> None:
        await exchange.answer(200, body, date=NOON_SAID)

    return play


@pytest.mark.parametrize("ahead", [20, -20, 0, 86_400])
async def test_whether_a_call_began_before_us_is_told_by_the_apis_clock_and_not_by_ours(ahead: int) -> None:
    started = time.monotonic() - 5.0  # five seconds ago: for the API at 9:59:55, whatever our clock said
    upstream = Upstream(rows_at_noon(("past", 100)), rows_at_noon(("new", 3), ("before", 8), ("past", 100)))
    start = Start(NOON - 5.0 + ahead, started)
    found, _, _ = await poll(upstream, 2, statuses=ENDED, ended=True, start=start)
    assert [call.call_id for call in found] == ["new"]
    live = Upstream(rows_at_noon(("new", 3), ("before", 8)), rows_at_noon(("later", 30)))
    found, _, _ = await poll(live, 2, start=start)
    under_way = {call.call_id: call.under_way for call in found}
    assert under_way == {"new": False, "before": True, "later": False}, "what was not there at the first look is new"


async def test_a_row_from_the_future_hides_no_call() -> None:
    upstream = Upstream(rows_at_noon(("odd", -86_400)), rows_at_noon(("new", -1), ("odd", -86_400)))
    found, _, _ = await poll(upstream, 2, statuses=ENDED, ended=True, start=Start(0.0, time.monotonic()))
    assert [call.call_id for call in found] == ["new"]


async def test_a_row_whose_time_is_wrong_is_as_old_as_its_id() -> None:
    call_id = f"CALL-{(NOON - 1) * 1000}-80752e"
    upstream = Upstream(rows_at_noon(("past", 100)), rows_at_noon((call_id, 18_000), ("past", 100)))
    found, _, _ = await poll(upstream, 2, statuses=ENDED, ended=True, start=Start(0.0, time.monotonic() - 5.0))
    assert [call.call_id for call in found] == [call_id]


async def test_who_is_followed_hears_of_calls_that_are_known_already() -> None:
    again: list[str] = []
    upstream = Upstream(rows_at_noon(("past", 100)), rows_at_noon(("new", 3), ("past", 100)), rows_at_noon(("new", 3)))
    options: dict[str, Any] = {"ended": True, "start": Start(0.0, time.monotonic() - 5.0)}
    await poll(upstream, 3, again=lambda call: again.append(call.call_id), **options)
    assert again == ["past", "past", "new"]


async def test_statuses_that_the_api_refuses_are_left_out() -> None:
    async def play(exchange: Exchange) -> None:
        if "busy" in exchange.query["statusFilter"]:
            await exchange.answer(400)
        else:
            await page("c1")(exchange)

    upstream = Upstream(play)
    found, _, _ = await poll(upstream, 2, statuses=ENDED, optional=ENDED_FOR_SOME)
    assert [call.call_id for call in found] == ["c1"]
    assert [request.query["statusFilter"].count(",") for request in upstream.requests] == [5, 5, 3, 3]
    assert ["callAttemptFilter" in request.query for request in upstream.requests] == [True, False, True, True]
    with structlog.testing.capture_logs() as logs:
        await poll(Upstream(failing(400)), 1, statuses=ENDED, optional=ENDED_FOR_SOME)
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["calls cannot be listed"]


async def test_an_api_that_refuses_to_list_retries_is_asked_without_them_for_a_while() -> None:
    async def play(exchange: Exchange) -> None:
        if "callAttemptFilter" in exchange.query:
            await exchange.answer(400)
        else:
            await page("c1")(exchange)

    upstream = Upstream(play)
    now = [10_000.0]
    attempts = AttemptFilter(lambda: now[0])
    found, _, _ = await poll(upstream, 2, statuses=ENDED, optional=ENDED_FOR_SOME, attempts=attempts)
    assert [call.call_id for call in found] == ["c1"]
    assert [request.query["statusFilter"].count(",") for request in upstream.requests] == [5, 5, 5]
    assert ["callAttemptFilter" in request.query for request in upstream.requests] == [True, False, False]
    now[0] += 3_600.0
    assert attempts.parameters == {"callAttemptFilter": "all"}


async def test_an_endless_list_is_not_read_endlessly_and_what_is_behind_is_counted_and_said_once() -> None:
    async def play(exchange: Exchange) -> None:
        await page(f"c{len(upstream.requests)}", more=True)(exchange)

    upstream = Upstream(play)
    with structlog.testing.capture_logs() as logs, pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporter.receivers.discovery.MOST_PAGES", 150)
        _, _, heard = await poll(upstream, 2)
    assert len(upstream.requests) == 300
    assert heard.counts["bound", "listed"] == 2
    told = [(log["event"], log["pages_read"]) for log in logs if "pages_read" in log]
    assert told == [("the list of calls is long", 100), ("the list of calls goes on behind what one look reads", 150)]


async def test_a_look_reads_so_many_calls_at_most_whatever_the_pages_have() -> None:
    async def play(exchange: Exchange) -> None:
        number = len(upstream.requests)
        rows = [{"callId": f"c{number}-{row}", "status": "active"} for row in range(400)]
        await json_of({"logs": rows, "pagination": {"hasMore": True, "total": 5000}})(exchange)

    upstream = Upstream(play)
    with structlog.testing.capture_logs() as logs, pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporter.receivers.discovery.MOST_CALLS", 1000)
        found, _, _ = await poll(upstream, 1)
    assert len(upstream.requests) == 3
    assert len(found) == 1200
    assert [log["calls"] for log in logs if "calls" in log] == [5000]


async def test_empty_pages_that_promise_more_are_not_turned() -> None:
    upstream = Upstream(json_of({"logs": [], "pagination": {"hasMore": True}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporter.receivers.discovery.WHOLE_EVERY", 1)
        await poll(upstream, 1)
    assert len(upstream.requests) == 1


async def test_others_have_their_turn_while_a_page_is_told_of() -> None:
    turns: list[int] = []
    told: list[FoundCall] = []

    async def beside() -> None:
        while True:
            turns.append(len(told))
            await asyncio.sleep(0)

    upstream = Upstream(page(*(f"c{number}" for number in range(500))))
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        other = asyncio.ensure_future(beside())
        await Poll(api, told.append, backoff=Backoff(MostlyOne()), log=LOG).once()
        other.cancel()
    assert {50 * number for number in range(1, 10)} <= set(turns)


async def test_others_have_their_turn_while_a_page_far_beyond_what_was_asked_for_is_read() -> None:
    rows = b",".join(b'{"callId":"c%d","status":"active"}' % number for number in range(60_000))
    body = b'{"data":{"logs":[' + rows + b'],"pagination":{"hasMore":false}}}'
    turns, reading = 0, False

    async def beside() -> None:
        nonlocal turns
        while True:
            turns += reading
            await asyncio.sleep(0)

    def read(body: bytes) -> int:
        nonlocal reading
        reading = True
        found = len(decode_call_page(body).calls)
        reading = False
        return found

    upstream = Upstream(lambda exchange: exchange.answer(200, body))
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        other = asyncio.ensure_future(beside())
        assert await api.get("conversation", source="poll", read=read) == 60_000
        other.cancel()
    assert turns > 0


async def test_a_call_is_found_once_and_forgotten_when_long_not_listed() -> None:
    upstream = Upstream(page("c1", "c2"), page("c1"), page("c3"), page("c2"), page("c1"))
    found, _, _ = await poll(upstream, 5, remember=2)
    assert [call.call_id for call in found] == ["c1", "c2", "c3", "c2", "c1"]


async def test_failures_are_waited_out_and_told_once() -> None:
    upstream = Upstream(
        failing(500), failing(429, retry_after="45"), failing(200, "text/html"), failing(200), page("c1"), page()
    )
    with structlog.testing.capture_logs() as logs:
        found, naps, heard = await poll(upstream, 6, interval=3.0)
    assert naps == pytest.approx([3, 49.5, 4, 8, 3, 3])
    assert [call.call_id for call in found] == ["c1"]
    assert heard.counts["request", "poll", "error"] == 1
    assert heard.counts["request", "poll", "unreadable"] == 2
    assert heard.counts["request", "poll", "rate_limited"] == 1
    told = [(log["log_level"], log["event"]) for log in logs if log["log_level"] != "debug"]
    assert told == [("warning", "calls cannot be listed"), ("info", "calls can be listed again")]


async def test_a_refused_token_is_tried_slowly_and_recovers() -> None:
    upstream = Upstream(failing(401), failing(401), page("c1"))
    with structlog.testing.capture_logs() as logs:
        found, naps, heard = await poll(upstream, 3, interval=3.0)
    assert naps == [30, 30, 3]
    assert len(found) == 1
    assert heard.counts["request", "poll", "unauthorized"] == 2
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["the API refuses the token"]
    assert "the API accepts the token again" in [log["event"] for log in logs]


async def test_an_api_that_cannot_be_reached_is_down() -> None:
    upstream = Upstream(page())
    async with upstream.serving():
        pass
    async with api_for(upstream.url) as (api, heard):
        with pytest.raises(Interrupted):
            await Poll(api, lambda call: None, backoff=Backoff(MostlyOne()), log=LOG).once()
    assert heard.up is False


def test_static_calls_are_found_once_each() -> None:
    heard = Heard()
    assert static_calls(["c1", "c2", "c1"], heard) == [
        FoundCall("c1", source="static"),
        FoundCall("c2", source="static"),
    ]
    assert heard.counts["request", "static", "ok"] == 2


# -- names


ANNA = {"_id": "a1", "name": "Anna", "workflowType": "workflow_graph"}


async def test_an_agent_is_asked_for_once_however_many_want_to_know() -> None:
    now = 0.0
    upstream = Upstream(json_of(ANNA), json_of({**ANNA, "name": "Bea"}))
    async with upstream.serving(), api_for(upstream.url) as (api, heard):
        directory = Directory(api, log=LOG, clock=lambda: now)
        agents = await asyncio.gather(*(directory.resolve("a1") for _ in range(20)))
        assert set(agents) == {Agent("a1", "Anna", False)}
        assert upstream.requests[0].path == "/api/v1/agent/a1"
        assert len(upstream.requests) == 1
        now = 3599.0
        assert (await directory.resolve("a1")).name == "Anna"
        now = 3601.0
        assert (await directory.resolve("a1")).name == "Bea"
    assert heard.counts["request", "agents", "ok"] == 2


async def at_once(_: float) -> None:
    """No pause."""


async def test_an_unknown_agent_is_unknown_for_a_while() -> None:
    now = 0.0
    upstream = Upstream(failing(404), failing(500), json_of(ANNA | {"workflowType": "single_prompt"}), failing(500))
    async with upstream.serving(), api_for(upstream.url) as (api, heard):
        directory = Directory(api, log=LOG, clock=lambda: now, sleep=at_once)
        for at, requests, agent in (
            (0, 1, Agent("a1")),
            (59, 1, Agent("a1")),
            (61, 3, Agent("a1", "Anna", True)),  # a busy moment of the API names nobody: asked again at once
            (4000, 4, Agent("a1", "Anna", True)),
        ):
            now = at
            assert await directory.resolve("a1") == agent
            assert len(upstream.requests) == requests
    assert heard.counts["request", "agents", "not_found"] == 1


async def test_an_agent_id_is_one_path_segment_whatever_it_holds() -> None:
    upstream = Upstream(json_of({"name": "Anna"}))
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        await Directory(api, log=LOG).resolve("../a/b?c#d%2F")
    assert upstream.requests[0].segments[-1] == "../a/b?c#d%2F"
    assert upstream.requests[0].query == {}


async def test_an_agent_that_answers_under_another_id_is_asked_for_once() -> None:
    upstream = Upstream(json_of({**ANNA, "_id": "another"}))
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        directory = Directory(api, log=LOG)
        assert {await directory.resolve("a1") for _ in range(5)} == {Agent("a1", "Anna", False)}
    assert len(upstream.requests) == 1


async def test_an_agent_id_of_seventy_kilobytes_is_nobody_and_nobody_is_asked() -> None:
    upstream = Upstream(json_of(ANNA))
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        agent = await Directory(api, log=LOG).resolve("x" * 70_000)
    assert (len(agent.agent_id), agent.name) == (128, "unknown")
    assert upstream.requests == []


async def test_names_that_take_too_long_are_unknown() -> None:
    upstream = Upstream(Exchange.hang)
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        directory = Directory(api, log=LOG, patience_seconds=0.2)
        assert await directory.resolve("a1") == Agent("a1")


async def test_who_asks_first_may_be_cancelled_without_harm_to_the_others() -> None:
    upstream = Upstream(Exchange.hang, json_of(ANNA))
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        directory = Directory(api, log=LOG)
        first = asyncio.ensure_future(directory.resolve("a1"))
        await asyncio.sleep(0.05)
        second = asyncio.ensure_future(directory.resolve("a1"))
        await asyncio.sleep(0.05)
        first.cancel()
        assert (await asyncio.wait_for(second, 10)).name == "Anna"


async def test_all_agents_are_learnt_page_by_page() -> None:
    first = [{"_id": f"a{n}", "name": f"Agent {n}"} for n in range(100)]
    upstream = Upstream(
        json_of({"agents": first, "total": 101}), json_of({"agents": [{"_id": "z", "name": "Zoe"}], "total": 101})
    )
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        directory = Directory(api, log=LOG)
        assert await directory.prefetch() == 101
        assert (await directory.resolve("z")).name == "Zoe"
        assert (await directory.resolve("a7")).name == "Agent 7"
    assert [request.query for request in upstream.requests] == [{"page": p, "offset": "100"} for p in ("1", "2")]


async def test_a_list_of_agents_that_repeats_itself_ends() -> None:
    upstream = Upstream(json_of({"agents": [ANNA]}))
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        assert await Directory(api, log=LOG).prefetch() == 1
    assert len(upstream.requests) == 2


# -- histories


def history(api: Any, naps: Naps, clock: Callable[[], float] = lambda: 0.0, **options: Any) -> History:
    return History(api, rng=MostlyOne(), sleep=naps, clock=clock, **options)


def call_log(status: str = "completed", **fields: Any) -> Callable[[Exchange], Awaitable[None]]:
    return json_of({"callId": CALL, "status": status, "agent": {"_id": "a1", "name": "Anna"}, **fields})


async def test_a_call_log_is_fetched_through_trouble() -> None:
    upstream = Upstream(failing(503), failing(500), call_log(events=[{"event_type": "call_start"}]))
    naps = Naps()
    async with upstream.serving(), api_for(upstream.url) as (api, heard):
        log = await history(api, naps).fetch(CALL)
    assert (log.outcome, log.agent_name, len(log.events)) == ("completed", "Anna", 1)
    assert upstream.requests[0].path == f"/api/v1/conversation/{CALL}"
    assert naps.asked == [1, 2]
    assert heard.counts["request", "history", "ok"] == 1


@pytest.mark.parametrize(
    ("play", "error", "requests"),
    [
        (failing(404), Refused, 1),
        (failing(401), Refused, 1),
        (failing(200), Malformed, 1),
        (json_of({"callId": "another"}), Malformed, 1),
        (failing(500), Interrupted, 3),
        (failing(200, "text/html"), Interrupted, 3),
    ],
)
async def test_what_cannot_be_fetched_says_why(play: Any, error: type[Exception], requests: int) -> None:
    upstream = Upstream(play)
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        with pytest.raises(error):
            await history(api, Naps()).fetch(CALL, attempts=3)
    assert len(upstream.requests) == requests


@pytest.mark.parametrize(("play", "requests"), [(failing(500), 5), (failing(429, retry_after="6"), 4)])
async def test_a_fetch_has_patience_and_not_more(play: Any, requests: int) -> None:
    naps, upstream = Naps(), Upstream(play)
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        with pytest.raises(Interrupted):
            await history(api, naps, patience_seconds=20.0).fetch(CALL, attempts=100)
    assert len(upstream.requests) == requests


async def test_to_be_told_to_come_later_is_no_failed_attempt() -> None:
    later = failing(429, retry_after="1")
    upstream = Upstream(later, failing(500), later, later, later, call_log())
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        assert (await history(api, Naps()).fetch(CALL, attempts=2)).outcome == "completed"
    assert len(upstream.requests) == 6


async def test_a_look_is_one_try() -> None:
    upstream = Upstream(failing(404), failing(503), call_log("in_progress"))
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        looking = history(api, Naps())
        with pytest.raises(Refused):
            await looking.look(CALL).__aenter__()
        with pytest.raises(Interrupted):
            await looking.look(CALL).__aenter__()
        async with looking.look(CALL) as log:
            assert log.status == "in_progress"
    assert len(upstream.requests) == 3


async def test_a_rate_limit_holds_every_fetch_back() -> None:
    now = 0.0
    starts: list[float] = []

    async def play(exchange: Exchange) -> None:
        starts.append(now)
        if now < 10:
            await exchange.answer(429, retry_after="10")
        else:
            await call_log()(exchange)

    class Clock(Naps):
        async def __call__(self, seconds: float) -> None:
            nonlocal now
            until = now + seconds
            await asyncio.sleep(0.01)
            now = max(now, until)

    upstream = Upstream(play)
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        fetching = history(api, Clock(), lambda: now, concurrency=2)
        logs = await asyncio.gather(*(fetching.fetch(CALL) for _ in range(20)))
    assert len(logs) == 20
    assert len([start for start in starts if start < 10]) <= 2


async def test_a_rate_limit_that_strikes_here_and_there_holds_back_only_those_it_strikes() -> None:
    woken = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        await woken.wait()

    upstream = Upstream(failing(429, retry_after="10"), call_log())
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        fetching = History(api, rng=MostlyOne(), sleep=sleep, clock=lambda: 0.0, concurrency=2)
        fetches = [asyncio.ensure_future(fetching.fetch(CALL)) for _ in range(20)]
        done, waiting = await asyncio.wait(fetches, timeout=1)
        assert len(done) >= 18, "one lane is closed: whom it struck waits, and perhaps who is in that lane now"
        woken.set()
        assert all(log.outcome == "completed" for log in await asyncio.gather(*waiting))


async def test_who_gives_up_while_a_lane_is_closed_does_not_open_it() -> None:
    naps, upstream = Naps(), Upstream(failing(429, retry_after="10"), call_log())
    forever = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await naps(seconds)
        await forever.wait()

    async with upstream.serving(), api_for(upstream.url) as (api, _):
        fetching = History(api, rng=MostlyOne(), sleep=sleep, clock=lambda: 0.0, concurrency=1)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(fetching.fetch(CALL), 0.2)
    assert len(upstream.requests) == 1


async def test_a_burst_of_ended_calls_is_fetched_a_few_at_a_time() -> None:
    at_once = most = 0

    async def play(exchange: Exchange) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.01)
        at_once -= 1
        await call_log()(exchange)

    upstream = Upstream(play)
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        fetching = history(api, Naps(), concurrency=3)
        await asyncio.gather(*(fetching.fetch(CALL) for _ in range(20)))
    assert most == 3


async def test_the_last_calls_come_page_by_page_and_once_each() -> None:
    upstream = Upstream(page("c1", "c2", more=True), failing(500), page("c2", "c3", more=True), page("c4", more=True))
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        recent = history(api, Naps()).recent(4, statuses="completed,failed")
        assert [call.call_id async for call in recent] == ["c1", "c2", "c3", "c4"]
        asked = {"page": "1", "limit": "4", "statusFilter": "completed,failed", "callAttemptFilter": "all"}
        assert upstream.requests[0].query == asked
    upstream = Upstream(page("c1", more=False))
    async with upstream.serving(), api_for(upstream.url) as (api, _):
        assert [call.call_id async for call in history(api, Naps()).recent(1000)] == ["c1"]
    assert upstream.requests[0].query["limit"] == "500"


@pytest.mark.parametrize("answer", [{"x": "y" * 200_000}, {"events": [0] * 2_000}])
async def test_an_answer_without_end_is_not_read_to_its_end(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.receivers.client.MOST_OF_A_HISTORY", Most(100_000, 1_000))
    upstream = Upstream(json_of({"callId": CALL, **answer}))
    async with upstream.serving(), api_for(upstream.url) as (api, heard):
        with pytest.raises(Malformed) as raised:
            await History(api, rng=random.Random(1)).fetch(CALL)
    assert heard.counts["bound", "answer_bytes"] == 1
    assert raised.value.reason == "oversize"
