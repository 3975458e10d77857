"""A short run of the fuzzer of calls; it takes a million with ``python -m tests.fuzz.fuzz_call``."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.fuzz import fuzz_call
from tests.fuzz.damage import run


def test_generated_calls_are_counted_once_and_nothing_raises() -> None:
    outcomes = run(fuzz_call.attempt, 4_000, 7)
    assert set(outcomes) == {"recovered", "whole"}
    page = fuzz_call.EAR.metrics.store.render(openmetrics=True) + "# EOF\n"
    assert len(list(text_string_to_metric_families(page))) > 30
    assert fuzz_call.series() <= 2000
