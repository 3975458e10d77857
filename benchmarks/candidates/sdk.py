"""The vendor's own async client, feeding prometheus-client.

At its best: an httpx client without limits handed in, its warnings switched off. Token usage is not in it: the SDK
types a metric's value as a number and leaves those events out.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any

import httpx
from prometheus_client import Histogram, start_http_server
from smallestai import AsyncSmallestAI
from smallestai.environment import SmallestAIEnvironment

from benchmarks.measuring import arguments, call_ids, obey, rss_kib, run, until

TURNS = Histogram("turn_latency_seconds", "Turn latency", ["node_id"])
TTS = Histogram("tts_latency_seconds", "TTS latency", ["node_id"])
PROCESSORS = Histogram("processor_latency_seconds", "Processor latency", ["node_id", "processor"])
counted = 0
open_streams = 0


async def follow(client: Any, call_id: str) -> None:
    global counted, open_streams
    node = "none"
    async for event in client.atoms.live_transcripts.subscribe_to_live_events(call_id=call_id):
        counted += 1
        match event.event_type:
            case "sse_init":
                open_streams += 1
            case "agent_node_state":
                node = event.node_id
            case "hopping":
                node = event.to_node_id
            case "turn_latency":
                TURNS.labels(node).observe(event.turn_latency / 1000)
            case "tts_completed":
                TTS.labels(node).observe(event.tts_latency / 1000)
            case "metrics":
                for entry in event.metrics:
                    if entry.value:
                        PROCESSORS.labels(node, entry.processor).observe(entry.value / 1000)


async def main() -> None:
    given = arguments()
    logging.disable(logging.CRITICAL)  # it warns about each event whose token usage it cannot type
    calls = await call_ids(given.base_url, given.token, given.streams, given.ca)
    here = SmallestAIEnvironment(
        atoms=given.base_url, waves=given.base_url, waves_ws=given.base_url, payment=given.base_url
    )
    before = rss_kib()
    server, _ = start_http_server(0, "127.0.0.1")
    http = httpx.AsyncClient(
        timeout=httpx.Timeout(None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        verify=ssl.create_default_context(cafile=given.ca) if given.ca else True,
    )
    client = AsyncSmallestAI(api_key=given.token, environment=here, httpx_client=http)
    tasks: list[asyncio.Task[None]] = []

    async def connected() -> None:
        for start in range(0, len(calls), 50):
            tasks.extend(asyncio.ensure_future(follow(client, call)) for call in calls[start : start + 50])
            await until(lambda: open_streams >= min(start + 50, len(calls)))  # noqa: B023 - awaited at once

    await obey(
        "official SDK + prometheus-client",
        len(calls),
        connected=connected,
        events=lambda: counted,
        rss_before=before,
        metrics_url=f"http://127.0.0.1:{server.server_port}/metrics",
    )


run(main)
