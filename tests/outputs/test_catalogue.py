"""The catalogue is the contract: every metric with exactly its type and labels, none that could name a person."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.outputs import catalogue
from exporter.outputs.catalogue import (
    AGENT,
    CALL_METRICS,
    CATALOGUE,
    LATENCY_BUCKETS,
    NODE,
    SELF_METRICS,
    Kind,
    MetricSpec,
)
from exporter.outputs.metrics import Metrics
from exporter.outputs.series import Store
from exporter.protocol.events import EVENT_CLASSES
from tests.support.lives import Life

CONTRACT = Path(__file__).parents[3] / "shared" / "CONTRACT.md"
SPECS = {spec.name: spec for spec in CATALOGUE}
N, A, P = "node", "agent", "processor model"

TABLE = {
    "atoms_turn_latency_seconds": ("histogram", N, "interrupted"),
    "atoms_turn_stage_latency_seconds": ("histogram", N, "stage"),
    "atoms_tts_latency_seconds": ("histogram", N, ""),
    "atoms_processor_latency_seconds": ("histogram", N, P),
    "atoms_llm_tokens_total": ("counter", N, f"{P} type"),
    "atoms_llm_token_details_total": ("counter", N, f"{P} detail"),
    "atoms_llm_request_tokens": ("histogram", N, f"{P} type"),
    "atoms_tts_characters_total": ("counter", N, P),
    "atoms_stt_audio_seconds_total": ("counter", N, P),
    "atoms_tts_first_audio_seconds": ("histogram", N, P),
    "atoms_llm_first_answer_seconds": ("histogram", N, P),
    "atoms_end_of_turn_prediction_seconds": ("histogram", N, P),
    "atoms_user_turns_total": ("counter", N, ""),
    "atoms_node_visits_total": ("counter", N, ""),
    "atoms_node_duration_seconds": ("histogram", N, ""),
    "atoms_node_hops_total": ("counter", A, "from_node_id from_node_name to_node_id to_node_name"),
    "atoms_hop_response_seconds": ("histogram", N, ""),
    "atoms_node_loops_total": ("counter", N, ""),
    "atoms_tool_calls_total": ("counter", N, "function"),
    "atoms_tool_call_failures_total": ("counter", N, "function"),
    "atoms_tool_call_latency_seconds": ("histogram", N, "function"),
    "atoms_knowledgebase_queries_total": ("counter", N, ""),
    "atoms_knowledgebase_failures_total": ("counter", N, ""),
    "atoms_knowledgebase_latency_seconds": ("histogram", N, ""),
    "atoms_variable_extractions_total": ("counter", N, ""),
    "atoms_variable_extraction_failures_total": ("counter", N, ""),
    "atoms_variable_extraction_latency_seconds": ("histogram", N, ""),
    "atoms_api_calls_total": ("counter", N, "phase method"),
    "atoms_api_call_failures_total": ("counter", N, "phase method"),
    "atoms_agent_errors_total": ("counter", N, "code"),
    "atoms_calls_started_total": ("counter", A, "channel"),
    "atoms_calls_ended_total": ("counter", A, "channel outcome"),
    "atoms_calls_active": ("gauge", A, ""),
    "atoms_call_duration_seconds": ("histogram", A, "channel"),
    "atoms_disposition_results_total": ("counter", A, "identifier value"),
    "atoms_disposition_value": ("histogram", A, "identifier"),
}
"""The contract's table of what callers experience."""

SELF = (
    "build_info",
    "up",
    "events_total",
    "events_rejected_total",
    "events_duplicate_total",
    "events_recovered_total",
    "samples_skipped_total",
    "event_lag_seconds",
    "streams",
    "stream_reconnects_total",
    "stream_failures_total",
    "discovery_requests_total",
    "webhooks_total",
    "series",
    "series_overflow_total",
    "spans_exported_total",
    "spans_dropped_total",
    "export_failures_total",
    "event_loop_lag_seconds",
    "scrape_duration_seconds",
)
"""The contract's list of what the exporter says about itself, without its prefix."""

PERSONAL = re.compile(r"call_?id|phone|text|url|uri|number|trace|span|transcript|event_id|telephony|address|user")


def _labels(base: str, extra: str) -> set[str]:
    return {*(NODE if base == N else AGENT), *extra.split()}


def test_what_callers_experience_is_the_contract_s_table_and_nothing_else() -> None:
    assert {spec.name: (spec.type, set(spec.labels)) for spec in CALL_METRICS} == {
        name: (kind, _labels(base, extra)) for name, (kind, base, extra) in TABLE.items()
    }


def test_what_the_exporter_says_about_itself_has_all_that_the_contract_lists() -> None:
    assert {f"atoms_exporter_{name}" for name in SELF} <= {spec.name for spec in SELF_METRICS}
    assert all(spec.name.startswith("atoms_exporter_") for spec in SELF_METRICS)


@pytest.mark.skipif(not CONTRACT.is_file(), reason="the contract is not part of the repository")
def test_the_table_here_is_the_one_in_the_contract() -> None:
    section = CONTRACT.read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    told: dict[str, tuple[str, set[str]]] = {}
    labels: set[str] = set()
    for row in (line for line in section.splitlines() if line.startswith("| `atoms_")):
        names, kinds, beyond = (cell.strip() for cell in row.strip("|").split(" | "))
        if beyond != "same":
            plain = re.sub(r"\([^()]*\)", "", beyond)
            labels = set(NODE if plain.startswith("node") else AGENT if plain.startswith("agent") else ())
            labels |= {label for group in re.findall(r"`([^`]+)`", plain) for label in group.split(", ")}
        given = re.findall(r"`([^`]+)`", names)
        types = [kind.strip() for kind in kinds.split(",")] if kinds != "same" else ["counter", "counter", "histogram"]
        for place, name in enumerate(given):
            told[_whole(name, given[0])] = (types[min(place, len(types) - 1)], labels)
    told["atoms_disposition_value"] = ("histogram", {*AGENT, "identifier"})  # in the text of its row
    assert told == {name: (kind, _labels(base, extra)) for name, (kind, base, extra) in TABLE.items()}
    for name in re.findall(r"`(\w+)(?:\{[^}]*\})?`", section.split("About itself")[1]):
        assert name in SELF or not name.endswith(("_total", "_seconds")), name


def _whole(name: str, first: str) -> str:
    if not name.startswith("…"):
        return name
    stem = "_".join(first.split("_")[:2])
    [whole] = [known for known in TABLE if known.startswith(stem) and known.endswith(name[1:])]
    return whole


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.name)
def test_a_metric_follows_the_conventions(spec: MetricSpec) -> None:
    assert re.fullmatch(r"atoms_[a-z_]+", spec.name)
    assert spec.name.endswith("_total") is (spec.kind is Kind.COUNTER)
    assert bool(spec.buckets) is (spec.kind is Kind.HISTOGRAM)
    assert list(spec.buckets) == sorted(set(spec.buckets))
    assert spec.help.endswith(".")
    assert spec.help[0].isupper() or spec.help[0].isdigit()
    assert bool(spec.unit) is ("_seconds" in spec.name)
    assert not set(spec.labels) & {"le", "quantile", "job", "instance"}
    assert set(spec.closed) <= set(spec.labels)
    assert spec.adjustable <= (spec.buckets == LATENCY_BUCKETS)


@pytest.mark.parametrize("spec", CATALOGUE, ids=lambda spec: spec.name)
def test_no_label_can_name_a_call_or_a_person(spec: MetricSpec) -> None:
    assert not [label for label in spec.labels if PERSONAL.search(label)]


def test_names_are_unique_and_no_family_takes_another_s_samples() -> None:
    names = [spec.name for spec in CATALOGUE]
    assert len(names) == len(set(names))
    samples = [f"{name}{suffix}" for name in names for suffix in ("_count", "_sum", "_bucket", "_total")]
    assert not set(names) & set(samples)


def test_latency_buckets_are_the_contract_s() -> None:
    assert LATENCY_BUCKETS == (0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15)
    assert catalogue.PROCESSOR_BUCKETS[0] == 0.001
    assert {spec.name for spec in CATALOGUE if spec.adjustable} >= {
        "atoms_turn_latency_seconds",
        "atoms_turn_stage_latency_seconds",
        "atoms_tts_latency_seconds",
        "atoms_hop_response_seconds",
    }


@pytest.mark.parametrize("spec", [spec for spec in CATALOGUE if spec.closed], ids=lambda spec: spec.name)
def test_a_closed_set_is_there_from_the_start_at_0(spec: MetricSpec) -> None:
    assert set(spec.closed) == set(spec.labels)
    children = Store([spec])[spec.name].children
    assert set(children) == set(spec.initial())
    assert all(child.version == 0 for child in children.values())


@pytest.mark.parametrize(
    ("name", "label", "values"),
    [
        ("events_total", "event_type", {*EVENT_CLASSES, "other"}),
        (
            "samples_skipped_total",
            "reason",
            {"initial_zero", "ambiguous_unit", "negative", "non_finite", "implausible"},
        ),
        ("streams", "state", {"connecting", "open", "waiting"}),
        ("events_rejected_total", "reason", {"malformed_json", "not_an_object", "oversize"}),
        (
            "webhooks_total",
            "outcome",
            {"accepted", "duplicate", "bad_signature", "malformed", "too_large", "unavailable"},
        ),
    ],
)
def test_the_closed_sets_hold_what_happens(name: str, label: str, values: set[str]) -> None:
    assert values <= set(SPECS[f"atoms_exporter_{name}"].closed[label])


def test_metrics_without_labels_are_there_from_the_start() -> None:
    text = Metrics(version="1.2.3").store.render(False)
    for line in ("atoms_exporter_up 0.0", "atoms_exporter_spans_exported_total 0.0"):
        assert f"\n{line}\n" in text
    assert 'atoms_exporter_build_info{python="' in text
    assert 'version="1.2.3"} 1.0' in text


def test_metrics_about_metrics_name_every_metric() -> None:
    life = Life()
    life.metrics.refresh()
    assert set(life.by("atoms_exporter_series", "metric")) == {
        spec.name for spec in CATALOGUE if life.metrics.store[spec.name].children
    }
