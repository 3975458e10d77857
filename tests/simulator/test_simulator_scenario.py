"""Calls as the simulator makes them: seeded, believable, in the guide's order."""

from __future__ import annotations

import itertools
from collections import Counter
from statistics import median

import pytest

from exporter.simulator import AGENTS, QUIET, Conditions, Slowdown, recorded, script, sse_bytes
from exporter.simulator.happenings import CallScript
from exporter.simulator.workflow import END

SCRIPTS = [script(7, number) for number in range(250)]
TALKED = [call for call in SCRIPTS if any(event.kind == "turn_latency" for event in call.happenings)]


def seconds_of_talk() -> float:
    return sum(call.ended_ms for call in TALKED) / 1000


def latencies(calls: list[CallScript], node_id: str | None = None) -> list[float]:
    found = []
    for call in calls:
        node = None
        for event in call.happenings:
            if event.kind == "agent_node_state":
                node = event.facts["node_id"]
            if event.kind == "turn_latency" and node_id in (None, node):
                found.append(event.facts["turn_latency"].ms)
    return found


@pytest.mark.parametrize("dialect", ["2025", "2026"])
def test_the_same_seed_gives_the_same_bytes(dialect):
    for number in range(20):
        assert sse_bytes(recorded(3, number, dialect)) == sse_bytes(recorded(3, number, dialect))


def test_another_seed_gives_other_calls():
    assert sse_bytes(recorded(3, 0)) != sse_bytes(recorded(4, 0))
    assert len({sse_bytes(recorded(3, number)) for number in range(30)}) == 30


def test_five_workflows_have_5_to_12_nodes_and_one_agent_has_a_single_prompt():
    sizes = [len(agent.nodes) for agent in AGENTS if agent.shows_nodes]
    assert 4 <= len(sizes) <= 6
    assert min(sizes) >= 5
    assert max(sizes) <= 12
    assert [agent.workflow_type for agent in AGENTS].count("single_prompt") == 1


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_every_way_leads_somewhere_and_every_node_can_be_reached(agent):
    reached, open_ids = set(), [agent.nodes[0].id]
    while open_ids:
        node = agent.node(open_ids.pop())
        reached.add(node.id)
        open_ids += [way for way, _ in node.ways if way != END and way not in reached]
    assert reached == {node.id for node in agent.nodes}
    assert any(way == END for node in agent.nodes for way, _ in node.ways)


def test_two_workflows_use_the_same_node_ids_for_different_nodes():
    names: dict[str, set[str]] = {}
    for agent in AGENTS:
        for node in agent.nodes:
            names.setdefault(node.id, set()).add(node.name)
    assert any(len(found) > 1 for found in names.values())


def test_about_three_metrics_events_a_second():
    metrics = sum(event.kind == "metrics" for call in TALKED for event in call.happenings)
    assert 2.6 < metrics / seconds_of_talk() < 3.8


def test_about_two_interim_transcriptions_a_second_of_speech():
    rates = []
    for call in TALKED:
        at = [event.at_ms for event in call.happenings if event.kind == "user_interim_transcription"]
        gaps = [later - earlier for earlier, later in itertools.pairwise(at) if later - earlier < 900]
        rates += gaps
    assert 400 < median(rates) < 600


def test_turn_latencies_are_good_by_the_vendors_numbers_with_a_log_normal_tail():
    found = sorted(latencies(SCRIPTS))
    assert 700 < median(found) < 1100
    assert found[int(len(found) * 0.95)] < 2000
    assert found[int(len(found) * 0.995)] < 4000
    assert found[-1] > 1800


def test_one_node_is_slow_without_breaking_the_objective():
    slow = latencies([script(7, number) for number in range(900)], "10007")
    others = latencies(SCRIPTS)
    assert len(slow) > 30
    assert median(slow) > 1.3 * median(others)


def test_a_call_has_everything_that_happens_on_calls():
    kinds = Counter(event.kind for number in range(600) for event in script(7, number).happenings)
    assert set(kinds) == {
        "metrics",
        "call_start",
        "call_end",
        "call_cancelled",
        "call_recording",
        "user_interim_transcription",
        "user_transcription",
        "agent_node_state",
        "hopping",
        "llm_full_response_end",
        "tts_completed",
        "turn_latency",
        "tool_call_start",
        "tool_call_end",
        "tool_call_error",
        "knowledgebase",
        "variable_extraction",
        "pre_call_api",
        "post_call_api",
        "agent_error",
        "agent_log",
    }


def test_calls_end_in_every_way_and_mostly_well():
    outcomes = Counter(script(7, number).outcome for number in range(600))
    assert set(outcomes) == {"completed", "failed", "no_answer", "busy", "cancelled"}
    assert outcomes["completed"] / 600 > 0.85
    assert outcomes["failed"] / 600 < 0.04


def test_loops_and_interruptions_occur():
    loops = interrupted = 0
    for call in TALKED:
        hops = [event.facts for event in call.happenings if event.kind == "hopping"]
        loops += sum(first["from_node_id"] == second["to_node_id"] for first, second in itertools.pairwise(hops))
        interrupted += sum(event.facts["interrupted"] for event in call.happenings if event.kind == "turn_latency")
    assert loops > 5
    assert 0.02 < interrupted / len(latencies(TALKED)) < 0.15


def test_a_call_begins_with_empty_metrics_before_call_start():
    for call in SCRIPTS:
        first, second = call.happenings[0], next(e for e in call.happenings if e.kind == "call_start")
        assert first.kind == "metrics"
        assert all(record["value"].ms == 0 for record in first.facts["metrics"])
        assert first.at_ms < second.at_ms


def test_the_greeting_is_spoken_before_any_node_is_known():
    for call in TALKED:
        kinds = [event.kind for event in call.happenings]
        if "agent_node_state" in kinds:
            assert kinds.index("tts_completed") < kinds.index("agent_node_state")
            assert "hopping" not in kinds[: kinds.index("agent_node_state")]


def test_a_node_shows_itself_when_it_has_answered_and_a_hop_comes_before_the_next_answer():
    for call in TALKED:
        node = None
        for event in call.happenings:
            if event.kind == "hopping":
                assert event.facts["from_node_id"] == node
                node = event.facts["to_node_id"]
            if event.kind == "agent_node_state":
                assert node in (None, event.facts["node_id"])
                node = event.facts["node_id"]


def test_single_prompt_calls_show_no_node():
    single = {agent.id for agent in AGENTS if not agent.shows_nodes}
    of_single = [call for call in TALKED if call.agent_id in single]
    assert of_single
    for call in of_single:
        assert not {"hopping", "agent_node_state"} & {event.kind for event in call.happenings}


def test_a_turn_is_stamped_when_the_answer_is_heard():
    for call in TALKED:
        said = 0
        for event in call.happenings:
            if event.kind == "user_interim_transcription":
                said = event.at_ms
            if event.kind == "turn_latency":
                assert event.at_ms - event.facts["turn_latency"].ms >= said - 5


def test_stages_never_exceed_the_turn():
    for call in TALKED:
        for event in call.happenings:
            if event.kind == "turn_latency":
                stages = [ms for name, ms in event.facts.items() if name.endswith("_ms")]
                assert len(stages) in (6, 7)
                assert sum(stages) <= event.facts["turn_latency"].ms


def test_tools_start_and_end_in_one_node():
    for call in TALKED:
        running: str | None = None
        for event in call.happenings:
            if event.kind == "tool_call_start":
                assert running is None
                running = event.facts["tool_call_id"]
            elif event.kind in ("tool_call_end", "tool_call_error"):
                assert event.facts["tool_call_id"] == running
                running = None
            elif event.kind == "hopping":
                assert running is None
        assert running is None


def test_no_two_events_share_a_millisecond():
    for call in SCRIPTS:
        times = [event.at_ms for event in call.happenings]
        assert len(set(times)) == len(times)
        assert times == sorted(times)


def test_a_slow_node_is_slow_by_the_factor_and_no_other():
    slowed = ((0, Conditions(slow=(Slowdown("10004", 4),))),)
    plain = [script(5, number) for number in range(300)]
    slow = [script(5, number, slowed) for number in range(300)]
    assert median(latencies(slow, "10004")) > 3 * median(latencies(plain, "10004"))
    assert median(latencies(slow, "20002")) == median(latencies(plain, "20002"))


def test_a_change_of_conditions_leaves_the_past_of_a_call_alone():
    worse = Conditions(slow=tuple(Slowdown(node.id, 4) for agent in AGENTS for node in agent.nodes), tool_failure=1.0)
    for number in range(60):
        plain = script(9, number)
        for at_ms in (1_000, 12_000, 25_000):
            changed = script(9, number, ((0, Conditions()), (at_ms, worse)))
            before = [event for event in plain.happenings if event.at_ms < at_ms]
            assert list(changed.happenings[: len(before)]) == before


def test_failures_on_demand():
    calls = [script(5, number, ((0, Conditions(call_failure=1.0)),)) for number in range(20)]
    assert {call.outcome for call in calls} == {"failed"}
    assert all(any(event.kind == "agent_error" for event in call.happenings) for call in calls)
    tools = [
        event
        for number in range(40)
        for event in script(5, number, ((0, Conditions(tool_failure=1.0)),)).happenings
        if event.kind.startswith("tool_call_e")
    ]
    assert tools
    assert not any(event.facts.get("success") for event in tools)


def test_agents_that_are_seldom_called_take_calls_only_where_they_are_asked_for():
    plain = [script(5, number) for number in range(300)]
    some = [script(5, number, ((0, Conditions(quiet_agents=0.2)),)) for number in range(300)]
    quiet = {agent.id for agent in QUIET}
    assert len(quiet) == 20
    assert not quiet & {call.agent_id for call in plain}
    assert len({call.agent_id for call in some} & quiet) > 10
    assert all(now == before for now, before in zip(some, plain, strict=True) if now.agent_id not in quiet)


def test_the_canary_is_in_every_free_text():
    events = recorded(5, 3, conditions=Conditions(canary="CANARY-77"))
    texts = (
        "interim_transcription_text",
        "user_transcription_text",
        "llm_text",
        "tts_text",
        "recording_url",
        "variable_extraction_prompt",
        "user_transcript",
    )
    checked = 0
    for event in events:
        for name in texts:
            if event.get(name):
                assert "CANARY-77" in event[name]
                checked += 1
        if event["event_type"] in ("pre_call_api", "post_call_api"):
            assert "CANARY-77" in event["body"]
            assert "CANARY-77" in event["headers"]["Authorization"]
        if event["event_type"] == "agent_node_state":
            assert all("CANARY-77" in text for text in event["context"].values())
    assert checked > 10
