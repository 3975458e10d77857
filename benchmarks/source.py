"""An API that only replays: the load of the benchmarks, in a process of its own.

The simulator is a witness first: it books every event, at some 25 µs each. To find out where a reader's limit is, the
source must be much cheaper than the reader. This one sends the simulator's own frames (``SteadyCall``), with fresh
event ids and the time of sending, one event per write, round robin over all streams, and counts them.

    GET  /atoms/v1/events?callId=…     a stream that ends with its connection
    GET  /atoms/v1/conversation        the calls
    GET  /atoms/v1/agent               their agents
    GET  /control/rate?each=R          from now on R events per second on each stream (0: silence)
    GET  /control/sent                 {"sent": events, "streams": open, "skipped": not sent because the reader was
                                       too slow, "cpu_seconds": of this process}
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
import sys
import time
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from exporter.simulator import AGENTS
from exporter.simulator.call_logs import agents_page, one_agent
from exporter.simulator.dialects import call_id, connection_frame
from exporter.simulator.steady import SteadyCall

MOST_AT_ONCE = 100
"""Events written between two turns of the loop."""
MOST_BUFFERED = 256 * 1024
"""Bytes waiting on one stream; a reader that is further behind misses events, and they are counted as skipped."""

_HOLES = re.compile(rb'"(event_id|timestamp|call_id|tool_call_id|turn_id|turn_index)":("[^"]*"|\d+)')
_PARTS = 3
"""Event id, timestamp, call id: what every event has, in this order."""


class Frames:
    """One agent's endless call as templates."""

    def __init__(self, agent_number: int) -> None:
        call = SteadyCall(1, agent_number, 0, "2026", 3.0)
        call.connected(0)
        self.agent_id = call.agent_id
        self.channel = call.channel
        seen: dict[int, int] = {}
        self.templates: list[tuple[bytes, tuple[bytes | int, ...]]] = []
        kept = []  # so that no identity is used twice
        while True:
            happening, data = call.take()
            if id(happening) in seen:
                self.prefix = seen[id(happening)]
                break
            seen[id(happening)] = len(self.templates)
            kept.append(happening)
            self.templates.append(_template(data))
        self.cycle = len(self.templates) - self.prefix
        kinds = [happening.kind for happening in kept]
        self.opening = (kinds.index("call_start"), kinds.index("agent_node_state"))

    def render(self, number: int, identity: bytes, stamp: bytes, call: bytes) -> bytes:
        """Event ``number`` of the script, as a chunk of a response."""
        rounds, place = 0, number
        if number >= self.prefix:
            rounds, place = divmod(number - self.prefix, self.cycle)
            place += self.prefix
        template, extras = self.templates[place]
        if extras:
            filled = tuple(e + 2 * rounds if type(e) is int else b"%b.%d" % (e, rounds) for e in extras)
            data = template % (identity, stamp, call, *filled)
        else:
            data = template % (identity, stamp, call)
        return b"%x\r\n%b\r\n" % (len(data), data)


def _template(data: bytes) -> tuple[bytes, tuple[bytes | int, ...]]:
    extras: list[bytes | int] = []
    names: list[bytes] = []

    def hole(found: re.Match[bytes]) -> bytes:
        name, value = found.groups()
        if value.startswith(b'"'):
            shown = b'"%b"'
            value = value[1:-1]
        else:
            shown = b"%d"
        names.append(name)
        if name not in (b"event_id", b"timestamp", b"call_id"):
            extras.append(int(value) if shown == b"%d" else value)
        return b'"%b":%b' % (name, shown)

    template = _HOLES.sub(hole, data.replace(b"%", b"%%"))
    assert names[:_PARTS] == [b"event_id", b"timestamp", b"call_id"], names
    return template, tuple(extras)


class Source:
    """The calls, the open streams, and the pace."""

    def __init__(self, calls: int, tick_seconds: float) -> None:
        self._tick_seconds = tick_seconds
        now_ms = int(time.time() * 1000)
        self.frames = [Frames(number) for number in range(len(AGENTS) - 1)]
        self.calls = {call_id(1, number, now_ms): number for number in range(calls)}
        created = _iso(now_ms)
        self._logs = [
            {
                "callId": call,
                "status": "in_progress",
                "agentId": self.frames[number % len(self.frames)].agent_id,
                "type": self.frames[number % len(self.frames)].channel,
                "createdAt": created.decode(),
            }
            for call, number in self.calls.items()
        ]
        self.streams: list[Connection] = []
        self.sent = 0
        self.skipped = 0
        self._each = 0.0
        self._began = 0.0
        self._due_before = 0.0
        self._next = 0

    def answer(self, path: str, query: dict[str, list[str]]) -> bytes:
        """What an ordinary request gets."""
        if path.endswith("/conversation"):
            page, limit = int(query.get("page", ["1"])[0]), int(query.get("limit", ["5"])[0])
            logs = self._logs[(page - 1) * limit : page * limit]
            more = page * limit < len(self._logs)
            pagination = {"total": len(self._logs), "page": page, "limit": limit, "hasMore": more}
            content: object = {"status": True, "data": {"logs": logs, "pagination": pagination}}
        elif path.endswith("/agent"):
            content = agents_page(int(query.get("page", ["1"])[0]), int(query.get("offset", ["5"])[0]), "")
        elif "/agent/" in path:
            content = one_agent(path.rpartition("/")[2])
        elif path == "/control/rate":
            self.pace(float(query["each"][0]))
            content = {}
        else:
            content = {
                "sent": self.sent,
                "streams": len(self.streams),
                "skipped": self.skipped,
                "cpu_seconds": time.process_time(),
            }
        return json.dumps(content).encode()

    def pace(self, each: float) -> None:
        """From now on so many events per second on each stream."""
        self._each = each
        self._began = time.perf_counter()
        self._due_before = 0.0

    async def play(self) -> None:
        """Send what is due, for ever."""
        self.pace(0.0)
        loop = asyncio.get_running_loop()
        while True:
            streams = self.streams
            due = (time.perf_counter() - self._began) * self._each * len(streams) - self._due_before
            if due < 1 or not streams:
                await asyncio.sleep(self._tick_seconds)
                continue
            if due > 2 * MOST_AT_ONCE * 100:  # this process is the slower one: do not pile up
                self.pace(self._each)
                continue
            count = min(int(due), MOST_AT_ONCE)
            self._due_before += count
            self._send(count)
            woken = loop.create_future()
            loop.call_soon(woken.set_result, None)
            await woken

    def _send(self, count: int) -> None:
        stamp = _iso(int(time.time() * 1000))
        streams, place = self.streams, self._next
        for _ in range(count):
            if place >= len(streams):
                place = 0
            if streams[place].event(stamp):
                self.sent += 1
            else:
                self.skipped += 1
            place += 1
        self._next = place


def _iso(at_ms: int) -> bytes:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")[:-6].encode() + b"Z"


class Connection(asyncio.Protocol):
    """A client."""

    __slots__ = ("_call", "_count", "_frames", "_number", "_place", "_source", "_transport", "_unread")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._unread = b""
        self._place = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while b"\r\n\r\n" in self._unread:
            head, self._unread = self._unread.split(b"\r\n\r\n", 1)
            self._asked(head.split(b" ", 2)[1].decode())

    def _asked(self, target: str) -> None:
        url = urlsplit(target)
        query = parse_qs(url.query)
        if url.path.endswith("/events"):
            self._open(query["callId"][0])
            return
        body = self._source.answer(url.path, query)
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    def _open(self, call: str) -> None:
        self._number = self._source.calls[call]
        self._call = call.encode()
        self._frames = self._source.frames[self._number % len(self._source.frames)]
        self._count = 0
        first = connection_frame("sse_init", int(time.time() * 1000))
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"%x\r\n%b\r\n" % (len(first), first)
        )
        self._place = len(self._source.streams)
        self._source.streams.append(self)

    def event(self, stamp: bytes) -> bool:
        """Send the next event; ``False`` when the reader is too far behind."""
        if self._transport.get_write_buffer_size() > MOST_BUFFERED:
            return False
        count, frames = self._count, self._frames
        self._count = count + 1
        if count < len(frames.opening):
            number = frames.opening[count]
        else:  # every call at another point of its round, or all would end their turns at once
            number = frames.prefix + count + int(self._number * 0.618034 % 1 * frames.cycle)
        identity = b"evt_%06x%014x" % (self._number, count)
        self._transport.write(frames.render(number, identity, stamp, self._call))
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._place >= 0:  # the last one takes its place: thousands leave at once
            last = self._source.streams.pop()
            if last is not self:
                self._source.streams[self._place] = last
                last._place = self._place
            self._place = -1


async def _serve(given: argparse.Namespace) -> None:
    tls = None
    if given.tls_certificate:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(given.tls_certificate, given.tls_key)
    source = Source(given.calls, given.tick_milliseconds / 1e3)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(source), "127.0.0.1", 0, backlog=4096, ssl=tls
    )
    control = await asyncio.get_running_loop().create_server(lambda: Connection(source), "127.0.0.1", 0)
    ports = [each.sockets[0].getsockname()[1] for each in (server, control)]
    scheme = "https" if tls else "http"
    urls = {"base_url": f"{scheme}://127.0.0.1:{ports[0]}/atoms/v1", "control": f"http://127.0.0.1:{ports[1]}/control"}
    sys.stdout.write(json.dumps(urls) + "\n")
    sys.stdout.flush()
    await source.play()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument(
        "--tick-milliseconds",
        type=float,
        default=1.0,
        help="look this often for what is due, and send it all; 0: all the time, each event as soon as it is due",
    )
    parser.add_argument("--tls-certificate", default="")
    parser.add_argument("--tls-key", default="")
    given = parser.parse_args()
    from benchmarks.measuring import in_loop, many_files

    many_files()
    in_loop(_serve(given))


if __name__ == "__main__":
    main()
