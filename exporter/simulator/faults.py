"""Misbehaviour on demand: every fault by name, with a probability, seeded, by option or at run time.

Three notations say the same: ``drop=0.1:after=5`` (command line, comma-separated), ``{"drop": {"probability": 0.1,
"after": 5}}`` (JSON; a bare number is the probability), ``Fault("drop", 0.1, after=5)`` (Python).
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from .happenings import Conditions, Slowdown

FAULTS: Mapping[str, str] = {
    # drawn when a stream connects
    "drop": "connection: cut in the middle of a frame, after `after` frames (default 1 to 60 at random)",
    "gap": "connection: closed between frames; what happens until the client is back is lost to the stream",
    "replay": "connection: closed between frames; the next connection gets everything again from the start",
    "silence": "connection: nothing is sent for `seconds` (default 90), what happened meanwhile is lost to it",
    "half_open": "connection: stops sending for good without closing, even after the call's end",
    "mute": "connection: accepted, never answered",
    "no_close": "connection: neither sse_close nor a close at the end of the call",
    "over_before_connect": "call: listed as active, but over before anybody connects (400)",
    "refused": "connection: closed between frames; the stream is then refused for `seconds` (default 15) with `status` "
    "(default 403, 400, 404, 410 in turn)",
    "ids": "connection: frames carry an `id:`, and who says the last one (Last-Event-ID) gets what came after it",
    # drawn per request; `on` is events, conversation, agent or any
    "server_error": "request: 500, `burst` times in a row (default 3)",
    "rate_limited": "request: 429 with Retry-After of `seconds` (default 2)",
    "unauthorized": "request: 401",
    "forbidden": "request: 403",
    "not_found": "request: 404",
    "html": "request: 200 with an HTML page",
    "slow": "request: answered only after `seconds` (default 10)",
    "drip": "request: answered a byte at a time, one every `seconds` (default 0.2)",
    # drawn per frame; extra frames are garbage that no reader should count
    "malformed": "frame: an extra frame whose JSON is cut off",
    "nan": "frame: before a turn_latency an extra one with the literal NaN",
    "oversize": "frame: an extra agent_log of `size` bytes (default 2 MB, at most 50 MB)",
    "duplicate": "frame: sent twice",
    "reorder": "frame: swapped with the one before, never across a change of node or the call's ends",
    "reorder_hops": "frame: swapped with the one before, wherever that is",
    "noise": "frame: harmless SSE: comments, CRLF, an id, two data lines, written in two pieces",
    # drawn per call or turn; the call's history has them too
    "negative_latency": "turn: an extra turn_latency of -250 ms",
    "unknown_event": "turn: an extra event of a type nobody knows",
    "clock_skew": "call: all its timestamps are `hours` (default 5) ahead; negative: behind",
    "never_ends": "call: after its last event nothing more comes, and it stays active",
    "no_call_end": "call: sse_close, but no call_end",
    "no_history": "call: its call log carries no events",
    "slow_node": "node `node_id` (`*`: any; of `agent_id` when given): every latency times `factor` (default 4)",
    "silent_agent": "turn: what the caller says is transcribed and never answered",
    "agent_error": "turn: the agent reports an error beside its answer",
    "quiet_agents": "call: is one of twenty more agents, each of which is seldom called",
    "no_calls": "call: begins only when this is over",
    "slow_tool": "tool `word` (`*`: any): its latency times `factor` (default 4)",
    "dead_air": "turn: after the answer nobody says a word for twelve seconds",
    "custom_event": "turn: the agent logs an event of the customer's own (`escalated`, `consent`, `voicemail`)",
    "recording_failure": "call: its recording fails",
    "new_version": "call: answered by the agent's next version",
    "no_greeting": "call: the agent does not say its greeting (with `silent_agent`: not a word)",
    "late_greeting": "call: the agent's greeting comes `seconds` late (default 6)",
    "broken_end": "call: a completed one is ended by an error or a timeout, as its end and its log say",
    "blocked": "call: is not let through: it brings no event or only its end, list and log say `blocked`",
    "dear": "call: costs `factor` times as much (default 4)",
    "limit": "account: at most `calls` at once (default 10); beyond that an outbound one waits in the queue, any other "
    "rings for 30 s and is dropped, without any event or log",
    "slow_carrier": "account: outbound calls begin at least `seconds` of the simulated clock apart (default 5); just "
    "as many are handed in as ever, and wait in the queue",
    "tool_failure": "tool call: fails with this probability",
    "call_failure": "call: fails after some turns",
    "never_opens": "call: its stream is never opened but answered `status` (default 204, 301, 500, JSON, HTML in turn)",
    "late": "call: neither its stream nor its log is there (404) for its first `seconds` (default 7)",
    "error_frames": "call: for its first `seconds` (default 8) its stream brings one frame that is no event, and ends",
    "heartbeats": "call: after its end its stream stays open and brings heartbeats: comments and frames",
    "log_away": "call: its log answers 503 for `seconds` (default 30) after its end",
    "strange_status": "call: a `completed` one has the final status `word` (default `transferred`)",
    "strict_filter": "request: the list answers 400 to a status filter with `busy` or `blocked`",
    "strict_attempts": "request: the list answers 400 to `callAttemptFilter`, and has retries without it",
    # drawn per webhook
    "log_analytics": "call: its log carries the post-call analytics, from `seconds` (default 5) after its end on",
    "webhook_premature": "delivery: a post-conversation comes early, while the call goes on",
    "webhook_duplicate": "delivery: sent twice with the same id",
    "webhook_reorder": "delivery: held back until the call's next one has been sent",
    "webhook_bad_signature": "delivery: preceded by a forged one about a call that does not exist",
    "webhook_missing": "delivery: never sent",
}
"""Name and meaning of every fault."""

REQUEST_STATUS: Mapping[str, int] = {
    "server_error": 500,
    "rate_limited": 429,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "html": 200,
}
_PACE = ("slow", "drip")
_CONNECTION = ("drop", "gap", "replay", "refused", "silence", "half_open")
_FRAME = ("malformed", "nan", "oversize", "duplicate", "reorder", "reorder_hops", "noise")
_MOST_BYTES = 50 * 1024 * 1024
_SEVERAL = ("slow_node", "slow_tool")
"""Of these there may be several at once."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that is switched on. ``times`` bounds how often it strikes in all; None: no bound.

    ValueError for an unknown name, a probability outside 0 to 1, or a parameter out of range.
    """

    name: str
    probability: float = 1.0
    after: int | None = None
    times: int | None = None
    seconds: float | None = None
    size: int = 2 * 1024 * 1024
    burst: int = 3
    hours: float = 5.0
    factor: float = 4.0
    node_id: str = ""
    agent_id: str = ""
    on: str = ""
    status: int = 0
    word: str = ""
    calls: int = 10

    def __post_init__(self) -> None:
        if self.name not in FAULTS:
            raise ValueError(f"no fault {self.name!r}; there are {', '.join(FAULTS)}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"{self.name}: a probability is between 0 and 1, not {self.probability}")
        if not 1 <= self.size <= _MOST_BYTES:
            raise ValueError(f"{self.name}: size is between 1 and {_MOST_BYTES} bytes")
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{self.name}: {name} is between {least:g} and {most:g}")
        if self.on not in ("", "events", "conversation", "agent", "any"):
            raise ValueError(f"{self.name}: on is events, conversation, agent or any, not {self.on!r}")
        if self.name == "slow_node" and not self.node_id:
            raise ValueError("slow_node: node_id is missing")
        if self.name == "slow_tool" and not self.word:
            raise ValueError("slow_tool: word is missing: the function's name")

    def concerns(self, endpoint: str) -> bool:
        """Whether it strikes at this endpoint; when ``on`` is silent, at events."""
        return self.on in ("any", endpoint) or (not self.on and endpoint == "events")


_RANGES: Mapping[str, tuple[float, float]] = {
    "after": (0, 1e9),
    "times": (0, 1e9),
    "burst": (1, 1e9),
    "seconds": (0, 86_400),
    "hours": (-87_600, 87_600),
    "factor": (0, 1_000),
    "status": (0, 599),
    "calls": (0, 1e6),
}
_NUMBERS = {
    "after": int,
    "times": int,
    "seconds": float,
    "size": int,
    "burst": int,
    "hours": float,
    "factor": float,
    "status": int,
    "calls": int,
}


def parse_fault(text: str) -> Fault:
    """``name[=probability][:parameter=value…]``; ValueError says what is wrong."""
    head, *rest = text.strip().split(":")
    name, _, probability = head.partition("=")
    given: dict[str, Any] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"{text!r}: a parameter is written name=value, not {part!r}")
        given[key] = value
    if probability:
        given["probability"] = probability
    return fault_from(name.strip(), given)


def parse_faults(text: str) -> tuple[Fault, ...]:
    """A comma-separated list; an empty text is no fault."""
    return tuple(parse_fault(part) for part in text.split(",") if part.strip())


def fault_from(name: str, given: Any) -> Fault:
    """From JSON: a probability, or an object of parameters. ValueError says what is wrong."""
    if isinstance(given, bool) or not isinstance(given, Mapping | int | float):
        raise ValueError(f"{name}: a probability or an object is expected")
    parameters: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"probability": given}
    known = {field.name for field in dataclasses.fields(Fault)} - {"name"}
    for key, value in parameters.items():
        if key not in known:
            raise ValueError(f"{name}: no parameter {key!r}; there are {', '.join(sorted(known))}")
        if key in _NUMBERS or key == "probability":
            try:
                parameters[key] = _NUMBERS.get(key, float)(_bytes(value) if key == "size" else value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name}: {key} is a number, not {value!r}") from error
        else:
            parameters[key] = str(value)
    return Fault(name, **parameters)


def _bytes(value: Any) -> Any:
    units = {"k": 1024, "m": 1024 * 1024}
    if isinstance(value, str) and value[-1:].lower() in units:
        return float(value[:-1]) * units[value[-1].lower()]
    return value


def _whom(fault: Fault) -> tuple[str, str, str]:
    """Which of several faults of one name it is."""
    return fault.node_id, fault.agent_id, fault.word


class Faults:
    """The faults in force; ``struck``: how often each has struck; ``touch_frames``: whether one concerns frames."""

    def __init__(self, seed: int, faults: Iterable[Fault] = (), canary: str = "") -> None:
        self.struck: Counter[str] = Counter()
        self._seed = seed
        self._canary = canary
        self.touch_frames = False
        self._active: dict[str, list[Fault]] = {}
        self.change(faults)

    def __iter__(self) -> Iterator[Fault]:
        return iter([fault for faults in self._active.values() for fault in faults])

    def change(self, faults: Iterable[Fault]) -> None:
        """Set these, leave the others. Probability 0 switches off; slow nodes and tools are set one by one."""
        for fault in faults:
            beside = self._active.get(fault.name, []) if fault.name in _SEVERAL else []
            kept = [other for other in beside if _whom(other) != _whom(fault)]
            if fault.probability > 0 and not (fault.name in _SEVERAL and fault.factor == 1):
                kept.append(fault)
            self._active[fault.name] = kept
        self.touch_frames = any(self._active.get(name) for name in _FRAME)

    def clear(self) -> None:
        """Behave."""
        self._active.clear()
        self.touch_frames = False

    def rng(self, *identity: object) -> Random:
        """Chance of its own for one connection, call or delivery: the same whatever happens beside it."""
        return Random("/".join(map(str, (self._seed, *identity))))

    def strikes(self, name: str, rng: Random) -> Fault | None:
        """Draw: the fault if it strikes now. Each strike is counted."""
        for fault in self._active.get(name, ()):
            exhausted = fault.times is not None and self.struck[name] >= fault.times
            if not exhausted and rng.random() < fault.probability:
                self.struck[name] += 1
                return fault
        return None

    def of_connection(self, rng: Random) -> Fault | None:
        """What is going to happen to a connection, if anything."""
        for name in _CONNECTION:
            if name in self._active and (fault := self.strikes(name, rng)):
                return fault
        return None

    def of_request(self, endpoint: str, rng: Random) -> Fault | None:
        """What is answered instead."""
        for name in REQUEST_STATUS:
            if any(fault.concerns(endpoint) for fault in self._active.get(name, ())) and (
                fault := self.strikes(name, rng)
            ):
                return fault
        return None

    def of_pace(self, endpoint: str, rng: Random) -> Fault | None:
        """How slowly a request is answered."""
        for name in _PACE:
            if any(fault.concerns(endpoint) for fault in self._active.get(name, ())) and (
                fault := self.strikes(name, rng)
            ):
                return fault
        return None

    def of_frame(self, rng: Random) -> list[Fault]:
        """All that strikes one frame."""
        return [fault for name in _FRAME if name in self._active and (fault := self.strikes(name, rng))]

    @property
    def limit(self) -> int | None:
        """Calls that the account may have at once; None: no fault says so."""
        return min((fault.calls for fault in self._active.get("limit", ())), default=None)

    @property
    def dialling_ms(self) -> int | None:
        """From the beginning of one outbound call to the next one's, by the simulated clock; None: no fault says so."""
        carriers = self._active.get("slow_carrier", ())
        return max((round(1000 * (5.0 if one.seconds is None else one.seconds)) for one in carriers), default=None)

    def conditions(self) -> Conditions:
        """What the faults in force do to the content of calls."""

        def rate(name: str) -> float:
            return max((fault.probability for fault in self._active.get(name, ())), default=0.0)

        slow = (Slowdown(f.node_id, f.factor, f.agent_id) for f in self._active.get("slow_node", ()))
        return Conditions(
            slow=tuple(slow),
            tool_failure=rate("tool_failure") if self._active.get("tool_failure") else None,
            call_failure=rate("call_failure"),
            call_without_end=rate("no_call_end"),
            never_ends=rate("never_ends"),
            negative_latency=rate("negative_latency"),
            unknown_event=rate("unknown_event"),
            silent_agent=rate("silent_agent"),
            agent_error=rate("agent_error"),
            dead_air=rate("dead_air"),
            custom_event=rate("custom_event"),
            recording_failure=rate("recording_failure"),
            new_version=rate("new_version"),
            slow_tools=tuple((fault.word, fault.factor) for fault in self._active.get("slow_tool", ())),
            quiet_agents=rate("quiet_agents"),
            no_greeting=rate("no_greeting"),
            late_greeting=rate("late_greeting"),
            greeting_late_ms=max(
                (round(1000 * (f.seconds or 6)) for f in self._active.get("late_greeting", ())), default=0
            ),
            broken_end=rate("broken_end"),
            blocked=rate("blocked"),
            dear=rate("dear"),
            dear_factor=max((fault.factor for fault in self._active.get("dear", ())), default=1.0),
            canary=self._canary,
        )
