"""What each fact adds to which series; what the parts of the exporter report about themselves."""

from __future__ import annotations

import gc
import threading
import tracemalloc

import msgspec
import pytest

from exporter.calls import observations
from exporter.calls.observations import Agent, DispositionGiven, Observation, ToolCalled, ToolFailed, ToolTimed
from exporter.calls.telemetry import Telemetry
from exporter.calls.tracker import Recorder, Tracker
from exporter.calls.visits import Visit
from exporter.outputs.prometheus.catalogue import CALL_METRICS, CHANNELS, OUTCOMES, VERSIONED
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.prometheus.series import OTHER
from exporter.outputs.recorder import Outputs
from tests.golden import SCENARIOS, events_of, played
from tests.support.lives import AGENT, Life, lived
from tests.support.wire import hop, measured, node, payloads, record, step, tokens, turn

BASES = {"Observation", "Located", "Timed", "Shown"}


def _value(metrics: Metrics, name: str, *labels: str) -> float:
    return metrics.store[name].labels(*labels).version


def test_every_fact_is_counted() -> None:
    facts = {
        kind
        for kind in vars(observations).values()
        if isinstance(kind, type) and issubclass(kind, Observation) and kind.__name__ not in BASES
    }
    assert set(Metrics(version="0").calls.recorders) == facts


def test_every_metric_of_a_call_is_fed_by_a_golden_call_or_by_what_no_event_tells() -> None:
    fed: set[str] = set()
    for name, scenario in SCENARIOS.items():
        families = played(scenario, events_of(name)).metrics.store.families
        fed |= {
            metric for metric, family in families.items() if any(child.version for child in family.children.values())
        }
    assert {spec.name for spec in CALL_METRICS} - fed == {
        "atoms_disposition_results_total",
        "atoms_disposition_value",
        "atoms_calls_active",
        "atoms_calls_queued",
        "atoms_concurrency_limit",
        "atoms_concurrency_reserved",
        "atoms_concurrency_unreserved",
        "atoms_unanswered_turns_total",
        "atoms_dead_air_seconds",
        "atoms_agent_logs_total",
        "atoms_agent_version_info",
        "atoms_call_attempts_total",
        "atoms_call_cost_total",
        "atoms_call_setup_seconds",
        "atoms_test_calls_total",
    }


def test_names_that_are_folded_cost_nothing() -> None:
    metrics = Metrics(version="0", max_series_per_metric=50)
    visit = Visit(0, "n", 1e9, "n#1")
    visit.settle("c", AGENT, "n", "Node")

    def called(first: int, number: int) -> int:
        """Bytes that so many tools of new names leave behind."""
        before = tracemalloc.get_traced_memory()[0]
        for each in range(first, first + number):
            name = f"tool_{each}"
            metrics.observed(
                [
                    ToolCalled(visit.where, 1e9, name, None, 1e9, 0.5, True, False, None),
                    ToolTimed(visit.where, 1e9, name, None, 0.5),
                    ToolFailed(visit.where, 1e9, name, None),
                ]
            )
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        called(0, 1_000)
        assert called(1_000, 10_000) < 50_000
    finally:
        tracemalloc.stop()
    assert len(metrics.store["atoms_tool_calls_total"].children) == 51
    assert metrics.store["atoms_tool_calls_total"].overflows == pytest.approx(10_950, abs=3)
    assert sum(child.version for child in metrics.store["atoms_tool_calls_total"].children.values()) == 11_000


def test_a_recorder_and_a_telemetry_is_what_it_is() -> None:
    metrics = Metrics(version="0")
    for protocol in (Recorder, Telemetry):
        for name in vars(protocol):
            assert name.startswith("_") or callable(getattr(metrics, name)), name


def test_a_call_is_active_from_its_first_sign_to_its_end() -> None:
    life = Life()
    assert life.by("atoms_calls_active", "agent_id") == {}
    life.feed(payloads([node(1, "A", "A")]))
    assert life.by("atoms_calls_active", "agent_id") == {"a1": 1}
    life.end()
    assert life.metrics.store["atoms_calls_active"].labels("a1", "Agent").version == 0


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("channel", CHANNELS)
def test_calls_by_channel_and_outcome(channel: str, outcome: str) -> None:
    life = lived(payloads([node(1, "A", "A")]), outcome, channel=channel)
    assert life.by("atoms_calls_started_total", "agent_id", "channel") == {("a1", channel): 1}
    assert life.by("atoms_calls_ended_total", "agent_name", "channel", "outcome") == {("Agent", channel, outcome): 1}


def test_over_the_budget_every_label_but_the_agent_s_is_folded_sums_stay_and_it_is_counted() -> None:
    many = [step for n in range(30) for step in (node(1000 * n + 1, f"n{n}", f"N{n}"), turn(1000 * n + 500, 100))]
    life = lived(payloads(many), budget=4)
    turns = life.by("atoms_turn_latency_seconds_count", "agent_id", "node_id", "node_name", "interrupted")
    assert sum(turns.values()) == 30
    assert turns["a1", OTHER, OTHER, OTHER] == 26
    assert len(turns) == 5
    life.metrics.refresh()
    assert life.total("atoms_exporter_series_overflow_total", metric="atoms_turn_latency_seconds") == 26
    assert life.total("atoms_exporter_series", metric="atoms_turn_latency_seconds") == 5
    assert life.total("atoms_exporter_series", metric="atoms_exporter_events_total") == 24, "its own are not folded"


def test_idle_series_leave_the_page_and_go_on_when_they_come_back() -> None:
    life = Life()
    life.feed(payloads([node(1, "A", "A"), turn(2000, 900), measured(2100, tokens(5, 1), record("LLM#0", 0.5))]))
    life.metrics.sweep()
    life.metrics.sweep()
    left = life.samples(leave_out=("atoms_exporter",))
    assert {name for name, _ in left} == {"atoms_calls_active"}
    life.feed(payloads([node(1, "A", "A"), turn(5000, 300), hop(6000, "A", "B")])[1:])
    assert life.by("atoms_turn_latency_seconds_sum", "node_name") == {"A": pytest.approx(1.2)}
    life.end()
    assert life.total("atoms_calls_active") == 0
    assert life.total("atoms_exporter_events_total") > 0


def test_what_the_streams_report() -> None:
    metrics = Metrics(version="0")
    metrics.stream_state(None, "connecting")
    metrics.stream_state("connecting", "open")
    metrics.stream_state(None, "connecting")
    metrics.stream_state("open", None)
    assert _value(metrics, "atoms_exporter_streams", "connecting") == 1
    assert _value(metrics, "atoms_exporter_streams", "open") == 0
    metrics.stream_reconnected("idle")
    metrics.stream_failed("5xx")
    metrics.discovery_request("poll", "ok")
    metrics.webhook("pre-conversation", "accepted")
    metrics.event_rejected("oversize")
    assert _value(metrics, "atoms_exporter_stream_reconnects_total", "idle") == 1
    assert _value(metrics, "atoms_exporter_stream_failures_total", "5xx") == 1
    assert _value(metrics, "atoms_exporter_discovery_requests_total", "poll", "ok") == 1
    assert _value(metrics, "atoms_exporter_webhooks_total", "pre-conversation", "accepted") == 1
    assert _value(metrics, "atoms_exporter_events_rejected_total", "oversize") == 1


def test_up_is_the_last_answer_and_ready_is_one_good_answer_ever() -> None:
    metrics = Metrics(version="0")
    assert not metrics.api_has_answered
    metrics.api_answered(False)
    assert not metrics.api_has_answered
    metrics.api_answered(True)
    assert _value(metrics, "atoms_exporter_up") == 1
    metrics.api_answered(False)
    assert _value(metrics, "atoms_exporter_up") == 0
    assert metrics.api_has_answered


def test_the_export_s_threads_lose_no_count() -> None:
    metrics = Metrics(version="0")

    def export() -> None:
        for _ in range(2000):
            metrics.spans_exported(1)
            metrics.spans_dropped("queue_full", 2)
            metrics.export_failed("traces", "timeout")

    threads = [threading.Thread(target=export) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _value(metrics, "atoms_exporter_spans_exported_total") == 8000
    assert _value(metrics, "atoms_exporter_spans_dropped_total", "queue_full") == 16000
    assert _value(metrics, "atoms_exporter_export_failures_total", "traces", "timeout") == 8000


def test_dispositions_are_counted_by_agent_and_identifier() -> None:
    metrics = Metrics(version="0")
    other = Agent("a2", "Other")
    metrics.observed([DispositionGiven(AGENT, "mood", "true", None), DispositionGiven(other, "score", None, 7.0)])
    assert _value(metrics, "atoms_disposition_results_total", "a1", "Agent", "mood", "true") == 1
    assert metrics.store["atoms_disposition_value"].labels("a2", "Other", "score").version == 1


def test_observations_are_frozen() -> None:
    fact = DispositionGiven(AGENT, "mood", "true", None)
    with pytest.raises(AttributeError):
        fact.word = "false"  # type: ignore[misc]  # that is the point
    assert msgspec.structs.replace(fact, word="false") != fact


def test_versions_are_told_apart_in_turns_calls_and_errors_where_that_is_wanted() -> None:
    steps = [node(1, "A", "Ask"), turn(3_000, 900), step(4_000, "agent_error", metadata={"code": "E"})]
    agents = [Agent("a1", "Agent", version=version) for version in ("3", "4", "")]
    for label in (False, True):
        metrics = Metrics(version="0", version_label=label)
        tracker = Tracker(Outputs(metrics, lambda _: None))
        for number, agent in enumerate(agents):
            tracked = tracker.open(f"CALL-{number}", agent=agent)
            for payload in payloads(steps, call_id=f"CALL-{number}"):
                tracker.feed(tracked, payload, 0.0)
            tracker.end(f"CALL-{number}", "completed")
        for name in VERSIONED:
            values = {
                dict(zip(metrics.store[name].spec.labels, key, strict=True)).get("version")
                for key in metrics.store[name].children
            }
            assert values == ({"3", "4", "unknown"} if label else {None}), name
        assert "version" not in metrics.store["atoms_node_visits_total"].spec.labels
