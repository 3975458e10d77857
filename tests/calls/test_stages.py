"""Which stage took a turn's time: tools, look-ups and the customer's API among them, whatever tells of them when."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.calls import MOVES, calls
from tests.support.lives import Life, lived, over_nodes, rounded
from tests.support.wire import Ms, Step, heard, hop, node, payloads, step, turn

HERE = node(1, "A", "Ask")
SUM, COUNT = "atoms_turn_stage_latency_seconds_sum", "atoms_turn_stage_latency_seconds_count"
RAN = ("tool", "knowledgebase", "variable_extraction", "api_call")


def began(at_ms: int, key: str = "t1") -> Step:
    return step(at_ms, "tool_call_start", tool_call_id=key, function_name="look_up")


def answered(at_ms: int, took: int | None = None, key: str | None = "t1") -> Step:
    said: dict[str, Any] = {} if took is None else {"latency_ms": took}
    return step(at_ms, "tool_call_end", tool_call_id=key, function_name="look_up", success=True, **said)


def searched(at_ms: int, took: int) -> Step:
    return step(at_ms, "knowledgebase", latency=Ms(took))


def split(*steps: Step) -> dict[str, float]:
    """Seconds by stage of a call's turns."""
    ordered = sorted((HERE, *steps), key=lambda each: each.at_ms)
    return lived(payloads(ordered, "2026")).by(SUM, "stage")


def test_a_slow_tool_is_what_a_slow_turn_spent_its_time_on() -> None:
    assert split(began(2_000), answered(6_800), turn(8_000, 6_000, llm_api=900)) == {
        "llm_api": 0.9,
        "tool": 4.8,
        "unattributed": 0.3,
    }


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([answered(6_000, 4_000)], {"tool": 4.0, "unattributed": 1.0}),  # its start was never seen
        ([answered(6_000, 4_000, None)], {"tool": 4.0, "unattributed": 1.0}),  # it has no id
        ([searched(3_000, 700)], {"knowledgebase": 0.7, "unattributed": 4.3}),
        ([step(3_000, "variable_extraction", latency=Ms(700))], {"variable_extraction": 0.7, "unattributed": 4.3}),
        ([answered(2_500, 1_500)], {"tool": 0.5, "unattributed": 4.5}),  # it began before the turn
        ([answered(9_000, 3_000)], {"tool": 2.0, "unattributed": 3.0}),  # it ended after it
        ([answered(1_900, 1_000), answered(9_900, 1_000, "t2")], {"unattributed": 5.0}),  # outside
        ([answered(6_000, 2_000), answered(7_000, 2_000, "t2")], {"tool": 3.0, "unattributed": 2.0}),  # at once
        ([answered(6_000, 2_000), searched(7_000, 2_000)], {"tool": 2.0, "knowledgebase": 1.0, "unattributed": 2.0}),
        ([answered(7_900, 5_700)], {"tool": 5.0}),  # the model's own time is in it
        ([answered(6_000, 5_000), searched(7_900, 1_900)], {"tool": 4.0, "knowledgebase": 1.0}),
        ([began(3_000)], {"tool": 5.0}),  # it never answered, and the agent went on
        ([began(1_000)], {"unattributed": 5.0}),  # … after the turn before, or never in one
        ([began(3_000), step(3_500, "tool_call_error", tool_call_id="t1")], {"tool": 0.5, "unattributed": 4.5}),
        ([heard(2_100), step(5_000, "pre_call_api", method="GET")], {"api_call": 2.9, "unattributed": 2.1}),
        ([answered(4_000, 500), step(5_000, "post_call_api")], {"tool": 0.5, "api_call": 1.0, "unattributed": 3.5}),
        ([answered(6_000, -5)], {"unattributed": 5.0}),
        ([answered(6_000, 130_000)], {"unattributed": 5.0}),  # not credible
    ],
)
def test_what_ran_in_a_turn_has_what_the_reported_stages_leave(steps: list[Step], expected: dict[str, float]) -> None:
    found = split(*steps, turn(8_000, 6_000, llm_api=1_000))
    assert found.pop("llm_api") == 1.0
    assert found == pytest.approx(expected)


def test_a_turn_without_stages_has_those_that_ran_in_it() -> None:
    assert split(answered(6_000, 4_000), turn(8_000, 6_000)) == {"tool": 4.0, "unattributed": 2.0}
    assert split(turn(8_000, 6_000)) == {}
    assert split(step(6_000, "pre_call_api"), turn(8_000, 6_000)) == {}  # of that nobody can tell how long it took


def test_a_stage_belongs_to_the_node_that_answered() -> None:
    life = lived(
        payloads([HERE, answered(6_000, 3_000), hop(6_100, "A", "B"), node(7_000, "B", "Book"), turn(8_000, 6_000)])
    )
    assert life.by(SUM, "node_id", "stage") == {("B", "tool"): 3.0, ("B", "unattributed"): 3.0}


def test_nothing_of_it_is_said_before_the_call_is_over() -> None:
    life = Life()
    life.feed(payloads([HERE, turn(8_000, 6_000, llm_api=900)]))
    assert life.by(COUNT, "stage") == {"llm_api": 1}
    assert life.end().by(COUNT, "stage") == {"llm_api": 1, "unattributed": 1}


@given(calls(), st.randoms())
def test_the_stages_of_a_call_sum_to_its_turns_and_none_is_negative(call: list[Step], chance: Any) -> None:
    life = lived(payloads(call))
    for each in life.spans:
        if each.name == "turn":
            assert each.attributes.get("atoms.turn.unreported", 0) >= 0
    took = life.by(SUM, "stage")
    assert all(seconds >= 0 for seconds in took.values())
    told = [each for each in call if each.kind == "turn_latency"]
    if told and all(set(each.fields) - {"turn_latency", "interrupted"} for each in told):
        reported = [sum(ms for name, ms in each.fields.items() if name.endswith("_ms")) / 1000 for each in told]
        whole = [each.fields["turn_latency"].ms / 1000 for each in told]
        expected = sum(max(pair) for pair in zip(reported, whole, strict=True))
        assert sum(took.values()) == pytest.approx(expected)


@given(calls(workflow=False), st.randoms(), st.data())
def test_no_order_and_no_repetition_changes_them(call: list[Step], chance: Any, data: st.DataObject) -> None:
    wire = payloads(call)
    order = [*wire, *data.draw(st.lists(st.sampled_from(wire), max_size=5))]
    chance.shuffle(order)
    mixed = lived(order)
    assert mixed.by(SUM, "stage") == pytest.approx(lived(wire).by(SUM, "stage"))
    assert mixed.by(COUNT, "stage") == lived(wire).by(COUNT, "stage")


def recovered(call: list[Step], missed: set[int]) -> Life:
    """A call whose stream missed the steps at these places; its history brings them."""
    wire = payloads(call)
    life = Life()
    life.feed(payload for place, payload in enumerate(wire) if place not in missed)
    life.recover(wire)
    return life.end()


def with_gaps(*spared: str) -> st.SearchStrategy[tuple[list[Step], set[int]]]:
    """A call, and the places of what its stream missed: nothing of the ``spared`` kinds."""

    def gaps(call: list[Step]) -> st.SearchStrategy[tuple[list[Step], set[int]]]:
        places = [place for place, each in enumerate(call) if each.kind not in spared]
        return st.tuples(st.just(call), st.sets(st.sampled_from(places)))

    return calls().flatmap(gaps)


HOP_MISSED = ([node(1, "A", "Ask"), hop(2, "A", "B"), turn(3, 1, stt_api=0), step(4, "call_end")], {1})
"""The turn's stage was said of the node the call seemed to be in, before anybody knew of the hop."""


@given(with_gaps())
@example(HOP_MISSED)
def test_what_the_stream_missed_and_the_history_brings_changes_nothing_of_a_whole_call(
    found: tuple[list[Step], set[int]],
) -> None:
    """Over all nodes: a histogram cannot move to another node what it was told before the hop to it was known of."""
    call, missed = found
    life, whole = recovered(call, missed), lived(payloads(call))
    assert over_nodes(life.samples("atoms_turn_stage")) == over_nodes(whole.samples("atoms_turn_stage"))


@given(with_gaps(*MOVES))
def test_it_changes_nothing_of_any_node_unless_the_way_there_was_missed(found: tuple[list[Step], set[int]]) -> None:
    call, missed = found
    life, whole = recovered(call, missed), lived(payloads(call))
    assert rounded(life.samples("atoms_turn_stage")) == rounded(whole.samples("atoms_turn_stage"))


def test_what_was_said_before_a_missed_hop_is_known_stays_where_it_was_said_and_the_rest_does_not() -> None:
    moved, told = hop(3_000, "A", "B"), turn(8_000, 6_000, llm_api=900)
    call = [HERE, moved, answered(6_000, 3_000), told, node(9_000, "B", "Book")]
    assert recovered(call, {1}).by(SUM, "node_id", "stage") == {
        ("A", "llm_api"): 0.9,
        ("B", "tool"): 3.0,
        ("B", "unattributed"): 2.1,
    }


@given(calls(), st.data())
def test_a_life_that_goes_on_where_another_died_says_them_once(call: list[Step], data: st.DataObject) -> None:
    wire = payloads(call)
    died = data.draw(st.integers(0, len(wire)))
    first, second = Life(), Life()
    first.feed(wire[:died])
    second.resume(first.checkpoint(), wire[:died])
    second.feed(wire[died:])
    second.end()
    both = {stage: seconds + second.by(SUM, "stage").get(stage, 0) for stage, seconds in first.by(SUM, "stage").items()}
    both |= {stage: seconds for stage, seconds in second.by(SUM, "stage").items() if stage not in both}
    assert both == pytest.approx(lived(wire).by(SUM, "stage"))


def test_a_call_of_endless_turns_is_told_of_as_it_goes_and_sums_all_the_same() -> None:
    turns = [turn(10_000 * n, 2_000, llm_api=500) for n in range(1, 1_500)]
    life = Life()
    life.feed(payloads([HERE, *turns]))
    assert life.by(COUNT, "stage")["unattributed"] >= 512
    assert life.end().by(COUNT, "stage") == {"llm_api": 1_499, "unattributed": 1_499}


def test_one_turn_with_ten_thousand_tools_costs_no_more_than_some() -> None:
    tools = [answered(2_000 + n // 4, 10, f"t{n}") for n in range(10_000)]
    life = lived(payloads([HERE, *tools, turn(8_000, 6_000, llm_api=1_000)]))
    assert life.total(SUM) == pytest.approx(6.0)
