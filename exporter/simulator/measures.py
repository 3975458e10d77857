"""The numbers of a voice pipeline: log-normal latencies, and the records Pipecat puts into ``metrics[]``.

Whole milliseconds everywhere, except that durations of Pipecat's TTS processor end in half a millisecond or are a
fraction of one: a whole number from it means characters. The vendor's stages report milliseconds and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Any

from .happenings import Duration, Tokens
from .workflow import Agent

STAGES = ("stt_api", "smart_turn", "stt_to_llm", "llm_api", "llm_to_tts", "tts_api", "tts_to_audio")
"""In the order in which they pass."""

_MEDIANS_MS = {
    "stt_api": 105,
    "smart_turn": 85,
    "stt_to_llm": 14,
    "llm_api": 330,
    "llm_to_tts": 22,
    "tts_api": 175,
    "tts_to_audio": 38,
}
_SPREAD = 0.25
_STALL_CHANCE = 0.003


def lognormal_ms(rng: Random, median_ms: float, spread: float = _SPREAD, *, low: int = 1) -> int:
    """A whole number of milliseconds, log-normal around the median."""
    return max(low, round(median_ms * math.exp(spread * rng.gauss(0.0, 1.0))))


def stage_times(rng: Random, pace: float, *, smart_turn: bool) -> dict[str, int]:
    """Milliseconds by stage of one turn. Now and then the model stalls: a turn three times as long."""
    stall = 3.0 if rng.random() < _STALL_CHANCE else 1.0
    common = math.exp(0.12 * rng.gauss(0.0, 1.0))
    times = {}
    for stage in STAGES:
        drawn = lognormal_ms(rng, _MEDIANS_MS[stage] * common * pace * stall)
        if stage != "smart_turn" or smart_turn:
            times[stage] = drawn
    return times


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The processors of one call: names with this call's instance numbers, and models."""

    stt: str
    stt_model: str
    llm: str
    llm_model: str | None
    tts: str
    tts_model: str
    turn: str
    extractor: str
    stages: bool = False
    usage: str = "whole"

    @classmethod
    def of(cls, agent: Agent, rng: Random) -> Pipeline:
        """The agent's processors; the instance number after ``#`` differs from call to call."""
        instance = rng.randrange(4)
        stages = agent.processors == "vendor"
        return cls(
            stt="pulse_stt" if stages else f"PulseSTTService#{instance}",
            stt_model=agent.stt_model,
            llm="electron_llm" if stages else f"{agent.llm_processor}#{instance}",
            llm_model=agent.llm_model,
            tts="lightning_tts" if stages else f"WavesTTSService#{instance}",
            tts_model=agent.tts_model,
            stages=stages,
            usage=agent.usage,
            turn=f"LocalSmartTurnAnalyzerV3#{instance}",
            extractor=f"VariableExtractionProcessor#{instance}",
        )

    def initial_zeros(self) -> list[dict[str, Any]]:
        """Pipecat's initial empty metrics: a zero per processor, no measurement."""
        known = ((self.stt, self.stt_model), (self.llm, self.llm_model), (self.tts, self.tts_model))
        return [{"processor": name, "model": model, "value": Duration(0)} for name, model in known for _ in range(2)]

    def stt_time(self, rng: Random) -> dict[str, Any]:
        """A processing time of the speech recogniser."""
        return _timed(self.stt, self.stt_model, lognormal_ms(rng, 42, 0.35))

    def llm_time(self, ms: float) -> dict[str, Any]:
        """A time to first byte or a processing time of the language model, milliseconds."""
        return _timed(self.llm, self.llm_model, ms)

    def llm_first_answer(self, rng: Random, ms: int) -> dict[str, Any]:
        """The ``ttfat`` record, seconds in every dialect."""
        thinking = min(ms - 1, lognormal_ms(rng, 9, 0.5))
        return {
            "processor": self.llm,
            "model": self.llm_model,
            "ttfat": _seconds(ms),
            "ttfb": (ms - thinking) / 1000,
            "thinking_time": thinking / 1000,
        }

    def tts_time(self, ms: int) -> dict[str, Any]:
        """A time to first byte of the speech synthesiser."""
        return _timed(self.tts, self.tts_model, ms if self.stages else ms + 0.5)

    def tts_overhead(self, rng: Random) -> dict[str, Any]:
        """The synthesiser's tiny processing time, a fraction of a millisecond."""
        return _timed(self.tts, self.tts_model, round(0.3 + rng.random() * 0.6, 4))

    def tts_first_audio(self, rng: Random, ms: int) -> dict[str, Any]:
        """The ``ttfa`` record, seconds in every dialect."""
        silence = min(ms - 1, lognormal_ms(rng, 12, 0.5))
        return {
            "processor": self.tts,
            "model": self.tts_model,
            "ttfa": _seconds(ms),
            "ttfb": (ms - silence) / 1000,
            "leading_silence": silence / 1000,
        }

    def characters(self, count: int) -> dict[str, Any]:
        """Characters sent to the synthesiser: the integer. A stage counts none, and reports a time instead."""
        if self.stages:
            return self.tts_time(60 + count)
        return {"processor": self.tts, "model": self.tts_model, "value": count}

    def end_of_turn(self, rng: Random, *, complete: bool) -> dict[str, Any]:
        """A prediction whether the user has finished; its time is milliseconds in every dialect."""
        probability = 0.75 + 0.24 * rng.random() if complete else 0.05 + 0.4 * rng.random()
        return {
            "processor": self.turn,
            "model": None,
            "is_complete": complete,
            "probability": round(probability, 4),
            "e2e_processing_time_ms": lognormal_ms(rng, 61, 0.3) + 0.25,
        }

    def tokens(self, rng: Random, prompt: int, completion: int) -> dict[str, Any]:
        """Token usage of one LLM request; what the provider does not report is null."""
        cached = rng.choice((None, 0, (prompt // 128) * 64))
        written = None if cached is None else rng.choice((None, 0, 128))
        thought = rng.choice((None, None, None, completion // 3))
        told = rng.choice(("whole", self.usage))
        details = {
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": written,
            "reasoning_tokens": thought,
        }
        return {
            "processor": self.llm,
            "model": self.llm_model,
            "value": Tokens(prompt, completion, {} if told == "total" else details, told),
        }

    def extraction_tokens(self, rng: Random) -> dict[str, Any]:
        """Token usage of the small model that extracts variables."""
        usage = Tokens(180 + rng.randrange(60), 6 + rng.randrange(14))
        return {"processor": self.extractor, "model": "gpt-4.1-mini", "value": usage}

    def heard(self, ms: int) -> dict[str, Any]:
        """Audio submitted to the recogniser since the last report."""
        return {"processor": self.stt, "model": self.stt_model, "value": {"audio_seconds": ms / 1000}}


def _timed(processor: str, model: str | None, ms: float) -> dict[str, Any]:
    return {"processor": processor, "model": model, "value": Duration(ms)}


def _seconds(ms: int) -> float:
    return ms / 1000
