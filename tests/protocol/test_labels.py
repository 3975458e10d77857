"""Strings from the wire as label values."""

from __future__ import annotations

import pytest

from exporter.protocol.labels import processor_label


@pytest.mark.parametrize(
    "name",
    [
        "WavesTTSService#0",
        "OpenAITTSService#12",
        "XTTSService",
        "TtsService",
        "tts",
        "TTS#1",
        "cartesia_tts",
        "ttsservice",
    ],
)
def test_a_synthesiser_is_told_by_its_name(name: str) -> None:
    assert processor_label(name)[1]


@pytest.mark.parametrize(
    "name", ["PulseSTTService#0", "DeepgramSTTService", "STTSegmenter", "sttservice", "LLM", "HttpService", None, ""]
)
def test_a_transcriber_has_the_letters_too_and_is_none(name: str | None) -> None:
    assert not processor_label(name)[1]
