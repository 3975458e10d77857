"""Chunks of a response, however they are cut: our short way past the HTTP parser brings what the parser brings."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, cast

import httptools
from hypothesis import given
from hypothesis import strategies as st

from exporter.receivers.connection import Connection

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Socket:
    """A transport that only knows whether it was closed."""

    closed = False

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str) -> None:
        pass


class Reference:
    """The HTTP parser alone."""

    def __init__(self) -> None:
        self.body = b""
        self.ended = False
        self._parser = httptools.HttpResponseParser(self)

    def on_body(self, chunk: bytes) -> None:
        self.body += chunk

    def on_message_complete(self) -> None:
        self.ended = True

    def feed(self, data: bytes) -> bool:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.ended = True
        return not self.ended


def chunk(body: bytes, head: str) -> bytes:
    return head.format(len(body)).encode() + b"\r\n" + body + b"\r\n"


heads = st.sampled_from(["{:x}"] * 5 + ["{:X}", "{:04x}", "{:x};a=b", "0{:x}", "{:x} ", "+{:x}", "0x{:x}", "z{:x}", ""])
bodies = st.binary(min_size=1, max_size=40) | st.sampled_from([b"data: {}\n\n", b"\r\n", b"5\r\nhello\r\n", b"x" * 300])
chunks = st.lists(st.builds(chunk, bodies, heads), max_size=8)


@given(chunks, st.lists(st.integers(0, 600), max_size=4), st.booleans())
def test_whatever_the_cuts_the_body_and_its_end_are_the_parsers(parts: list[bytes], cuts: list[int], end: bool) -> None:
    """Mostly one chunk a read, as streams are; some reads are cut in two, or run on."""
    whole = b"".join(parts) + (b"0\r\n\r\n" if end else b"")
    ends, places = [0], {0, len(whole)}
    for part in parts:
        ends.append(ends[-1] + len(part))
    places.update(ends)
    for cut in cuts:
        places ^= {cut % (len(whole) + 1)}
    edges = sorted(places | {0, len(whole)})
    reads = [HEAD, *(whole[a:b] for a, b in pairwise(edges))]
    reference, got = Reference(), bytearray()
    connection = Connection(cast(asyncio.AbstractEventLoop, None), set())
    connection.connection_made(cast(Any, Socket()))
    connection._sink = got.extend
    for read in reads:
        connection.data_received(read)
        if not reference.feed(read):
            break
    assert bytes(got) == reference.body
    assert connection._ended == reference.ended
