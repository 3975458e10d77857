"""The exporter itself: the real service, from socket to metric and span, spans sent to an OTLP sink."""

from __future__ import annotations

import asyncio
import gc

import structlog

from benchmarks.measuring import arguments, obey, rss_kib, run
from benchmarks.pages import fill
from exporter.config import load
from exporter.logs import set_up_logs
from exporter.outputs.prometheus.series import Histogram
from exporter.service import Service
from exporter.web import RunningWeb


def quantile(histogram: Histogram, before: list[int], q: float) -> float:
    """A quantile of what was observed since ``before``, interpolated within its bucket like PromQL does it."""
    counts = [now - then for now, then in zip(histogram.counts, before, strict=True)]
    wanted, cumulative, lower = q * sum(counts), 0, 0.0
    for bound, count in zip(histogram.bounds, counts, strict=False):
        if count and cumulative + count >= wanted:
            return lower + (bound - lower) * (wanted - cumulative) / count
        cumulative, lower = cumulative + count, bound
    return lower


async def main() -> None:
    given = arguments()
    env = {"SSL_CERT_FILE": given.ca} if given.ca else {}
    if given.otlp:
        env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": given.otlp, "OTEL_METRICS_EXPORTER": "none"}
    flags = {
        "api.base_url": given.base_url,
        "api.max_streams": given.streams + 100,
        "discovery.poll.limit": 500,
        "history.enabled": False,  # the calls of the source have no history
        "web.listen_address": "127.0.0.1:0",
        "metrics.max_series_per_metric": 100_000,
        "state.path": "",
    }
    set_up_logs("error", "logfmt")
    before = rss_kib()
    started: asyncio.Future[RunningWeb] = asyncio.get_running_loop().create_future()
    config = load(flags, {"ATOMS_API_KEY": given.token}, None)
    service = Service(config, env, structlog.get_logger("bench"), on_started=started.set_result)
    gc.freeze()  # as the command line does it
    gc.set_threshold(50_000, 20, 100)
    metrics = service.metrics
    if given.series:
        fill(metrics.store, given.series)
    running = asyncio.ensure_future(service.run())
    url = (await started).urls[0]
    streams = metrics.store["atoms_exporter_streams"].labels("open")
    lag = metrics.store["atoms_exporter_event_lag_seconds"].labels()
    exported = metrics.store["atoms_exporter_spans_exported_total"].labels()
    duplicates = metrics.store["atoms_exporter_events_duplicate_total"].labels()
    assert isinstance(lag, Histogram)
    marks: dict[str, list[int]] = {}
    exported_before: list[float] = [0.0]
    counters = metrics.store["atoms_exporter_events_total"].children

    async def connected() -> None:
        while streams.value < given.streams:  # type: ignore[union-attr]  # a gauge
            if running.done():
                running.result()
            await asyncio.sleep(0.005)

    def begin() -> None:
        metrics.count_lags()  # many at a time, or when somebody looks
        marks["lag"] = list(lag.counts)
        exported_before[0] = exported.value  # type: ignore[union-attr]  # a counter

    def extra() -> dict[str, float]:
        metrics.count_lags()
        return {
            "lag_p50": quantile(lag, marks["lag"], 0.5),
            "lag_p99": quantile(lag, marks["lag"], 0.99),
            "duplicates": duplicates.value,  # type: ignore[union-attr]  # a counter
            "spans": exported.value - exported_before[0],  # type: ignore[union-attr]  # a counter
        }

    await obey(
        "atoms-exporter",
        given.streams,
        connected=connected,
        events=lambda: int(sum(child.value for child in counters.values())),  # type: ignore[union-attr]  # counters
        rss_before=before,
        metrics_url=f"{url.rstrip('/')}/metrics",
        begin=begin,
        extra=extra,
    )


run(main)
