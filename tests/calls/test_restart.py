"""A call goes on where an earlier life of the process left it: both lives add up, and the trace is one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.calls import tracker as trackers
from exporter.calls.recovery import UNTOLD
from tests.support.calls import calls
from tests.support.lives import Checkpoint, Life, Samples, lived, over_nodes, rounded, summed
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
    second.recover(whole)
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


class Kept:
    """Lives of the exporter, one after the other, on what commits have kept of a call that goes on meanwhile."""

    def __init__(self, whole: list[bytes]) -> None:
        self.whole = whole
        self.happened = 0
        self.identities: tuple[int, ...] = ()
        self.waiting: Mapping[int, frozenset[str]] = {}
        self.numbers: Samples = {}
        self.crash()

    def crash(self) -> None:
        """What was counted after the last commit is gone; a new life begins with what was kept."""
        self.life, self.before, self.committed = Life(), self.numbers, 0
        self.life.resume(Checkpoint(self.identities, self.waiting), None)
        if not self.identities:  # nobody knows of it: a history comes before the stream
            self.history(self.happened)

    def commit(self) -> None:
        """Everything up to now, in one transaction."""
        checkpoint = self.life.checkpoint()
        self.identities += checkpoint.identities[self.committed :]
        self.committed = len(checkpoint.identities)
        self.waiting = checkpoint.waiting
        self.numbers = _added(self.before, self.life.counted())

    def history(self, upto: int) -> None:
        self.life.recover(self.whole[:upto])

    def live(self) -> None:
        """The stream brings the next event."""
        self.life.feed(self.whole[self.happened : self.happened + 1])
        self.happened = min(self.happened + 1, len(self.whole))

    def missed(self) -> None:
        """Something happens while nothing runs."""
        self.crash()
        self.happened = min(self.happened + 1, len(self.whole))
        self.crash()

    def end(self) -> Samples:
        """All that is left happens, then the call's log has all of it."""
        while self.happened < len(self.whole):
            self.live()
        self.history(len(self.whole))
        self.life.end()
        self.commit()
        return {sample: value for sample, value in self.numbers.items() if sample[0] != "atoms_calls_active"}


_STEPS = ("live", "live", "live", "live", "commit", "commit", "crash", "missed", "history")


def _played(whole: list[bytes], data: st.DataObject, *, lag: bool) -> Samples:
    kept = Kept(whole)
    for what in data.draw(st.lists(st.sampled_from(_STEPS), max_size=40)):
        if what == "history":
            kept.history(data.draw(st.integers(0, kept.happened)) if lag else kept.happened)
        else:
            getattr(kept, what)()
    return kept.end()


@given(any_call, st.data())
def test_whenever_it_ends_and_whenever_the_history_comes_what_was_kept_adds_up(
    call: list[Step], data: st.DataObject
) -> None:
    """A crash after any commit, between any two events, before or after the history was had: every number is the one of
    a single life, those that follow from several events (a visit's duration, a hop's answer) too."""
    whole = payloads(call)
    assert _played(whole, data, lag=False) == rounded(lived(whole).counted())


@given(any_call, st.data())
def test_that_holds_where_histories_lag_but_for_the_node_of_what_was_said_meanwhile(
    call: list[Step], data: st.DataObject
) -> None:
    whole = payloads(call)
    counted, reference = _played(whole, data, lag=True), rounded(lived(whole).counted())
    assert over_nodes(counted) == over_nodes(reference)
    assert _derived(counted) == _derived(reference)


_DERIVED = ("atoms_node_visits", "atoms_node_duration", "atoms_node_loops", "atoms_hop_response", "atoms_tool_call")


def _derived(samples: Samples) -> Samples:
    return {sample: value for sample, value in samples.items() if sample[0].startswith(_DERIVED)}


def _added(before: Samples, counted: Samples) -> Samples:
    return rounded({sample: before.get(sample, 0) + counted.get(sample, 0) for sample in before | counted})


@pytest.mark.parametrize("untimed", [False, True])
def test_events_before_the_history_after_a_restart_lose_no_visits_end(untimed: bool) -> None:
    """The list said that the call was over while its history was asked for: the stream was read without it."""
    whole = payloads([node(100, "1", "One"), turn(200, 90), hop(300, "1", "2"), node(400, "2", "Two"), heard(500)])
    if untimed:
        whole = [payload.replace(b'"timestamp"', b'"when"') for payload in whole]
    first, second = Life(), Life()
    first.feed(whole[:2])
    second.resume(first.checkpoint(), None)
    second.feed(whole[2:4])
    second.recover(whole)
    second.end()
    assert summed(first, second) == rounded(lived(whole).counted()) | {
        ("atoms_calls_active", (("agent_id", "a1"), ("agent_name", "Agent"))): 1
    }


def test_a_call_whose_history_never_comes_is_told_as_far_as_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held back for a history is bounded: an hour of conversation without one, and no history is coming."""
    monkeypatch.setattr(trackers, "_MOST_OWED", 3)
    steps = [node(100, "1", "One"), turn(200, 90), hop(300, "1", "2"), node(400, "2", "Two"), turn(500, 90)]
    whole = payloads([*steps, turn(600, 90), hop(700, "2", "3"), node(800, "3", "Three"), step(900, "call_end")])
    first, second = Life(), Life()
    first.feed(whole[:2])
    second.resume(first.checkpoint(), None)
    second.feed(whole[2:5])
    assert second.total("atoms_node_visits_total") == 0
    second.feed(whole[5:8])
    assert second.by("atoms_node_visits_total", "node_id") == {"2": 1, "3": 1}
    assert second.by("atoms_turn_latency_seconds_count", "node_id") == {"2": 2}
    assert not {kind for kinds in second.checkpoint().waiting.values() for kind in kinds} & {UNTOLD}
    second.feed(whole[8:])
    second.end()
    assert second.by("atoms_node_duration_seconds_count", "node_id")["2"] == 1


def _two_lives(whole: list[bytes], died: int, resumed: int, *, end: bool = True) -> tuple[Life, Life]:
    """One life sees the first ``died`` events; the other begins when the history holds ``resumed``."""
    first, second = Life(), Life()
    first.feed(whole[:died])
    second.resume(first.checkpoint(), whole[:resumed])
    if end:
        second.feed(whole[resumed:])
        second.end()
    return first, second
