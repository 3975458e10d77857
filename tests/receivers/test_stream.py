"""One call's stream against a real server: what each kind of answer, silence and cut leads to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import httpx
import pytest
import structlog
import uvloop
from upstream import Exchange, Heard, MostlyOne, Naps, Upstream, api_for, until

from exporter.calls.evidence import EndInStream, Evidence, Parting, StreamParted
from exporter.calls.tracker import Progress
from exporter.receivers.backoff import Backoff
from exporter.receivers.client import AtomsApi
from exporter.receivers.stream import Subscription

# pytest-asyncio's way to choose a loop changed in 1.5; this one works before and after.
pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")

CALL = "CALL-1758124225863-80752e"
INIT = b'data: {"event_type": "sse_init", "event_time": "2025-09-17T15:51:44.234Z"}\n\n'
CLOSE = b'data: {"event_type": "sse_close", "event_time": "2025-09-17T15:52:44.234Z"}\n\n'
END = b'data: {"event_type": "call_end"}\n\n'


def frame(number: int) -> bytes:
    return b'data: {"event_type": "metrics", "n": %d}\n\n' % number


class End(NamedTuple):
    """How a subscription ended: in the stream, by a refusal that its owner took for one, or by another word."""

    how: str
    payloads: int
    connections: int


class Taken:
    """Takes payloads as the core would, in small: it knows the end of a call and the end of a stream, and lets a
    refusal be the end, too."""

    def __init__(self, *, most_refusals: int = 1) -> None:
        self.types: list[str] = []
        self.numbers: list[int] = []
        self.connections: list[int] = []
        self.partings: list[Parting] = []
        self.how = "told"
        self.subscription: Subscription | None = None
        self._most_refusals = most_refusals
        self._allowed = asyncio.Event()
        self._allowed.set()

    def __call__(self, payload: bytes) -> Progress:
        event = json.loads(payload)
        self.types.append(event["event_type"])
        if "n" in event:
            self.numbers.append(event["n"])
        if event["event_type"] == "sse_close":
            return Progress.STREAM_CLOSED
        return Progress.CALL_ENDED if "call_end" in self.types else Progress.GOING_ON

    def taker(self) -> Callable[[bytes], Progress]:
        return self

    def news(self) -> int:
        return len(set(self.numbers))

    def report(self, evidence: Evidence) -> None:
        assert self.subscription is not None
        if isinstance(evidence, StreamParted):
            self.partings.append(evidence.how)
        if isinstance(evidence, EndInStream):
            self.how = "finished"
            self.subscription.end()
        elif self.partings.count(Parting.REFUSED) >= self._most_refusals:
            self.how = self.how if self.how == "finished" else "refused"
            self.subscription.end()

    async def may_open(self) -> None:
        await self._allowed.wait()

    def forbid(self) -> None:
        self._allowed.clear()

    def allow(self) -> None:
        self._allowed.set()

    async def connected(self, number: int) -> None:
        self.connections.append(number)


def subscription(api: AtomsApi, taken: Taken, call_id: str = CALL, **options: Any) -> Subscription:
    settings: dict[str, Any] = {
        "place": contextlib.nullcontext,
        "backoff": Backoff(MostlyOne()),
        "log": structlog.get_logger(),
        "sleep": Naps(),
        "end_grace": 0.2,
    }
    taken.subscription = Subscription(api, call_id, taken, **{**settings, **options})
    return taken.subscription


async def played(api: AtomsApi, taken: Taken, call_id: str = CALL, **options: Any) -> End:
    """A subscription from its beginning to its end."""
    return End("", *await subscription(api, taken, call_id, **options).run())._replace(how=taken.how)


@pytest.fixture(params=["pushed on uvloop", "pushed on asyncio", "portable"])
def way(request: pytest.FixtureRequest) -> str:
    """The ways a stream is read: pushed from the socket, and by httpx and httpx-sse alone."""
    return str(request.param)


@pytest.fixture
def event_loop_policy(way: str) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if "uvloop" in way else asyncio.DefaultEventLoopPolicy()


@pytest.fixture
def path(way: str) -> dict[str, Any]:
    if "pushed" in way:
        return {}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return {"transport": httpx.AsyncHTTPTransport(limits=limits)}


def answering(status: int, **headers: str) -> Callable[[Exchange], Awaitable[None]]:
    async def play(exchange: Exchange) -> None:
        await exchange.answer(status, b'{"message": "no"}', **headers)

    return play


def streaming(*frames: bytes, finish: bool = True) -> Callable[[Exchange], Awaitable[None]]:
    async def play(exchange: Exchange) -> None:
        await exchange.stream(*frames, finish=finish)

    return play


over = answering(400)


async def follow(
    upstream: Upstream, path: dict[str, Any], taken: Taken | None = None, **options: Any
) -> tuple[End, Taken, Heard, Naps]:
    taken, naps = taken or Taken(), Naps()
    async with upstream.serving(), api_for(upstream.url, **path) as (api, heard):
        ending = await asyncio.wait_for(played(api, taken, sleep=naps, **options), 30)
        await until(lambda: upstream.open == 0)
    assert heard.states[-1] is None
    return ending, taken, heard, naps


async def test_a_call_is_followed_to_its_end(path: dict[str, Any]) -> None:
    ending, taken, heard, _ = await follow(Upstream(streaming(INIT, frame(1), frame(2), END, CLOSE)), path)
    assert ending == End("finished", 5, 1)
    assert taken.types == ["sse_init", "metrics", "metrics", "call_end", "sse_close"]
    assert heard.states == ["connecting", "open", None]
    assert not [key for key in heard.counts if key[0] in ("failed", "reconnected")]


async def test_the_request_is_what_the_api_asks_for(path: dict[str, Any]) -> None:
    upstream = Upstream(streaming(INIT, END, CLOSE))
    await follow(upstream, path)
    request = upstream.requests[0]
    assert (request.method, request.path, request.query) == ("GET", "/api/v1/events", {"callId": CALL})
    assert request.headers["authorization"] == "Bearer secret-token"
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("call_id", ["a/b?c=d&e#f", "../agent", "CALL 1%2F", "späť\u2028", "a\r\nX: y"])
async def test_a_call_id_arrives_as_it_is_whatever_it_holds(call_id: str, path: dict[str, Any]) -> None:
    upstream, taken = Upstream(over), Taken()
    async with upstream.serving(), api_for(upstream.url, **path) as (api, _):
        assert (await played(api, taken, call_id)).how == "refused"
    assert upstream.requests[0].query == {"callId": call_id}
    assert upstream.requests[0].path == "/api/v1/events"
    assert "x" not in upstream.requests[0].headers


@pytest.mark.parametrize(("status", "label"), [(400, "400"), (403, "403"), (404, "404"), (410, "4xx")])
async def test_a_refusal_is_reported_and_tried_again_slowly(status: int, label: str, path: dict[str, Any]) -> None:
    ending, taken, heard, naps = await follow(Upstream(answering(status)), path, Taken(most_refusals=6))
    assert ending == End("refused", 0, 0)
    assert taken.partings == [Parting.REFUSED] * 6
    assert naps.asked == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert heard.counts["failed", label] == 6
    assert heard.counts["reconnected", "not_found" if status == 404 else "refused"] == 5


async def test_a_call_that_is_refused_in_the_middle_goes_on(path: dict[str, Any]) -> None:
    plays = [streaming(INIT, frame(1), finish=False), *[answering(403)] * 4, streaming(INIT, frame(2), END, CLOSE)]
    with structlog.testing.capture_logs() as logs:
        ending, taken, _, _ = await follow(Upstream(*plays), path, Taken(most_refusals=9))
    assert (ending.how, taken.numbers, taken.connections) == ("finished", [1, 2], [1, 2])
    told = [(log["log_level"], log["event"]) for log in logs if log["log_level"] in ("info", "warning")]
    assert told == [("warning", "a call cannot be followed"), ("warning", "a call is followed again")]


async def test_a_call_that_cannot_be_followed_to_its_end_says_so(path: dict[str, Any]) -> None:
    with structlog.testing.capture_logs() as logs:
        _, _, heard, _ = await follow(Upstream(*[answering(500)] * 6, over), path)
    told = [(log["log_level"], log["event"]) for log in logs if log["log_level"] != "debug" and "call_id" in log]
    assert told == [
        ("warning", "a call cannot be followed"),
        ("warning", "a call could not be followed to its end"),
    ]
    assert [state for state in heard.states if state == "failing"]


async def test_streams_that_cannot_be_opened_leave_their_places_to_others(path: dict[str, Any]) -> None:
    places = asyncio.Semaphore(1)
    taken, naps = Taken(most_refusals=9), asyncio.Event()

    async def forever(_: float) -> None:
        naps.set()
        await asyncio.Event().wait()

    upstream = Upstream(answering(403), streaming(INIT, frame(1), END, CLOSE))
    async with upstream.serving(), api_for(upstream.url, **path) as (api, heard):
        heard.stream_state = lambda before, after: None  # type: ignore[method-assign]  # the order of one, not of two
        waiting = asyncio.ensure_future(played(api, taken, place=lambda: places, sleep=forever))
        await naps.wait()
        assert (await asyncio.wait_for(played(api, Taken(), place=lambda: places), 10)).how == "finished"
        assert taken.subscription is not None
        taken.subscription.end()
        await asyncio.wait_for(waiting, 10)


async def test_a_stream_is_opened_when_the_judge_allows_it(path: dict[str, Any]) -> None:
    upstream, taken = Upstream(streaming(INIT, frame(1), END, CLOSE)), Taken()
    async with upstream.serving(), api_for(upstream.url, **path) as (api, _):
        taken.forbid()
        task = asyncio.ensure_future(played(api, taken))
        await asyncio.sleep(0.05)
        assert not upstream.requests
        taken.allow()
        assert (await asyncio.wait_for(task, 10)).how == "finished"


async def test_the_last_ids_of_a_stream_are_said_when_it_is_opened_again(path: dict[str, Any]) -> None:
    with_ids = streaming(INIT, b"id: 7\n" + frame(1), b"id:8 \n" + frame(2), frame(3), finish=False)
    upstream = Upstream(with_ids, streaming(INIT, frame(4), finish=False), streaming(INIT, END, CLOSE))
    await follow(upstream, path)
    assert "last-event-id" not in upstream.requests[0].headers
    assert [request.headers.get("last-event-id") for request in upstream.requests[1:]] == ["8", "8"]


@pytest.mark.parametrize("odd", [b"id: gr\xc3\xbc\xc3\x9fe", b"id: a\x07b", b"id: " + b"x" * 5000])
async def test_an_id_that_no_request_can_carry_is_not_said(odd: bytes, path: dict[str, Any]) -> None:
    upstream = Upstream(streaming(INIT, odd + b"\n" + frame(1), finish=False), streaming(INIT, END, CLOSE))
    ending, _, _, _ = await follow(upstream, path)
    assert ending.how == "finished"
    assert len(upstream.requests[1].headers.get("last-event-id", "")) <= 1024


async def test_a_refused_token_is_tried_slowly_and_told_once(path: dict[str, Any]) -> None:
    with structlog.testing.capture_logs() as logs:
        ending, _, heard, naps = await follow(
            Upstream(*[answering(401)] * 4, streaming(INIT, END, CLOSE)), path, backoff=Backoff(random.Random(1))
        )
    assert ending.how == "finished"
    assert len(naps.asked) == 4
    assert min(naps.asked) >= 30
    assert heard.counts["failed", "401"] == 4
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["the API refuses the token"]
    assert not [log for log in logs if "secret-token" in repr(log)]


async def test_retry_after_is_honoured_in_seconds_and_as_a_date(path: dict[str, Any]) -> None:
    path = {**path, "clock": lambda: 1_445_412_420.0}
    late = answering(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT")
    plays = [answering(429, retry_after="17"), late, answering(503, retry_after="5"), answering(429), over]
    ending, _, heard, naps = await follow(Upstream(*plays), path, backoff=Backoff(random.Random(1), ceiling_seconds=2))
    assert ending.how == "refused"
    assert 17 <= naps.asked[0] <= 19
    assert 60 <= naps.asked[1] <= 66
    assert 5 <= naps.asked[2] <= 6
    assert naps.asked[3] <= 2
    assert heard.counts["reconnected", "rate_limited"] == 3
    assert (heard.counts["failed", "429"], heard.counts["failed", "5xx"]) == (3, 1)


async def test_server_errors_back_off_up_to_half_a_minute(path: dict[str, Any]) -> None:
    _, _, heard, naps = await follow(Upstream(*[answering(500)] * 8, over), path)
    assert naps.asked == [1, 2, 4, 8, 16, 30, 30, 30]
    assert heard.counts["reconnected", "server_error"] == 8


@pytest.mark.parametrize(
    ("status", "kind", "headers", "failed", "reason"),
    [
        (200, "text/html", {}, "content_type", "content_type"),
        (200, "application/json", {}, "content_type", "content_type"),
        (302, "text/html", {"location": "https://elsewhere.example/"}, "3xx", "other"),
        (204, "text/event-stream", {}, "other", "other"),
        (408, "text/plain", {}, "4xx", "server_error"),
    ],
)
async def test_an_answer_that_is_no_stream_is_not_read_as_one(
    status: int, kind: str, headers: dict[str, str], failed: str, reason: str, path: dict[str, Any]
) -> None:
    async def play(exchange: Exchange) -> None:
        await exchange.answer(status, b"" if status == 204 else b"data: x\n\n", kind, **headers)

    ending, taken, heard, naps = await follow(Upstream(play, over), path)
    assert (ending.how, taken.types, naps.asked) == ("refused", [], [1.0])
    assert heard.counts["failed", failed] == 1
    assert heard.counts["reconnected", reason] == 1


async def test_a_content_type_counts_whatever_its_case_and_parameters(path: dict[str, Any]) -> None:
    async def play(exchange: Exchange) -> None:
        await exchange.stream(INIT, END, CLOSE, kind="Text/Event-Stream; charset=latin-1", finish=True)

    ending, taken, _, _ = await follow(Upstream(play), path)
    assert (ending.how, len(taken.types)) == ("finished", 3)


async def test_a_cut_inside_an_event_is_resumed_and_the_half_event_dropped(path: dict[str, Any]) -> None:
    cut = streaming(INIT, frame(1), frame(2)[:20], finish=False)
    ending, taken, heard, naps = await follow(Upstream(cut, streaming(INIT, frame(2), END, CLOSE)), path)
    assert ending.how == "finished"
    assert taken.numbers == [1, 2]
    assert taken.connections == [1, 2]
    assert naps.asked == [1.0]
    assert heard.counts["reconnected", "cut"] == 1
    assert heard.states == ["connecting", "open", "waiting", "connecting", "open", None]


async def test_a_clean_end_without_goodbye_is_a_cut_too(path: dict[str, Any]) -> None:
    ending, _, heard, _ = await follow(Upstream(streaming(INIT, frame(1)), over), path)
    assert (ending.how, heard.counts["reconnected", "cut"]) == ("refused", 1)


async def test_a_goodbye_without_the_calls_end_is_followed_by_another_try(path: dict[str, Any]) -> None:
    ending, taken, heard, naps = await follow(Upstream(streaming(INIT, frame(1), CLOSE, finish=False), over), path)
    assert ending == End("refused", 3, 1)
    assert (naps.asked, heard.counts["reconnected", "sse_close"]) == ([1.0], 1)
    assert taken.partings == [Parting.CLOSED, Parting.REFUSED]


async def test_back_off_begins_anew_after_a_new_event_not_after_a_connection(path: dict[str, Any]) -> None:
    empty, first, second = streaming(INIT), streaming(INIT, frame(1)), streaming(INIT, frame(1), frame(2))
    _, _, _, naps = await follow(Upstream(empty, empty, empty, first, empty, first, second, over), path)
    assert naps.asked == [1, 2, 4, 1, 2, 4, 1]


async def test_a_finished_call_played_again_and_again_is_asked_for_less_and_less(path: dict[str, Any]) -> None:
    again = streaming(INIT, frame(1), CLOSE)
    _, _, heard, naps = await follow(Upstream(*[again] * 7, over), path)
    assert naps.asked == [1, 2, 4, 8, 16, 30, 30]
    assert heard.counts["reconnected", "sse_close"] == 7


async def test_the_end_of_the_call_is_the_end_even_when_the_server_keeps_the_stream_open(path: dict[str, Any]) -> None:
    async def play(exchange: Exchange) -> None:
        await exchange.stream(INIT, frame(1), END, frame(2))
        await exchange.hang()

    ending, taken, _, _ = await follow(Upstream(play), path)
    assert ending == End("finished", 4, 1)
    assert taken.numbers == [1, 2]


async def test_a_connection_cut_after_the_calls_end_is_not_opened_again(path: dict[str, Any]) -> None:
    ending, _, _, naps = await follow(Upstream(streaming(INIT, END, finish=False)), path)
    assert (ending.how, naps.asked) == ("finished", [])


async def test_silence_is_noticed_and_heartbeats_are_not_silence(path: dict[str, Any]) -> None:
    async def heartbeats(exchange: Exchange) -> None:
        await exchange.stream(INIT)
        for _ in range(12):
            await asyncio.sleep(0.1)
            await exchange.chunks(b": still here\n\n")
        await exchange.chunks(frame(1))
        await exchange.hang()

    ending, taken, heard, _ = await follow(Upstream(heartbeats, over), {**path, "idle_timeout": 0.6}, idle_timeout=0.6)
    assert ending.how == "refused"
    assert taken.numbers == [1]
    assert heard.counts["reconnected", "idle"] == 1


async def test_a_server_that_cannot_be_reached_is_tried_again(path: dict[str, Any]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/api/v1"
    naps = Naps()
    async with api_for(url, **path) as (api, heard):
        task = asyncio.ensure_future(subscription(api, Taken(), sleep=naps).run())
        await until(lambda: len(naps.asked) >= 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert naps.asked[:3] == [1, 2, 4]
    assert heard.counts["failed", "connect"] >= 3
    assert heard.states[-1] is None


async def test_a_name_that_does_not_resolve_is_a_failure_to_connect(path: dict[str, Any]) -> None:
    naps = Naps()
    async with api_for("http://no-such-host.invalid/api", **path) as (api, heard):
        task = asyncio.ensure_future(subscription(api, Taken(), sleep=naps).run())
        await until(lambda: len(naps.asked) >= 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert heard.counts["failed", "connect"] >= 1


async def test_a_server_that_accepts_and_never_answers_is_a_timeout(path: dict[str, Any]) -> None:
    ending, _, heard, _ = await follow(Upstream(Exchange.hang, over), {**path, "idle_timeout": 0.2})
    assert (ending.how, heard.counts["failed", "timeout"]) == ("refused", 1)


async def test_something_that_is_not_http_is_a_failure_to_connect(path: dict[str, Any]) -> None:
    async def play(exchange: Exchange) -> None:
        await exchange.send(b"220 mail.example ESMTP\r\n")

    ending, _, heard, _ = await follow(Upstream(play, over), path)
    assert (ending.how, heard.counts["failed", "connect"]) == ("refused", 1)


async def test_bytes_wait_while_the_history_is_fetched(path: dict[str, Any]) -> None:
    order: list[str] = []
    sent = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await exchange.stream(INIT, frame(1), END, CLOSE, finish=True)
        sent.set()

    class Watching(Taken):
        def __call__(self, payload: bytes) -> Progress:
            order.append("payload")
            return super().__call__(payload)

        async def connected(self, number: int) -> None:
            await sent.wait()
            await asyncio.sleep(0.05)
            order.append("connected")

    taken = Watching()
    upstream = Upstream(play)
    async with upstream.serving(), api_for(upstream.url, **path) as (api, _):
        ending = await played(api, taken)
    assert ending.how == "finished"
    assert order == ["connected", "payload", "payload", "payload", "payload"]


async def test_somebody_else_may_say_that_the_call_has_ended(path: dict[str, Any]) -> None:
    async def play(exchange: Exchange) -> None:
        await exchange.stream(INIT, frame(1))
        await exchange.hang()

    upstream, taken = Upstream(play), Taken()
    async with upstream.serving(), api_for(upstream.url, **path) as (api, _):
        followed = subscription(api, taken)
        task = asyncio.ensure_future(followed.run())
        await until(lambda: taken.numbers == [1])
        followed.end()
        assert (await asyncio.wait_for(task, 10)).payloads == 2

        async def forever(seconds: float) -> None:
            await asyncio.Event().wait()

        upstream.plays = [answering(503)]
        waiting = subscription(api, taken, sleep=forever)
        count = len(upstream.requests)
        task = asyncio.ensure_future(waiting.run())
        await until(lambda: len(upstream.requests) > count)
        await asyncio.sleep(0.05)
        waiting.end()
        assert (await asyncio.wait_for(task, 10)).payloads == 0


async def test_an_endless_line_costs_its_event_and_nothing_else(path: dict[str, Any]) -> None:
    async def play(exchange: Exchange) -> None:
        await exchange.stream(INIT, frame(1), b'data: {"n": "')
        for _ in range(50):
            await exchange.chunks(b"x" * 1_000_000)
        await exchange.chunks(b'"}\n\n', frame(2), END, CLOSE)
        await exchange.finish()

    ending, taken, heard, _ = await follow(Upstream(play), path)
    assert ending.how == "finished"
    assert taken.numbers == [1, 2]
    assert heard.counts["rejected", "oversize"] == 1


@pytest.mark.parametrize(
    "frames",
    [
        b"\xef\xbb\xbf" + INIT + frame(1) + END + CLOSE,
        b"id: 7\n" + INIT + b": heartbeat\n\n\n" + frame(1) + b":\n\n" + END + CLOSE,
        (INIT + frame(1) + END + CLOSE).replace(b"\n", b"\r\n"),
        (INIT + frame(1) + END + CLOSE).replace(b"\n", b"\r"),
        INIT + b'data: {"event_type": "metrics",\ndata: "n": 1}\n\n' + END + CLOSE,
        INIT + b"retry: 10\nevent: message\n" + frame(1) + b"\n\n" + END + CLOSE,
    ],
)
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_every_form_of_the_standard_is_read_however_it_is_cut(
    frames: bytes, size: int, path: dict[str, Any]
) -> None:
    pieces = [frames[i : i + size] for i in range(0, len(frames), size)]
    ending, taken, _, _ = await follow(Upstream(streaming(*pieces)), path)
    assert ending.how == "finished"
    assert taken.types == ["sse_init", "metrics", "call_end", "sse_close"]


async def test_the_servers_reconnection_time_is_kept_within_reason(path: dict[str, Any]) -> None:
    first, second = streaming(b"retry: 9000\n" + INIT, frame(1)), streaming(b"retry: 900000\n" + INIT, frame(1))
    _, _, _, naps = await follow(Upstream(first, second, over), path)
    assert naps.asked == pytest.approx([9.9, 33.0])


async def test_what_the_taker_raises_ends_the_subscription_and_frees_the_connection(path: dict[str, Any]) -> None:
    class Broken(Taken):
        def __call__(self, payload: bytes) -> Progress:
            raise ZeroDivisionError("in the core")

    async def play(exchange: Exchange) -> None:
        await exchange.stream(INIT)
        await exchange.hang()

    upstream = Upstream(play)
    async with upstream.serving(), api_for(upstream.url, **path) as (api, heard):
        with pytest.raises(ZeroDivisionError):
            await played(api, Broken())
        await until(lambda: upstream.open == 0)
    assert heard.states[-1] is None


async def test_many_calls_at_once_do_not_mix(path: dict[str, Any]) -> None:
    async def play(exchange: Exchange) -> None:
        number = int(exchange.query["callId"])
        await exchange.stream(INIT)
        for _ in range(5):
            await exchange.chunks(frame(number))
            await asyncio.sleep(0.01)
        await exchange.chunks(END, CLOSE)
        await exchange.finish()

    upstream = Upstream(play)
    async with upstream.serving(), api_for(upstream.url, connect_concurrency=10, **path) as (api, heard):
        heard.stream_state = lambda before, after: None  # type: ignore[method-assign]  # many at once
        taken = [Taken() for _ in range(100)]
        endings = await asyncio.gather(*(played(api, t, str(i)) for i, t in enumerate(taken)))
    assert {ending.how for ending in endings} == {"finished"}
    assert [t.numbers for t in taken] == [[i] * 5 for i in range(100)]
