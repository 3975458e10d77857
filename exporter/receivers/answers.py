"""What an answer of the API, or the lack of one, means: refused for good, or worth another try later."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from exporter.errors import Interrupted, Refused
from exporter.network.shown import shown_host, shown_text

LONGEST_RETRY_AFTER_SECONDS: Final = 300.0
"""Who asks for a day has a clock that is wrong, or would have us blind for a day: calls last minutes."""


def judge(response: httpx.Response, *, now: float) -> Refused | Interrupted | None:
    """None for 200; otherwise what to do about the status. The body is not looked at: it may hold anything."""
    status = response.status_code
    if status == 200:
        return None
    wait = retry_after_seconds(response.headers, now=now)
    said = f"the API answered {status}"
    if status == 429:
        return Interrupted(said, reason="rate_limited", retry_after_seconds=wait)
    if status >= 500 or status in (408, 425):
        return Interrupted(said, reason="server_error", retry_after_seconds=wait)
    if 300 <= status < 400:  # not followed: it could carry the token elsewhere
        target = shown_host(response.headers.get("location", "")) or "another path"
        said = f"{said}, a redirect to {target}, which is not followed"
    if status < 400:  # 204 is no stream and no JSON
        return Interrupted(f"{said}: is the base URL right?", reason="other", retry_after_seconds=wait)
    return Refused(said, status=status)


def transport_failure(error: httpx.RequestError | TimeoutError) -> Interrupted:
    """A request that got no usable answer, in a word fit for a label. TimeoutError: the deadline for all of it."""
    if isinstance(error, TimeoutError):
        return Interrupted("no complete answer in time", reason="timeout")
    if isinstance(error, httpx.ConnectTimeout | httpx.ReadTimeout | httpx.WriteTimeout | httpx.PoolTimeout):
        reason = "timeout"
    elif isinstance(error, httpx.ReadError | httpx.RemoteProtocolError | httpx.WriteError):
        reason = "cut"
    else:
        reason = "connect"
    said = "no answer in time" if isinstance(error, httpx.ReadTimeout) else str(error)
    return Interrupted(f"{type(error).__name__}: {shown_text(said)}", reason=reason)  # it may quote what was sent


def media_type(response: httpx.Response) -> str:
    """The content type without its parameters, in lower case."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


def retry_after_seconds(headers: Mapping[str, str], *, now: float) -> float | None:
    """``Retry-After`` as seconds from ``now`` (Unix time), whether it gives seconds or a date; at most five minutes."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_RETRY_AFTER_SECONDS)
    try:
        date = parsedate_to_datetime(value)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        wait = date.timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(wait, 0.0), LONGEST_RETRY_AFTER_SECONDS) if math.isfinite(wait) else None


def failure_label(status: int | None, reason: str) -> str:
    """How a stream could not be opened, in the closed words of ``atoms_exporter_stream_failures_total``."""
    if status is None:
        return reason if reason in ("connect", "timeout") else "connect"
    if status in (400, 401, 403, 404, 429):
        return str(status)
    if status < 300:
        return reason if reason in ("content_type", "content_coding") else "other"
    return f"{status // 100}xx" if status < 600 else "other"
