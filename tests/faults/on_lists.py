"""The faults of lists and call logs: what they refuse, and calls that stand nowhere else."""

from __future__ import annotations

from tests.faults.suite import Case, counted, every, exactly, streams, struck

# Of seed 44, whose first calls end in every way there is.
_BLOCKED = every(
    counted("atoms_calls_ended_total", outcome="busy"),
    struck("gap"),
    counted("atoms_calls_ended_total", 10, outcome="blocked"),
    exactly(
        "atoms_calls_ended_total",
        lambda ledger: sum(
            row["value"] for row in ledger["totals"]["atoms_calls_ended_total"] if row["outcome"] == "blocked"
        ),
        outcome="blocked",
    ),
)

CASES: tuple[Case, ...] = (
    streams(
        "strict_filter",
        "a list that refuses a filter with busy or blocked, and no webhooks",
        "strict_filter=1",
        webhooks=False,
        busy=False,
        check=every(struck("strict_filter")),
    ),
    streams(
        "blocked",
        "calls that are not let through, half of them without any event, and no webhooks",
        "blocked=0.4,gap=0.3",
        webhooks=False,
        check=_BLOCKED,
        total_calls=40,
        seed=44,
    ),
    streams(
        "blocked_told",
        "the same with webhooks, which call them failed",
        "blocked=0.4,gap=0.3",
        check=_BLOCKED,
        total_calls=40,
        seed=44,
    ),
    streams(
        "strict_attempts",
        "a list that refuses to be asked for retries and has them all the same, and no webhooks",
        "strict_attempts=1,strict_filter=1",
        webhooks=False,
        busy=False,
        check=every(struck("strict_attempts"), counted("atoms_call_attempts_total", attempt="retry")),
        total_calls=40,
    ),
    streams(
        "limit",
        "over the account's limit: a queue, and callers dropped without any event; no webhooks",
        "limit=1:calls=4",
        webhooks=False,
        busy=False,
        check=every(
            struck("limit", least=5),
            lambda outcome, page, here: outcome.expect(
                page.total("atoms_concurrency_limit") == 4, "the limit is not the account's"
            ),
        ),
        total_calls=24,
    ),
)
