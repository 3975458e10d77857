"""Calls that attack whoever follows them: floods, bombs, endless histories. They are in no ledger.

``POST /_simulator/hostile`` with ``{"kind": …, "calls": 3, "seconds": 20}`` puts such calls on the list for so long.
What they do is against every rule of the API; what a client must do about it is to go on with all other calls.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web

from .dialects import iso

HOSTILE: Mapping[str, str] = {
    "flood": "its stream brings frames that are no events, as fast as they are read",
    "small_chunks": "the same, each byte in a chunk of its own",
    "bomb": "its stream comes in gzip although nobody asked for it: 200 MB in 200 KB, again and again",
    "long_event": "its stream brings one line that never ends",
    "names": "each event names a node of its own, with half a megabyte",
    "records": "each of its metrics events has fifteen thousand records",
    "large_history": "its log is 40 MB of events",
    "heavy_history": "its log is 30 MB of events",
    "long_history": "its log has 200,000 events",
    "packed_history": "its log is 1 GB in gzip of 1 MB",
    "agent": "its agent's id has 70 KB",
    "goodbyes": "its stream says goodbye with an event id, and goes on",
    "crowd": "one of very many on the list; its stream brings nothing",
}
"""Name and meaning of every kind."""

AGENT = "hostile"
CROWD = "crowd"
_HISTORIES: Mapping[str, tuple[int, int]] = {
    "large_history": (20_000, 2_000),
    "heavy_history": (15_000, 1_900),
    "long_history": (200_000, 0),
}
"""Events, and characters in each."""
_QUIET = frozenset({*_HISTORIES, "packed_history", "agent"})
"""Kinds whose stream brings nothing."""
_GARBAGE = b"data: 0\n\n" * 1000
_MOST_WAITING = 1024 * 1024
_HEAD = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}


@dataclass(frozen=True, slots=True)
class Attack:
    """One hostile call."""

    call_id: str
    kind: str
    began_ms: int
    ends_at: float


class Hostile:
    """All hostile calls. ``until`` times are the event loop's."""

    def __init__(self) -> None:
        self._attacks: dict[str, Attack] = {}
        self.asked: Counter[str] = Counter()
        """How often the log of a call that is over was asked for."""
        self._crowds: list[list[Attack]] = []
        self._numbers = itertools.count(1)
        self._packed: dict[str, bytes] = {}

    def begin(self, kind: str, calls: int, seconds: float, now_ms: int) -> list[str]:
        """Put so many calls of a kind on the list; their ids. ValueError for an unknown kind."""
        if kind not in HOSTILE:
            raise ValueError(f"no kind {kind!r}; there are {', '.join(HOSTILE)}")
        ends_at = asyncio.get_running_loop().time() + seconds
        begun = [
            Attack(f"CALL-{now_ms}-{number:06x}", kind, now_ms, ends_at)
            for number in itertools.islice(self._numbers, calls)
        ]
        self._attacks.update((attack.call_id, attack) for attack in begun)
        if kind == CROWD and begun:
            self._crowds.append(begun)
        return [attack.call_id for attack in begun]

    def get(self, call_id: str) -> Attack | None:
        """The hostile call of this id."""
        return self._attacks.get(call_id)

    def over(self, call_id: str) -> bool:
        """Whether a hostile call has ended."""
        return self._over(self._attacks[call_id])

    def _over(self, attack: Attack) -> bool:
        return asyncio.get_running_loop().time() >= attack.ends_at

    def entries(self, statuses: set[str]) -> list[dict[str, Any]]:
        """Hostile calls as the first page of the list shows them, a crowd aside."""
        found = [self._entry(attack) for attack in self._attacks.values() if attack.kind != CROWD]
        return [entry for entry in found if not statuses or entry["status"] in statuses]

    def crowd(self, statuses: set[str]) -> int:
        """How many calls of crowds the list has."""
        return sum(len(crowd) for crowd in self._listed(statuses))

    def crowd_entries(self, statuses: set[str], begin: int, end: int) -> list[dict[str, Any]]:
        """Some of them, as the list shows them: page by page, so that fifty thousand cost no more than a page does."""
        found: list[Attack] = []
        for crowd in self._listed(statuses):
            found += crowd[max(0, begin) : max(0, end)]
            begin, end = begin - len(crowd), end - len(crowd)
        return [self._entry(attack) for attack in found]

    def _listed(self, statuses: set[str]) -> list[list[Attack]]:
        return [crowd for crowd in self._crowds if not statuses or self._status(crowd[0]) in statuses]

    def _status(self, attack: Attack) -> str:
        return "completed" if self._over(attack) else "in_progress"

    def _entry(self, attack: Attack) -> dict[str, Any]:
        over = self._over(attack)
        return {
            "callId": attack.call_id,
            "status": self._status(attack),
            "agentId": "x" * 70_000 if attack.kind == "agent" else AGENT,
            "type": "webcall",
            "createdAt": iso(attack.began_ms),
            "duration": 1 if over else 0,
        }

    # -- what they answer

    async def stream(self, request: web.Request, attack: Attack) -> web.StreamResponse:
        """``GET /events``, until the attack is over or the client has gone."""
        if self._over(attack):
            return web.json_response({"status": False, "errors": ["Call already completed"]}, status=400)
        packed = attack.kind == "bomb"
        answer = web.StreamResponse(headers=_HEAD | ({"Content-Encoding": "gzip"} if packed else {}))
        answer.enable_chunked_encoding()
        try:
            await answer.prepare(request)
        except ConnectionResetError:  # the client has gone again
            return answer
        transport = cast(asyncio.WriteTransport | None, request.transport)
        pieces = self._pieces(attack)
        try:
            while not self._over(attack):
                if transport is None or transport.is_closing():
                    break
                if attack.kind == CROWD:
                    await asyncio.sleep(attack.ends_at - asyncio.get_running_loop().time())
                    continue
                if attack.kind in _QUIET:
                    await asyncio.sleep(0.1)
                    continue
                piece = next(pieces)
                framed = attack.kind == "small_chunks"
                transport.write(piece if framed else b"%x\r\n%b\r\n" % (len(piece), piece))
                while transport.get_write_buffer_size() > _MOST_WAITING and not self._over(attack):
                    await asyncio.sleep(0.001)
                    if transport.is_closing():
                        break
                await asyncio.sleep(0)
        finally:
            if transport is not None and not transport.is_closing():
                transport.abort()
        return answer

    def _pieces(self, attack: Attack) -> Iterator[bytes]:
        match attack.kind:
            case "small_chunks":
                piece = b"".join(b"1\r\n%c\r\n" % byte for byte in _GARBAGE)
            case "bomb":
                piece = self._pack("bomb", b"data: 0\n\n", 200_000_000)
            case "long_event":
                piece = b"data: " + b"x" * 100_000
            case "goodbyes":
                piece = b'data: {"event_type":"sse_close","event_id":"e1","event_time":"2026-01-01T00:00:00.000Z"}\n\n'
            case "names" | "records":
                return self._events(attack)
            case _:
                piece = _GARBAGE * 50
        return itertools.repeat(piece)

    def _events(self, attack: Attack) -> Iterator[bytes]:
        record = {"processor": "Stage#0", "model": "m", "value": 0.5}
        records = json.dumps([record] * 15_000).encode()
        filler = "x" * 400_000
        for number in itertools.count():
            head = json.dumps({"event_id": f"{attack.call_id}_{number}", "call_id": attack.call_id})[:-1].encode()
            if attack.kind == "records":
                yield b"data: " + head + b',"event_type":"metrics","metrics":' + records + b"}\n\n"
            else:
                name = f'"{number}-{filler}"'
                node = f',"event_type":"agent_node_state","node_id":{name},"node_name":{name}}}\n\n'
                yield b"data: " + head + node.encode()

    def _pack(self, name: str, unit: bytes, size: int) -> bytes:
        """So many bytes of the same, compressed: made once."""
        if name not in self._packed:
            member = gzip.compress(unit * (10_000_000 // len(unit)), 9)
            self._packed[name] = member * (size // 10_000_000)
        return self._packed[name]

    def conversation(self, attack: Attack) -> web.StreamResponse:
        """``GET /conversation/{id}``."""
        data = self._entry(attack)
        over = data["status"] == "completed"
        self.asked[attack.call_id] += over
        if attack.kind == "packed_history" and over:
            body = self._pack("history", b" " * 100, 1_000_000_000)
            headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
            return web.Response(body=body, headers=headers)
        head = json.dumps({"status": True, "data": {**data, "events": []}})
        events = self._history(attack.kind) if over and attack.kind in _HISTORIES else b""
        body = head.encode().replace(b'"events": []', b'"events": [' + events + b"]")
        return web.Response(body=body, content_type="application/json")

    def _history(self, kind: str) -> bytes:
        """So many events, as JSON: made once."""
        if kind not in self._packed:
            many, size = _HISTORIES[kind]
            filler = "x" * size
            each = (f'{{"event_type":"agent_log","event_id":"e{n}","metadata":"{filler}"}}' for n in range(many))
            self._packed[kind] = ",".join(each).encode()
        return self._packed[kind]
