"""The registry pushed to backends that are well, away, strict or silent."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import Metric as Family

from exporter.outputs.otlp import metric_push
from exporter.outputs.otlp.retry import Backoff

LONG = {"OTEL_METRIC_EXPORT_INTERVAL": "3600000"}
DELTA = {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def push(registry: CollectorRegistry, counts: Any) -> Any:
    """Starts pushes and sees to it that none outlives its test."""
    started = []

    def start(env: dict[str, str], **options: Any) -> Any:
        backoff = Backoff(random.Random(1), first_seconds=0.02, most_seconds=0.1)
        made = metric_push(env, registry, counts, **({"backoff": backoff} | options))
        assert made is not None
        started.append(made)
        return made

    yield start
    for made in started:
        made.close(0.0)


def value(metric: Any) -> float:
    (point,) = metric.sum.data_points or metric.gauge.data_points
    return float(point.as_double)


def test_the_numbers_arrive_at_every_interval(
    backend: Any, push: Any, registry: Any, until: Callable[..., Any]
) -> None:
    counter = Counter("atoms_llm_tokens", "Tokens.", ["node"], registry=registry)
    push(backend.env, units={"atoms_llm_tokens_total": "{token}"})
    for total in (1.0, 2.0, 3.0):
        counter.labels("n").inc()
        until(lambda: "atoms_llm_tokens_total" in backend.metrics())
        until(lambda total=total: value(backend.metrics()["atoms_llm_tokens_total"]) == total)
    metric = backend.metrics()["atoms_llm_tokens_total"]
    assert (metric.unit, metric.description) == ("{token}", "Tokens.")
    assert metric.sum.is_monotonic
    assert metric.sum.aggregation_temporality == 2


def test_the_last_numbers_are_pushed_at_the_end_however_long_the_interval(
    backend: Any, push: Any, registry: Any, counts: Any
) -> None:
    pushing = push(backend.env | LONG)
    histogram = Histogram("atoms_turn_latency_seconds", "h", registry=registry, buckets=[1, 2])
    histogram.observe(1.69, {"trace_id": "ab" * 16, "span_id": "cd" * 8})
    assert pushing.close(20)
    metric = backend.metrics()["atoms_turn_latency_seconds"]
    (point,) = metric.histogram.data_points
    assert (list(point.explicit_bounds), list(point.bucket_counts)) == ([1, 2], [0, 1, 0])
    assert (point.count, point.sum) == (1, 1.69)
    assert point.start_time_unix_nano < point.time_unix_nano
    (exemplar,) = point.exemplars
    assert (exemplar.trace_id.hex(), exemplar.span_id.hex()) == ("ab" * 16, "cd" * 8)
    assert not counts.failed


def test_exemplars_can_be_switched_off(backend: Any, push: Any, registry: Any) -> None:
    Histogram("h", "h", registry=registry).observe(1, {"trace_id": "ab" * 16, "span_id": "cd" * 8})
    assert push(backend.env | LONG | {"OTEL_METRICS_EXEMPLAR_FILTER": "always_off"}).close(20)
    assert not backend.metrics()["h"].histogram.data_points[0].exemplars


def test_after_an_outage_the_next_push_carries_the_truth(
    backend: Any, push: Any, registry: Any, counts: Any, until: Callable[..., Any]
) -> None:
    counter = Counter("c", "h", registry=registry)
    port = backend.port
    backend.stop()
    backend.stopping.clear()
    push(backend.env)
    counter.inc(5)
    until(lambda: sum(counts.failed.values()) >= 3)
    counter.inc(5)
    backend.start(port)
    until(lambda: "c_total" in backend.metrics())
    assert value(backend.metrics()["c_total"]) == 10
    assert {signal for signal, _ in counts.failed} == {"metrics"}


def test_a_failed_push_is_tried_again_before_the_interval_is_over(
    http_backend: Any, push: Any, registry: Any, misbehaviour: Any, until: Callable[..., Any]
) -> None:
    Counter("c", "h", registry=registry).inc()
    http_backend.script.extend([misbehaviour(503), misbehaviour(503)])
    push(http_backend.env | {"OTEL_METRIC_EXPORT_INTERVAL": "1500"})
    until(lambda: "c_total" in http_backend.metrics())
    first, *_, last = http_backend.requests
    assert last.at - first.at < 1.5


def test_a_push_that_is_refused_waits_for_the_next_interval(
    http_backend: Any, push: Any, registry: Any, counts: Any, misbehaviour: Any, until: Callable[..., Any]
) -> None:
    Counter("c", "h", registry=registry).inc()
    http_backend.script.append(misbehaviour(401))
    push(http_backend.env | {"OTEL_METRIC_EXPORT_INTERVAL": "300"})
    until(lambda: "c_total" in http_backend.metrics())
    first, second = http_backend.requests[:2]
    assert second.at - first.at >= 0.25
    assert counts.failed == {("metrics", "http_4xx"): 1}


def test_closing_during_an_outage_keeps_its_deadline_and_says_that_nothing_arrived(
    backend: Any, push: Any, registry: Any, until: Callable[..., Any], counts: Any
) -> None:
    Counter("c", "h", registry=registry).inc()
    backend.stop()
    pushing = push(backend.env)
    until(lambda: sum(counts.failed.values()) >= 1)
    started = time.monotonic()
    assert not pushing.close(1.0)
    assert time.monotonic() - started < 3.0


def test_closing_while_a_backend_hangs_keeps_its_deadline(
    backend: Any, push: Any, registry: Any, misbehaviour: Any
) -> None:
    Counter("c", "h", registry=registry).inc()
    backend.always = misbehaviour(seconds=60)
    pushing = push(backend.env | LONG)
    started = time.monotonic()
    assert not pushing.close(0.5)
    assert time.monotonic() - started < 3.0


def test_many_series_go_in_several_requests(backend: Any, push: Any, registry: Any) -> None:
    gauge = Gauge("g", "h", ["node"], registry=registry)
    for node in range(12_000):
        gauge.labels(str(node)).set(node)
    assert push(backend.env | LONG).close(60)
    points = [
        (point.attributes[0].value.string_value, point.as_double)
        for request in backend.requests
        for metric in request.message.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.gauge.data_points
    ]
    assert len(backend.requests) == 3
    assert len(points) == 12_000
    assert all(float(node) == number for node, number in points)


def too_large(backend: Any, misbehaviour: Any, points: int) -> Any:
    if backend.protocol == "grpc":
        says = b"grpc: received message larger than max (5 vs. 4)"
        return misbehaviour("RESOURCE_EXHAUSTED", body=says, only_over=points)
    return misbehaviour(413, only_over=points)


def names_taken(backend: Any) -> set[str]:
    return set(backend.metrics())


def test_a_push_over_the_backends_limit_goes_in_smaller_requests_and_is_asked_in_that_size_next_time(
    backend: Any, push: Any, registry: Any, counts: Any, misbehaviour: Any, until: Callable[..., Any]
) -> None:
    gauge = Gauge("g", "h", ["node"], registry=registry)
    for node in range(1_000):
        gauge.labels(str(node)).set(node)
    backend.always = too_large(backend, misbehaviour, 300)
    pushing = push(backend.env | LONG)
    assert pushing.close(60)
    taken = [request for request in backend.requests if request.answered in (200, "OK")]
    nodes = [
        point.attributes[0].value.string_value
        for request in taken
        for metric in request.message.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.gauge.data_points
    ]
    assert sorted(nodes, key=int) == [str(node) for node in range(1_000)], "each once"
    assert sum(counts.failed.values()) == 3, "the whole, and its halves"
    pushing = push(backend.env | {"OTEL_METRIC_EXPORT_INTERVAL": "50"})
    until(lambda: len(backend.requests) >= 40)
    assert sum(counts.failed.values()) == 6, "it is asked in the size that was taken"


def test_one_point_that_is_too_large_is_refused_alone(
    backend: Any, push: Any, registry: Any, misbehaviour: Any
) -> None:
    for name in ("a", "b", "c", "d"):
        Gauge(name, "h", registry=registry).set(1)
    refusal = too_large(backend, misbehaviour, 0)
    refusal.only_with = "c"
    backend.always = refusal
    assert not push(backend.env | LONG).close(20)
    assert names_taken(backend) == {"a", "b", "d"}


def test_a_refusal_hides_no_other_request(
    backend: Any, push: Any, registry: Any, counts: Any, misbehaviour: Any, monkeypatch: Any, capsys: Any, caplog: Any
) -> None:
    monkeypatch.setattr("exporter.outputs.otlp.metrics._POINTS_IN_A_REQUEST", 2)
    for name in ("a", "b", "c", "d", "e", "f"):
        Gauge(name, "h", registry=registry).set(1)
    backend.always = misbehaviour(400 if backend.protocol != "grpc" else "INVALID_ARGUMENT", only_with="a")
    assert not push(backend.env | LONG).close(20)
    assert names_taken(backend) == {"c", "d", "e", "f"}
    assert sum(counts.failed.values()) == 1
    said = caplog.text + "".join(capsys.readouterr())
    assert said.count("metric push fails") == 1
    assert "metric push works again" not in said


def test_deltas_of_what_was_taken_are_not_sent_again_with_what_was_refused(
    backend: Any, push: Any, registry: Any, misbehaviour: Any, monkeypatch: Any, until: Callable[..., Any]
) -> None:
    monkeypatch.setattr("exporter.outputs.otlp.metrics._POINTS_IN_A_REQUEST", 1)
    for name in ("a", "b"):
        Counter(name, "h", registry=registry).inc(5)
    backend.always = misbehaviour(400 if backend.protocol != "grpc" else "INVALID_ARGUMENT", only_with="a_total")
    pushing = push(backend.env | DELTA | {"OTEL_METRIC_EXPORT_INTERVAL": "50"})
    until(lambda: len([r for r in backend.requests if r.answered in (400, "INVALID_ARGUMENT")]) >= 3)
    backend.always = None
    assert pushing.close(20)
    taken: dict[str, float] = {"a_total": 0.0, "b_total": 0.0}
    for request in backend.requests:
        if request.answered in (200, "OK"):
            for metric in request.message.resource_metrics[0].scope_metrics[0].metrics:
                if metric.name in taken:
                    taken[metric.name] += sum(point.as_double for point in metric.sum.data_points)
    assert taken == {"a_total": 5.0, "b_total": 5.0}


def test_deltas_add_up_over_failed_pushes(
    http_backend: Any, push: Any, registry: Any, misbehaviour: Any, until: Callable[..., Any]
) -> None:
    counter = Counter("c", "h", registry=registry)
    http_backend.script.extend([misbehaviour(), misbehaviour(503), misbehaviour(503), misbehaviour()])
    counter.inc(1)
    pushing = push(http_backend.env | DELTA)
    until(lambda: len(http_backend.requests) >= 1)
    counter.inc(10)
    until(lambda: len(http_backend.requests) >= 3)
    counter.inc(100)
    until(lambda: len(http_backend.requests) >= 4)
    assert pushing.close(20)
    sums = [
        metric.sum
        for request in http_backend.requests
        if request.answered == 200
        for metric in request.message.resource_metrics[0].scope_metrics[0].metrics
    ]
    assert sum(point.as_double for found in sums for point in found.data_points) == 111
    assert {found.aggregation_temporality for found in sums} == {1}


class Breaking:
    """A collector that fails at first."""

    def __init__(self) -> None:
        self.failures = 2

    def collect(self) -> Iterable[Family]:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("not yet")
        family = Family("late", "h", "gauge")
        family.add_sample("late", {}, 1.0)
        return [family]


def test_a_collector_that_fails_once_does_not_end_the_pushing(
    http_backend: Any, push: Any, registry: Any, counts: Any, until: Callable[..., Any]
) -> None:
    breaking = Breaking()
    breaking.failures = 0
    registry.register(breaking)
    breaking.failures = 2
    push(http_backend.env)
    until(lambda: "late" in http_backend.metrics())
    assert counts.failed == {("metrics", "other"): 2}
