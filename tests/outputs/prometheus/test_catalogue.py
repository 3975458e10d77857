"""The catalogue is the contract: every metric with exactly its type and labels, none that could name a person."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from exporter.outputs.prometheus import catalogue
from exporter.outputs.prometheus.catalogue import (
    AGENT,
    CALL_METRICS,
    CATALOGUE,
    LATENCY_BUCKETS,
    NODE,
    SELF_METRICS,
    Kind,
    MetricSpec,
)
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.prometheus.series import Store
from exporter.protocol.events import EVENT_CLASSES
from tests.support.lives import Life

SURFACE = Path(__file__).parents[3] / "docs" / "surface.md"
SPECS = {spec.name: spec for spec in CATALOGUE}
PERSONAL = re.compile(r"call_?id|phone|text|url|uri|number|trace|span|transcript|event_id|telephony|address|user")


def _surface(heading: str) -> dict[str, tuple[str, set[str]]]:
    """A table of docs/surface.md: type and labels of each metric."""
    section = SURFACE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    told: dict[str, tuple[str, set[str]]] = {}
    for row in (line for line in section.splitlines() if line.startswith("| `")):
        name, kind, labels = (cell.strip() for cell in row.strip("|").split(" | "))
        base = NODE if labels.startswith("node labels") else AGENT if labels.startswith("agent labels") else ()
        told[name.strip("`")] = (kind, {*base, *re.findall(r"`(\w+)`", labels)})
    return told


@pytest.mark.parametrize(
    ("heading", "specs"),
    [("What callers experience", CALL_METRICS), ("What the exporter says about itself", SELF_METRICS)],
    ids=["calls", "itself"],
)
def test_the_catalogue_is_the_public_surface_and_nothing_else(heading: str, specs: tuple[MetricSpec, ...]) -> None:
    surface = _surface(heading)
    assert surface
    assert {spec.name: (spec.type, set(spec.labels)) for spec in specs} == surface


def test_what_the_exporter_says_about_itself_bears_its_name() -> None:
    assert all(spec.name.startswith("atoms_exporter_") for spec in SELF_METRICS)


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
