"""Series in memory: byte for byte what prometheus_client writes, never stale, within their budget, gone when idle."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.outputs.prometheus.catalogue import CATALOGUE, LATENCY_BUCKETS, Kind, MetricSpec
from exporter.outputs.prometheus.series import OTHER, Store, View

SPECS = (
    MetricSpec("a_total", Kind.COUNTER, 'Counts "a"\nand \\ more.', ("agent_id", "b")),
    MetricSpec("b_seconds_total", Kind.COUNTER, "No labels.", unit="seconds"),
    MetricSpec("c", Kind.GAUGE, "A gauge.", ("x",), closed={"x": ("p", "q")}),
    MetricSpec("d_seconds", Kind.HISTOGRAM, "Labels around le.", ("agent_id", "zone"), (0.1, 1.0, 2.5), "seconds"),
    MetricSpec("e", Kind.HISTOGRAM, "No labels.", (), (1.0, 10.0, 1_000_000.0, 1e7)),
    MetricSpec("f_seconds", Kind.HISTOGRAM, "Adjustable.", ("m",), LATENCY_BUCKETS, "seconds", adjustable=True),
)


class Span(NamedTuple):
    trace_id: str
    span_id: str
    call_id: str = ""


TRACE = "58d627047e6d17f865220ea849aea2d6"

_texts = st.sampled_from(("", "x", "y", 'q"\\\n', "ü", "a b")) | st.text(max_size=5)
_amounts = st.sampled_from((0.0, 1.0, 0.25, 3, 1e6, 1e7, 123456789, 1e21, 2**53)) | st.floats(0, 1e9)
_values = st.sampled_from((0.0, 0.1, 1.0, 2.5, 2.6, 1e6, 1e300)) | st.floats(0, 100)
_labels = st.tuples(_texts, _texts)
_changes = st.lists(
    st.one_of(
        st.tuples(st.just("a_total"), _labels, _amounts),
        st.tuples(st.just("b_seconds_total"), st.just(()), _amounts),
        st.tuples(st.just("c"), _texts.map(lambda text: (text,)), st.floats()),
        st.tuples(st.just("d_seconds"), _labels, _values),
        st.tuples(st.just("e"), st.just(()), _values),
        st.tuples(st.just("f_seconds"), _texts.map(lambda text: (text,)), _values),
    ),
    max_size=12,
)
Change = tuple[str, tuple[str, ...], float]


def _apply(store: Store, changes: list[Change]) -> None:
    for number, (name, labels, value) in enumerate(changes):
        child: Any = store[name].labels(*labels)
        kind = store[name].spec.kind
        if kind is Kind.COUNTER:
            child.inc(value)
        elif kind is Kind.GAUGE:
            child.set(value)
        elif number % 2:
            child.observe(value)
        else:
            child.observe_with(value, 1758124305.25 + number, Span(TRACE, f"{number:016x}"))


def _registry(store: Store) -> Any:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(store)  # type: ignore[arg-type]  # a collector by duck typing, as prometheus_client wants it
    return registry


def _reference(store: Store, openmetrics: bool) -> str:
    text: bytes = (generate_openmetrics if openmetrics else generate_latest)(_registry(store))
    return text.decode().removesuffix("# EOF\n")


@given(st.lists(st.tuples(_changes, st.booleans()), max_size=5))
def test_what_is_rendered_is_what_prometheus_client_writes_whatever_was_rendered_before(
    rounds: list[tuple[list[Change], bool]],
) -> None:
    store = Store(SPECS)
    for changes, openmetrics in rounds:
        _apply(store, changes)
        assert store.render(openmetrics) == _reference(store, openmetrics)
    for openmetrics in (False, True):
        assert store.render(openmetrics) == _reference(store, openmetrics)


@given(_changes, st.booleans())
def test_prometheus_client_reads_it_back(changes: list[Change], openmetrics: bool) -> None:
    store = Store(SPECS)
    _apply(store, changes)
    text = store.render(openmetrics)
    parsed = list(parse_openmetrics(text + "# EOF\n") if openmetrics else parse_text(text))
    assert {family.name for family in parsed} == {spec.name.removesuffix("_total") for spec in SPECS}
    written = {(s.name, tuple(sorted(s.labels.items()))): s.value for m in store.collect() for s in m.samples}
    read = {(s.name, tuple(sorted(s.labels.items()))): s.value for m in parsed for s in m.samples}
    assert read.keys() == written.keys()
    assert all(read[key] == value or value != value for key, value in written.items())


def test_the_whole_catalogue_is_byte_for_byte_prometheus_client_s() -> None:
    store = Store(CATALOGUE)
    for spec in CATALOGUE:
        _apply(store, [(spec.name, tuple(f"v{n}" for n, _ in enumerate(spec.labels)), 0.75)] * 3)
    for openmetrics in (False, True):
        assert store.render(openmetrics) == _reference(store, openmetrics)


def test_only_the_metrics_that_are_asked_for() -> None:
    store = Store(SPECS)
    assert store.render(False, ["b_seconds_total"]) == (
        "# HELP b_seconds_total No labels.\n# TYPE b_seconds_total counter\nb_seconds_total 0.0\n"
    )


def test_adjustable_buckets_are_the_operator_s_and_the_others_are_not() -> None:
    store = Store(SPECS, bounds=(0.5, 2, 3.5))
    _apply(store, [("f_seconds", ("m",), 2.0), ("d_seconds", ("a", "z"), 2.0)])
    text = store.render(False)
    assert 'f_seconds_bucket{le="2.0",m="m"} 1.0' in text
    assert 'd_seconds_bucket{agent_id="a",le="2.5",zone="z"} 1.0' in text


def test_an_exemplar_is_the_last_of_its_bucket() -> None:
    store = Store(SPECS)
    child: Any = store["d_seconds"].labels("a", "z")
    child.observe_with(0.05, 1758124305.25, Span(TRACE, "1" * 16))
    child.observe_with(0.07, 1758124306, Span(TRACE, "2" * 16))
    child.observe(0.06)
    child.observe_with(9, 1758124307.5, Span(TRACE, "3" * 16))
    lines = [line for line in store.render(True).splitlines() if line.startswith("d_seconds_bucket")]
    assert [line.partition(" # ")[2] for line in lines] == [
        f'{{span_id="{"2" * 16}",trace_id="{TRACE}"}} 0.07 1758124306.0',
        "",
        "",
        f'{{span_id="{"3" * 16}",trace_id="{TRACE}"}} 9.0 1758124307.5',
    ]


# -- the budget


@given(st.lists(st.tuples(st.sampled_from("AB"), st.text("xyz", max_size=3)), max_size=60), st.integers(1, 8))
def test_nothing_is_lost_over_the_budget_and_every_agent_keeps_its_sum(
    labels: list[tuple[str, str]], budget: int
) -> None:
    store = Store(SPECS, budget=budget)
    _apply(store, [("a_total", pair, 1.0) for pair in labels])
    family = store["a_total"]
    for agent in "AB":
        summed = sum(child.value for values, child in family.children.items() if values[0] == agent)  # type: ignore[union-attr]  # counters
        assert summed == sum(1 for pair in labels if pair[0] == agent) or (OTHER, OTHER) in family.children
    assert sum(child.value for child in family.children.values()) == len(labels)  # type: ignore[union-attr]  # counters
    assert len(family.children) <= 2 * budget + 1
    distinct = len(set(labels))
    assert family.overflows == max(0, distinct - budget)


def test_a_made_up_agent_per_call_stays_within_bounds() -> None:
    store = Store(SPECS, budget=10)
    _apply(store, [("a_total", (f"agent-{n}", "x"), 1.0) for n in range(500)])
    assert len(store["a_total"].children) <= 21
    assert store["a_total"].labels("another", "x") is store["a_total"].labels(OTHER, OTHER)


def test_a_series_that_exists_is_never_folded() -> None:
    store = Store(SPECS, budget=2)
    first = store["a_total"].labels("A", "x")
    for number in range(20):
        store["a_total"].labels("A", f"{number}")
    assert store["a_total"].labels("A", "x") is first


# -- idle series


def test_a_series_that_did_not_change_between_two_sweeps_leaves_the_page_and_comes_back_with_its_numbers() -> None:
    store = Store(SPECS)
    _apply(store, [("a_total", ("A", "idle"), 1.0), ("a_total", ("A", "busy"), 1.0), ("d_seconds", ("A", "z"), 1.0)])
    store.sweep(["a_total", "d_seconds"])
    assert len(store["a_total"].children) == 2, "the first sweep only looks"
    _apply(store, [("a_total", ("A", "busy"), 1.0)])
    store.sweep(["a_total", "d_seconds"])
    assert list(store["a_total"].children) == [("A", "busy")]
    assert list(store["d_seconds"].children) == []
    _apply(store, [("a_total", ("A", "idle"), 1.0)])
    assert 'a_total{agent_id="A",b="idle"} 2.0' in store.render(False)
    assert store.render(False) == _reference(store, False)


def test_a_series_that_comes_back_is_shown_first_as_it_was_when_it_rested() -> None:
    store = Store(SPECS)
    _apply(store, [("a_total", ("A", "idle"), 3.0), ("d_seconds", ("A", "z"), 1.0)])
    for _ in range(2):
        store.sweep(["a_total", "d_seconds"])
    store.moment.edition = 5
    _apply(store, [("a_total", ("A", "idle"), 1.0), ("d_seconds", ("A", "z"), 1.0)])
    assert 'a_total{agent_id="A",b="idle"} 3.0' in store.render(False, view=View(floor=5))
    assert 'd_seconds_count{agent_id="A",zone="z"} 1.0' in store.render(False, view=View(floor=5))
    assert 'a_total{agent_id="A",b="idle"} 4.0' in store.render(False, view=View(floor=6))
    assert 'd_seconds_count{agent_id="A",zone="z"} 2.0' in store.render(False, view=View(floor=6))


def test_of_series_at_rest_a_bounded_number_is_remembered() -> None:
    store = Store(SPECS, budget=3)
    for number in range(40):
        _apply(store, [("a_total", ("A", f"{number}"), 1.0)])
        store.sweep(["a_total"])
        store.sweep(["a_total"])
    family = store["a_total"]
    assert len(family.resting) == 30
    assert ("A", "39") in family.resting
    assert family.forgotten == [("A", f"{number}") for number in range(10)]


@given(_changes, st.booleans())
def test_what_appeared_since_is_shown_at_0_and_without_exemplars(changes: list[Change], openmetrics: bool) -> None:
    store = Store(SPECS)
    _apply(store, changes)
    blank = Store(SPECS)
    for name, labels, value in changes:
        child = blank[name].labels(*labels)
        if blank[name].spec.kind is Kind.GAUGE:
            child.set(value)  # type: ignore[attr-defined]  # a gauge, as the line above says
    shown = store.render(openmetrics, view=View(floor=0))
    assert sorted(shown.splitlines()) == sorted(blank.render(openmetrics).splitlines())
    assert store.render(openmetrics, view=View(floor=1)) == store.render(openmetrics)


def test_when_a_series_began_is_written_in_openmetrics_on_request() -> None:
    store = Store(SPECS, created_lines=True)
    store.begin(lambda: 1758124305.5)
    _apply(store, [("a_total", ("A", "x"), 3.0), ("d_seconds", ("A", "z"), 1.0)])
    page = store.render(True)
    assert 'a_created{agent_id="A",b="x"} 1.7581243055e+09\n' in page
    assert 'd_seconds_created{agent_id="A",zone="z"} 1.7581243055e+09\n' in page
    assert "c_created" not in page, "a gauge has no beginning"
    assert "_created" not in store.render(False)
    created = {s.name for family in parse_openmetrics(page + "# EOF\n") for s in family.samples if "created" in s.name}
    assert created == {"a_created", "b_seconds_created", "d_seconds_created", "e_created"}
    assert "_created" not in Store(SPECS).render(True)


def test_an_exemplar_is_never_later_than_now_and_always_of_a_sampled_trace() -> None:
    store = Store(SPECS)
    child = store.histogram("d_seconds", "A", "z")
    store.moment.horizon = 1000.0
    child.observe_with(0.05, 87_400.0, Span(TRACE, "1" * 16))
    assert not child.exemplars
    child.observe_with(0.05, 999.0, Span(TRACE, "2" * 16))
    assert [span.span_id for span, _, _ in (child.exemplars or {}).values()] == ["2" * 16]
    store.moment.sampled = lambda trace_id: trace_id != TRACE
    child.observe_with(0.05, 999.5, Span(TRACE, "3" * 16))
    assert [span.span_id for span, _, _ in (child.exemplars or {}).values()] == ["2" * 16]
    assert child.count == 3


def test_an_exemplar_carries_the_call_within_the_128_characters_of_openmetrics() -> None:
    store = Store(SPECS)
    child = store.histogram("d_seconds", "A", "z")
    for value, call_id in ((0.05, "CALL-1758124225863-80752e"), (0.5, "x" * 200), (2.0, "y" * 58)):
        child.observe_with(value, 1.0, Span(TRACE, "1" * 16, call_id))
    family = next(f for f in parse_openmetrics(store.render(True) + "# EOF\n") if f.name == "d_seconds")
    carried = [sample.exemplar.labels for sample in family.samples if sample.exemplar]
    assert [labels.get("call_id") for labels in carried] == ["CALL-1758124225863-80752e", None, "y" * 58]
    assert all(sum(len(name + text) for name, text in labels.items()) <= 128 for labels in carried)


def test_gauges_and_closed_sets_stay() -> None:
    store = Store(SPECS)
    _apply(store, [("c", ("x",), 3.0)])
    for _ in range(3):
        store.sweep(["c"])
    assert set(store["c"].children) == {("p",), ("q",), ("x",)}


def test_room_that_a_sweep_made_is_used_again() -> None:
    store = Store(SPECS, budget=2)
    _apply(store, [("a_total", ("A", name), 1.0) for name in "xyz"])
    store.sweep(["a_total"])
    store.sweep(["a_total"])
    _apply(store, [("a_total", ("A", "new"), 1.0)])
    assert list(store["a_total"].children) == [("A", "new")]


# -- threads


@pytest.mark.parametrize("openmetrics", [False, True])
def test_a_scrape_meanwhile_never_leaves_a_stale_line_behind(openmetrics: bool) -> None:
    store = Store(SPECS)
    stop = threading.Event()
    seen: list[float] = []
    problems: list[BaseException] = []

    def scrape() -> None:
        while not stop.is_set():
            text = store.render(openmetrics)
            seen.append(_value(text, "e_count"))

    thread = threading.Thread(target=_caught(scrape, problems))
    thread.start()
    for number in range(6000):
        _apply(
            store,
            [
                ("e", (), float(number % 20)),
                ("d_seconds", ("A", f"{number % 50}"), 0.25),
                ("a_total", (f"{number % 97}", ""), 1.0),
                ("c", ("x",), float(number)),
            ],
        )
    stop.set()
    thread.join()
    assert not problems
    assert seen == sorted(seen)
    assert store.render(openmetrics) == _reference(store, openmetrics)


def _value(text: str, name: str) -> float:
    return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(name)), 0.0)


def _caught(target: Callable[[], None], problems: list[BaseException]) -> Callable[[], None]:
    def run() -> None:
        try:
            target()
        except BaseException as problem:  # noqa: BLE001  # of another thread, to be shown by the test
            problems.append(problem)

    return run
