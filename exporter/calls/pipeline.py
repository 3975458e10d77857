"""The pipeline's own measurements: what one ``metrics`` event says.

The entries are Pipecat metric records without their type tag, told apart by the form of their value. This is the
busiest event of a call.
"""

from __future__ import annotations

from math import isfinite
from operator import attrgetter

from exporter.calls.call import Call
from exporter.calls.observations import AudioTranscribed, CharactersSpoken, ProcessorMeasured, TokensUsed
from exporter.protocol.events import MetricRecord, Metrics, MetricValue, Number
from exporter.protocol.labels import label, processor_label
from exporter.protocol.units import Skip, milliseconds, seconds

# `type(x) is Skip`, here and below: isinstance() of an enum takes six times as long.

DETAILS = {
    "cache_read": "cache_read_input_tokens",
    "cache_creation": "cache_creation_input_tokens",
    "reasoning": "reasoning_tokens",
    "input_audio": "input_audio_tokens",
    "output_audio": "output_audio_tokens",
    "cache_read_audio": "cache_read_input_audio_tokens",
}
"""Parts of the prompt and completion counts: ``detail`` label to wire field."""
_details_of = attrgetter(*DETAILS.values())

_MOST_TOKENS = 1e8
_MOST_CHARACTERS = 1e7
_MOST_AUDIO_SECONDS = 86_400.0


def pipeline_measured(call: Call, event: Metrics, at: float) -> None:
    """Take every entry for what it is; what it is not is counted as skipped."""
    where, rule, timestamp = call.visit.where, call.units.processor, event.timestamp
    for record in event.metrics or ():
        processor, speaks = processor_label(record.processor)
        model = label(record.model) if record.model else ""
        value = record.value
        if value == 0:
            call.skip(Skip.INITIAL_ZERO)
        elif isinstance(value, float) or (isinstance(value, int) and not speaks):
            took = seconds(value, rule, timestamp)
            if type(took) is Skip:
                call.skip(took)
            else:
                call.say(ProcessorMeasured(where, at, "latency", processor, model, took))
        elif isinstance(value, int):
            characters = plausible_amount(value, _MOST_CHARACTERS)
            if type(characters) is Skip:
                call.skip(characters)
            else:
                call.say(CharactersSpoken(where, processor, model, int(characters)))
        elif value is None:
            if not _timed_otherwise(call, record, record, processor, model, at, event):
                call.skip(Skip.MISSING)
        else:
            _object_measured(call, record, value, processor, model, at, event)


def _measured(call: Call, kind: str, processor: str, model: str, at: float, took: float | Skip) -> None:
    if type(took) is Skip:
        call.skip(took)
    else:
        call.say(ProcessorMeasured(call.visit.where, at, kind, processor, model, took))


def _object_measured(
    call: Call,
    record: MetricRecord,
    value: MetricValue,
    processor: str,
    model: str,
    at: float,
    event: Metrics,
) -> None:
    found = _timed_otherwise(call, record, value, processor, model, at, event)
    if value.audio_seconds is not None:
        found = True
        audio = plausible_amount(value.audio_seconds, _MOST_AUDIO_SECONDS)
        if type(audio) is Skip:
            call.skip(audio)
        elif audio:
            call.say(AudioTranscribed(call.visit.where, processor, model, audio))
    prompt, completion = _tokens(call, value.prompt_tokens), _tokens(call, value.completion_tokens)
    details = []
    for detail, number in zip(DETAILS, _details_of(value), strict=True):
        if number is not None and (count := _tokens(call, number)) is not None:
            details.append((detail, count))
    if prompt is not None or completion is not None or details:
        _spent(call, prompt or 0, completion or 0, model)
        call.say(TokensUsed(call.visit.where, processor, model, prompt, completion, tuple(details)))
    elif not found and value.prompt_tokens is None and value.completion_tokens is None:
        call.skip(Skip.MISSING)


def _timed_otherwise(
    call: Call,
    record: MetricRecord,
    prediction: MetricRecord | MetricValue,
    processor: str,
    model: str,
    at: float,
    event: Metrics,
) -> bool:
    """First audio, first answer and end-of-turn predictions, which name their duration otherwise than ``value``."""
    found = False
    for kind, number in (("first_audio", record.ttfa), ("first_answer", record.ttfat)):
        if number is not None:
            found = True
            _measured(call, kind, processor, model, at, seconds(number, call.units.processor, event.timestamp))
    took_ms = prediction.e2e_processing_time_ms
    if took_ms is None:
        took_ms = prediction.inference_time_ms
    if took_ms is not None:
        found = True
        _measured(call, "end_of_turn", processor, model, at, milliseconds(took_ms))
    return found


def _tokens(call: Call, number: Number) -> int | None:
    if number is None:
        return None
    count = plausible_amount(number, _MOST_TOKENS)
    if type(count) is Skip:
        call.skip(count)
        return None
    return int(count)


def plausible_amount(number: int | float, most: float) -> float | Skip:
    """An amount, if one event can have used so much. A counter that took 1e300 would never move again."""
    if 0 <= number <= most:
        return float(number)
    if not isfinite(number):
        return Skip.NON_FINITE
    return Skip.NEGATIVE if number < 0 else Skip.IMPLAUSIBLE


def _spent(call: Call, prompt: int, completion: int, model: str) -> None:
    call.visit.prompt_tokens += prompt
    call.visit.completion_tokens += completion
    call.prompt_tokens += prompt
    call.completion_tokens += completion
    call.turn_prompt_tokens += prompt
    call.turn_completion_tokens += completion
    if model:
        call.model = model
