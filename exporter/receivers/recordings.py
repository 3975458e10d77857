"""Recorded events from a file or a pipe: JSON lines, a raw capture of an event stream, or a saved call log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO, Final, NamedTuple

import msgspec

from exporter.errors import Malformed
from exporter.protocol.api import CallLog, decode_call_log
from exporter.protocol.fields import answer_data, list_of, object_of
from exporter.protocol.frames import FrameParser

_CHUNK_BYTES: Final = 1 << 18
_LONGEST_DOCUMENT: Final = 1 << 30
_SSE_LINE: Final = re.compile(rb"(data|event|id|retry)\s*:|:")


class Recording(NamedTuple):
    """The events of a file, as payloads. ``call_log`` is set when it was a saved ``GET /conversation/{id}`` answer."""

    payloads: Iterator[bytes | msgspec.Raw]
    call_log: CallLog | None = None


def begins_a_document(file: BinaryIO) -> bool:
    """Whether this is a saved answer, or a list of events: not a stream, which can be read line by line."""
    start = _first_line(file).lstrip(b"\xef\xbb\xbf \t")
    return start[:1] in (b"{", b"[") and not (start[:1] == b"{" and _is_event(start))


def read_recording(file: BinaryIO) -> Recording:
    """The payloads of a recording, read as they are asked for, except a call log, which is read whole.

    :raises Malformed: none of the three forms.
    """
    first = _first_line(file)
    if not first:
        return Recording(iter(()))
    start = first.lstrip(b"\xef\xbb\xbf \t")
    if _SSE_LINE.match(start):
        return Recording(_frames(start, file))
    if start[:1] == b"{" and _is_event(start):
        return Recording(_lines(chain((start,), file)))
    if start[:1] in (b"{", b"["):
        return _document(start + file.read(_LONGEST_DOCUMENT))
    raise Malformed("neither JSON lines, nor an event stream, nor a call log", reason="not_a_recording")


def _first_line(file: BinaryIO) -> bytes:
    """The first line that holds anything, empty when none does."""
    first = b""
    while not first.strip(b"\xef\xbb\xbf \t\r\n"):
        first = file.readline(_LONGEST_DOCUMENT)
        if not first:
            return b""
    return first


def _frames(start: bytes, file: BinaryIO) -> Iterator[bytes]:
    frames = FrameParser()
    yield from frames.feed(start)
    while chunk := file.read(_CHUNK_BYTES):
        yield from frames.feed(chunk)
    yield from frames.feed(b"\n\n")  # a capture may end with its last line


def _lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    return filter(None, map(bytes.strip, lines))


def _is_event(line: bytes) -> bool:
    """Whether this line is JSON by itself and not a call log: a document on one line is one of either."""
    try:
        whole = object_of(line)
    except Malformed:
        return False
    named = any(map(whole.holds, ("event_type", "eventType")))
    return named or not any(map(whole.holds, ("data", "events", "callId")))


def _document(text: bytes) -> Recording:
    if text[:1] == b"[":
        return Recording(iter(list_of(text)))
    call_log = decode_call_log(text, call_id_of(text))
    return Recording(iter(call_log.events), call_log)


def call_id_of(text: bytes) -> str:
    """The call a saved answer is about. Raises Malformed for what is no answer."""
    whole = answer_data(text)
    named = (whole, object_of(text), *whole.objects("events"))
    return next((found for each in named if (found := each.text("callId") or each.text("call_id"))), "unknown")
