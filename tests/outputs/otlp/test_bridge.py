"""The registry as OTLP metrics: the same numbers, under the same names, with units and exemplars."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry, Counter, Enum, Info, Summary
from prometheus_client import Gauge as PrometheusGauge
from prometheus_client import Histogram as PrometheusHistogram
from prometheus_client import Metric as Family
from prometheus_client.core import GaugeHistogramMetricFamily, HistogramMetricFamily
from prometheus_client.samples import Timestamp

from exporter.outputs.otlp.bridge import Window, metrics_of, pack
from exporter.outputs.otlp.delta import Deltas
from exporter.outputs.otlp.starts import Starts

WINDOW = Window(start_ns=1_000, now_ns=2_000)
TRACE, SPAN = "0123456789abcdef0123456789abcdef", "0123456789abcdef"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(families: list[Family]) -> Samples:
    """What Prometheus would scrape, without the creation times."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created") and family.type != "gaugehistogram"
    }


def samples_again(metrics: list[Metric]) -> Samples:
    """What a Prometheus exporter makes of the metrics."""
    found: Samples = {}
    for metric in metrics:
        for point in metric.data.data_points:
            labels = dict(point.attributes or {})
            if not isinstance(point, HistogramDataPoint):
                found[metric.name, frozenset(labels.items())] = point.value
                continue
            found[f"{metric.name}_sum", frozenset(labels.items())] = point.sum
            found[f"{metric.name}_count", frozenset(labels.items())] = point.count
            below = 0
            for bound, count in zip([*point.explicit_bounds, math.inf], point.bucket_counts, strict=True):
                below += count
                le = "+Inf" if math.isinf(bound) else str(bound)
                found[f"{metric.name}_bucket", frozenset((labels | {"le": le}).items())] = below
    return found


label_values = st.text(max_size=4)
numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
amounts = st.floats(min_value=0, max_value=1e9)


@st.composite
def registries(draw: st.DrawFn) -> CollectorRegistry:
    registry = CollectorRegistry()
    for index in range(draw(st.integers(0, 4))):
        names = draw(st.lists(st.sampled_from(["node", "agent", "model"]), unique=True, max_size=3))
        kind = draw(st.sampled_from([Counter, PrometheusGauge, PrometheusHistogram, Summary]))
        options: dict[str, Any] = {"registry": registry, "labelnames": names}
        if kind is PrometheusHistogram:
            bounds = draw(st.lists(st.floats(0.001, 100), unique=True, min_size=1, max_size=4))
            options["buckets"] = sorted(bounds)
        metric = kind(f"metric_{index}_seconds", "help", **options)
        for _ in range(draw(st.integers(0, 4))):
            child = metric.labels(*(draw(label_values) for _ in names)) if names else metric
            if kind is Counter:
                child.inc(draw(amounts))
            elif kind is PrometheusGauge:
                child.set(draw(numbers))
            else:
                child.observe(draw(amounts))
    return registry


@given(registries())
def test_every_sample_of_a_registry_is_there_and_nothing_else(registry: CollectorRegistry) -> None:
    families = list(registry.collect())
    metrics = list(metrics_of(families, WINDOW))
    assert samples_again(metrics) == samples_of(families)
    for metric in metrics:
        for point in metric.data.data_points:
            assert point.time_unix_nano == 2_000
            if isinstance(point, HistogramDataPoint):
                assert sum(point.bucket_counts) == point.count


@given(registries(), st.integers(1, 5))
def test_packing_loses_and_repeats_nothing_and_keeps_every_request_small(
    registry: CollectorRegistry, most: int
) -> None:
    metrics = list(metrics_of(registry.collect(), WINDOW))
    requests = list(pack(metrics, Resource({}), InstrumentationScope("s"), most))
    sizes = [sum(len(m.data.data_points) for m in metrics_in(request)) for request in requests]
    assert all(0 < size <= most for size in sizes)
    assert all(size == most for size in sizes[:-1])
    again = [metric for request in requests for metric in metrics_in(request)]
    assert samples_again(again) == samples_again(metrics)
    assert sum(sizes) == sum(len(metric.data.data_points) for metric in metrics)


def metrics_in(data: MetricsData) -> list[Metric]:
    return [m for resource in data.resource_metrics for scope in resource.scope_metrics for m in scope.metrics]


def one(registry: CollectorRegistry, **options: Any) -> Metric:
    (metric,) = metrics_of(registry.collect(), WINDOW, **options)
    return metric


def test_names_stay_and_units_stand_beside_them() -> None:
    registry = CollectorRegistry()
    PrometheusHistogram("atoms_turn_latency_seconds", "h", registry=registry).observe(1)
    Counter("atoms_stt_audio_seconds", "h", registry=registry)
    Counter("atoms_llm_tokens", "h", registry=registry)
    PrometheusGauge("process_resident_memory_bytes", "h", registry=registry)
    PrometheusGauge("atoms_calls_active", "h", registry=registry)
    units = {"atoms_llm_tokens_total": "{token}", "atoms_calls_active": "{call}"}
    assert {m.name: m.unit for m in metrics_of(registry.collect(), WINDOW, units=units)} == {
        "atoms_turn_latency_seconds": "s",
        "atoms_stt_audio_seconds_total": "s",
        "atoms_llm_tokens_total": "{token}",
        "process_resident_memory_bytes": "By",
        "atoms_calls_active": "{call}",
    }


def test_counters_are_monotonic_sums_since_the_start_and_gauges_are_gauges() -> None:
    registry = CollectorRegistry()
    Counter("c", "what it counts", registry=registry).inc(2)
    PrometheusGauge("g", "what it shows", registry=registry).set(-1.5)
    Info("build", "who", registry=registry).info({"version": "1"})
    Enum("mode", "which", states=["a", "b"], registry=registry)
    counter, gauge, info, mode = metrics_of(collect_without_created(registry), WINDOW)
    assert isinstance(counter.data, Sum)
    assert counter.data.is_monotonic
    assert counter.data.aggregation_temporality == AggregationTemporality.CUMULATIVE
    assert counter.data.data_points[0].start_time_unix_nano == 1_000
    assert counter.description == "what it counts"
    assert isinstance(gauge.data, Gauge)
    for metric in (info, mode):
        assert isinstance(metric.data, Sum)
        assert not metric.data.is_monotonic
    assert info.name == "build_info"


def collect_without_created(registry: CollectorRegistry) -> list[Family]:
    families = list(registry.collect())
    for family in families:
        family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    return families


def test_a_series_that_says_when_it_was_created_starts_then() -> None:
    registry = CollectorRegistry()
    Counter("c", "h", registry=registry).inc()
    (family,) = registry.collect()
    family.samples = [s._replace(value=12.5) if s.name == "c_created" else s for s in family.samples]
    (metric,) = metrics_of([family], WINDOW)
    assert metric.data.data_points[0].start_time_unix_nano == 12_500_000_000


def test_exemplars_keep_their_trace_and_span_and_their_time() -> None:
    registry = CollectorRegistry()
    histogram = PrometheusHistogram("h_seconds", "h", registry=registry, buckets=[1, 2])
    histogram.observe(1.69, {"trace_id": TRACE, "span_id": SPAN, "why": "slow"})
    histogram.observe(0.5, {"trace_id": "not one", "span_id": SPAN})
    odd, whole = one(registry).data.data_points[0].exemplars
    assert (whole.trace_id, whole.span_id, whole.value) == (int(TRACE, 16), int(SPAN, 16), 1.69)
    assert whole.filtered_attributes == {"why": "slow"}
    assert whole.time_unix_nano > 1_600_000_000_000_000_000
    assert (odd.trace_id, odd.span_id) == (None, None)
    assert odd.filtered_attributes == {"trace_id": "not one", "span_id": SPAN}
    assert not one(registry, exemplars=False).data.data_points[0].exemplars


def test_a_counters_exemplar_goes_along() -> None:
    registry = CollectorRegistry()
    Counter("c", "h", registry=registry).inc(3, {"trace_id": TRACE, "span_id": SPAN})
    (exemplar,) = one(registry).data.data_points[0].exemplars
    assert (exemplar.trace_id, exemplar.value) == (int(TRACE, 16), 3.0)


def test_times_of_samples_and_exemplars_keep_their_nanoseconds() -> None:
    family = Family("g", "h", "gauge")
    family.add_sample("g", {}, 1.0, Timestamp(1_758_124_305, 194_836_001))
    (metric,) = metrics_of([family], WINDOW)
    assert metric.data.data_points[0].time_unix_nano == 1_758_124_305_194_836_001


def test_a_histogram_without_a_count_is_left_out_and_one_without_a_sum_has_none() -> None:
    family = HistogramMetricFamily("a", "h")
    family.add_sample("a_bucket", {"le": "1.0"}, 1)
    assert not list(metrics_of([family], WINDOW))
    family.add_sample("a_count", {}, 3)
    (metric,) = metrics_of([family], WINDOW)
    point = encode_metrics(MetricsData(list_of(metric))).resource_metrics[0].scope_metrics[0].metrics[0].histogram
    assert not point.data_points[0].HasField("sum")
    assert list(point.data_points[0].bucket_counts) == [1, 2]
    assert not point.data_points[0].HasField("min")


def list_of(metric: Metric) -> Any:
    return next(pack([metric], Resource({}), InstrumentationScope("s"), 100)).resource_metrics


def test_buckets_in_any_order_and_samples_of_several_series_mixed_up_are_put_together() -> None:
    family = HistogramMetricFamily("a", "h")
    for le, value in (("+Inf", 5.0), ("2.0", 4.0), ("1.0", 1.0)):
        for node in ("x", "y"):
            family.add_sample("a_bucket", {"le": le, "node": node}, value)
    for node in ("y", "x"):
        family.add_sample("a_sum", {"node": node}, 7.0)
        family.add_sample("a_count", {"node": node}, 5.0)
    (metric,) = metrics_of([family], WINDOW)
    for point in metric.data.data_points:
        assert isinstance(point, HistogramDataPoint)
        assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([1.0, 2.0], [1, 3, 1])
        assert (point.count, point.sum) == (5, 7.0)


def test_a_histogram_read_while_it_was_written_still_agrees_with_itself() -> None:
    family = HistogramMetricFamily("a", "h")
    for le, value in (("1.0", 3.0), ("2.0", 2.0), ("+Inf", 4.0)):
        family.add_sample("a_bucket", {"le": le}, value)
    family.add_sample("a_count", {}, 1.0)
    (metric,) = metrics_of([family], WINDOW)
    point = metric.data.data_points[0]
    assert isinstance(point, HistogramDataPoint)
    assert (list(point.bucket_counts), point.count) == ([3, 0, 0], 3)


def test_gauge_histograms_are_left_out() -> None:
    family = GaugeHistogramMetricFamily("a", "h", buckets=[("1.0", 1), ("+Inf", 2)], gsum_value=3)
    assert not list(metrics_of([family], WINDOW))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_pass_as_they_are(value: float) -> None:
    registry = CollectorRegistry()
    PrometheusGauge("g", "h", registry=registry).set(value)
    (resource,) = encode_metrics(MetricsData(list_of(one(registry)))).resource_metrics
    sent = resource.scope_metrics[0].metrics[0].gauge.data_points[0].as_double
    assert sent == value or (math.isnan(sent) and math.isnan(value))


increments = st.lists(st.tuples(st.sampled_from("xyz"), st.floats(0, 100), st.booleans()), max_size=30)


@given(increments)
def test_deltas_add_up_to_the_cumulative_numbers_whichever_pushes_fail(steps: list[tuple[str, float, bool]]) -> None:
    registry, deltas = CollectorRegistry(), Deltas()
    counter = Counter("c", "h", ["node"], registry=registry)
    histogram = PrometheusHistogram("h", "h", ["node"], registry=registry, buckets=[1, 10])
    got: Samples = {}
    for push, (node, amount, arrives) in enumerate([*steps, ("x", 1.0, True)]):
        counter.labels(node).inc(amount)
        histogram.labels(node).observe(amount)
        families = collect_without_created(registry)
        cumulative = list(metrics_of(families, Window(0, 10 * (push + 1))))
        for request in pack(deltas.since_last(cumulative), Resource({}), InstrumentationScope("s"), 2):
            for metric in metrics_in(request):
                assert isinstance(metric.data, Sum | Histogram)
                assert metric.data.aggregation_temporality == AggregationTemporality.DELTA
                for point in metric.data.data_points:
                    assert point.start_time_unix_nano < point.time_unix_nano
            if arrives:
                deltas.taken(request)
                for key, value in samples_again(metrics_in(request)).items():
                    got[key] = got.get(key, 0) + value
    expected = {key: value for key, value in samples_of(families).items() if value}
    assert {key: pytest.approx(value) for key, value in got.items() if value} == expected


def test_a_series_that_started_anew_is_told_from_its_start() -> None:
    deltas = Deltas()

    def push(value: float, at: int) -> list[Any]:
        family = Family("c", "h", "counter")
        family.add_sample("c_total", {}, value)
        sent = list(deltas.since_last(metrics_of([family], Window(0, at))))
        for request in pack(sent, Resource({}), InstrumentationScope("s"), 9):
            deltas.taken(request)
        return [(p.start_time_unix_nano, p.time_unix_nano, p.value) for m in sent for p in m.data.data_points]

    assert push(5, 10) == [(0, 10, 5)]
    assert push(5, 20) == [], "no news, no point"
    assert push(8, 30) == [(10, 30, 3)]
    assert push(2, 40) == [(30, 40, 2)]
    assert push(3, 50) == [(40, 50, 1)]


@given(st.lists(st.floats(0.01, 10), max_size=30))
def test_rounding_is_never_taken_for_a_new_start(amounts: list[float]) -> None:
    deltas, family, total, sent_total = Deltas(), Family("c", "h", "counter"), 0.0, 0.0
    for at, amount in enumerate(amounts, start=1):
        total += amount
        family.samples.clear()
        family.add_sample("c_total", {}, total)
        for request in pack(
            deltas.since_last(metrics_of([family], Window(0, at))), Resource({}), InstrumentationScope("s"), 9
        ):
            deltas.taken(request)
            sent_total += sum(p.value for m in metrics_in(request) for p in m.data.data_points)
    assert sent_total == pytest.approx(total)


def test_a_series_starts_with_the_process_after_the_last_walk_or_where_it_fell() -> None:
    starts = Starts()

    def walk(now: int, **values: float) -> dict[str, int]:
        family = Family("c", "h", "counter")
        for node, value in values.items():
            family.add_sample("c_total", {"node": node}, value)
        (metric,) = starts.of(metrics_of([family], Window(7, now)), 7, now)
        return {str((p.attributes or {})["node"]): p.start_time_unix_nano for p in metric.data.data_points}

    assert walk(10, a=1.0) == {"a": 7}
    assert walk(20, a=1.0, b=3.0) == {"a": 7, "b": 10}
    assert walk(30, a=0.5, b=4.0) == {"a": 20, "b": 10}
    assert walk(40, b=4.0) == {"b": 10}
    assert walk(50, a=9.0, b=5.0) == {"a": 40, "b": 10}, "gone for a walk and back: anew"


def test_start_times_change_nothing_else() -> None:
    registry = CollectorRegistry()
    PrometheusHistogram("h", "h", registry=registry).observe(1, {"trace_id": TRACE, "span_id": SPAN})
    PrometheusGauge("g", "h", registry=registry).set(3)
    families = collect_without_created(registry)
    metrics = list(metrics_of(families, WINDOW))
    assert list(Starts().of(metrics, WINDOW.start_ns, WINDOW.now_ns)) == metrics
