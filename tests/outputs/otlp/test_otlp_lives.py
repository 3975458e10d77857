"""Numbers that outlive the process, pushed: what an earlier life has pushed is not sent again, and start times stay."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.sdk.metrics.export import Metric, MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from exporter.outputs.otlp import sampled_traces
from exporter.outputs.otlp.bridge import Window, metrics_of
from exporter.outputs.otlp.delta import Deltas
from exporter.outputs.otlp.starts import Starts
from exporter.outputs.prometheus import kept
from exporter.outputs.prometheus.catalogue import Kind, MetricSpec
from exporter.outputs.prometheus.series import Store

SPECS = (MetricSpec("a_total", Kind.COUNTER, "A.", ("x",)),)
_ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


class Life:
    """A store with a clock, and the walks of a push."""

    def __init__(self, earlier: Life | None = None, now: float = 1000.0) -> None:
        self.store = Store(SPECS)
        self.now = now
        self.store.begin(lambda: self.now)
        if earlier is not None:
            rows = [taken.packed() for taken in kept.changed(earlier.store, everything=True)]
            kept.restore(self.store, rows, kept.layouts(earlier.store), 1)
        self.starts = Starts()
        self.start_ns = int(now * 1e9)

    def count(self, *labels: str) -> None:
        for label in labels:
            self.store.counter("a_total", label).inc()

    def rest(self) -> None:
        for _ in range(2):
            self.store.sweep(["a_total"])

    def walk(self, *, resting: bool = False) -> list[Metric]:
        self.now += 10
        window = Window(self.start_ns, int(self.now * 1e9))
        metrics = metrics_of(self.store.collect(created=True, resting=resting), window)
        return list(self.starts.of(metrics, window.start_ns, window.now_ns))


def _pushed(deltas: Deltas, metrics: Iterable[Metric]) -> float:
    """What arrives of one push."""
    sent = list(deltas.since_last(metrics))
    scope = ScopeMetrics(InstrumentationScope("s"), sent, "")
    deltas.taken(MetricsData([ResourceMetrics(Resource({}), [scope], "")]))
    return sum(point.value for metric in sent for point in metric.data.data_points)  # type: ignore[union-attr]  # sums


def test_a_series_counts_since_it_began_in_whatever_life() -> None:
    first = Life()
    first.count("x")
    again = Life(first, now=5000.0)
    again.count("x", "y")
    (metric,) = again.walk()
    starts = {point.attributes["x"]: point.start_time_unix_nano for point in metric.data.data_points}  # type: ignore[index]  # it has attributes
    assert starts == {"x": 1_000_000_000_000, "y": 5_000_000_000_000}


def test_deltas_go_on_where_the_earlier_life_ended() -> None:
    first, deltas = Life(), Deltas()
    first.count("x", "x", "x")
    assert _pushed(deltas, first.walk()) == 3
    again, deltas = Life(first, now=5000.0), Deltas()
    deltas.go_on_from(again.walk())
    assert _pushed(deltas, again.walk()) == 0
    again.count("x", "y")
    assert _pushed(deltas, again.walk()) == 2


def test_a_series_that_rests_and_comes_back_is_not_sent_again_in_this_life_or_the_next() -> None:
    first, deltas = Life(), Deltas()
    first.now += 1
    first.count("x", "x", "x")
    assert _pushed(deltas, first.walk()) == 3
    first.rest()
    assert _pushed(deltas, first.walk()) == 0
    first.count("x")
    assert _pushed(deltas, first.walk()) == 1
    first.rest()
    again, deltas = Life(first, now=5000.0), Deltas()
    deltas.go_on_from(again.walk(resting=True))
    again.count("x")
    assert _pushed(deltas, again.walk()) == 1


def test_what_was_forgotten_and_begins_again_is_sent_even_if_it_has_come_as_far_as_before() -> None:
    life, deltas = Life(), Deltas()
    arrived = 0.0
    for _ in range(6):
        life.count("x")
        arrived += _pushed(deltas, life.walk())
        life.store["a_total"].children.clear()
    assert arrived == 6


def test_exemplars_are_asked_for_a_trace_that_leads_somewhere() -> None:
    assert sampled_traces({}) is None
    assert sampled_traces(_ENDPOINT) is None
    none_is = sampled_traces({**_ENDPOINT, "OTEL_TRACES_SAMPLER": "always_off"})
    assert none_is is not None
    assert not none_is("58d627047e6d17f865220ea849aea2d6")
    a_tenth = sampled_traces({**_ENDPOINT, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"})
    assert a_tenth is not None
    found = [a_tenth(f"{number * 0x9E3779B97F4A7C15 % 2**64:032x}") for number in range(1000)]
    assert 50 < sum(found) < 150
