"""Answering the caller: turns, their stages, speech, and the first answer after a hop."""

from __future__ import annotations

from exporter.calls.call import Call
from exporter.calls.observations import (
    HopAnswered,
    Observation,
    SpeechSynthesised,
    TurnAnswered,
    TurnExplained,
    WordsSaid,
)
from exporter.calls.stages import Shares
from exporter.calls.visits import Spent
from exporter.protocol import events as wire
from exporter.protocol.units import Skip, Unit, milliseconds, plausible, seconds, seconds_between

_AUTO = Unit.AUTO
STAGES = ("stt_api", "stt_to_llm", "smart_turn", "llm_api", "llm_to_tts", "tts_api", "tts_to_audio")
"""The stages of a turn, in the order in which they happen."""


def answer_heard(call: Call, at: float) -> None:
    visit = call.visit
    if visit.awaits_answer_since is None or at < visit.awaits_answer_since:  # said before the hop, heard late
        return
    response = plausible(seconds_between(visit.awaits_answer_since, at))
    if isinstance(response, Skip):
        call.skip(response)
    else:
        call.say(HopAnswered(visit.where, at, response))
    visit.awaits_answer_since = None


def turn_answered(call: Call, event: wire.TurnLatency, at: float) -> None:
    answer_heard(call, at)
    call.signs.agent_spoke(call.visit, at)
    unit = call.units.turn_latency
    if event.total_turn_ms is not None and (unit is _AUTO or event.turn_latency is None):
        latency = milliseconds(event.total_turn_ms)
    elif event.turn_latency is not None:
        latency = seconds(event.turn_latency, unit, event.timestamp)
    else:
        latency = Skip.MISSING
    if isinstance(latency, Skip):
        call.skip(latency)
        return
    stages = []
    for stage in STAGES:
        value = getattr(event, f"{stage}_ms")
        if value is None or (stage == "smart_turn" and event.smart_turn_enabled is False and not value):
            continue
        took = milliseconds(value)
        if isinstance(took, Skip):
            call.skip(took)
        else:
            stages.append((stage, took))
    index = int(event.turn_index) if event.turn_index is not None and 0 <= event.turn_index < 1e9 else None
    reported = sum(took for _, took in stages) if stages else None
    _turn(call, at, latency, tuple(stages), reported, interrupted=event.interrupted is True, index=index)
    explained(call, call.stages.turned(call.visit, at, latency, reported))


def explained(call: Call, told: list[Shares]) -> None:
    """Say where the rest of turns went."""
    for visit, at, shares in told:
        call.say(TurnExplained(visit.where, at, shares), visit)


def turn_filled(call: Call, latency_seconds: float, at: float) -> list[Observation]:
    """A turn that only the call's summary knows."""
    call.identity, call.muted = 0, False
    latency = plausible(latency_seconds)
    if isinstance(latency, Skip):
        call.skip(latency)
    else:
        _turn(call, at, latency, (), None, interrupted=False, index=None)
        call.turn_milliseconds.pop()  # it is remembered by who filled it in, through every fold of the events
    return call.take()


def _turn(
    call: Call,
    at: float,
    latency: float,
    stages: tuple[tuple[str, float], ...],
    reported: float | None,
    *,
    interrupted: bool,
    index: int | None,
) -> None:
    call.turns += 1
    call.turn_milliseconds.append(round(latency * 1000))
    call.say(
        TurnAnswered(
            where=call.visit.where,
            at=at,
            seconds=latency,
            interrupted=interrupted,
            stages=stages,
            unreported_seconds=max(0.0, latency - reported) if reported is not None else None,
            index=index,
            model=call.model,
            prompt_tokens=call.turn_spent.prompt,
            completion_tokens=call.turn_spent.completion,
            other_tokens=call.turn_spent.other,
            nth=call.nth("turn", at),
        )
    )
    call.turn_spent = Spent()


def speech_synthesised(call: Call, event: wire.TTSCompleted, at: float) -> None:
    answer_heard(call, at)
    call.signs.agent_spoke(call.visit, at)
    words = len(event.tts_text.split()) if event.tts_text and call.limits.count_words else 0
    latency: float | Skip = Skip.MISSING
    if event.tts_latency is not None:
        latency = seconds(event.tts_latency, call.units.tts_latency, event.timestamp)
    if isinstance(latency, Skip):
        call.skip(latency)
        if words:
            call.say(WordsSaid(call.visit.where, words))
        return
    content = call.content_of(**{"gen_ai.output.messages": event.tts_text})
    call.say(SpeechSynthesised(call.visit.where, at, latency, content, words, nth=call.nth("speech", at)))
