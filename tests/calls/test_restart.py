"""A call goes on where an earlier life of the process left it: both lives add up, and the trace is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.calls import calls
from tests.support.lives import Checkpoint, Life, lived, rounded, summed
from tests.support.wire import Step, heard, hop, measured, node, payloads, step, tokens, turn

any_call = st.booleans().flatmap(lambda workflow: calls(workflow=workflow)) | calls(ends=False)


@given(any_call, st.data())
def test_two_lives_count_together_what_one_would_have(call: list[Step], data: st.DataObject) -> None:
    whole = payloads(call)
    died = data.draw(st.integers(0, len(whole)))
    resumed = data.draw(st.integers(died, len(whole)))
    first, second = _two_lives(whole, died, resumed)
    reference = lived(whole)
    together = summed(first, second)
    active = ("atoms_calls_active", (("agent_id", "a1"), ("agent_name", "Agent")))
    assert together.pop(active, 0) == first.total("atoms_calls_active")  # the first life's gauge died with it
    assert together == rounded(reference.counted())


@given(any_call, st.data())
def test_the_trace_is_the_same_span_for_span(call: list[Step], data: st.DataObject) -> None:
    whole = payloads(call)
    died = data.draw(st.integers(0, len(whole)))
    first, second = _two_lives(whole, died, data.draw(st.integers(died, len(whole))))
    assert {span.span_id: span for span in (*first.spans, *second.spans)} == lived(whole).trace()
    assert len(first.spans) + len(second.spans) == len(lived(whole).spans)


@given(calls(), st.data())
def test_any_number_of_lives_add_up(call: list[Step], data: st.DataObject) -> None:
    whole = payloads(call)
    lives = [Life()]
    identities: tuple[int, ...] = ()
    reached = 0
    for cut in sorted(data.draw(st.lists(st.integers(0, len(whole)), min_size=1, max_size=4))):
        lives[-1].feed(whole[reached:cut])
        checkpoint = lives[-1].checkpoint()
        identities += checkpoint.identities
        lives.append(Life())
        lives[-1].resume(Checkpoint(identities, checkpoint.waiting), whole[:cut])
        reached = cut
    lives[-1].feed(whole[reached:])
    lives[-1].end()
    together = summed(*lives)
    together.pop(("atoms_calls_active", (("agent_id", "a1"), ("agent_name", "Agent"))), None)
    assert together == rounded(lived(whole).counted())


@pytest.mark.parametrize("died", range(6))
def test_the_call_is_active_in_the_second_life_until_it_ends(died: int) -> None:
    whole = payloads([measured(5, tokens(1, 1)), node(100, "1", "One"), hop(200, "1", "2"), turn(300, 90), heard(400)])
    _, second = _two_lives(whole, died, died, end=False)
    assert second.total("atoms_calls_active") == (1 if died else 0)
    second.feed(whole)
    assert second.total("atoms_calls_active") == 1
    second.end()
    assert second.total("atoms_calls_active") == 0
    assert second.total("atoms_calls_started_total") == (0 if died else 1)
    assert second.total("atoms_calls_ended_total") == 1


def test_the_history_may_come_after_the_stream_has_gone_on() -> None:
    """The API did not answer at once; meanwhile the stream was read, and facts of it wait for a name."""
    whole = payloads([node(100, "1", "One"), hop(200, "1", "2"), measured(300, tokens(9, 1)), turn(400, 90)])
    first = Life()
    first.feed(whole[:2])
    second = Life()
    second.resume(first.checkpoint(), None)
    second.feed(whole[2:])
    second.rebuild(first.checkpoint(), whole)
    second.feed(payloads([*[heard(n) for n in range(4)], node(500, "2", "Two")])[4:])
    second.end()
    both = summed(first, second)
    assert {key: value for key, value in both.items() if key[0] == "atoms_llm_tokens_total"} == {
        key: value for key, value in rounded(second.counted()).items() if key[0] == "atoms_llm_tokens_total"
    }
    assert second.by("atoms_llm_tokens_total", "node_name", "type") == {("Two", "prompt"): 9, ("Two", "completion"): 1}
    assert second.by("atoms_turn_latency_seconds_count", "node_name") == {"Two": 1}


def test_a_history_that_lags_at_the_restart_costs_nothing_once_it_has_caught_up() -> None:
    """The API does not show the last seconds of a call in progress yet; facts of them waited for a name."""
    steps = [node(100, "1", "One"), hop(200, "1", "2"), measured(300, tokens(9, 1)), turn(400, 90)]
    whole = payloads([*steps, heard(600), node(700, "2", "Two"), step(900, "call_end")])
    first, second = Life(), Life()
    first.feed(whole[:4])
    second.resume(first.checkpoint(), whole[:1])
    second.feed(whole[5:])
    second.recover(whole)
    assert second.recover(whole) == 0
    second.end()
    for name in ("atoms_llm_tokens_total", "atoms_turn_latency_seconds_count", "atoms_node_hops_total"):
        labels = ("to_node_name",) if "hops" in name else ("node_name",)
        assert second.by(name, *labels) == lived(whole).by(name, *labels)
        assert first.total(name) == 0


def test_without_a_history_the_call_goes_on_from_what_comes() -> None:
    whole = payloads(
        [node(100, "1", "One"), turn(200, 90), node(300, "2", "Two"), turn(400, 90), step(500, "call_end")]
    )
    first = Life()
    first.feed(whole[:2])
    second = Life()
    second.resume(first.checkpoint(), None)
    second.feed(whole)
    second.end()
    assert first.by("atoms_turn_latency_seconds_count", "node_id") == {"1": 1}
    assert second.by("atoms_turn_latency_seconds_count", "node_id") == {"2": 1}
    assert second.total("atoms_exporter_events_duplicate_total") == 2


def test_a_call_under_way_before_anything_was_known_is_not_counted_backwards() -> None:
    whole = payloads([node(100, "1", "One"), turn(200, 90), hop(300, "1", "2"), node(400, "2", "Two"), turn(500, 80)])
    life = Life()
    life.tracker.mute_before(life.tracked, whole[:3], 0.0)
    assert life.samples("atoms_", leave_out=("atoms_exporter",)) == {
        ("atoms_calls_active", (("agent_id", "a1"), ("agent_name", "Agent"))): 1
    }
    life.feed(whole)
    life.end()
    assert life.by("atoms_turn_latency_seconds_count", "node_id") == {"2": 1}
    assert life.total("atoms_node_hops_total") == 0
    assert life.total("atoms_exporter_events_total", event_type="turn_latency") == 1
    assert life.total("atoms_calls_started_total") == 0


def _two_lives(whole: list[bytes], died: int, resumed: int, *, end: bool = True) -> tuple[Life, Life]:
    """One life sees the first ``died`` events; the other begins when the history holds ``resumed``."""
    first, second = Life(), Life()
    first.feed(whole[:died])
    second.resume(first.checkpoint(), whole[:resumed])
    if end:
        second.feed(whole[resumed:])
        second.end()
    return first, second
