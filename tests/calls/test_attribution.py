"""Where things count: the node the call was in when the event arrived, visits, hops, loops, the answer after a hop."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given

from exporter.calls.observations import Agent
from exporter.calls.visits import LONGEST_QUEUE
from tests.support.calls import calls
from tests.support.lives import Life, lived
from tests.support.wire import Step, greeting, heard, hop, measured, node, payloads, record, step, tokens, turn


def test_what_comes_before_the_first_node_waits_for_it_and_for_its_name() -> None:
    life = Life()
    whole = payloads([measured(5, tokens(3, 2)), greeting(700), heard(900), turn(1500, 400), hop(2000, "1", "2")])
    life.feed(whole)
    assert not life.by("atoms_tts_latency_seconds_count", "node_id"), "the node has no name yet"
    life.feed(payloads([*[heard(1)] * 5, node(3000, "1", "One")])[5:])
    assert life.by("atoms_tts_latency_seconds_count", "node_name") == {"One": 1}
    assert life.by("atoms_llm_tokens_total", "node_name") == {"One": 5}
    assert life.by("atoms_user_turns_total", "node_name") == {"One": 1}
    assert life.by("atoms_turn_latency_seconds_count", "node_name") == {"One": 1}


def test_a_node_known_only_by_its_id_waits_for_its_name_and_its_hop_for_both() -> None:
    life = Life()
    whole = payloads([node(1, "1", "One"), hop(1000, "1", "2"), turn(2000, 900), node(2500, "2", "Two")])
    life.feed(whole[:3])
    assert not life.by("atoms_turn_latency_seconds_count", "node_id")
    assert not life.by("atoms_node_hops_total", "to_node_id")
    life.feed(whole[3:])
    assert life.by("atoms_turn_latency_seconds_count", "node_id", "node_name") == {("2", "Two"): 1}
    assert life.by("atoms_node_hops_total", "from_node_name", "to_node_name") == {("One", "Two"): 1}


def test_at_the_end_nothing_waits_and_a_node_that_never_had_a_name_is_unknown() -> None:
    life = lived(payloads([measured(1, tokens(1, 1)), hop(1000, "1", "2"), turn(2000, 900)]))
    assert life.by("atoms_llm_tokens_total", "node_id", "node_name") == {("1", "unknown"): 2}
    assert life.by("atoms_turn_latency_seconds_count", "node_id", "node_name") == {("2", "unknown"): 1}


def test_a_name_another_call_of_the_agent_has_shown_is_known() -> None:
    life = Life()
    life.feed(payloads([node(1, "2", "Two")]))
    life.end()
    life.call_id = "CALL-2"
    life.feed(payloads([turn(2000, 900), hop(3000, "1", "2"), turn(5000, 800)], call_id="CALL-2"))
    life.end()
    assert life.by("atoms_turn_latency_seconds_count", "node_id", "node_name") == {
        ("1", "unknown"): 1,
        ("2", "Two"): 1,
    }


def test_a_call_that_never_shows_a_node_counts_on_none_and_visits_nothing() -> None:
    life = lived(payloads([measured(1, tokens(1, 1)), turn(2000, 900), step(3000, "call_end")]))
    assert life.by("atoms_turn_latency_seconds_count", "node_id", "node_name") == {("none", "none"): 1}
    assert life.total("atoms_node_visits_total") == 0
    assert [span.name for span in life.spans if span.parent_id is None] == ["call"]


def test_a_single_prompt_agent_waits_for_nothing() -> None:
    life = Life(agent=Agent("a2", "One Prompt", single_prompt=True))
    life.feed(payloads([turn(2000, 900)]))
    assert life.by("atoms_turn_latency_seconds_count", "node_id", "agent_id") == {("none", "a2"): 1}


def test_a_call_that_shows_no_node_for_too_long_stops_waiting() -> None:
    life = Life()
    many = [measured(n, record("LLM#0", 0.25)) for n in range(1, LONGEST_QUEUE + 2)]
    life.feed(payloads(many))
    assert life.by("atoms_processor_latency_seconds_count", "node_id") == {"none": LONGEST_QUEUE + 1}
    life.feed(payloads([*many, node(9000, "1", "One"), turn(9500, 300)])[len(many) :])
    life.end()
    assert life.by("atoms_turn_latency_seconds_count", "node_id") == {"1": 1}
    assert life.by("atoms_node_visits_total", "node_id") == {"1": 1}


def test_a_node_that_shows_itself_without_a_hop_is_a_visit_but_no_hop() -> None:
    life = lived(payloads([node(100, "1", "One"), node(2100, "2", "Two"), turn(3000, 800), step(4100, "call_end")]))
    assert life.by("atoms_node_visits_total", "node_id") == {"1": 1, "2": 1}
    assert life.by("atoms_node_duration_seconds_sum", "node_id") == {"1": 2, "2": 2}
    assert life.by("atoms_turn_latency_seconds_count", "node_id") == {"2": 1}
    assert life.total("atoms_node_hops_total") == 0


def test_a_node_that_shows_itself_again_is_still_the_same_visit() -> None:
    life = lived(payloads([node(100, "1", "One"), node(2000, "1", "One"), node(3000, "1", "One")]))
    assert life.by("atoms_node_visits_total", "node_id") == {"1": 1}


@pytest.mark.parametrize(
    ("way", "loops"),
    [
        ("A B A", {"A": 1}),
        ("A B A B", {"A": 1, "B": 1}),
        ("A B C A", {}),
        ("A B C B", {"B": 1}),
        ("A A A", {"A": 1}),
        ("A B B A", {}),
    ],
)
def test_a_loop_is_a_hop_back_to_the_node_left_in_the_hop_before(way: str, loops: dict[str, int]) -> None:
    nodes = way.split()
    hops = [hop(1000 * (n + 1), here, there) for n, (here, there) in enumerate(pairwise(nodes))]
    life = lived(payloads([node(100, "A", "A"), *hops, *(node(9000 + n, name, name) for n, name in enumerate("CBA"))]))
    assert life.by("atoms_node_loops_total", "node_id") == loops


def test_a_hop_from_a_node_the_call_is_not_in_makes_no_loop_of_what_was_missed() -> None:
    life = lived(payloads([node(1, "A", "A"), hop(1000, "A", "B"), hop(2000, "C", "A"), node(3000, "C", "C")]))
    assert life.total("atoms_node_loops_total") == 0
    assert life.by("atoms_node_hops_total", "from_node_id", "to_node_id") == {("A", "B"): 1, ("C", "A"): 1}


def test_a_hop_without_an_origin_comes_from_where_the_call_is() -> None:
    life = lived(payloads([node(1, "A", "A"), hop(1000, None, "B"), node(2000, "B", "B")]))
    assert life.by("atoms_node_hops_total", "from_node_id", "to_node_id") == {("A", "B"): 1}


def test_a_first_hop_without_an_origin_comes_from_nowhere() -> None:
    life = lived(payloads([turn(500, 300), hop(1000, None, "B"), node(2000, "B", "B")]))
    assert life.by("atoms_node_hops_total", "from_node_id", "from_node_name", "to_node_id") == {
        ("none", "none", "B"): 1
    }
    assert life.by("atoms_turn_latency_seconds_count", "node_id") == {"B": 1}


@pytest.mark.parametrize(
    ("after", "response"),
    [
        ([greeting(1800, 300), turn(2500, 900)], {"B": 0.8}),
        ([turn(2500, 900), greeting(2600, 300)], {"B": 1.5}),
        ([heard(1500), node(1700, "B", "B")], {}),
        ([greeting(900, 300)], {}),
        ([greeting(121_500, 300)], {}),
    ],
)
def test_the_answer_after_a_hop_is_the_first_one_heard(after: list[Step], response: dict[str, float]) -> None:
    life = lived(payloads([node(1, "A", "A"), hop(1000, "A", "B"), *after, node(130_000, "B", "B")]))
    assert life.by("atoms_hop_response_seconds_sum", "node_id") == response


def test_an_answer_after_two_hops_answers_the_last_one() -> None:
    life = lived(payloads([node(1, "A", "A"), hop(1000, "A", "B"), hop(2000, "B", "C"), greeting(2500, 100)]))
    assert life.by("atoms_hop_response_seconds_sum", "node_id") == {"C": 0.5}


def test_a_visit_lasts_from_hop_to_hop_and_the_last_one_to_the_end_of_the_call() -> None:
    steps = [node(100, "A", "A"), hop(1000, "A", "B"), node(1200, "B", "B"), hop(3500, "B", "A")]
    life = lived(payloads([*steps, step(9000, "call_end"), step(9500, "call_recording")]))
    assert life.by("atoms_node_duration_seconds_sum", "node_id") == {"A": 0.9 + 5.5, "B": 2.5}
    assert life.total("atoms_call_duration_seconds_sum") == 8.9


@given(calls())
def test_there_is_one_visit_more_than_hops(call: list[Step]) -> None:
    life = lived(payloads(call))
    assert life.total("atoms_node_visits_total") == 1 + life.total("atoms_node_hops_total")
    assert life.total("atoms_node_duration_seconds_count") == life.total("atoms_node_visits_total")


@given(calls(ends=False) | calls())
def test_the_visits_of_a_call_add_up_to_its_time(call: list[Step]) -> None:
    life = lived(payloads(call))
    ended = next((each.at_ms for each in call if each.kind == "call_end"), call[-1].at_ms)
    spent = life.total("atoms_node_duration_seconds_sum")
    assert spent == pytest.approx((ended - call[0].at_ms) / 1000, abs=1e-6)


def test_times_that_run_backwards_make_no_negative_durations() -> None:
    steps = [node(1000, "A", "A"), hop(5000, "A", "B"), hop(2000, "B", "C"), greeting(1500, 1), step(800, "call_end")]
    life = lived(payloads(steps))
    assert life.by("atoms_node_duration_seconds_sum", "node_id") == {"A": 4}
    assert life.by("atoms_node_duration_seconds_count", "node_id") == {"A": 1, "C": 1}
    assert life.total("atoms_exporter_samples_skipped_total", reason="negative") >= 1, "the visit"
    assert life.total("atoms_hop_response_seconds_count") == 0, "what was said before a hop does not answer it"
    assert life.by("atoms_node_visits_total", "node_id") == {"A": 1, "B": 1, "C": 1}
