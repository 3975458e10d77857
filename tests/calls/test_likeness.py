"""A stream and a history that bear different ids for the same events: counted from one of them, and said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.calls import calls
from tests.support.lives import Life, lived
from tests.support.wire import Step, encoded, payloads


def renamed(whole: list[bytes]) -> list[bytes]:
    """The same events under other ids."""
    events = [json.loads(payload) for payload in whole]
    return [encoded(event | {"event_id": f"other-{number}"}) for number, event in enumerate(events)]


def long_calls() -> st.SearchStrategy[list[Step]]:
    return calls().filter(lambda call: len(call) >= 10)


ABOUT_THE_TWO = "atoms_exporter_events_rejected_total"


def told(life: Life) -> float:
    return life.total(ABOUT_THE_TWO, reason="other_ids")


def same(one: Life, other: Life) -> bool:
    def counted(life: Life) -> dict[object, float]:
        return {sample: value for sample, value in life.counted().items() if sample[0] != ABOUT_THE_TWO}

    return counted(one) == counted(other)


@given(long_calls(), st.booleans())
def test_a_history_under_other_ids_doubles_nothing_and_is_said_to_be_one(call: list[Step], twice: bool) -> None:
    whole = payloads(call)
    life = Life()
    life.feed(whole)
    for _ in range(1 + twice):
        assert life.recover(renamed(whole)) == 0
    assert life.tracked.other_ids
    assert told(life) == len(whole)
    assert same(life.end(), lived(whole))


@given(long_calls(), st.data())
def test_a_stream_that_begins_again_under_other_ids_after_its_history_was_counted_doubles_nothing(
    call: list[Step], data: st.DataObject
) -> None:
    whole = payloads(call)
    cut = data.draw(st.integers(9, len(whole)))
    life = Life()
    life.recover(whole[:cut])
    life.feed(renamed(whole))
    assert life.tracked.other_ids
    assert told(life) == cut
    life.recover(whole)
    assert same(life.end(), lived(whole))


@given(calls(), st.data())
def test_a_history_of_the_same_ids_is_never_taken_for_one_of_others(call: list[Step], data: st.DataObject) -> None:
    whole = payloads(call)
    streamed = data.draw(st.lists(st.sampled_from(whole), unique=True)) if whole else []
    life = Life()
    if data.draw(st.booleans()):
        life.recover(whole[: data.draw(st.integers(0, len(whole)))])
    life.feed(streamed)
    life.recover(whole)
    assert not life.tracked.other_ids
    assert told(life) == 0
    assert life.end().total("atoms_exporter_events_total") == len(whole)


def test_what_an_earlier_life_counted_from_the_stream_is_not_counted_from_such_a_history() -> None:
    step = Step(0, "user_transcription")
    whole = payloads([Step(each, step.kind) for each in range(40)])
    first = Life()
    first.feed(whole)
    second = Life()
    second.resume(first.checkpoint(), renamed(whole))
    assert second.tracked.other_ids
    assert second.total("atoms_user_turns_total") == 0


@pytest.mark.parametrize("events", [1, 7])
def test_a_short_stream_proves_nothing(events: int) -> None:
    whole = payloads([Step(each, "user_transcription") for each in range(events)])
    life = Life()
    life.feed(whole)
    life.recover(renamed(whole))
    assert not life.tracked.other_ids
