"""One SSE connection, as cheap as it gets: frames go straight to the transport, as chunks of the response.

A stream suffers what the faults have in store for it; what it wrote is counted.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from .faults import Fault, Faults
from .oddities import heartbeat

_HEARTBEAT_SECONDS = 0.4
_MOST_BUFFERED = 64 * 1024 * 1024
_FIXED = frozenset({"agent_node_state", "hopping", "call_start", "call_end", "call_cancelled"})
"""Events across which ``reorder`` does not swap: what is attributed to which node would change."""


@dataclass(slots=True)
class Wire:
    """What went over the wire: connections, frames and bytes of streams, how they ended, requests, garbage frames."""

    connections: int = 0
    frames: int = 0
    bytes: int = 0
    replayed: int = 0
    lost: int = 0
    duplicated: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    garbage: Counter[str] = field(default_factory=Counter)


class Stream:
    """A client's connection to one call. ``over`` gets the word why it ended: closed, cut, slow, gone or shutdown."""

    def __init__(
        self,
        call_id: str,
        transport: asyncio.WriteTransport,
        wire: Wire,
        faults: Faults,
        rng: Random,
        *,
        chunked: bool,
        beats: bool = False,
    ) -> None:
        self.call_id = call_id
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.frames = 0
        self.replay_next = False
        self.refused: Fault | None = None
        """What happens to the call's next connections."""
        self.number: int | None = None
        """Of the last event, where frames carry ids."""
        self._transport = transport
        self._wire = wire
        self._faults = faults
        self._rng = rng
        self._chunked = chunked
        self._beats = beats
        self._held: tuple[str, bytes] | None = None
        self._garbage = 0
        self._fate = faults.of_connection(rng)
        self._fate_after = self._after()
        self._quiet_until = 0.0
        self._keeps_open = faults.strikes("no_close", rng) is not None
        wire.connections += 1

    def _after(self) -> int:
        drawn = 1 + self._rng.randrange(60)
        if self._fate is None:
            return -1
        return drawn if self._fate.after is None else self._fate.after

    def deliver(self, kind: str, data: bytes, now: float) -> None:
        """An event has happened; ``now`` is the event loop's time."""
        if self.over.done():
            return
        if 0 <= self._fate_after <= self.frames and self._fate is not None:
            self._meet(self._fate, data, now)
            if self.over.done():
                return
        if now < self._quiet_until:
            self._wire.lost += 1
            return
        if self._faults.touch_frames or self._held:
            self._deliver_badly(kind, data)
        else:
            self._send(data)

    def replay(self, frames: list[tuple[str, bytes]]) -> None:
        """What has happened before the connection."""
        for _, data in frames:
            self._wire.replayed += 1
            self._send(data)

    def finish(self, closing: bytes) -> None:
        """The call is over."""
        if self.over.done() or self._keeps_open or self._quiet_until == float("inf"):
            return
        self._release()
        if self._beats:
            self._beat(0)
            return
        self._write(closing)
        self.end("closed")

    def _beat(self, number: int) -> None:
        """The call is over, the connection is not."""
        if not self.over.done():
            self._write(heartbeat(number, int(time.time() * 1000)))
            asyncio.get_running_loop().call_later(_HEARTBEAT_SECONDS, self._beat, number + 1)

    def end(self, why: str) -> None:
        """This connection is over; the server closes it, unless it is already cut."""
        if not self.over.done():
            self._wire.ended[why] += 1
            self.over.set_result(why)

    # -- faults

    def _meet(self, fate: Fault, data: bytes, now: float) -> None:
        self._fate_after = -1
        match fate.name:
            case "drop":
                self._release()
                self._write(data[: max(1, len(data) // 2)])
                self._wire.lost += 1
                self._transport.close()
                self.end("cut")
            case "refused":
                self.refused = fate
                self._wire.lost += 1
                self.end("closed_early")
            case "gap" | "replay":
                self.replay_next = fate.name == "replay"
                self._wire.lost += 1
                self.end("closed_early")
            case "silence":
                self._quiet_until = now + (90.0 if fate.seconds is None else fate.seconds)
            case "half_open":
                self._quiet_until = float("inf")

    def _deliver_badly(self, kind: str, data: bytes) -> None:
        struck = {fault.name: fault for fault in self._faults.of_frame(self._rng)}
        for name in ("malformed", "nan", "oversize"):
            if name in struck and (name != "nan" or kind == "turn_latency"):  # elsewhere it would be a sign of life
                self._wire.garbage[name] += 1
                self._write(self._rubbish(struck[name], data))
        if self._held is not None:
            first, self._held = self._held, None
            swaps = "reorder_hops" in struck or not ({first[0], kind} & _FIXED)
            for _, frame in ((kind, data), first) if swaps else (first, (kind, data)):
                self._send(frame)
        elif "reorder" in struck or "reorder_hops" in struck:
            self._held = (kind, data)
        elif "noise" in struck:
            self._send_noisily(data)
        else:
            self._send(data)
        if "duplicate" in struck and self._held is None:
            self._wire.duplicated += 1
            self._send(data)

    def _rubbish(self, fault: Fault, data: bytes) -> bytes:
        """Garbage that seems to be of the same moment as the frame after it."""
        self._garbage += 1
        at = json.dumps(json.loads(data[len(b"data: ") :])["timestamp"])
        identity = f"{self.call_id}_{fault.name}_{self._rng.getrandbits(40):010x}"
        head = f'data: {{"event_id":"{identity}","call_id":"{self.call_id}","timestamp":{at},'
        if fault.name == "malformed":
            return f'{head}"event_type":"metrics","metrics":[{{"processor":\n\n'.encode()
        if fault.name == "nan":
            return f'{head}"event_type":"turn_latency","turn_latency":NaN,"interrupted":false}}\n\n'.encode()
        payload = "x" * max(0, fault.size - len(head) - 60)
        return f'{head}"event_type":"agent_log","metadata":{{"payload":"{payload}"}}}}\n\n'.encode()

    def _send_noisily(self, data: bytes) -> None:
        """Everything the SSE standard allows beside the plain form, at once."""
        body = data[len(b"data: ") : -2]
        comma = body.index(b",") + 1
        lines = b"data: " + body[:comma] + b"\r\ndata:" + body[comma:] + b"\r\n\r\n"
        extra = b": ping\n\nretry: 1500\n"
        self._wire.frames += 1
        self.frames += 1
        half = len(lines) // 2
        self._write(extra + lines[:half])
        self._write(lines[half:])

    def _release(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._send(held[1])

    # -- bytes

    def _send(self, data: bytes) -> None:
        if self.number is not None:
            self.number += 1
            data = b"id: %d\n%b" % (self.number, data)
        self._wire.frames += 1
        self.frames += 1
        self._write(data)

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport.is_closing():
            self.end("gone")
            return
        self._wire.bytes += len(data)
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        if transport.get_write_buffer_size() > _MOST_BUFFERED:
            transport.abort()
            self.end("slow")
