"""The ledger against a recount of the raw events by other code."""

from __future__ import annotations

import pytest
from simulator_reading import Recount

from exporter.simulator import LABELS, Book, Conditions, book_of, recorded, script
from exporter.simulator.accounted import KINDS, Accounts

CALLS = 150


TOLD_AT_THE_END = (
    "atoms_unanswered", "atoms_dead_air", "atoms_first_word", "atoms_call_end_reasons", "atoms_node_exits",
    "atoms_call_attempts", "atoms_call_cost", "atoms_call_setup", "atoms_test_calls",
)  # fmt: skip
"""What follows from whole calls, or stands in their logs: the exporter's own fold is its recount (tests/calls)."""


def recount(seed: int, dialect: str) -> dict[str, dict[tuple[str, ...], float]]:
    totals: dict[str, dict[tuple[str, ...], float]] = {}
    for number in range(CALLS):
        one = Recount(script(seed, number).agent_id)
        one.call(recorded(seed, number, dialect))
        for family, rows in one.counts.items():
            for labels, amount in rows.items():
                mine = totals.setdefault(family, {})
                mine[labels] = mine.get(labels, 0) + amount
    return totals


def with_one_rest(rows: dict[tuple[str, ...], float], *, summed: bool) -> dict[tuple[str, ...], float]:
    """What the platform does not report of turns in one: how it is split is checked elsewhere."""
    found: dict[tuple[str, ...], float] = {}
    for (*where, stage), amount in rows.items():
        if summed or stage not in KINDS:
            key = (*where, "unattributed" if stage in KINDS else stage)
            found[key] = found.get(key, 0) + amount
    return found


def test_what_ran_in_a_turn_is_given_what_the_reported_stages_leave():
    accounts = Accounts(
        turns=[("A", 2000, 1000, 400), ("B", 5000, 1000, 950), ("C", 9000, 500, 0)],
        ran=[("tool", 900, 1300), ("knowledgebase", 1200, 1500), ("tool", 4100, 4400)],
        apis=[1700],
        moments=[1600],
    )
    assert accounts.split() == [
        ("A", {"tool": 300, "knowledgebase": 200, "api_call": 100, "unattributed": 0}),
        ("B", {"tool": 50, "unattributed": 0}),
        ("C", {"unattributed": 500}),
    ]


def books(seed: int, calls: int = CALLS) -> Book:
    total = Book()
    for number in range(calls):
        total.add_book(book_of(script(seed, number)))
    return total


@pytest.mark.parametrize("dialect", ["2025", "2026"])
def test_the_ledger_adds_up_to_an_independent_recount_of_the_raw_events(dialect):
    ledger, counted = books(21), recount(21, dialect)
    compared = 0
    for family in LABELS:
        if family in ("atoms_calls_started_total", "atoms_calls_ended_total") or family.startswith(TOLD_AT_THE_END):
            continue
        told = ledger.counts(family)
        if family.startswith("atoms_turn_stage"):
            told = with_one_rest(told, summed=family.endswith("_sum"))
        assert counted.get(family, {}) == pytest.approx(told, rel=1e-9, abs=1e-9), family
        compared += sum(ledger.counts(family).values()) > 0
    assert compared > 35


def test_every_call_starts_and_ends_once():
    ledger = books(21)
    assert ledger.total("atoms_calls_started_total") == CALLS
    assert ledger.total("atoms_calls_ended_total") == CALLS
    failed = [n for n in range(CALLS) if script(21, n).outcome == "failed"]
    assert ledger.total("atoms_calls_ended_total", outcome="failed") == len(failed)


def test_what_came_before_the_first_node_is_counted_on_it():
    greeted = next(s for s in (script(21, n) for n in range(50)) if len(s.happenings) > 100 and s.agent_id[-1] == "1")
    book = book_of(greeted)
    assert book.total("atoms_tts_latency_seconds_count", node_id="10001") >= 2
    assert not any("none" in labels for labels in book.counts("atoms_tts_latency_seconds_count"))


def test_calls_without_a_node_count_on_none():
    single = next(s for s in (script(21, n) for n in range(50)) if s.agent_id[-1] == "6" and s.outcome == "completed")
    rows = book_of(single).counts("atoms_turn_latency_seconds_count")
    assert {labels[1] for labels in rows} == {"none"}


def test_negative_latencies_and_unknown_events_change_nothing_but_what_is_skipped():
    worse = ((0, Conditions(negative_latency=1.0, unknown_event=1.0)),)
    plain, bad = script(21, 4), script(21, 4, worse)
    before, after = book_of(plain), book_of(bad)
    turns = before.total("atoms_turn_latency_seconds_count")
    assert turns > 0
    assert after.total("samples_skipped_total", reason="negative") == turns
    assert after.total("events_total", event_type="sentiment_shift") == turns
    for family in LABELS:
        if family not in ("events_total", "samples_skipped_total"):
            assert before.counts(family) == after.counts(family)


def test_a_part_of_a_call_is_a_part_of_its_book():
    whole = script(21, 4)
    half = book_of(whole, whole.happenings[: len(whole.happenings) // 2])
    assert half.total("atoms_calls_ended_total") == 0
    for family in LABELS:
        if family.endswith("_total"):
            assert half.total(family) <= book_of(whole).total(family)


def test_labels_that_are_not_declared_are_refused():
    with pytest.raises(ValueError, match="has labels"):
        Book().add("atoms_user_turns_total", ("only one",))
    with pytest.raises(KeyError):
        Book().add("atoms_nonsense_total", ())


def test_the_json_form_names_every_label():
    rows = books(21, 5).as_json()
    for family, found in rows.items():
        assert all(set(row) == {*LABELS[family], "value"} for row in found)
