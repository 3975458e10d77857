"""Strings from the wire, made fit to be label values: short, printable, from a known set where one exists."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from exporter.protocol.units import Unit

LONGEST_LABEL = 128
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_INSTANCE = re.compile(r"#\d+$")
_WORDS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_SPEECH = re.compile(r"tts(?!ervice)")
_CLASS = re.compile(r"[A-Z][A-Za-z0-9]*")
_STAGE = re.compile(r"[a-z][a-z0-9.-]*(_[a-z0-9.-]+)+")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,47}|[0-9]{1,5}")
_SEVERITIES = frozenset({"debug", "info", "warning", "error", "critical", "fatal"})
_ERROR_SEVERITIES = frozenset({"warning", "fatal"})
RECORDING_STATUSES = ("completed", "available", "processing", "in_progress", "failed", "absent")
"""What recordings have been called so far, by the platform and by the carriers behind it."""
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


@lru_cache(maxsize=4096)
def label(text: str) -> str:
    """Without control characters, at most 128 characters long."""
    clean = _CONTROL.sub(" ", text).strip()
    return clean if len(clean) <= LONGEST_LABEL else clean[: LONGEST_LABEL - 1] + "…"


def name_label(text: str | None) -> str:
    """A name for people: ``unknown`` where it is missing, or nothing is left of it."""
    return (label(text) if text else "") or "unknown"


@lru_cache(maxsize=4096)
def processor_label(name: str | None) -> tuple[str, bool, Unit]:
    """A processor's name without its instance number, whether it counts characters, and the unit it measures in.

    ``WavesTTSService#0`` and ``WavesTTSService#3`` are the same processor. Pipecat names processors after their class
    and numbers them: such a one measures seconds and, where it synthesises speech, whole characters. The vendor names
    its stages ``lightning_tts``: they measure milliseconds and nothing else. A name of neither form does not tell.

    Whether it synthesises speech is looked for word by word, because ``PulseSTTService`` (a transcriber) has the
    letters "tts" in it, too.
    """
    if name is None:
        return "unknown", False, Unit.AUTO
    without = _INSTANCE.sub("", name)
    clean = label(without)
    if _STAGE.fullmatch(clean):
        return clean, False, Unit.MILLISECONDS
    speaks = any(_SPEECH.search(word.lower()) for word in _WORDS.findall(clean))
    return clean, speaks, Unit.SECONDS if without != name or _CLASS.fullmatch(clean) else Unit.AUTO


def code_label(code: Any) -> str:
    """An error code: a short word or number as it is, anything else (it may be prose) ``other``."""
    if code is None:
        return "unknown"
    text = str(code) if isinstance(code, str | int) else ""
    return text if _CODE.fullmatch(text) else "other"


def severity_label(severity: Any) -> str:
    """How bad something is, in the words most loggers use; ``unknown`` for any other."""
    return severity.lower() if isinstance(severity, str) and severity.lower() in _SEVERITIES else "unknown"


def error_severity_label(severity: Any) -> str:
    """How bad an agent's error is: ``warning``, ``fatal``, or ``unknown``."""
    word = severity.strip().lower() if isinstance(severity, str) else ""
    return word if word in _ERROR_SEVERITIES else "unknown"


def recording_label(status: Any) -> str:
    """What became of a recording: ``unknown`` where it is not told, ``other`` for a word of somebody else's."""
    if not isinstance(status, str) or not status:
        return "unknown"
    word = status.strip().lower().replace("-", "_").replace(" ", "_")
    return word if word in RECORDING_STATUSES else "other"


def method_label(method: str | None) -> str:
    """An HTTP method, or ``other``."""
    upper = (method or "").upper()
    return upper if upper in _METHODS else "other"
