"""Throw generated event streams at the whole way in: HTTP chunks, SSE frames, typed events.

    python -m tests.fuzz.fuzz_stream --examples 1000000 --seed 1

Whatever comes in, out come events or Malformed, the same however the bytes were cut; an end is told from a cut, and
what is no HTTP is a protocol error. The streams are nearly right ones, damaged.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import httpx

from exporter.errors import Malformed
from exporter.protocol.decode import decode_event
from exporter.protocol.frames import FrameParser
from exporter.receivers.connection import Connection
from exporter.receivers.shares import Shares
from tests.fuzz.damage import damaged, main, surprised, written

BASE: dict[str, Any] = {
    "event_id": "CALL-1758124225863-80752e_2_1758124305004",
    "timestamp": 1758124305.194836,
    "call_id": "CALL-1758124225863-80752e",
    "source": "orchestrator",
}
USAGE = {"prompt_tokens": 1292, "completion_tokens": 46, "total_tokens": 1338, "cache_read_input_tokens": None}
EVENTS: list[dict[str, Any]] = [
    {"event_type": "sse_init", "event_time": "2025-09-17T15:51:44.234Z"},
    {"event_type": "sse_close", "event_time": "2025-09-17T15:51:44.234Z"},
    {"event_type": "call_start", "telephony_id": "8671288e"},
    {"event_type": "call_end", "metadata": {"reason": "x"}},
    {"event_type": "agent_node_state", "node_id": "10001", "node_name": "Start", "node_type": "default", "context": {}},
    {"event_type": "hopping", "from_node_id": "10001", "to_node_id": "10002"},
    {"event_type": "tts_completed", "tts_latency": 5.713, "tts_text": "Hi"},
    {"event_type": "turn_latency", "turn_latency": 1.69, "total_turn_ms": 1690, "interrupted": False, "turn_index": 1},
    {"event_type": "metrics", "metrics": [{"processor": "LLM#0", "model": None, "value": USAGE}]},
    {"event_type": "metrics", "metrics": [{"processor": "WavesTTSService#0", "model": "x", "value": 91}]},
    {"event_type": "tool_call_end", "tool_call_id": "t", "function_name": "f", "latency_ms": 12, "success": True},
    {"event_type": "variable_extraction", "variables": {}, "latency": 0.5, "error": None},
    {"event_type": "agent_error", "error": "x", "metadata": {"code": 500, "message": "m"}},
    {"event_type": "never_heard_of"},
]
NAMES = [
    "event_type",
    "metrics",
    "value",
    "timestamp",
    "event_id",
    "latency",
    "error",
    "metadata",
    "context",
    "node_id",
]
ENDS = [b"\n", b"\n", b"\n", b"\r\n", b"\r"]
MAX_EVENT_BYTES = 1500


class Alone(Shares):
    """Nobody else has anything to read, and no loop runs."""

    async def turn(self) -> None:
        """At once."""


class Wire:
    """A socket that takes part in nothing."""

    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def get_extra_info(self, name: str) -> None: ...


def stream_of(rng: random.Random) -> bytes:
    """A stream of some events, nearly right."""
    stream = bytearray(rng.choice([b"", b"", b"\xef\xbb\xbf", b": hello\n\n", b"retry: 2000\n"]))
    for _ in range(rng.randrange(1, 5)):
        payload = written(rng, surprised(rng, BASE | rng.choice(EVENTS), NAMES))
        end = rng.choice(ENDS)
        stream += rng.choice([b"", b"", b"", b"id: 7" + end, b"event: x" + end, b": beat" + end + end])
        stream += end.join(rng.choice([b"data: ", b"data:"]) + line for line in payload.split(b"\n")) + end + end
    return damaged(rng, bytes(stream)) if rng.random() < 0.6 else bytes(stream)


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice([0, 1, 3, 9])))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if a < b]


def attempt(rng: random.Random) -> str:
    """One stream; the outcome is what became of its first event, or of the connection."""
    stream = stream_of(rng)
    whole = FrameParser(MAX_EVENT_BYTES)
    expected = whole.feed(stream)
    parser = FrameParser(MAX_EVENT_BYTES)
    assert [payload for piece in cut(rng, stream) for payload in parser.feed(piece)] == expected
    assert (parser.oversize, parser.retry_seconds) == (whole.oversize, whole.retry_seconds)
    outcome = over_http(rng, stream, expected)
    for payload in expected:
        try:
            decode_event(payload)
        except Malformed as malformed:
            outcome = malformed.reason
    return outcome


def over_http(rng: random.Random, stream: bytes, expected: list[bytes]) -> str:
    """The stream as the body of a response, whose own bytes may be damaged too."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in cut(rng, stream)) + b"0\r\n\r\n"
    harmed = rng.random() < 0.2
    answer = damaged(rng, head + body, 2) if harmed else head + body
    connection = Connection(LOOP, set(), Alone())
    connection.connection_made(Wire())  # type: ignore[arg-type]  # as much of a transport as is used
    parser, got = FrameParser(MAX_EVENT_BYTES), list[bytes]()
    draining = connection.drain_into(lambda piece: got.extend(parser.feed(piece)))
    try:
        draining.send(None)
        for piece in cut(rng, answer):
            connection.data_received(piece)
        connection.connection_lost(rng.choice([None, None, ConnectionResetError()]))
        draining.send(None)
    except StopIteration:
        assert harmed or got == expected
        return "read to its end"
    except httpx.TransportError:
        if not harmed:
            raise
        return "a connection error"
    raise AssertionError("neither ended nor failed")


LOOP = asyncio.new_event_loop()

if __name__ == "__main__":
    main(__doc__, attempt)
