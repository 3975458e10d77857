"""Short runs of the fuzzers of the wire; each takes a million with ``python -m tests.fuzz.fuzz_…``."""

from __future__ import annotations

from tests.fuzz import fuzz_stream, fuzz_webhook
from tests.fuzz.damage import run


def test_generated_streams_are_read_or_malformed_however_they_are_cut() -> None:
    outcomes = run(fuzz_stream.attempt, 4_000, 7)
    assert {"read to its end", "a connection error", "malformed_json"} <= set(outcomes)


def test_generated_deliveries_are_taken_or_refused_and_nothing_else() -> None:
    outcomes = run(fuzz_webhook.attempt, 4_000, 7)
    assert set(outcomes) == {"accepted", "refused", "malformed", "duplicates"}
