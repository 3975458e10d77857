"""What a backend's answer means, and how long to wait after it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.outputs.otlp import DROP_REASONS, FAILURE_REASONS
from exporter.outputs.otlp.answer import from_grpc, from_http, retry_after
from exporter.outputs.otlp.retry import Backoff
from exporter.outputs.prometheus import catalogue

NOW = 1_800_000_000.0


@given(st.integers(100, 599))
def test_of_the_http_statuses_only_these_ask_for_a_retry(status: int) -> None:
    answer = from_http(status, {}, now_unix=NOW)
    expected = (
        "taken" if 200 <= status < 300
        else "later" if status in (429, 502, 503, 504)
        else "smaller" if status == 413
        else "never"
    )  # fmt: skip
    assert answer.verdict == expected
    assert (answer.reason is None) == (expected == "taken")
    assert answer.reason is None or answer.reason in FAILURE_REASONS


def test_every_reason_is_one_the_catalogue_starts_at_zero() -> None:
    assert set(FAILURE_REASONS) == set(catalogue.EXPORT_REASONS)
    assert set(DROP_REASONS) == set(catalogue.DROP_REASONS)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("-3", 0.0),
        ("1.5", 1.5),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2020 08:00:30 GMT", 0.0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text())
def test_no_retry_after_is_too_strange(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or seconds >= 0


def test_a_grpc_message_over_the_limit_is_to_be_sent_in_smaller_ones() -> None:
    for code, said in (
        ("RESOURCE_EXHAUSTED", "CLIENT: Sent message larger than max (5 vs. 4)"),
        ("RESOURCE_EXHAUSTED", "grpc: received message larger than max (5 vs. 4)"),
        ("OUT_OF_RANGE", "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes"),
    ):
        assert from_grpc(code, said, None).verdict == "smaller"
    assert from_grpc("RESOURCE_EXHAUSTED", "quota", None).verdict == "never"
    assert from_grpc("RESOURCE_EXHAUSTED", "quota", 2.0).retry_after_seconds == 2.0


@given(st.integers(), st.integers(1, 100), st.floats(0, 100) | st.none())
def test_the_delay_doubles_up_to_its_limit_and_is_never_less_than_asked_for(
    seed: int, failures: int, asked: float | None
) -> None:
    backoff = Backoff(random.Random(seed))
    for failure in range(failures):
        whole = min(2.0**failure, 30.0)
        delay = backoff.next_seconds(asked)
        assert max(whole / 2, asked or 0) <= delay <= max(whole, asked or 0)
    backoff.reset()
    assert backoff.next_seconds() <= 1.0
