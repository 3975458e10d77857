"""What a stream missed comes from the call's history: counted once, where it happened."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.calls import MOVES, calls
from tests.support.lives import Life, Samples, lived, over_nodes, rounded
from tests.support.odd import odd_calls
from tests.support.wire import Step, heard, hop, measured, node, payloads, step, tokens, turn

MAY_DIFFER = {
    "atoms_node_duration_seconds": "a visit already counted cannot be made longer or shorter",
    "atoms_hop_response_seconds": "an answer already counted cannot have come sooner",
    "atoms_tool_call_latency_seconds": "a tool already timed, by its error, cannot be timed again by its end",
    "atoms_node_loops_total": "a loop that only seemed to be one cannot be taken back",
}
"""What late recovery cannot make the same, and why. The counts of the histograms are still exact."""

EXACT = (
    "atoms_node_duration_seconds_count",
    "atoms_hop_response_seconds_count",
    "atoms_tool_call_latency_seconds_count",
)


@given(calls(), st.data())
def test_a_gap_filled_before_the_stream_goes_on_leaves_no_trace(call: list[Step], data: st.DataObject) -> None:
    whole = payloads(call)
    life, reached = Life(), 0
    for cut in sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=3))):
        gap = data.draw(st.integers(reached, cut))
        life.feed(whole[reached:gap])
        life.recover(whole[:cut])
        reached = cut
    life.feed(whole[reached:])
    life.end()
    reference = lived(whole)
    assert life.counted() == reference.counted()
    assert life.text() == reference.text()
    assert life.spans == reference.spans


@given(calls(), st.data())
def test_whatever_was_lost_and_whenever_it_comes_back_each_event_counts_once(
    call: list[Step], data: st.DataObject
) -> None:
    whole = payloads(call)
    life, lost = _interrupted(whole, data)
    reference = lived(whole)
    assert _exact(over_nodes(life.counted())) == _exact(over_nodes(reference.counted()))
    assert life.total("atoms_exporter_events_recovered_total") == len(lost)
    assert life.total("atoms_calls_active") == 0


@given(odd_calls(), st.data())
def test_that_holds_for_calls_in_which_nothing_is_as_it_should_be(whole: list[bytes], data: st.DataObject) -> None:
    life, _ = _interrupted(whole, data)
    # One tool call whose events name two functions: a counter cannot give back what the first of them gave it.
    exact, reference = (_exact(over_nodes(each.counted(), "function")) for each in (life, lived(whole)))
    skipped = {key for key in exact | reference if key[0] == "atoms_exporter_samples_skipped_total"}
    assert {key: exact.get(key) for key in exact | reference if key not in skipped} == {
        key: reference.get(key) for key in exact | reference if key not in skipped
    }
    trace = life.trace()
    assert all(span.parent_id is None or span.parent_id in trace for span in trace.values())


@given(calls(), st.data())
def test_what_was_lost_lands_on_the_node_the_call_was_in_unless_the_way_there_was_lost(
    call: list[Step], data: st.DataObject
) -> None:
    whole = payloads(call)
    talk = frozenset(place for place, each in enumerate(call) if each.kind not in MOVES)
    life, _ = _interrupted(whole, data, talk)
    assert _exact(rounded(life.counted())) == _exact(rounded(lived(whole).counted()))


@given(calls(), st.data())
def test_the_trace_is_whole_and_the_same_spans_whatever_was_lost(call: list[Step], data: st.DataObject) -> None:
    whole = payloads(call)
    life, _ = _interrupted(whole, data)
    trace, reference = life.trace(), lived(whole).trace()
    assert trace.keys() == reference.keys()
    assert all(span.parent_id is None or span.parent_id in trace for span in trace.values())


@given(calls(), st.data())
def test_a_history_that_is_behind_the_stream_loses_nothing(call: list[Step], data: st.DataObject) -> None:
    """It does not even hold what was seen: its events are still counted, each once."""
    whole = payloads(call)
    seen = data.draw(st.lists(st.sampled_from(range(len(whole))), unique=True))
    held = data.draw(st.lists(st.sampled_from(range(len(whole))), unique=True))
    life = Life()
    life.feed([whole[place] for place in sorted(seen)])
    life.recover([whole[place] for place in held])
    life.recover(whole)
    life.end()
    assert life.by("atoms_exporter_events_total", "event_type") == lived(whole).by(
        "atoms_exporter_events_total", "event_type"
    )


def test_a_lost_hop_is_counted_once_although_the_node_was_seen_without_it() -> None:
    whole = payloads(
        [
            node(100, "1", "One"),
            hop(1000, "1", "2"),
            measured(1500, tokens(10, 1)),
            node(2000, "2", "Two"),
            hop(3000, "2", "3"),
            node(4000, "3", "Three"),
        ]
    )
    life = Life()
    life.feed([whole[0], whole[2], whole[3], whole[5]])
    life.recover(whole)
    life.end("lost")
    assert life.by("atoms_node_visits_total", "node_id") == {"1": 1, "2": 1, "3": 1}
    assert life.by("atoms_node_duration_seconds_count", "node_id") == {"1": 1, "2": 1, "3": 1}
    assert life.by("atoms_node_hops_total", "from_node_id", "to_node_id") == {("1", "2"): 1, ("2", "3"): 1}
    assert life.total("atoms_llm_tokens_total", type="prompt", node_id="1") == 10, "counted before the hop was known of"


def test_a_visit_nobody_saw_is_counted_with_its_own_duration() -> None:
    whole = payloads([node(100, "1", "One"), hop(1000, "1", "2"), node(2000, "2", "Two"), hop(3500, "2", "3")])
    life = Life()
    life.feed([whole[0], payloads([node(4000, "3", "Three")])[0].replace(b"_1_", b"_9_")])
    life.recover([*whole, payloads([node(4000, "3", "Three")])[0].replace(b"_1_", b"_9_")])
    life.end("lost")
    assert life.by("atoms_node_duration_seconds_sum", "node_id")["2"] == 2.5
    assert life.by("atoms_node_visits_total", "node_id") == {"1": 1, "2": 1, "3": 1}


def test_a_tool_whose_start_was_lost_is_one_call() -> None:
    fields = {"tool_call_id": "t1", "function_name": "look_up"}
    whole = payloads(
        [
            node(100, "1", "One"),
            step(1000, "tool_call_start", **fields),
            step(1500, "tool_call_error", **fields, error="no"),
            step(1501, "tool_call_end", **fields, success=False, latency_ms=500),
        ]
    )
    life = Life()
    life.feed([whole[0], whole[3]])
    life.recover(whole)
    life.end()
    assert life.total("atoms_tool_calls_total") == 1
    assert life.total("atoms_tool_call_failures_total") == 1
    assert life.total("atoms_tool_call_latency_seconds_sum") == 0.5


def test_a_tool_counted_without_its_start_is_timed_once_the_start_is_known() -> None:
    fields = {"tool_call_id": "t1", "function_name": "look_up"}
    whole = payloads(
        [
            node(100, "1", "One"),
            step(1000, "tool_call_start", **fields),
            step(1342, "tool_call_error", **fields, error="no"),
        ]
    )
    life = Life()
    life.feed([whole[0], whole[2]])
    assert life.total("atoms_tool_call_latency_seconds_count") == 0
    life.recover(whole)
    life.recover(whole)
    life.end()
    assert life.total("atoms_tool_calls_total") == 1
    assert life.total("atoms_tool_call_latency_seconds_count") == 1
    assert life.total("atoms_tool_call_latency_seconds_sum") == 0.342


def test_what_was_said_is_not_said_again_because_a_lost_hop_leads_to_a_node_without_a_name() -> None:
    fields = {"tool_call_id": "t1", "function_name": "look_up"}
    whole = payloads(
        [
            node(100, "1", "One"),
            hop(1000, "1", "2"),
            step(1500, "tool_call_end", **fields, success=False, latency_ms=500),
            turn(2000, 300),
            step(3000, "call_end"),
        ]
    )
    life = Life()
    life.feed([whole[0], whole[2]])
    life.recover(whole[:3])
    life.feed([whole[4]])
    life.recover(whole)  # the hop is no news any more, and still nobody knows the node's name
    life.end()
    assert life.total("atoms_tool_calls_total") == life.total("atoms_tool_call_failures_total") == 1
    assert life.total("atoms_tool_call_latency_seconds_count") == 1
    assert len(life.trace()) == len(life.spans)


def test_facts_that_waited_for_a_name_when_the_history_came_are_not_forgotten() -> None:
    whole = payloads([measured(10, tokens(7, 3)), heard(20), hop(30, "1", "2"), turn(40, 30), node(50, "2", "Two")])
    life = Life()
    life.feed([whole[0], whole[2], whole[3]])
    life.recover(whole[:4])
    life.feed(whole)
    life.end()
    assert life.counted() == lived(whole).counted()


def test_events_without_a_time_are_taken_where_the_history_has_them() -> None:
    untimed = payloads([measured(700, tokens(5, 5))])[0].replace(b'"timestamp"', b'"when"').replace(b"_1_", b"_8_")
    whole = payloads([node(100, "1", "One"), hop(1000, "1", "2"), node(2000, "2", "Two")])
    life = Life()
    life.feed(whole)
    life.recover([whole[0], untimed, *whole[1:]])
    life.end()
    assert life.by("atoms_llm_tokens_total", "node_id") == {"1": 10}


def test_a_history_with_nothing_new_costs_nothing_and_says_so() -> None:
    whole = payloads([node(100, "1", "One"), turn(2000, 900)])
    life = Life()
    life.feed(whole)
    before = life.counted()
    assert life.recover([*whole, *whole]) == 0
    assert life.recover([b"not json", b"[]", b'{"event_type":"sse_init"}']) == 0
    assert life.counted() | {("atoms_exporter_events_rejected_total", (("reason", "malformed_json"),)): 1} | {
        ("atoms_exporter_events_rejected_total", (("reason", "not_an_object"),)): 1
    } == before | life.samples("atoms_exporter_events_rejected")


def test_what_happens_twice_in_the_history_happened_once() -> None:
    whole = payloads([node(100, "1", "One"), turn(2000, 900), turn(3000, 700), hop(4000, "1", "2")])
    life = Life()
    life.feed([whole[0], whole[3]])
    life.recover([*whole, *whole])
    life.end()
    assert life.total("atoms_turn_latency_seconds_count") == 2
    assert life.total("atoms_node_hops_total") == 1


def test_of_a_call_joined_late_only_what_came_after_joining_is_recovered() -> None:
    whole = payloads([node(100, "1", "One"), turn(2000, 900), turn(3000, 700), turn(4000, 600), hop(5000, "1", "2")])
    life = Life()
    life.feed([whole[2], whole[4]])
    life.tracker.recover(life.tracked, whole, 0.0, only_after_first=True)
    life.end()
    assert life.total("atoms_turn_latency_seconds_count") == 2
    assert life.by("atoms_exporter_events_total", "event_type") == {"turn_latency": 2, "hopping": 1}


def test_another_calls_events_in_a_history_stay_out() -> None:
    life = Life()
    life.feed(payloads([node(100, "1", "One"), turn(9000, 1)]))
    life.recover(payloads([node(100, "1", "One")]) + payloads([turn(2000, 900)], call_id="CALL-other"))
    assert life.total("atoms_turn_latency_seconds_count", node_id="1") == 1
    assert life.total("atoms_exporter_events_rejected_total", reason="wrong_call") == 1


def _interrupted(
    whole: list[bytes], data: st.DataObject, may_lose: frozenset[int] | None = None
) -> tuple[Life, set[int]]:
    """A life in which the stream loses events, and which asks for the history now and then, at last at the end."""
    life, places = Life(), sorted(may_lose) if may_lose is not None else list(range(len(whole)))
    lost = data.draw(st.sets(st.sampled_from(places), max_size=8)) if places else set()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=2)))
    reached = 0
    for cut in (*cuts, len(whole)):
        life.feed([whole[place] for place in range(reached, cut) if place not in lost])
        life.recover(whole[:cut])
        reached = cut
    life.end()
    return life, lost


def _exact(samples: Samples) -> Samples:
    return {
        (name, labels): value
        for (name, labels), value in samples.items()
        if name in EXACT or not name.startswith(tuple(MAY_DIFFER))
    }
