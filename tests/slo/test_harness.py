"""The harness of the rules reads what promtool writes."""

from __future__ import annotations

import pytest

from dashboards.rules.tests.harness import DAY, HOUR, MINUTE, told_seconds


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("5m", 5 * MINUTE), ("1d2h", DAY + 2 * HOUR), ("1w", 7 * DAY), ("1w4d23h55m", 11 * DAY + 23 * HOUR + 55 * MINUTE)],
)
def test_times_are_read_in_weeks_too(written: str, seconds: float) -> None:
    assert told_seconds(written) == seconds
