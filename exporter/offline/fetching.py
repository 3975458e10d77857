"""Call logs of the configured account, for commands about calls that are over."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from structlog.typing import FilteringBoundLogger

from exporter import __version__
from exporter.calls.observations import Agent
from exporter.calls.telemetry import NoTelemetry
from exporter.config import Config, api_key
from exporter.offline.replay import Replay
from exporter.outputs.recorder import SpansOnly
from exporter.outputs.spans import SpanRecord
from exporter.receivers.client import AtomsApi
from exporter.receivers.history import History


@asynccontextmanager
async def history_of(config: Config, env: Mapping[str, str], log: FilteringBoundLogger) -> AsyncIterator[History]:
    """The account's call logs. ``env`` says how to get out. Raises ConfigError without a token."""
    api = AtomsApi(
        config.api.base_url,
        api_key(config),
        telemetry=NoTelemetry(),
        log=log,
        env=env,
        user_agent=f"atoms-exporter/{__version__}",
        connect_timeout=config.api.connect_timeout,
        read_timeout=config.api.request_timeout,
    )
    try:
        yield History(api, rng=random.Random(), concurrency=config.history.concurrency)
    finally:
        await api.aclose()


async def spans_of_call(
    call_id: str, config: Config, env: Mapping[str, str], log: FilteringBoundLogger
) -> list[SpanRecord]:
    """The spans of a call from its log at the API."""
    spans: list[SpanRecord] = []
    async with history_of(config, env, log) as history:
        replaying = Replay(SpansOnly(spans.append), config, Agent())
        replaying.take_log(await history.fetch(call_id, attempts=3))
        replaying.end()
    return spans
