"""The exporter with a state file and a full page, of whichever tree it is started in: ``python -m benchmarks.keeping``.

Run as a file, with ``PYTHONPATH`` naming the tree: the exporter and what fills its page are that tree's.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random

import structlog

from benchmarks.measuring import arguments, obey, rss_kib, run
from benchmarks.pages import change, fill
from exporter.config import load
from exporter.logs import set_up_logs
from exporter.service import Service

_SHARE_CHANGED = 0.2
"""Of the series that were filled in: so many change between two scrapes."""


async def main() -> None:
    given = arguments()
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": given.otlp, "OTEL_METRICS_EXPORTER": "none"} if given.otlp else {}
    flags = {
        "api.base_url": given.base_url,
        "api.max_streams": given.streams + 100,
        "discovery.poll.limit": 500,
        "history.enabled": False,  # the calls of the source have no history
        "web.listen_address": "127.0.0.1:0",
        "metrics.max_series_per_metric": 100_000,
        "state.path": os.environ["BENCHMARK_STATE"],
    }
    set_up_logs("error", "logfmt")
    before = rss_kib()
    started = asyncio.get_running_loop().create_future()
    config = load(flags, {"ATOMS_API_KEY": given.token}, None)
    service = Service(config, env, structlog.get_logger("bench"), on_started=started.set_result)
    gc.freeze()  # as the command line does it
    gc.set_threshold(50_000, 20, 100)
    metrics = service.metrics
    fill(metrics.store, given.series)
    refresh = metrics.refresh

    def change_and_refresh() -> None:  # asked before each page
        change(metrics.store, _SHARE_CHANGED)
        refresh()

    metrics.refresh = change_and_refresh  # type: ignore[method-assign]  # it is what a page begins with
    running = asyncio.ensure_future(service.run())
    url = (await started).urls[0]
    streams = metrics.store["atoms_exporter_streams"].labels("open")
    counters = metrics.store["atoms_exporter_events_total"].children

    async def connected() -> None:
        while streams.value < given.streams:  # type: ignore[union-attr]  # a gauge
            if running.done():
                running.result()
            await asyncio.sleep(0.005)
        rng = random.Random(1)
        for tracked in service.tracker:
            for _ in range(int(os.environ.get("BENCHMARK_EVENTS", "0"))):
                identity = rng.getrandbits(64)
                if tracked.seen.add(identity) and tracked.uncommitted is not None:
                    tracked.uncommitted.append(identity)

    await obey(
        "atoms-exporter",
        given.streams,
        connected=connected,
        events=lambda: int(sum(child.value for child in counters.values())),  # type: ignore[union-attr]  # counters
        rss_before=before,
        metrics_url=f"{url.rstrip('/')}/metrics",
    )


run(main)
