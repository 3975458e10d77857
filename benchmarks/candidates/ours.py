"""The exporter itself: the real service, from socket to metric and span, spans sent to an OTLP sink."""

from __future__ import annotations

import asyncio
import gc
import os
import time

import httpx
import structlog

from benchmarks.measuring import arguments, report, rss_kib, run, window
from exporter.config import load
from exporter.logs import set_up_logs
from exporter.outputs.series import Histogram
from exporter.service import Service
from exporter.web import RunningWeb


def quantile(histogram: Histogram, before: list[int], q: float) -> float:
    """Upper bound of the bucket in which the quantile lies, of what was observed since ``before``."""
    counts = [now - then for now, then in zip(histogram.counts, before, strict=True)]
    wanted, cumulative = q * sum(counts), 0
    for bound, count in zip((*histogram.bounds, float("inf")), counts, strict=True):
        cumulative += count
        if cumulative >= wanted:
            return bound
    return float("inf")


async def main() -> None:
    given = arguments()
    env = {"ATOMS_API_KEY": given.token}
    if given.ca:
        os.environ["SSL_CERT_FILE"] = given.ca
    otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": given.otlp, "OTEL_METRICS_EXPORTER": "none"} if given.otlp else {}
    flags = {
        "api.base_url": given.base_url,
        "api.max_streams": given.streams + 100,
        "discovery.poll.limit": 500,
        "discovery.poll.interval": 5.0,
        "history.enabled": False,
        "web.listen_address": "127.0.0.1:0",
        "metrics.max_series_per_metric": 100_000,
        "traces.max_queue_spans": 200_000,
    }
    set_up_logs("error", "logfmt")
    before = rss_kib()
    started: asyncio.Future[RunningWeb] = asyncio.get_running_loop().create_future()
    service = Service(load(flags, env, None), otel, structlog.get_logger("bench"), on_started=started.set_result)
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    running = asyncio.ensure_future(service.run())
    url = (await started).urls[0]
    metrics = service.metrics
    streams = metrics.store["atoms_exporter_streams"].labels("open")
    lag = metrics.store["atoms_exporter_event_lag_seconds"].labels()
    stall = metrics.store["atoms_exporter_event_loop_lag_seconds"].labels()
    assert isinstance(lag, Histogram)
    assert isinstance(stall, Histogram)
    marks = {"lag": list(lag.counts), "stall": list(stall.counts)}
    counters = metrics.store["atoms_exporter_events_total"].children

    async def connected() -> None:
        while streams.value < given.streams:  # type: ignore[union-attr]  # a gauge
            await asyncio.sleep(0.02)

    def begin() -> None:
        marks["lag"], marks["stall"] = list(lag.counts), list(stall.counts)
        if given.scrape_every:
            tasks.append(asyncio.ensure_future(scrape()))

    tasks: list[asyncio.Task[None]] = []

    async def scrape() -> None:
        accept = {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"}
        async with httpx.AsyncClient(headers=accept, timeout=60) as client:
            while True:
                began = time.perf_counter()
                await client.get(f"{url}/metrics")
                await asyncio.sleep(max(0.0, given.scrape_every - (time.perf_counter() - began)))

    def extra() -> dict[str, float]:
        return {
            "lag_p50": quantile(lag, marks["lag"], 0.5),
            "lag_p99": quantile(lag, marks["lag"], 0.99),
            "stall_p99": quantile(stall, marks["stall"], 0.99),
            "duplicates": metrics.store["atoms_exporter_events_duplicate_total"].labels().value,  # type: ignore[union-attr]
            "spans_exported": metrics.store["atoms_exporter_spans_exported_total"].labels().value,  # type: ignore[union-attr]
            "kib_per_call": 0.0,
        }

    result = await window(
        "atoms-exporter",
        given.streams,
        given.seconds,
        connected=connected,
        events=lambda: int(sum(child.value for child in counters.values())),  # type: ignore[union-attr]
        rss_before=before,
        extra=extra,
        on_begin=begin,
    )
    report(result)
    running.cancel()
    os._exit(0)


run(main)
