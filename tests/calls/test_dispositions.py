"""Results of post-call analytics: what becomes a label, what a number, what nothing; and each once for its call."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.calls.dispositions import MOST_WORDS, Analyses, disposition_fact
from exporter.calls.observations import DispositionGiven
from exporter.protocol.api import decode_call_log
from exporter.protocol.dispositions import Disposition
from tests.support.lives import AGENT, Life
from tests.support.wire import CALL_ID, encoded

LISTED = {"mood": frozenset({"positive", "negative"})}


@pytest.mark.parametrize(
    ("value", "kind", "word", "number"),
    [
        (True, "BOOLEAN", "true", None),
        ("Yes", "BOOLEAN", "true", None),
        ("false", "BOOLEAN", "false", None),
        (1, "BOOLEAN", "true", None),
        (7, "INTEGER", None, 7.0),
        ("7", "INTEGER", None, 7.0),
        (" -12 ", "INTEGER", None, -12.0),
        ("7", None, None, 7.0),
        (2.5, "INTEGER", None, 2.5),
        ("positive", "STRING", "positive", None),
        ("Mr. Doe, +1 555 0100", "STRING", "other", None),
        ("15550100", "STRING", "other", None),
        ("positive", None, "positive", None),
    ],
)
def test_a_disposition_is_yes_or_no_a_number_or_a_word_the_operator_listed(
    value: object, kind: str | None, word: str | None, number: float | None
) -> None:
    assert disposition_fact(AGENT, "mood", value, kind, LISTED) == DispositionGiven(AGENT, "mood", word, number)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *((value, "INTEGER") for value in (None, [], {}, float("nan"), float("inf"), 1e300, 10**400, -(10**400))),
        ("Mr. Doe", "STRING"),
        ("15550100", "STRING"),
        ("2026-03-02T10:00:00Z", "DATETIME"),
        ("Mr. Doe", None),
        ("perhaps", "BOOLEAN"),
        ("7.5 or so", "INTEGER"),
        ("9" * 17, "INTEGER"),
    ],
)
def test_what_is_none_of_these_makes_no_series(value: object, kind: str | None) -> None:
    assert disposition_fact(AGENT, "other", value, kind, LISTED) is None


def shown(*given: Disposition, analyses: Analyses | None = None, call_id: str = "c") -> list[Any]:
    found = (analyses or Analyses()).facts(call_id, AGENT, given)
    return [fact.word if fact.word is not None else fact.number for fact in found]


def test_a_closed_set_passes_and_what_is_not_in_it_is_other() -> None:
    choices = ("hot", "cold")
    assert shown(Disposition("interest", "hot", "ENUM", choices)) == ["hot"]
    assert shown(Disposition("interest", "Mr. Doe", "ENUM", choices)) == ["other"]
    assert shown(Disposition("interest", "warm", "ENUM")) == ["warm"]
    assert shown(Disposition("interest", "x" * 65, "ENUM")) == []


def test_a_set_that_is_not_closed_is_bounded() -> None:
    analyses = Analyses()
    words = {
        word
        for number in range(3 * MOST_WORDS)
        for word in shown(Disposition("city", f"city {number}", "ENUM"), analyses=analyses, call_id=f"c{number}")
    }
    assert len(words) == MOST_WORDS + 1
    assert "other" in words


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), max_size=20), st.integers(0, 20))
def test_a_result_counts_once_for_its_call_whoever_brings_it_and_after_a_restart(
    brought: list[tuple[str, str]], cut: int
) -> None:
    kept: list[int] = []
    counted = 0
    analyses = Analyses(counted=kept.append)
    for place, (call_id, identifier) in enumerate(brought):
        if place == cut:
            analyses = Analyses(counted=kept.append)
            analyses.restore(kept)
        counted += len(analyses.facts(call_id, AGENT, [Disposition(identifier, True, "BOOLEAN")]))
    assert counted == len(set(brought)) == len(kept)


def test_a_log_s_analytics_are_read_although_their_values_are_strings() -> None:
    metrics = [
        {"identifier": "booked", "value": "true", "dispositionMetricType": "BOOLEAN"},
        {"identifier": "score", "value": "7", "dispositionMetricType": "INTEGER"},
        {"identifier": "interest", "value": "hot", "dispositionMetricType": "ENUM", "choices": ["hot", "cold"]},
        {"identifier": "name", "value": "Alex Doe", "dispositionMetricType": "STRING"},
        {"identifier": "when", "value": "2026-03-02T10:00:00Z", "dispositionMetricType": "DATETIME"},
    ]
    log = decode_call_log(encoded({"data": {"postCallAnalytics": {"dispositionMetrics": metrics}}}), CALL_ID)
    life = Life()
    for _ in range(2):
        life.tracker.analysed(CALL_ID, AGENT, log.dispositions)
    assert life.by("atoms_disposition_results_total", "identifier", "value") == {
        ("booked", "true"): 1,
        ("interest", "hot"): 1,
    }
    assert life.by("atoms_disposition_value_sum", "identifier") == {"score": 7}
