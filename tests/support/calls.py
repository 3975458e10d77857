"""Hypothesis: calls as they happen, and events as they should not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.support.wire import (
    Ms,
    Step,
    greeting,
    heard,
    hop,
    measured,
    node,
    record,
    step,
    tokens,
    turn,
)

NODES = {"10001": "Greeting", "10002": "Offer", "10003": "Objections", "n-4": "Goodbye"}
MOVES = frozenset({"hopping", "agent_node_state"})
STAGES = ("stt_api", "stt_to_llm", "smart_turn", "llm_api", "llm_to_tts", "tts_api", "tts_to_audio")

_latency = st.integers(1, 9_000)
_gap = st.integers(1, 900)


@st.composite
def calls(draw: st.DrawFn, *, workflow: bool = True, longest: int = 14, ends: bool = True) -> list[Step]:
    """A believable call, in order, no two events in one millisecond: nodes, hops, loops, turns with stages, tools,
    tokens, look-ups, errors, things nobody knows.

    :param workflow: the agent shows its nodes.
    :param ends: the call says that it is over.
    """
    talk = _Talk(draw)
    if draw(st.booleans()):
        talk.say(measured, record("WavesTTSService#0", 0.0), record("LLM#0", 0.0))
    if draw(st.booleans()):
        talk.say(step, "call_start", telephony_id="8671288e")
    for kind in draw(st.lists(st.sampled_from(_BEFORE), max_size=3)):
        kind(talk)
    if workflow:
        talk.here = draw(st.sampled_from(sorted(NODES)))
        if draw(st.booleans()):
            talk.say(node, talk.here, NODES[talk.here])
        else:
            talk.hop()
    for kind in draw(st.lists(st.sampled_from(_WITH_NODES if workflow else _WITHOUT_NODES), max_size=longest)):
        kind(talk)
    if ends:
        talk.say(step, "call_end", metadata={"status": "completed"})
        if draw(st.booleans()):
            talk.say(step, "call_recording", recording_url="https://r.example.com/a.wav", status="completed")
    return talk.steps


class _Talk:
    """A call while it is being made up."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.steps: list[Step] = []
        self.at_ms = 0
        self.here = ""
        self.tools = 0

    def say(self, make: Callable[..., Step], /, *fields: Any, **named: Any) -> None:
        self.at_ms += self.draw(_gap)
        self.steps.append(make(self.at_ms, *fields, **named))

    def latency(self) -> int:
        return self.draw(_latency)

    def hop(self) -> None:
        target = self.draw(st.sampled_from(sorted(NODES)))
        self.say(hop, self.here, target)
        self.here = target

    def shown(self) -> None:
        self.say(node, self.here, NODES[self.here])

    def heard(self) -> None:
        self.say(heard)

    def speech(self) -> None:
        self.say(greeting, self.latency())

    def turn(self) -> None:
        stages = {name: self.draw(st.integers(0, 900)) for name in self.draw(st.sets(st.sampled_from(STAGES)))}
        self.say(turn, self.latency(), interrupted=self.draw(st.sampled_from((None, False, True))), **stages)

    def measured(self) -> None:
        model = self.draw(st.sampled_from((None, "nova-2")))
        self.say(
            measured,
            record("WavesTTSService#1", self.draw(st.integers(1, 200)), "lightning-v2"),
            record("WavesTTSService#1", Ms(self.latency()), "lightning-v2"),
            record("DeepgramSTTService#0", Ms(self.latency()), model),
        )

    def tokens(self) -> None:
        details = {"cache_read_input_tokens": self.draw(st.sampled_from((None, 0, 64)))}
        self.say(measured, tokens(self.draw(st.integers(1, 5000)), self.draw(st.integers(0, 500)), **details))

    def other_records(self) -> None:
        self.say(
            measured,
            record("Deepgram#0", {"audio_seconds": 1.25}),
            {"processor": "WavesTTSService#0", "model": None, "ttfa": 0.25, "ttfb": 0.2, "leading_silence": 0.05},
            {"processor": "LLM#0", "model": "gpt-4o", "ttfat": 0.375},
            {"processor": "SmartTurn#0", "model": None, "is_complete": True, "e2e_processing_time_ms": 12.5},
        )

    def tool(self) -> None:
        self.tools += 1
        fields: dict[str, Any] = {"turn_id": "t", "tool_call_id": f"tool-{self.tools}", "function_name": "look_up"}
        way = self.draw(st.sampled_from(("whole", "no start", "no end", "error", "both", "timed")))
        if way != "no start":
            self.say(step, "tool_call_start", **fields, context={"arguments": {"q": "x"}})
        if way in ("whole", "no start", "both"):
            took = self.draw(st.integers(1, 4000))
            failed = way == "both"
            self.say(step, "tool_call_end", **fields, latency_ms=took, success=not failed, response={}, error=None)
        if way == "timed":
            self.say(step, "tool_call_end", **fields, success=True)
        if way in ("error", "both"):
            self.say(step, "tool_call_error", **fields, error="no")

    def lookup(self) -> None:
        error = self.draw(st.sampled_from((None, "index unavailable")))
        self.say(step, "knowledgebase", knowledge_base_id="kb", latency=Ms(self.latency()), error=error)

    def extraction(self) -> None:
        self.say(step, "variable_extraction", variables={"name": "Alex"}, latency=Ms(self.latency()), error=None)

    def api(self) -> None:
        kind = self.draw(st.sampled_from(("pre_call_api", "post_call_api")))
        self.say(step, kind, method="POST", success=self.draw(st.booleans()), error=None)

    def error(self) -> None:
        self.say(step, "agent_error", error="oh", metadata={"code": "LLM_TIMEOUT", "message": "late"})

    def noise(self) -> None:
        kind = self.draw(st.sampled_from(("user_interim_transcription", "agent_log", "llm_full_response_end", "new")))
        self.say(step, kind)


_BEFORE: tuple[Callable[[_Talk], None], ...] = (_Talk.speech, _Talk.measured, _Talk.api, _Talk.noise, _Talk.heard)
_WITHOUT_NODES = (
    *_BEFORE,
    _Talk.turn,
    _Talk.turn,
    _Talk.tokens,
    _Talk.other_records,
    _Talk.tool,
    _Talk.lookup,
    _Talk.extraction,
    _Talk.error,
)
_WITH_NODES = (*_WITHOUT_NODES, _Talk.hop, _Talk.hop, _Talk.hop, _Talk.shown, _Talk.shown)


# -- events as they should not be

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.text(st.characters(), max_size=12)
    | st.sampled_from(("", "10001", "0", "-1", "NaN", "2026-03-02T10:00:01.123Z", "\ud800", "1e400")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
"""Any JSON value, and what Python takes for JSON."""
