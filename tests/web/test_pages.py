"""The pages for people: are callers suffering, where, since when, which call shows it. Nothing of what was said."""

from __future__ import annotations

import dataclasses
import re
import time
from html.parser import HTMLParser
from typing import Any

import pytest

from exporter.calls.observations import Place
from exporter.errors import Interrupted
from exporter.outputs.recent import Minute, NodeHour, Trouble, Version
from exporter.outputs.spans import SpanRecord
from exporter.web import CallPage, CallView, Capacity, FrontView, Health, Spent
from exporter.web.pages import call_page, front_page
from exporter.web.pages.charts import hour_chart
from exporter.web.pages.frame import seconds
from tests.webserver import Backstage, site

CALL = "CALL-1758124225863-80752e"
MARKUP = "</td><script>alert(1)</script>\"'&"
PAYMENT = Place("a1", "Sales", "2", "Payment")
NOW = 1_790_000_000.0


def node(place: Place = PAYMENT, turns: int = 20, slow: int = 8) -> NodeHour:
    minutes = (*[Minute(0, 0, None, None)] * 58, Minute(10, 0, 0.8, 1.4), Minute(10, 8, 2.5, 6.0))
    counts = [0] * 21
    counts[10], counts[13] = turns - slow, slow
    return NodeHour(place, turns, slow, 1.1, 6.0, 7.5, CALL, minutes, tuple(counts))


def view(**changed: Any) -> FrontView:
    known: dict[str, Any] = {
        "version": "1.2.3",
        "now_at": NOW,
        "ready": (True, ""),
        "slow_seconds": 2.0,
        "lately": [node()],
        "nodes": [node()],
        "going_on": 1,
        "ended": 1,
        "lines": [
            CallView(
                CALL, "following", NOW - 90, 42, 1.2, "a1", "Sales", "2", "Payment", "ab" * 16, 9, 0.8, 7.5, "Payment"
            ),
            CallView("CALL-2", "ended", NOW - 300, outcome="failed", ended_at=NOW - 60, turns=3),
        ],
        "outcomes_lately": {"completed": 3, "failed": 1},
        "outcomes_hour": {"completed": 7, "failed": 1},
        "health": [
            Health("Atoms API", True, "the list of calls can be read"),
            Health("State", None, "nothing is kept"),
        ],
    }
    return FrontView(**{**known, **changed})


class _Text(HTMLParser):
    """What a page says, and which tags and links it has."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self._hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._hidden = tag == "style"
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.said.append(data.strip())


def read(page: str) -> _Text:
    text = _Text()
    text.feed(page)
    return text


def said(page: str) -> str:
    return " ".join(read(page).said)


def test_it_says_that_callers_are_answered_and_how_fast() -> None:
    page = said(front_page(view()))
    assert "Callers are being answered." in page
    assert "1 call is being followed, 1 ended within the hour, slowest turn first" in page
    assert "20 turns in 15 min" in page
    assert "25% of them failed or lost" in page


def test_trouble_stands_first_with_place_time_and_a_call_that_shows_it() -> None:
    trouble = Trouble("slow", "a1", "Sales", "2", "Payment", 0.8, 25, 6.1, 720.0, CALL)
    failing = Trouble("failing", "a2", "Desk", None, None, 0.5, 8, 0.0, 180.0, "CALL-9")
    page = front_page(view(troubles=[trouble, failing]))
    text = said(page)
    assert "Sales is slow in Payment since 14:01:20 UTC (12 min ago): 80% of 25 turns took longer than 2.00 s" in text
    assert "Calls of Desk fail since 14:10:20 UTC (3 min ago): 50% of 8." in text
    assert "Callers are being answered" not in text
    assert text.index("Sales is slow") < text.index("calls now")
    assert f"calls/{CALL}" in read(page).links


def test_an_exporter_that_is_not_ready_says_so_before_anything_else() -> None:
    text = said(front_page(view(ready=(False, "the token was refused <i>"), lately=[], nodes=[])))
    assert "This exporter is not ready: the token was refused <i>" in text


def test_an_idle_exporter_says_so() -> None:
    text = said(
        front_page(view(lately=[], nodes=[], lines=[], going_on=0, ended=0, outcomes_hour={}, outcomes_lately={}))
    )
    assert "Nobody was answered in the last fifteen minutes." in text
    assert "No call is being followed" in text


def test_names_cannot_become_markup() -> None:
    place = Place("a1", MARKUP, "2", MARKUP)
    line = CallView(MARKUP, MARKUP, NOW, agent_name=MARKUP, node_name=MARKUP, slowest_node_name=MARKUP)
    lines = [line, dataclasses.replace(line, outcome=MARKUP, end_reason=MARKUP, ended_at=NOW)]
    trouble = Trouble("slow", "a1", MARKUP, "2", MARKUP, 0.8, 25, 6.1, 720.0, MARKUP)
    health = [Health(MARKUP, False, MARKUP)]
    fronts = front_page(
        view(nodes=[node(place)], lines=lines, troubles=[trouble], health=health, outcomes_hour={MARKUP: 1})
    )
    span = SpanRecord(
        trace_id=1, span_id=2, parent_id=None, name=MARKUP, start_ns=0, end_ns=10, attributes={"x": "said"}
    )
    calls = call_page(CallPage(lines[1], [span], NOW))
    for page in (fronts, calls):
        text = read(page)
        assert not {"script", "iframe", "img", "object", "form", "link"} & set(text.tags)
        assert not [link for link in text.links if "://" in link or link.startswith(("//", "javascript:"))]
        assert "alert(1)" in " ".join(text.said)


def test_a_call_is_a_waterfall_with_its_slowest_turn_marked_and_no_attribute_shown() -> None:
    def span(number: int, name: str, start: float, end: float, parent: int | None = 1, **more: Any) -> SpanRecord:
        said = {"gen_ai.input.messages": "my card number is 4111"}
        return SpanRecord(
            trace_id=1,
            span_id=number,
            parent_id=parent,
            name=name,
            start_ns=int(start * 1e9),
            end_ns=int(end * 1e9),
            attributes=said,
            **more,
        )

    spans = [
        span(1, "call", 0, 60, None),
        span(2, "hop Payment", 1, 50),
        span(3, "turn", 2, 3, 2),
        span(4, "turn", 10, 17.5, 2),
        span(5, "execute_tool charge", 11, 17, 2, error="the tool failed"),
    ]
    ended = CallView(
        CALL, "ended", NOW, agent_name="Sales", outcome="completed", ended_at=NOW, turns=2, trace_id="ab" * 16
    )
    page = call_page(CallPage(ended, spans, NOW))
    text = said(page)
    assert "0:10.0 turn ◀ slowest 7.50 s" in text
    assert "0:11.0 execute_tool charge ✗ 6.00 s" in text
    assert text.index("hop Payment") < text.index("◀ slowest") < text.index("execute_tool")
    assert "4111" not in page
    assert 'http-equiv="refresh"' not in page


def test_of_a_call_that_goes_on_the_node_it_is_in_has_its_row_with_what_happened_there() -> None:
    def span(number: int, name: str, start: int, end: int, parent: int) -> SpanRecord:
        return SpanRecord(
            trace_id=1,
            span_id=number,
            parent_id=parent,
            name=name,
            start_ns=start * 10**9,
            end_ns=end * 10**9,
            attributes={},
        )

    spans = [span(2, "hop Greeting", 0, 9, 1), span(3, "turn", 2, 3, 2), span(5, "turn", 11, 13, 4)]
    page = call_page(CallPage(CallView(CALL, "following", NOW, node_name="Payment"), spans, NOW))
    rows = re.findall(r'class="name (d\d)">([^<]*)<', page)
    assert [(depth, name.strip()) for depth, name in rows] == [
        ("d0", "call (goes on)"),
        ("d1", "hop Greeting"),
        ("d2", "turn"),
        ("d1", "hop Payment (goes on)"),
        ("d2", "turn"),
    ]
    first = call_page(CallPage(CallView(CALL, "following", NOW, node_name="Greeting"), spans[2:], NOW))
    assert "hop Greeting (goes on)" in first


def test_a_call_of_any_length_is_a_page_of_bounded_size() -> None:
    spans = [
        SpanRecord(trace_id=1, span_id=n, parent_id=n - 1 or None, name="turn", start_ns=n, end_ns=n + 5, attributes={})
        for n in range(1, 50_000)
    ]
    page = call_page(CallPage(CallView(CALL, "following", NOW, turns=1), spans, NOW))
    assert "UTC · 1 turn " in said(page)
    assert "and 47999 more" in said(page)
    assert len(page) < 1_000_000


def test_a_chart_leaves_out_minutes_in_which_nobody_was_answered() -> None:
    minutes = [Minute(1, 0, 1.0, 1.0), Minute(1, 0, 1.0, 1.0), Minute(0, 0, None, None), Minute(3, 3, 4.0, 5.0)]
    drawn = hour_chart(minutes, 2.0)
    assert drawn.count("<polyline") == 2
    assert drawn.count("<circle") == 2
    assert drawn.count('class="turns"') == 3
    assert "1.00 s to 5.00 s" in drawn


def test_a_chart_of_nothing_is_still_a_chart() -> None:
    assert "<svg" in hour_chart([Minute(0, 0, None, None)] * 60, 2.0)
    assert "<svg" in hour_chart([], 2.0)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "–"),
        (0.35, "350 ms"),
        (1.694, "1.69 s"),
        (12.34, "12.3 s"),
        (192.0, "3 min 12 s"),
        (7_380.0, "2 h 3 min"),
    ],
)
def test_durations_are_written_as_they_are_read(value: float | None, written: str) -> None:
    assert seconds(value) == written


async def test_the_front_page_is_served_without_anything_from_elsewhere() -> None:
    async with site(Backstage(front_view=view())) as at:
        answer = await at.client.get("/")
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert not re.search(r"(src|href)=.?(https?:)?//", answer.text)
        assert "1.2.3" in answer.text


async def test_all_who_ask_within_a_second_get_the_same_page() -> None:
    backstage = Backstage()
    async with site(backstage) as at:
        pages = {(await at.client.get("/")).text for _ in range(5)}
        assert (await at.client.get("/?page=2&nodes=3")).status_code == 200
        assert (await at.client.get("/?page=-7&nodes=x")).status_code == 200
    assert len(pages) <= 2
    assert backstage.asked_pages[-1] in ((2, 3), (1, 1))
    assert len(backstage.asked_pages) < 7


async def test_a_call_that_is_known_has_its_page_and_one_that_is_not_is_a_404() -> None:
    known = CallPage(CallView(CALL, "following", time.time()), [], time.time())
    backstage = Backstage(call_pages={CALL: known})
    async with site(backstage) as at:
        found = await at.client.get(f"/calls/{CALL}")
        assert (found.status_code, CALL in found.text) == (200, True)
        unknown = await at.client.get("/calls/CALL-<script>")
        assert (unknown.status_code, "script" in unknown.text) == (404, False)
        assert read(unknown.text).links == ["../"], "behind a proxy's path, too"
        assert (await at.client.get(f"/calls/{'x' * 5000}")).status_code == 404
        backstage.call_trouble = Interrupted("down", reason="connect")
        assert (await at.client.get(f"/calls/{CALL}")).status_code == 502


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (
            Trouble(
                "slow", "a1", "Sales", "2", "Payment", 0.8, 25, 6.1, 720.0, CALL,
                stage=("llm_api", 0.72), channels=(("telephony_inbound", 20, 22), ("webcall", 0, 3)),
                version=Version("4", 80, "3"),
            ),
            "p95 6.10 s, mostly in llm_api (72% of their time). By channel: telephony_inbound 20 of 22, "
            "webcall 0 of 3. Version 4, new 20 min ago (before: 3). Such a call:",
        ),
        (
            Trouble("broken", "a1", "Sales", None, None, 0.5, 8, 0.0, 180.0, CALL, reasons=(("timeout", 4),)),
            "Calls of Sales are ended by errors or timeouts since 14:10:20 UTC (3 min ago): 50% of 8, by timeout 4.",
        ),
        (
            Trouble("unanswered", "a1", "Sales", "2", "Payment", 0.9, 20, 0.0, 180.0, ""),
            "are not answered since 14:10:20 UTC (3 min ago): 90% of 20 turns, most of them in Payment.",
        ),
        (
            Trouble("mute", "a1", "Sales", None, None, 1.0, 6, 0.0, 180.0, CALL),
            "Sales says nothing since 14:10:20 UTC (3 min ago): not a word in 100% of 6 calls.",
        ),
        (
            Trouble("late", "a1", "Sales", None, None, 1.0, 6, 5.5, 180.0, CALL),
            "The first word of Sales comes late since 14:10:20 UTC (3 min ago): after 5.50 s in the middle of 6 calls.",
        ),
        (
            Trouble("dear", "a1", "Sales", None, None, 2.4, 9, 0.0, 900.0, CALL),
            "cost more than before since 13:58:20 UTC (15 min ago): 2.4 times as much in the last 15 minutes, 9 calls.",
        ),
    ],
    ids=lambda given: given.kind if isinstance(given, Trouble) else "",
)  # fmt: skip
def test_each_trouble_says_what_an_on_call_asks_next(trouble: Trouble, told: str) -> None:
    assert told in said(front_page(view(troubles=[trouble], minute=100)))


def test_a_node_that_no_call_named_is_told_by_its_id() -> None:
    trouble = Trouble("unanswered", "a1", "unknown", "10001", "unknown", 0.9, 20, 0.0, 180.0, "")
    told = said(front_page(view(troubles=[trouble])))
    assert "Callers of a1 are not answered" in told
    assert "most of them in 10001." in told


def test_an_agent_of_a_single_prompt_is_slow_in_no_node() -> None:
    slow = Trouble("slow", "a1", "Sales", "none", "none", 0.8, 25, 6.1, 720.0, CALL)
    silent = Trouble("unanswered", "a2", "Desk", "none", "none", 0.9, 20, 0.0, 180.0, "")
    told = said(front_page(view(troubles=[slow, silent])))
    assert "Sales is slow since 14:01:20 UTC" in told
    assert "90% of 20 turns." in told


def test_an_account_at_its_limit_is_said_first_and_one_with_room_is_a_number() -> None:
    full = said(front_page(view(capacity=Capacity(99, 100, 40, 10, 7))))
    assert (
        "The account is at its limit: 99 of 100 calls the account may have at once. Inbound callers are dropped."
        in full
    )
    assert "7 outbound calls wait." in full
    near = said(front_page(view(capacity=Capacity(50, 100, 20, 17, None))))
    assert "The account is near its limit: 17 of 20 calls that no agent has reserved for itself." in near
    room = said(front_page(view(capacity=Capacity(10, 100, 20, 3, 0))))
    assert "limit:" not in room
    assert "15% of 100 calls at once 0 in the queue" in room
    assert "at once" not in said(front_page(view(capacity=Capacity(10, None, None, 3, None))))


def test_calls_that_wait_although_there_is_room_are_said_and_a_few_are_a_number() -> None:
    many = said(front_page(view(capacity=Capacity(30, 100, 100, 30, 37))))
    assert "Outbound calls wait: 37 in the queue, with room for 70 more calls under the account's limit." in many
    assert "Outbound calls wait: 37 in the queue." in said(front_page(view(capacity=Capacity(30, None, None, 3, 37))))
    assert "calls wait" not in said(front_page(view(capacity=Capacity(30, 100, 100, 30, 9))))


def test_why_calls_ended_and_what_they_cost_stand_below() -> None:
    text = said(
        front_page(
            view(
                reasons_hour={"user_hangup": 6, "timeout": 2},
                reasons_lately={"timeout": 2},
                spent=[Spent("a1", "Sales", 8, 1.6, 4.0, Version("4", 80, None))],
            )
        )
    )
    assert "Who or what ended them Reason last hour share last 15 min user_hangup 6 75% 0 timeout 2 25% 2" in text
    assert "Sales 8 1.60 0.2000 0.4000 4" in text


def test_what_is_wrong_with_the_exporter_stands_above_and_who_sees_no_calls_does_not_say_that_all_is_well() -> None:
    def above(*unwell: Health, ready: tuple[bool, str] = (True, "")) -> str:
        return said(front_page(view(health=list(unwell), ready=ready))).partition("calls now")[0]

    assert "Callers are being answered." in above(Health("Atoms API", True, "the list of calls can be read"))
    blind = above(Health("Atoms API", False, "the list of calls cannot be read now", blind=True))
    assert "Atoms API: the list of calls cannot be read now" in blind
    assert "Callers are being answered." not in blind
    full = above(Health("State", False, "/state.db; once it could not be written"))
    assert "State: /state.db; once it could not be written Callers are being answered." in full
    assert "Streams" not in above(Health("Streams", False, "5 open, 1 failing")), "it may ring"
    why = "the API has not answered"
    assert above(Health("Atoms API", False, why, blind=True), ready=(False, why)).count(why) == 1


def test_the_last_error_of_each_is_its_class_and_its_time() -> None:
    health = [Health("Atoms API", True, "the list of calls can be read", ("poll: timeout", NOW - 180))]
    text = said(front_page(view(health=health)))
    assert "the list of calls can be read poll: timeout, 14:10:20 (3 min ago)" in text
