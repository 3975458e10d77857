"""The golden files: calls as the vendor's guide shows them and as they go wrong, and exactly what comes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden import EVENTS, FOLDER, SCENARIOS, events_of, metrics_of, played, trace_of
from tests.support.lives import Life
from tests.support.wire import encoded, rendered

AGAIN = "if this is what you want: python -m tests.golden --write, and look at the difference"
GUIDE = Path(__file__).parent / "guide" / "samples.json"
"""The events as the vendor's guide shows them, in its order, some of them twice."""
IN_BOTH = [(name, dialect) for name in SCENARIOS for dialect in EVENTS if SCENARIOS[name].steps or dialect == "2025"]


@pytest.mark.parametrize(("name", "dialect"), IN_BOTH)
def test_the_call_gives_exactly_the_metrics_and_the_trace_written_down(name: str, dialect: str) -> None:
    life = played(SCENARIOS[name], events_of(name, dialect))
    assert metrics_of(life) == (FOLDER / name / "metrics.om").read_text(), AGAIN
    assert trace_of(life) == (FOLDER / name / "trace.json").read_text(), AGAIN


@pytest.mark.parametrize(("name", "dialect"), [(name, dialect) for name, dialect in IN_BOTH if name != "guide"])
def test_the_events_are_the_scenario_s(name: str, dialect: str) -> None:
    wanted = [encoded(event) for event in rendered(SCENARIOS[name].steps, dialect)]  # type: ignore[arg-type]  # known
    assert events_of(name, dialect) == wanted, AGAIN


def test_every_scenario_has_its_folder_and_every_folder_its_scenario() -> None:
    assert {each.name for each in FOLDER.iterdir() if (each / "events.jsonl").is_file()} == set(SCENARIOS)


def test_the_guide_s_events_are_the_vendor_s_own_in_the_order_of_time() -> None:
    samples = json.loads(GUIDE.read_text())
    once = {sample["event_id"]: sample for sample in samples if "event_id" in sample}
    wanted = sorted(once.values(), key=lambda sample: sample["timestamp"])
    assert [json.loads(line) for line in events_of("guide")] == wanted


class TestTheGuide:
    """The numbers that the guide's own samples must give."""

    OWNER = ("10001", "Start - Determine If Reached Owner or Gatekeeper")

    @pytest.fixture(params=["guide", "guide-whole"])
    def life(self, request: pytest.FixtureRequest) -> Life:
        return played(SCENARIOS[request.param], events_of(request.param))

    def test_the_turn_took_1_69_seconds_on_the_first_node_under_its_name(self, life: Life) -> None:
        assert life.by("atoms_turn_latency_seconds_sum", "node_id", "node_name") == {self.OWNER: 1.69}
        assert life.by("atoms_turn_latency_seconds_count", "node_id", "interrupted") == {("10001", "false"): 1}

    def test_the_greeting_waited_for_that_node(self, life: Life) -> None:
        assert life.by("atoms_tts_latency_seconds_sum", "node_id", "node_name") == {self.OWNER: 5.713}

    def test_the_tokens_are_the_second_node_s(self, life: Life) -> None:
        spent = {("10002", "prompt"): 1292, ("10002", "completion"): 46}
        assert life.by("atoms_llm_tokens_total", "node_id", "type") == spent

    def test_there_was_one_hop(self, life: Life) -> None:
        assert life.by("atoms_node_hops_total", "from_node_id", "to_node_id") == {("10001", "10002"): 1}
        assert life.by("atoms_node_visits_total", "node_id") == {"10001": 1, "10002": 1}


def test_the_hop_has_both_names_once_the_second_node_has_shown_itself() -> None:
    life = played(SCENARIOS["guide-whole"], events_of("guide-whole"))
    names = ("Start - Determine If Reached Owner or Gatekeeper", "Qualify the Owner")
    assert life.by("atoms_node_hops_total", "from_node_name", "to_node_name") == {names: 1}


def test_the_initial_zeros_are_not_measurements_and_a_synthesiser_s_integer_is_characters() -> None:
    life = played(SCENARIOS["guide-whole"], events_of("guide-whole"))
    assert life.by("atoms_exporter_samples_skipped_total", "reason") == {"initial_zero": 2}
    assert life.by("atoms_tts_characters_total", "node_id", "processor", "model") == {
        ("10001", "WavesTTSService", "lightning-v2"): 91
    }
    assert life.by("atoms_processor_latency_seconds_sum", "processor") == {"WavesTTSService": 0.001}
