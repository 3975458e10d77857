"""The unit rules: which number is how many seconds, and which is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.outputs.prometheus.catalogue import SKIP_REASONS
from exporter.protocol import units
from exporter.protocol.units import (
    LONGEST_PLAUSIBLE_SECONDS,
    Skip,
    Unit,
    milliseconds,
    plausible,
    seconds,
    seconds_between,
    unix_seconds,
)

NUMERIC = 1758124305.25
ISO = datetime(2026, 3, 2, 10, 0, 1, 123000, UTC)
NAN, INF = float("nan"), float("inf")

AUTO = [
    # value, with a numeric timestamp, with an ISO timestamp, without one
    (1.69, 1.69, 1.69, 1.69),
    (0.0005438, 0.0005438, 0.0005438, 0.0005438),
    (5.713, 5.713, 5.713, 5.713),
    (2, 2.0, 0.002, Skip.AMBIGUOUS_UNIT),
    (2.0, 2.0, 0.002, Skip.AMBIGUOUS_UNIT),
    (59, 59.0, 0.059, Skip.AMBIGUOUS_UNIT),
    (59.5, 59.5, 59.5, 59.5),
    (60, 60.0, 0.06, Skip.AMBIGUOUS_UNIT),
    (60.5, 60.5, 0.0605, Skip.AMBIGUOUS_UNIT),
    (75.5, 75.5, 0.0755, Skip.AMBIGUOUS_UNIT),
    (120, 120.0, 0.12, Skip.AMBIGUOUS_UNIT),
    (121, 0.121, 0.121, 0.121),
    (133.25, Skip.IMPLAUSIBLE, 0.13325, Skip.AMBIGUOUS_UNIT),
    (203.5, Skip.IMPLAUSIBLE, 0.2035, Skip.AMBIGUOUS_UNIT),
    (245, 0.245, 0.245, 0.245),
    (1690, 1.69, 1.69, 1.69),
    (120_000, 120.0, 120.0, 120.0),
    (120_001, Skip.IMPLAUSIBLE, Skip.IMPLAUSIBLE, Skip.IMPLAUSIBLE),
    (120_000.5, Skip.IMPLAUSIBLE, Skip.IMPLAUSIBLE, Skip.IMPLAUSIBLE),
    (2**53, Skip.IMPLAUSIBLE, Skip.IMPLAUSIBLE, Skip.IMPLAUSIBLE),
    (1e300, Skip.IMPLAUSIBLE, Skip.IMPLAUSIBLE, Skip.IMPLAUSIBLE),
    (0, 0.0, 0.0, 0.0),
    (-0.0, 0.0, 0.0, 0.0),
    (-1, Skip.NEGATIVE, Skip.NEGATIVE, Skip.NEGATIVE),
    (-0.25, Skip.NEGATIVE, Skip.NEGATIVE, Skip.NEGATIVE),
    (-300, Skip.NEGATIVE, Skip.NEGATIVE, Skip.NEGATIVE),
    (-1e300, Skip.NEGATIVE, Skip.NEGATIVE, Skip.NEGATIVE),
    (NAN, Skip.NON_FINITE, Skip.NON_FINITE, Skip.NON_FINITE),
    (INF, Skip.NON_FINITE, Skip.NON_FINITE, Skip.NON_FINITE),
    (-INF, Skip.NON_FINITE, Skip.NON_FINITE, Skip.NON_FINITE),
]


@pytest.mark.parametrize(("value", "numeric", "iso", "none"), AUTO)
def test_auto(value: float, numeric: Any, iso: Any, none: Any) -> None:
    assert seconds(value, Unit.AUTO, NUMERIC) == numeric
    assert seconds(value, Unit.AUTO, 1758124305) == numeric
    assert seconds(value, Unit.AUTO, ISO) == iso
    assert seconds(value, Unit.AUTO, None) == none


@pytest.mark.parametrize("timestamp", [NUMERIC, ISO, None])
@pytest.mark.parametrize(
    ("unit", "value", "result"),
    [
        (Unit.SECONDS, 2, 2.0),
        (Unit.SECONDS, 61.5, 61.5),
        (Unit.SECONDS, 120, 120.0),
        (Unit.SECONDS, 245, Skip.IMPLAUSIBLE),
        (Unit.MILLISECONDS, 2, 0.002),
        (Unit.MILLISECONDS, 1.5, 0.0015),
        (Unit.MILLISECONDS, 245, 0.245),
        (Unit.MILLISECONDS, 120_000.5, Skip.IMPLAUSIBLE),
        (Unit.SECONDS, -1, Skip.NEGATIVE),
        (Unit.MILLISECONDS, NAN, Skip.NON_FINITE),
    ],
)
def test_what_the_operator_says_wins(unit: Unit, value: float, result: Any, timestamp: Any) -> None:
    assert seconds(value, unit, timestamp) == result


@pytest.mark.parametrize(
    ("value", "result"),
    [(1690, 1.69), (0.5, 0.0005), (0, 0.0), (-1, Skip.NEGATIVE), (INF, Skip.NON_FINITE), (120_001, Skip.IMPLAUSIBLE)],
)
def test_a_field_named_ms_is_milliseconds(value: float, result: Any) -> None:
    assert milliseconds(value) == result


@given(
    st.floats() | st.integers(-(2**53), 2**53),
    st.sampled_from(Unit),
    st.sampled_from((NUMERIC, 1758124305, ISO, None)),
)
def test_whatever_comes_in_a_plausible_float_or_a_reason_comes_out(value: float, unit: Unit, timestamp: Any) -> None:
    for result in (seconds(value, unit, timestamp), milliseconds(value), plausible(value)):
        if isinstance(result, Skip):
            assert result.value in SKIP_REASONS
        else:
            assert type(result) is float
            assert 0 <= result <= LONGEST_PLAUSIBLE_SECONDS


@given(st.floats(0, 1e6))
def test_among_numeric_timestamps_no_fraction_is_ever_made_shorter(value: float) -> None:
    result = seconds(value, Unit.AUTO, NUMERIC)
    assert result == value or not value % 1 or result is Skip.IMPLAUSIBLE


@given(st.integers(1, 119_999))
def test_the_dialects_say_the_same_duration(ms: int) -> None:
    assert seconds(ms / 1000, Unit.AUTO, NUMERIC) == seconds(ms, Unit.AUTO, ISO) == milliseconds(ms) == ms / 1000


def test_every_reason_to_skip_is_a_label_from_the_start() -> None:
    assert {reason.value for reason in Skip} == set(SKIP_REASONS)


@pytest.mark.parametrize(
    ("timestamp", "unix"),
    [
        (1758124305.194836, 1758124305.194836),
        (1758124305, 1758124305.0),
        (1758124305194, 1758124305.194),
        (1758124305194.5, 1758124305.1945),
        (datetime(2025, 9, 17, 15, 51, 45, 194000, UTC), 1758124305.194),
        (datetime(2025, 9, 17, 17, 51, 45, 194000, timezone(timedelta(hours=2))), 1758124305.194),
        (datetime(2025, 9, 17, 15, 51, 45, 194000), 1758124305.194),
        (datetime(9999, 12, 31, 23, 59, 59), None),
        (datetime(1, 1, 1), None),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), None),
        (None, None),
        (0, None),
        (-5, None),
        (1.0, None),
        (9e9, None),
        (1e9, 1e9),
        (4_102_444_799, 4_102_444_799.0),
        (2**53, None),
        (NAN, None),
        (INF, None),
        (1e300, None),
        (17581243130, None),  # a digit too many: the year 2527
        (datetime(2300, 1, 1, tzinfo=UTC), None),
    ],
)
def test_a_time_of_either_dialect_is_unix_seconds_or_unknown(timestamp: Any, unix: float | None) -> None:
    assert unix_seconds(timestamp) == unix


@given(st.datetimes(timezones=st.none() | st.timezones()) | st.floats() | st.integers(-(2**53), 2**53))
def test_no_time_raises(timestamp: Any) -> None:
    at = unix_seconds(timestamp)
    assert at is None or 1e9 <= at < 4.2e9


@given(st.integers(1_600_000_000_000, 2_000_000_000_000), st.integers(-10_000_000, 10_000_000))
def test_differences_of_times_are_exact_to_the_microsecond(begin_ms: int, took_ms: int) -> None:
    assert seconds_between(begin_ms / 1000, (begin_ms + took_ms) / 1000) == took_ms / 1000


def test_the_rules_are_written_where_they_are() -> None:
    text = str(units.__doc__)
    for word in ("*_ms", "60 and more", "fraction", "Numeric", "ISO\n   8601", "negative", "two minutes"):
        assert word in text
