"""Long histories are taken in steps; what a stream brings between two of them is counted once, too."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.calls import tracker as trackers
from exporter.calls.identity import SeenEvents
from tests.support.calls import calls
from tests.support.lives import Life, lived
from tests.support.wire import Step, payloads


@pytest.fixture(autouse=True, scope="module")
def short_steps() -> Generator[None, None, None]:
    """Two events a step, so that short calls have many."""
    patched = pytest.MonkeyPatch()
    patched.setattr(trackers, "_STEP_EVENTS", 2)
    yield
    patched.undo()


def run(life: Life, steps: Generator[None, None, Any], live: list[bytes], data: st.DataObject) -> None:
    """The steps, and between them what the stream brings."""
    for _ in steps:
        if live and data.draw(st.booleans()):
            life.feed([live.pop(0)])
    life.feed(live)


@given(calls(), st.data())
def test_a_history_in_steps_beside_a_stream_counts_each_event_once(call: list[Step], data: st.DataObject) -> None:
    whole = payloads(call)
    cut = data.draw(st.integers(0, len(whole)))
    seen = [payload for payload in whole[:cut] if data.draw(st.booleans())]
    life = Life()
    life.feed(seen)
    history = [msgspec.Raw(payload) for payload in whole[:cut]]
    run(life, life.tracker.recovering(life.tracked, history, life.now), whole[cut:], data)
    life.end()
    assert events(life) == events(lived(whole))


@given(calls(), st.data())
def test_a_call_of_an_earlier_life_is_rebuilt_in_steps_beside_its_stream(call: list[Step], data: st.DataObject) -> None:
    whole = payloads(call)
    cut = data.draw(st.integers(0, len(whole)))
    first = Life()
    first.feed(whole[: data.draw(st.integers(0, cut))])
    kept = first.checkpoint()
    life = Life()
    life.resume(kept, None)
    history = [msgspec.Raw(payload) for payload in whole[:cut]]
    run(life, life.tracker.recovering(life.tracked, history, life.now), whole[cut:], data)
    life.end()
    assert len(kept.counted) + life.total("atoms_exporter_events_total") == lived(whole).total(
        "atoms_exporter_events_total"
    )


@given(calls(), st.data())
def test_without_a_stream_steps_make_no_difference(call: list[Step], data: st.DataObject) -> None:
    whole = payloads(call)
    seen = [payload for payload in whole if data.draw(st.booleans())]
    steps, atonce = Life(), Life()
    for life in (steps, atonce):
        life.feed(seen)
    run(steps, steps.tracker.recovering(steps.tracked, [msgspec.Raw(each) for each in whole], 0.0), [], data)
    atonce.recover(whole)
    assert steps.end().counted() == atonce.end().counted()


def test_a_call_under_way_is_muted_in_steps(short_steps: None) -> None:
    whole = payloads([Step(at, "turn_latency", {"turn_latency": 0.9}) for at in range(0, 20_000, 1000)])
    life = Life()
    for _ in life.tracker.muting(life.tracked, [msgspec.Raw(each) for each in whole], 0.0):
        assert life.total("atoms_exporter_events_total") == 0
    life.feed(whole)
    assert life.total("atoms_exporter_events_total") == 0
    assert isinstance(life.tracked.seen, SeenEvents)
    assert len(life.tracked.seen) == len(whole)


def events(life: Life) -> dict[Any, float]:
    """Events by type, and the turns they gave."""
    return life.by("atoms_exporter_events_total", "event_type") | {
        "turns": life.total("atoms_turn_latency_seconds_count")
    }
