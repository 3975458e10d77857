"""Strings from the wire as label values."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.protocol.labels import LONGEST_LABEL, code_label, label, method_label, name_label, processor_label
from exporter.protocol.units import Unit


@pytest.mark.parametrize(
    "name",
    [
        "WavesTTSService#0",
        "OpenAITTSService#12",
        "XTTSService",
        "TtsService",
        "tts",
        "TTS#1",
        "ttsservice",
    ],
)
def test_a_synthesiser_is_told_by_its_name(name: str) -> None:
    assert processor_label(name)[1]


@pytest.mark.parametrize(
    "name", ["lightning_tts", "pulse_stt", "electron_llm", "lightning_v3.1_tts", "lightning_tts#0"]
)
def test_a_stage_of_the_vendor_s_measures_milliseconds_and_counts_no_characters(name: str) -> None:
    assert processor_label(name)[1:] == (False, Unit.MILLISECONDS)


@pytest.mark.parametrize("name", ["WavesTTSService#0", "WavesTTSService", "LLM#3", "LLM", "my voice#0"])
def test_a_class_of_pipecat_s_measures_seconds(name: str) -> None:
    assert processor_label(name)[2] is Unit.SECONDS


@pytest.mark.parametrize("name", [None, "", "tts", "My voice", "llm", "Ünïcode"])
def test_a_name_of_neither_form_does_not_tell_its_unit(name: str | None) -> None:
    assert processor_label(name)[2] is Unit.AUTO


@pytest.mark.parametrize(
    "name", ["PulseSTTService#0", "DeepgramSTTService", "STTSegmenter", "sttservice", "LLM", "HttpService", None, ""]
)
def test_a_transcriber_has_the_letters_too_and_is_none(name: str | None) -> None:
    assert not processor_label(name)[1]


@given(st.text(st.characters(), max_size=300))
def test_any_text_becomes_a_short_printable_label_and_stays_what_it_is(text: str) -> None:
    clean = label(text)
    assert len(clean) <= LONGEST_LABEL
    assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in clean)
    clean.encode()
    assert label(clean) == clean
    processor, _, _ = processor_label(text)
    assert len(processor) <= LONGEST_LABEL


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("WavesTTSService#0", "WavesTTSService"),
        ("WavesTTSService#31", "WavesTTSService"),
        ("A#1#2", "A#1"),
        ("A#b", "A#b"),
        (None, "unknown"),
    ],
)
def test_instances_of_a_processor_are_one(name: str | None, shown: str) -> None:
    assert processor_label(name)[0] == shown


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("LLM_TIMEOUT", "LLM_TIMEOUT"),
        ("e-42.b", "e-42.b"),
        (504, "504"),
        ("504", "504"),
        (None, "unknown"),
        ("", "other"),
        ("+15550100", "other"),
        (15550100, "other"),
        ("no answer from Mr. Doe", "other"),
        ("x" * 49, "other"),
        ({"a": 1}, "other"),
        (5.5, "other"),
        (-1, "other"),
    ],
)
def test_a_code_is_a_short_word_or_number_and_everything_else_may_be_prose(code: Any, shown: str) -> None:
    assert code_label(code) == shown


@pytest.mark.parametrize(
    ("method", "shown"), [("get", "GET"), ("POST", "POST"), ("BREW", "other"), ("", "other"), (None, "other")]
)
def test_a_method_is_one_that_http_knows(method: str | None, shown: str) -> None:
    assert method_label(method) == shown


@pytest.mark.parametrize("blank", [None, "", "   ", "\t\x00\n", "\x1b"])
def test_a_name_of_which_nothing_is_left_is_unknown(blank: str | None) -> None:
    assert name_label(blank) == "unknown"
    assert name_label(f"{blank or ''}Anna  ") == "Anna"
