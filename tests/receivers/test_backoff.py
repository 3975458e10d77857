"""Delays grow, scatter, and respect what the peer asks."""

from __future__ import annotations

import random
from email.utils import formatdate
from itertools import islice

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upstream import MostlyOne

from exporter.errors import Interrupted, Refused
from exporter.receivers.answers import failure_label, judge, media_type, retry_after_seconds, transport_failure
from exporter.receivers.backoff import Backoff

NOW = 1_772_445_601.0


def test_delays_double_from_one_second_to_thirty() -> None:
    assert list(islice(Backoff(MostlyOne()), 8)) == [1, 2, 4, 8, 16, 30, 30, 30]


@given(st.integers(0, 2**32), st.integers(0, 12))
def test_a_delay_is_between_half_and_all_of_its_step(seed: int, step: int) -> None:
    delay = next(islice(Backoff(random.Random(seed)), step, None))
    whole = min(2**step, 30)
    assert whole / 2 <= delay <= whole


@given(st.integers(0, 2**32), st.floats(0, 3600))
def test_nobody_returns_sooner_than_asked(seed: int, asked: float) -> None:
    delay = Backoff(random.Random(seed)).delay(at_least_seconds=asked)
    assert asked <= delay <= max(1.0, asked * 1.1 + 1e-6)


def test_reset_begins_again() -> None:
    backoff = Backoff(MostlyOne())
    list(islice(backoff, 5))
    backoff.reset()
    assert next(backoff) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("17", 17),
        (" 0 ", 0),
        ("999999999", 300),
        ("9" * 400, 300),
        (formatdate(NOW + 60, usegmt=True), 60),
        (formatdate(NOW - 60, usegmt=True), 0),
        ("Mon, 02 Mar 2026 11:01:01 +0100", 60),
        ("Mon, 02 Mar 2026 10:01:01", 60),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("١٧", None),
    ],
)
def test_retry_after_in_all_its_forms(value: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": value}, now=NOW) == seconds


@given(st.text(max_size=40))
def test_no_retry_after_whatever_breaks_it(value: str) -> None:
    wait = retry_after_seconds({"retry-after": value}, now=NOW)
    assert wait is None or 0 <= wait <= 300


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, None),
        *((status, Refused) for status in (400, 401, 403, 404, 410, 422)),
        *((status, Interrupted) for status in (204, 206, 301, 302, 307, 408, 425, 429, 500, 502, 503, 504, 529)),
    ],
)
def test_every_status_is_refused_or_worth_another_try(status: int, verdict: type | None) -> None:
    judged = judge(httpx.Response(status), now=NOW)
    assert judged is None if verdict is None else isinstance(judged, verdict)
    if isinstance(judged, Refused):
        assert judged.status == status


def test_failures_to_talk_have_words_for_labels() -> None:
    words = {
        httpx.ConnectTimeout("x"): "timeout",
        httpx.ReadTimeout("x"): "timeout",
        httpx.ConnectError("x"): "connect",
        httpx.ProxyError("x"): "connect",
        httpx.ReadError("x"): "cut",
        httpx.RemoteProtocolError("x"): "cut",
        httpx.UnsupportedProtocol("x"): "connect",
    }
    assert {error: transport_failure(error).reason for error in words} == words
    assert [failure_label(None, reason) for reason in ("timeout", "connect", "cut")] == [
        "timeout",
        "connect",
        "connect",
    ]
    assert [failure_label(status, "") for status in (400, 418, 302, 503, 206)] == ["400", "4xx", "3xx", "5xx", "other"]
    assert failure_label(200, "content_type") == "content_type"


def test_a_media_type_has_no_case_and_no_parameters() -> None:
    assert media_type(httpx.Response(200, headers={"content-type": "Text/Event-Stream ; x=y"})) == "text/event-stream"
    assert media_type(httpx.Response(200)) == ""
