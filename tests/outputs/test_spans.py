"""One trace per call: its tree, its ids, its times, its attributes, what failed."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given

from exporter.calls.observations import Agent, Observation
from exporter.calls.tracker import Tracker
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recorder import Outputs
from exporter.outputs.spans import SpanRecord, span_count, spans_of, trace_of
from tests.golden import SCENARIOS, events_of, played
from tests.support.calls import STAGES, calls
from tests.support.lives import Life, lived
from tests.support.wire import (
    BEGUN_MS,
    CALL_ID,
    Ms,
    Step,
    greeting,
    heard,
    hop,
    measured,
    node,
    payloads,
    step,
    tokens,
    turn,
)

WHOLE = [
    measured(5, tokens(1, 1)),
    step(190, "call_start", telephony_id="8671288e"),
    greeting(700),
    heard(2000),
    node(3000, "A", "Ask", "default"),
    turn(3400, 1400, index=0, interrupted=False, stt_api=200, llm_api=700, tts_api=300),
    measured(3401, tokens(900, 40)),
    step(4000, "tool_call_start", tool_call_id="t1", function_name="look_up"),
    step(4500, "tool_call_end", tool_call_id="t1", function_name="look_up", latency_ms=500, success=True),
    hop(5000, "A", "B"),
    step(5200, "knowledgebase", latency=Ms(150), error=None),
    node(5900, "B", "Book", "booking"),
    turn(6000, 900, index=1, interrupted=True),
    step(6100, "variable_extraction", latency=Ms(80), error="no JSON"),
    step(6200, "post_call_api", method="POST", success=False),
    step(7000, "call_end"),
]


@given(calls())
def test_how_many_spans_a_fact_has_is_known_before_they_are_built(call: list[Step]) -> None:
    facts: list[Observation] = []
    tracker = Tracker(Outputs(Metrics(version="0"), watch=facts.extend))
    for payload in payloads(call):
        tracker.replay(payload, agent=Agent("a1", "Agent"))
    tracker.end_all()
    assert [span_count(fact) for fact in facts] == [len(spans_of(fact)) for fact in facts]
    assert all(span.trace_id == trace_of(fact) for fact in facts for span in spans_of(fact))


def _tree(life: Life) -> dict[str, list[str]]:
    """The names of each span's children, by the span's name."""
    trace = life.trace()
    tree: dict[str, list[str]] = {}
    for span in sorted(trace.values(), key=lambda span: (span.start_ns, span.name)):
        parent = trace[span.parent_id].name if span.parent_id is not None else ""
        tree.setdefault(parent, []).append(span.name)
    return tree


def _span(life: Life, name: str, place: int = 0) -> SpanRecord:
    return [span for span in life.spans if span.name == name][place]


@pytest.fixture(scope="module")
def life() -> Life:
    return lived(payloads(WHOLE))


def test_the_tree_is_the_contract_s(life: Life) -> None:
    assert _tree(life) == {
        "": ["call"],
        "call": ["hop Ask", "hop Book"],
        "hop Ask": ["text_to_speech", "turn", "execute_tool look_up"],
        "turn": ["stt", "chat gpt-4o", "tts"],
        "hop Book": ["knowledgebase", "turn", "variable_extraction", "post_call_api"],
    }


def test_ids_are_derived_as_the_contract_says(life: Life) -> None:
    def digest(text: str, size: int) -> int:
        return int.from_bytes(sha256(text.encode()).digest()[:size])

    assert {span.trace_id for span in life.spans} == {digest(f"atoms:{CALL_ID}", 16)}
    at = BEGUN_MS + 3400
    expected = {
        "call": digest(f"{CALL_ID}\ncall\n", 8),
        "hop Ask": digest(f"{CALL_ID}\nhop\nA#1", 8),
        "turn": digest(f"{CALL_ID}\nturn\n{at}", 8),
        "stt": digest(f"{CALL_ID}\nstage stt_api\n{at}", 8),
        "execute_tool look_up": digest(f"{CALL_ID}\ntool\nt1", 8),
    }
    assert {name: _span(life, name).span_id for name in expected} == expected


def test_ids_are_the_same_in_every_release() -> None:
    """Whoever looks a trace up by its id must find it after an upgrade, too."""
    life = played(SCENARIOS["guide"], events_of("guide"))
    assert [f"{span.span_id:016x} {span.name[:10]}" for span in life.spans] == [
        "eb5605c52742d81d text_to_sp",
        "8f21d2507c2cfdfb turn",
        "0e82b86ab4d753ec hop Start ",
        "432af5ef523afb06 hop unknow",
        "bb3cff81a074a3a2 call",
    ]


def test_a_visit_is_known_by_its_node_and_how_manieth_it_is() -> None:
    life = lived(payloads([node(1, "A", "A"), hop(1000, "A", "B"), hop(2000, "B", "A"), node(3000, "B", "B")]))
    visits = [span for span in life.spans if span.name.startswith("hop ")]
    assert len({span.span_id for span in visits}) == 4
    assert sorted(int(span.attributes["atoms.hop.index"]) for span in visits) == [0, 1, 2, 3]


def test_two_of_a_kind_in_one_millisecond_are_two_spans() -> None:
    twins = [step(500, "pre_call_api", method="GET"), step(500, "pre_call_api", method="POST")]
    errors = [step(600, "agent_error", metadata={"code": code}) for code in ("a", "b", "c")]
    life = lived(payloads([node(1, "A", "A"), *twins, *errors]))
    assert len(life.trace()) == 2 + 2 + 3


@given(calls() | calls(workflow=False))
def test_every_span_has_its_parent_and_children_end_within_it(call: list[Step]) -> None:
    life = lived(payloads(call))
    trace = life.trace()
    begun = (BEGUN_MS + call[0].at_ms) * 1_000_000
    ended = next((each.at_ms for each in reversed(call) if each.kind == "call_end"), 0)
    for span in trace.values():
        assert span.start_ns <= span.end_ns
        if span.parent_id is None:
            assert span.name == "call"
            assert (span.start_ns, span.end_ns) == (begun, (BEGUN_MS + ended) * 1_000_000)
            continue
        parent = trace[span.parent_id]
        if parent.name == "call" or "atoms.tool.unfinished" not in span.attributes:
            assert span.end_ns <= parent.end_ns, (span.name, parent.name)
        if span.name.startswith("hop") or parent.name == "turn":
            assert span.start_ns >= parent.start_ns


@given(calls())
def test_visits_follow_one_another_without_a_gap(call: list[Step]) -> None:
    visits = sorted(
        (span for span in lived(payloads(call)).spans if span.name.startswith("hop ")),
        key=lambda span: int(span.attributes["atoms.hop.index"]),
    )
    assert [span.attributes["atoms.hop.index"] for span in visits] == list(range(len(visits)))
    for before, after in pairwise(visits):
        assert before.end_ns == after.start_ns


def test_a_turn_ends_when_its_event_is_stamped_and_began_its_latency_before(life: Life) -> None:
    span = _span(life, "turn")
    assert span.end_ns == (BEGUN_MS + 3400) * 1_000_000
    assert span.end_ns - span.start_ns == 1_400_000_000


def test_stages_lie_end_to_end_in_their_order(life: Life) -> None:
    turned = _span(life, "turn")
    begin = turned.start_ns
    for name, took in (("stt", 200), ("chat gpt-4o", 700), ("tts", 300)):
        span = _span(life, name)
        assert (span.start_ns, span.end_ns) == (begin, begin + took * 1_000_000)
        assert span.kind == "client"
        begin = span.end_ns


def test_every_stage_has_a_span_and_none_leaves_its_turn() -> None:
    life = lived(payloads([node(1, "A", "A"), turn(9000, 1000, **dict.fromkeys(STAGES, 300))]))
    turned = _span(life, "turn")
    children = [span for span in life.spans if span.parent_id == turned.span_id]
    assert [span.attributes["atoms.stage"] for span in children] == list(STAGES)
    assert all(turned.start_ns <= span.start_ns <= span.end_ns <= turned.end_ns for span in children)


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        (
            "call",
            {
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.conversation.id": CALL_ID,
                "gen_ai.agent.id": "a1",
                "gen_ai.agent.name": "Agent",
                "atoms.call.channel": "webcall",
                "atoms.call.outcome": "completed",
                "atoms.call.hops": 1,
                "atoms.call.turns": 2,
                "atoms.telephony_id": "8671288e",
                "gen_ai.usage.input_tokens": 901,
                "gen_ai.usage.output_tokens": 41,
            },
        ),
        (
            "hop Book",
            {
                "gen_ai.operation.name": "invoke_agent",
                "atoms.hop.index": 1,
                "atoms.hop.from_node.id": "A",
                "atoms.hop.from_node.name": "Ask",
                "atoms.node.type": "booking",
            },
        ),
        (
            "turn",
            {
                "atoms.turn.index": 0,
                "atoms.turn.interrupted": False,
                "atoms.turn.latency": 1.4,
                "atoms.turn.unreported": 0.2,
            },
        ),
        (
            "chat gpt-4o",
            {
                "atoms.stage": "llm_api",
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.usage.input_tokens": 1,
                "gen_ai.usage.output_tokens": 1,
            },
        ),
        (
            "execute_tool look_up",
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "look_up",
                "gen_ai.tool.call.id": "t1",
            },
        ),
        ("variable_extraction", {"error.type": "variable_extraction_error"}),
        ("post_call_api", {"http.request.method": "POST", "error.type": "post_call_api_error"}),
    ],
)
def test_attributes(life: Life, name: str, attributes: dict[str, Any]) -> None:
    span = _span(life, name)
    common = {"gen_ai.conversation.id", "gen_ai.agent.id", "gen_ai.agent.name"}
    if name != "call":
        common |= {"atoms.node.id", "atoms.node.name"}
    own = {key: value for key, value in span.attributes.items() if key not in common or key in attributes}
    assert {
        key: pytest.approx(value) if isinstance(value, float) else value for key, value in own.items()
    } == attributes
    assert common <= set(span.attributes)


def test_what_failed_says_so_and_what_did_not_does_not(life: Life) -> None:
    assert {span.name: span.error for span in life.spans if span.error is not None} == {
        "variable_extraction": "variable_extraction failed",
        "post_call_api": "post_call_api failed",
    }
    for span in life.spans:
        assert (span.error is not None) is ("error.type" in span.attributes)


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        ("completed", None),
        ("failed", "call failed"),
        ("lost", "call lost"),
        ("cancelled", None),
        ("busy", None),
        ("no_answer", None),
    ],
)
def test_the_root_knows_how_the_call_ended(outcome: str, error: str | None) -> None:
    root = _span(lived(payloads([node(1, "A", "A")]), outcome), "call")
    assert root.attributes["atoms.call.outcome"] == outcome
    assert root.error == error
    assert root.attributes.get("error.type") == (outcome if error else None)
    assert root.kind == "server"


def test_a_call_without_an_end_is_closed_with_its_last_event_and_marked() -> None:
    root = _span(lived(payloads([node(1, "A", "A"), turn(4000, 900)]), "lost"), "call")
    assert root.end_ns == (BEGUN_MS + 4000) * 1_000_000
    assert root.attributes["atoms.call.unfinished"] is True


def test_a_call_that_somebody_else_saw_ending_ends_then() -> None:
    life = Life()
    life.feed(payloads([node(1, "A", "A"), turn(4000, 900)]))
    life.end(at=(BEGUN_MS + 9000) / 1000)
    assert {span.end_ns for span in life.spans if span.name in ("call", "hop A")} == {(BEGUN_MS + 9000) * 1_000_000}


def test_children_are_exported_when_they_end_and_the_root_last(life: Life) -> None:
    names = [span.name for span in life.spans]
    assert names[-2:] == ["hop Book", "call"]
    assert names.index("hop Ask") < names.index("knowledgebase")


def test_a_call_without_nodes_hangs_everything_on_its_root() -> None:
    life = lived(payloads([turn(2000, 900), step(2500, "knowledgebase", latency=Ms(100))]))
    assert _tree(life) == {"": ["call"], "call": ["turn", "knowledgebase"]}


def test_an_error_of_the_agent_marks_the_visit_it_happened_in() -> None:
    life = lived(
        payloads([node(1, "A", "A"), step(500, "agent_error", metadata={"code": "LLM_DOWN"}), hop(900, "A", "B")])
    )
    assert _span(life, "hop A").error == "LLM_DOWN"
    assert _span(life, "hop A").attributes["error.type"] == "LLM_DOWN"
    assert _span(life, "hop unknown").error is None
    assert _span(life, "agent_error").error == "LLM_DOWN"
