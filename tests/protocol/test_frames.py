"""Any cut of the bytes gives the same payloads, and the standard's own examples read as the standard says."""

from __future__ import annotations

import tracemalloc

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.protocol.frames import FrameParser


def parsed(*chunks: bytes, max_event_bytes: int = 1 << 20) -> list[bytes]:
    parser = FrameParser(max_event_bytes)
    return [payload for chunk in chunks for payload in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "payloads"),
    [
        (b'data: {"a":1}\n\n', [b'{"a":1}']),
        (b'data:{"a":1}\n\n', [b'{"a":1}']),
        (b"data:  two spaces\n\n", [b" two spaces"]),
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\n\r\ndata: b\r\n\n", [b"a", b"b"]),
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [b"YHOO\n+2\n10"]),
        (b"\xef\xbb\xbfdata: first\n\n", [b"first"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: first\n\n", []),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
        (b": a comment\n\ndata: a\n\n: another\n\n", [b"a"]),
        (b"id: 7\n\n:heartbeat\n\n", []),
        (b"event: x\nid: 1\nfoo: bar\nfoo\ndata: a\n\n", [b"a"]),
        (b"data\n\ndata: \n\ndata:\n\n", []),
        (b"data\ndata: a\n\n", [b"\na"]),
        (b"data: a\n\ndata: cut", [b"a"]),
        (b"data: a\n\ndata: cut\n", [b"a"]),
        (b"DATA: a\n\n data: a\n\ndatax: a\n\n", []),
        (
            b'data: {"u":"\\u2028 \xe2\x80\xa8 \x0b \x0c \x85"}\n\n',
            [b'{"u":"\\u2028 \xe2\x80\xa8 \x0b \x0c \x85"}'],
        ),
        (b"", []),
    ],
)
def test_a_stream_reads_as_the_standard_says(stream: bytes, payloads: list[bytes]) -> None:
    assert parsed(stream) == payloads
    assert parsed(*(stream[i : i + 1] for i in range(len(stream)))) == payloads
    assert parsed(b"\n", stream) == payloads or stream.startswith(b"\xef\xbb\xbf")


LINES = st.sampled_from(
    [
        b"data: a",
        b"data:b",
        b"data",
        b"data: ",
        b": c",
        b"id: 1",
        b"retry: 5",
        b"event: e",
        b"",
        b"",
        b"nonsense",
        b'data: {"event_type":"metrics"}',
        b"data: " + b"x" * 40,
        b": " + b"y" * 40,
        b"\xef\xbb\xbfdata: z",
    ]
)
ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS), max_size=30).map(lambda pairs: b"".join(map(b"".join, pairs)))
NOISE = st.lists(st.sampled_from([b"data: ", b"\n", b"\r", b":", b" ", b"a", b"\n\n", b"retry:9"]), max_size=40)


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({place % (len(stream) + 1) for place in cuts})
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


@settings(max_examples=600)
@given(
    STREAMS | NOISE.map(b"".join),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.sampled_from([1 << 20, 45, 30]),
)
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8, 9, 10, 11], 45)
def test_any_cut_of_the_bytes_gives_the_same_payloads(stream: bytes, cuts: list[int], bound: int) -> None:
    whole, pieces, single = FrameParser(bound), FrameParser(bound), FrameParser(bound)
    expected = whole.feed(stream)
    assert [p for chunk in cut(stream, cuts) for p in pieces.feed(chunk)] == expected
    assert [p for i in range(len(stream)) for p in single.feed(stream[i : i + 1])] == expected
    assert whole.oversize == pieces.oversize == single.oversize
    assert whole.retry_seconds == pieces.retry_seconds == single.retry_seconds
    assert whole.mid_event == pieces.mid_event == single.mid_event


@settings(max_examples=300)
@given(STREAMS)
def test_httpx_sse_reads_the_same_where_it_follows_the_standard(stream: bytes) -> None:
    # Without a byte order mark, which makes httpx-sse lose the first event.
    stream = stream.replace(b"\xef\xbb\xbf", b"")
    response = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    witness = [sse.data.encode() for sse in EventSource(response).iter_sse() if sse.data]
    assert parsed(stream) == witness


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_no_bytes_whatever_make_it_raise(chunks: list[bytes]) -> None:
    parsed(*chunks, max_event_bytes=50)


def test_the_reconnection_time_is_taken_when_it_is_a_number() -> None:
    parser = FrameParser()
    assert parser.retry_seconds is None
    parser.feed(b"retry: 2500\n\n")
    assert parser.retry_seconds == 2.5
    for other in (b"retry: -1\n", b"retry: 1.5\n", b"retry: soon\n", b"retry\n", b"retry: 5_0\n"):
        parser.feed(other)
    assert parser.retry_seconds == 2.5
    parser.feed(b"retry: " + b"9" * 5000 + b"\n")
    assert parser.retry_seconds == 86_400


def test_an_oversize_event_is_dropped_and_counted_and_reading_goes_on() -> None:
    parser = FrameParser(100)
    big = b"data: " + b"x" * 200
    assert parser.feed(b"data: a\n\n" + big + b"\n\ndata: b\n\n") == [b"a", b"b"]
    assert parser.oversize == 1
    many_lines = b"data: 0123456789\n" * 20
    assert parser.feed(many_lines + b"\ndata: c\n\n") == [b"c"]
    assert parser.oversize == 2
    assert parser.feed(b"data: " + b"y" * 94 + b"\n\n") == [b"y" * 94]
    assert parser.feed(b"data: " + b"y" * 95 + b"\n\n") == []
    assert parser.oversize == 3


def test_a_line_of_50_megabytes_costs_no_memory() -> None:
    parser = FrameParser()
    parser.feed(b"data: before\n\n")
    block = b"x" * 65_536
    tracemalloc.start()
    try:
        parser.feed(b"data: ")
        for _ in range(800):
            assert parser.feed(block) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 << 20
    assert parser.feed(b"\n\ndata: after\n\n") == [b"after"]
    assert parser.oversize == 1


def test_what_is_pending_is_known() -> None:
    parser = FrameParser()
    assert not parser.mid_event
    parser.feed(b"data: a\n\ndata: b")
    assert parser.mid_event
    parser.feed(b"\n")
    assert parser.mid_event
    parser.feed(b"\n")
    assert not parser.mid_event


def test_the_last_id_is_that_of_the_last_whole_event() -> None:
    parser = FrameParser()
    parser.feed(b"data: a\n\n")
    assert parser.last_event_id is None
    parser.feed(b"id: 7\ndata: a\n\nid:8\n")
    assert parser.last_event_id == b"7"
    parser.feed(b"\n")
    assert parser.last_event_id == b"8", "an event without data counts, too"
    parser.feed(b"id: not\0this\ndata: a\n\nid: " + b"9" * 2000 + b"\n\n")
    assert parser.last_event_id == b"8"
    parser.feed(b"id\n\n")
    assert parser.last_event_id == b"", "an empty one forgets it"
