"""``/metrics`` of many series: how long a page takes, beside prometheus_client's own rendering."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client import Counter as ClientCounter
from prometheus_client import Histogram as ClientHistogram
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_latest

from exporter.outputs.prometheus.catalogue import CATALOGUE, PROCESSOR_BUCKETS
from exporter.outputs.prometheus.exposition import render
from exporter.outputs.prometheus.series import Histogram, Store

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
FILLED = ("atoms_processor_latency_seconds", "atoms_turn_stage_latency_seconds", "atoms_llm_tokens_total")
LABELS = ("agent_id", "agent_name", "node_id", "node_name", "processor", "model")


def lines_of(store: Store) -> int:
    """Samples on the page: a histogram has one for each bucket, and its count and sum."""
    return sum(
        len(child.counts) + 2 if isinstance(child, Histogram) else 1
        for family in store.families.values()
        for child in family.children.values()
    )


class _Span(NamedTuple):
    trace_id: str
    span_id: str
    call_id: str = "CALL-1758124225863-80752e"


def fill(store: Store, series: int) -> None:
    """Make up agents with nodes until the page has so many series; every histogram holds exemplars."""
    numbers = count()
    room = series - lines_of(store)
    while room > 0:
        number = next(numbers)
        name = FILLED[number % len(FILLED)]
        family = store[name]
        agent, node = divmod(number, 24)
        values = (f"65f0{agent:020x}", f"Agent {agent}", str(10_000 + node), f"Node {node}", *_rest(name, node))
        child = family.labels(*values)
        if isinstance(child, Histogram):
            for value in (0.05, 0.31, 1.4):
                child.observe_with(value, 1.7e9, _Span(f"{number:032x}", f"{number:016x}"))
            room -= len(child.counts) + 2
        else:
            child.inc(100)
            room -= 1


def _rest(name: str, node: int) -> tuple[str, ...]:
    if name == "atoms_processor_latency_seconds":
        return f"Processor{node % 5}", "gpt-4o"
    return ("llm_api",) if "stage" in name else ("OpenAILLMService", "gpt-4o", "prompt")


def change(store: Store, share: float) -> None:
    """One more observation in this share of the series that ``fill`` made."""
    every = round(1 / share)
    for name in FILLED:
        for number, child in enumerate(store[name].children.values()):
            if number % every == 0:
                if isinstance(child, Histogram):
                    child.observe_with(0.31, 1.7e9, _Span("0" * 31 + "1", "0" * 15 + "1"))
                else:
                    child.inc()


def the_same(series: int) -> CollectorRegistry:
    """As many series in prometheus_client's own classes."""
    registry = CollectorRegistry(auto_describe=False)
    latency = ClientHistogram(
        "atoms_processor_latency_seconds", "Latency", LABELS, buckets=PROCESSOR_BUCKETS, registry=registry
    )
    tokens = ClientCounter("atoms_llm_tokens", "Tokens", (*LABELS, "type"), registry=registry)
    room, number = series, 0
    while room > 0:
        agent, node = divmod(number, 24)
        values = (f"65f0{agent:020x}", f"Agent {agent}", str(10_000 + node), f"Node {node}", f"P{node % 5}", "gpt-4o")
        if number % 3:
            child = latency.labels(*values)
            for value in (0.05, 0.31, 1.4):
                child.observe(value, {"trace_id": f"{number:032x}", "span_id": f"{number:016x}"})
            room -= len(PROCESSOR_BUCKETS) + 3
        else:
            tokens.labels(*values, "prompt").inc(100)
            room -= 1
        number += 1
    return registry


def pages(sizes: tuple[int, ...], repeat: int) -> Iterator[dict[str, float]]:
    """Seconds of CPU per page, the best of ``repeat`` where a page can be rendered again."""
    for series in sizes:
        yield _pages_of(series, repeat)


def _pages_of(series: int, repeat: int) -> dict[str, float]:
    store, others = Store(CATALOGUE, budget=10**9), CollectorRegistry(auto_describe=False)
    fill(store, series)
    registry = the_same(series)
    gc.collect()

    def page() -> bytes:
        return render(store, others, OPENMETRICS)[1]

    first = _took(page)
    unchanged = min(_took(page) for _ in range(repeat))
    changed = []
    for _ in range(repeat):
        change(store, 0.1)
        changed.append(_took(page))
    return {
        "series": lines_of(store),
        "page_bytes": len(page()),
        "first_seconds": first,
        "unchanged_seconds": unchanged,
        "tenth_changed_seconds": min(changed),
        "prometheus_client_seconds": min(
            _took(lambda: openmetrics_latest(registry)) for _ in range(max(1, repeat // 2))
        ),
    }


def _took(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
