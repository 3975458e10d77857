"""However its events arrive: the same call gives the same metrics and the same trace."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.calls import calls
from tests.support.lives import Life, lived
from tests.support.wire import DIALECTS, Step, payloads

any_call = st.booleans().flatmap(lambda workflow: calls(workflow=workflow)) | calls(ends=False)
dialects = st.sampled_from(DIALECTS)


@given(any_call)
def test_both_dialects_of_a_call_give_the_same_metrics_and_the_same_trace(call: list[Step]) -> None:
    older, newer = lived(payloads(call, "2025")), lived(payloads(call, "2026"))
    assert older.text() == newer.text()
    assert older.spans == newer.spans
    assert older.counted() == newer.counted()


@given(any_call, dialects, st.data())
def test_an_event_that_comes_again_at_any_point_changes_nothing(
    call: list[Step], dialect: Any, data: st.DataObject
) -> None:
    once = payloads(call, dialect)
    often = list(once)
    for _ in range(data.draw(st.integers(1, 6))):
        source = data.draw(st.integers(0, len(often) - 1))
        often.insert(data.draw(st.integers(source, len(often))), often[source])
    _same(lived(often), lived(once))


@given(any_call, dialects, st.data())
def test_a_replayed_prefix_changes_nothing(call: list[Step], dialect: Any, data: st.DataObject) -> None:
    once = payloads(call, dialect)
    cut = data.draw(st.integers(0, len(once)))
    begin = data.draw(st.integers(0, cut))
    _same(lived([*once[:cut], *once[begin:cut], *once[cut:]]), lived(once))


@given(any_call, st.data())
def test_events_without_an_id_are_known_again_by_their_content(call: list[Step], data: st.DataObject) -> None:
    once = [payload.replace(b'"event_id"', b'"other_id"') for payload in payloads(call)]
    cut = data.draw(st.integers(0, len(once)))
    _same(lived([*once[:cut], *once]), lived(once))


def _same(life: Life, reference: Life) -> None:
    assert life.counted() == reference.counted()
    assert life.text() == reference.text()
    assert life.spans == reference.spans
