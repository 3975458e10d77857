"""What a backend's answer means for what was sent: taken, try later, never, or try it in smaller parts.

From the OTLP specification: of the HTTP statuses only 429, 502, 503 and 504 ask for a retry, of the gRPC codes those
in ``_GRPC_LATER``, and RESOURCE_EXHAUSTED only with a RetryInfo beside it. A redirect is not followed and no success.
"""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

_HTTP_STATUS = re.compile(r"http2 header with status: (\d{3})")
_NO_TRAILERS = "Data frame with END_STREAM flag received"  # grpc-core of a body that ends as a web page does

Verdict = Literal["taken", "later", "never", "smaller"]
FailureReason = Literal[
    "refused",  # no connection: refused, reset, no such host, no trust in the certificate
    "timeout",
    "rate_limited",  # 429, RESOURCE_EXHAUSTED
    "unavailable",  # 502, 503, 504, UNAVAILABLE and what gRPC counts as passing
    "http_3xx",  # the endpoint is wrong
    "http_4xx",
    "http_5xx",
    "not_otlp",  # a success that only a web server tells: a page of HTML
    "rejected",  # any other gRPC code (UNAUTHENTICATED, INVALID_ARGUMENT …), or a partial success
    "other",  # it could not even be sent
]
FAILURE_REASONS: tuple[FailureReason, ...] = get_args(FailureReason)

_HTTP_LATER = (429, 502, 503, 504)
_GRPC_LATER = ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS")
_GRPC_TOO_LARGE = ("larger than max", "length too large")  # a message over the limit: grpc-core, grpc-go; tonic


class Answer(msgspec.Struct, frozen=True):
    """How one attempt to send ended.

    ``detail`` is for the log and carries no secret; ``rejected`` counts the items a backend took the request without.
    """

    verdict: Verdict
    reason: FailureReason | None = None
    detail: str = ""
    retry_after_seconds: float | None = None
    rejected: int = 0


def from_http(
    status: int,
    headers: Mapping[str, str],
    *,
    now_unix: float,
    said: str = "",
    rejected: int = 0,
    web_page: bool = False,
) -> Answer:
    """Judge an HTTP answer; ``said`` is what its body says, ``rejected`` what its partial success counts.

    A ``web_page`` is no success whatever its status: a portal or a proxy answers in the backend's place, perhaps for a
    while.
    """
    if 200 <= status < 300 and not web_page:
        return _taken(said, rejected)
    if 200 <= status < 300:
        return Answer("later", "not_otlp", f"HTTP {status} with a web page: is the endpoint right?")
    detail = f"HTTP {status}" + (f": {said}" if said else "")
    if status in _HTTP_LATER:
        reason: FailureReason = "rate_limited" if status == 429 else "unavailable"
        return Answer("later", reason, detail, retry_after(headers.get("Retry-After"), now_unix))
    if status == 413:
        return Answer("smaller", "http_4xx", detail)
    if 300 <= status < 400:
        return Answer("never", "http_3xx", detail)
    return Answer("never", "http_4xx" if 400 <= status < 500 else "http_5xx", detail)


def from_grpc(code: str, said: str, retry_after_seconds: float | None, rejected: int = 0) -> Answer:
    """Judge a gRPC status by the name of its code; ``retry_after_seconds`` comes from its RetryInfo."""
    if code == "OK":
        return _taken(said, rejected)
    if code != "OK" and (status := _HTTP_STATUS.search(said)):  # what stands in front of a backend speaks no gRPC
        return from_http(int(status[1]), {}, now_unix=0.0, said=said, web_page=True)
    if _NO_TRAILERS in said:
        return from_http(200, {}, now_unix=0.0, web_page=True)
    detail = f"gRPC {code}" + (f": {said}" if said else "")
    if code == "RESOURCE_EXHAUSTED" and "CLIENT: Received" in said:  # an answer that was too large for us
        return Answer("never", "rejected", detail)
    if code in ("RESOURCE_EXHAUSTED", "OUT_OF_RANGE") and any(words in said for words in _GRPC_TOO_LARGE):
        return Answer("smaller", "rejected", detail)
    if code == "RESOURCE_EXHAUSTED":
        verdict: Verdict = "never" if retry_after_seconds is None else "later"
        return Answer(verdict, "rate_limited", detail, retry_after_seconds)
    if code in _GRPC_LATER:
        reason: FailureReason = "timeout" if code == "DEADLINE_EXCEEDED" else "unavailable"
        return Answer("later", reason, detail, retry_after_seconds)
    return Answer("never", "rejected", detail)


def retry_after(value: str | None, now_unix: float) -> float | None:
    """Seconds to wait from a ``Retry-After`` header (RFC 9110: seconds or a date), None when it says nothing."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - now_unix
        except (TypeError, ValueError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _taken(said: str, rejected: int) -> Answer:
    if rejected > 0:
        return Answer("taken", "rejected", f"{rejected} rejected" + (f": {said}" if said else ""), rejected=rejected)
    return Answer("taken")
