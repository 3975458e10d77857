"""Whatever well-typed events come, in whatever order: nothing raises, nothing is lost, nothing is left waiting."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exporter.calls.observations import Agent
from exporter.calls.visits import LONGEST_QUEUE
from exporter.protocol.decode import decode_event
from tests.support.lives import Life
from tests.support.odd import KINDS, TIMES
from tests.support.wire import CALL_ID, encoded

_EACH_COUNTS_ONE = {
    "user_transcription": "atoms_user_turns_total",
    "knowledgebase": "atoms_knowledgebase_queries_total",
    "variable_extraction": "atoms_variable_extractions_total",
    "agent_error": "atoms_agent_errors_total",
    "pre_call_api": "atoms_api_calls_total",
    "post_call_api": "atoms_api_calls_total",
}


class AnyEvents(RuleBasedStateMachine):
    """A call to which anything happens, and a count of what it must come to."""

    @initialize(single_prompt=st.booleans(), capture=st.booleans())
    def begin(self, single_prompt: bool, capture: bool) -> None:
        self.life = Life(agent=Agent("a1", "Agent", single_prompt=single_prompt), capture_content=capture)
        self.payloads: list[bytes] = []
        self.expected: Counter[str] = Counter()
        self.tools: set[str] = set()
        self.reports = 0

    @rule(data=st.data(), kind=st.sampled_from(sorted(KINDS)), at=TIMES, identified=st.booleans())
    def something_happens(self, data: st.DataObject, kind: str, at: Any, identified: bool) -> None:
        event = {"event_type": kind, "call_id": CALL_ID, "timestamp": at}
        event |= {name: data.draw(values) for name, values in KINDS[kind].items() if data.draw(st.booleans())}
        event |= {"event_id" if identified else "number": f"e{len(self.payloads)}"}
        self.payloads.append(encoded(event))
        self.life.feed(self.payloads[-1:])
        decoded, _ = decode_event(self.payloads[-1])
        self._expect(kind, decoded)

    @rule(count=st.sampled_from((1, 40, LONGEST_QUEUE + 1)))
    def the_pipeline_reports_a_lot(self, count: int) -> None:
        records = [{"processor": "Pipeline", "model": None, "value": 0.25}] * count
        event = {"event_type": "metrics", "metrics": records, "event_id": f"e{len(self.payloads)}", "timestamp": None}
        self.payloads.append(encoded(event))
        self.life.feed(self.payloads[-1:])
        self.reports += count

    @precondition(lambda self: self.payloads)
    @rule(data=st.data())
    def something_comes_again(self, data: st.DataObject) -> None:
        self.life.feed([data.draw(st.sampled_from(self.payloads))])

    @precondition(lambda self: self.payloads)
    @rule()
    def the_history_comes(self) -> None:
        before = self.life.counted()
        assert self.life.recover(self.payloads) == 0
        assert self.life.counted() == before

    @invariant()
    def the_waiting_room_is_bounded(self) -> None:
        assert self.life.tracked.call.waiting.size <= LONGEST_QUEUE

    def _expect(self, kind: str, event: Any) -> None:
        if kind in _EACH_COUNTS_ONE:
            self.expected[_EACH_COUNTS_ONE[kind]] += 1
        if kind == "hopping" and event.to_node_id not in (None, ""):
            self.expected["atoms_node_hops_total"] += 1
        if kind in ("tool_call_end", "tool_call_error"):
            known = event.tool_call_id in (None, "")
            if known or str(event.tool_call_id) not in self.tools:
                self.expected["atoms_tool_calls_total"] += 1
            self.tools.add(str(event.tool_call_id))

    def teardown(self) -> None:
        if not hasattr(self, "life"):
            return
        call = self.life.tracked.call
        abandoned = len(call.open_tools)
        self.life.end("lost")
        assert call.waiting.size == 0
        assert not call.open_tools
        assert self.life.total("atoms_calls_active") == 0
        assert self.life.total("atoms_calls_started_total") == self.life.total("atoms_calls_ended_total") == 1
        self.expected["atoms_tool_calls_total"] += abandoned
        for name, count in self.expected.items():
            assert self.life.total(name) == count, name
        assert self.life.total("atoms_processor_latency_seconds_count", processor="Pipeline") == self.reports
        for name, labels in self.life.samples(leave_out=("atoms_exporter",)):
            named = dict(labels)
            assert "" not in (named.get("node_id"), named.get("node_name")), name
            assert all(len(value) <= 128 for value in named.values())
        assert self.life.total("atoms_exporter_events_total") == len(set(self.payloads))
        assert self.life.metrics.store.render(True).encode()
        trace = self.life.trace()
        assert all(span.parent_id is None or span.parent_id in trace for span in trace.values())
        assert all(span.start_ns <= span.end_ns for span in trace.values())


TestAnyEvents = AnyEvents.TestCase
