"""The pipeline's own measurements: what one ``metrics`` event says.

The entries are Pipecat metric records without their type tag, told apart by the form of their value. This is the
busiest event of a call.
"""

from __future__ import annotations

from datetime import datetime

from exporter.calls.call import Call
from exporter.calls.observations import AudioTranscribed, CharactersSpoken, ProcessorMeasured
from exporter.calls.tokens import plausible_amount, tokens_used
from exporter.calls.visits import NOWHERE
from exporter.protocol.events import MetricRecord, Metrics, MetricValue
from exporter.protocol.labels import label, processor_label
from exporter.protocol.units import LONGEST_PLAUSIBLE_SECONDS, Skip, Unit, milliseconds, seconds

# `type(x) is Skip`, here and below: isinstance() of an enum takes six times as long.

_AUTO, _SECONDS = Unit.AUTO, Unit.SECONDS
_LONGEST = LONGEST_PLAUSIBLE_SECONDS
_MOST_CHARACTERS = 1e7
_MOST_AUDIO_SECONDS = 86_400.0


def pipeline_measured(call: Call, event: Metrics, at: float) -> None:
    """Take every entry for what it is; what it is not is counted as skipped."""
    where, out, said = call.visit.where, call.out, call.units.processor
    plain = said is _AUTO and not call.muted and where is not NOWHERE
    for record in event.metrics or ():
        value = record.value
        processor, speaks, unit = processor_label(record.processor)
        model = label(record.model) if record.model else ""
        # Nearly all are one of the first two, said as call.say() does, without a call.
        if plain and unit is _SECONDS and type(value) is float and 0 < value <= _LONGEST:
            out.append(ProcessorMeasured(where, at, "latency", processor, model, value))
        elif plain and unit is _SECONDS and speaks and type(value) is int and 0 < value <= _MOST_CHARACTERS:
            out.append(CharactersSpoken(where, processor, model, value))
        elif value is None:
            if not _timed_otherwise(call, record, record, processor, model, at, event):
                call.skip(Skip.MISSING)
        elif value == 0:
            call.skip(Skip.INITIAL_ZERO)
        elif isinstance(value, float) or (isinstance(value, int) and not (speaks and _counts(unit, said, event))):
            took = seconds(value, unit if said is _AUTO else said, event.timestamp)
            _measured(call, "latency", processor, model, at, took)
        elif isinstance(value, int):
            characters = plausible_amount(value, _MOST_CHARACTERS)
            if type(characters) is Skip:
                call.skip(characters)
            else:
                call.say(CharactersSpoken(where, processor, model, int(characters)))
        else:
            _object_measured(call, record, value, processor, model, at, event)


def _counts(unit: Unit, said: Unit, event: Metrics) -> bool:
    """Whether whole numbers of a synthesiser are characters: not where the operator says what its numbers are, and not
    where ISO timestamps tell of the vendor's dialect, which measures in milliseconds, unless its name is Pipecat's."""
    return said is _AUTO and (unit is _SECONDS or not isinstance(event.timestamp, datetime))


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
    if not tokens_used(call, value, processor, model) and not found:
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
    """First audio and first answer, in seconds whoever reports them, and end-of-turn predictions, in milliseconds:
    they name their duration otherwise than ``value``."""
    found = False
    for kind, number in (("first_audio", record.ttfa), ("first_answer", record.ttfat)):
        if number is not None:
            found = True
            unit = _SECONDS if call.units.processor is _AUTO else call.units.processor
            _measured(call, kind, processor, model, at, seconds(number, unit, event.timestamp))
    took_ms = prediction.e2e_processing_time_ms
    if took_ms is None:
        took_ms = prediction.inference_time_ms
    if took_ms is not None:
        found = True
        _measured(call, "end_of_turn", processor, model, at, milliseconds(took_ms))
    return found
