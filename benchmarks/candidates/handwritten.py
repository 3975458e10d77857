"""What a user would write: httpx, httpx-sse, json and prometheus-client. The part that matters is forty lines.

It does less than the exporter: no event is recognised when it comes again, nothing is recovered, names are not
resolved, there are no stages, no hops, no tools, no spans, and units are taken on trust.
"""

from __future__ import annotations

import asyncio
import json
import ssl

import httpx
from httpx_sse import aconnect_sse
from prometheus_client import Counter, Histogram, start_http_server

from benchmarks.measuring import arguments, call_ids, obey, rss_kib, run, until

TURNS = Histogram("turn_latency_seconds", "Turn latency", ["node_id"])
TTS = Histogram("tts_latency_seconds", "TTS latency", ["node_id"])
PROCESSORS = Histogram("processor_latency_seconds", "Processor latency", ["node_id", "processor"])
TOKENS = Counter("llm_tokens", "Tokens", ["node_id", "type"])
counted = 0
open_streams = 0


async def follow(client: httpx.AsyncClient, base_url: str, call_id: str) -> None:
    global counted, open_streams
    node = "none"
    async with aconnect_sse(client, "GET", f"{base_url}/events", params={"callId": call_id}) as source:
        open_streams += 1
        async for sse in source.aiter_sse():
            event = json.loads(sse.data)
            counted += 1
            match event["event_type"]:
                case "agent_node_state":
                    node = event["node_id"]
                case "hopping":
                    node = event["to_node_id"]
                case "turn_latency":
                    TURNS.labels(node).observe(event["turn_latency"] / 1000)
                case "tts_completed":
                    TTS.labels(node).observe(event["tts_latency"] / 1000)
                case "metrics":
                    for entry in event["metrics"]:
                        value = entry.get("value")
                        if isinstance(value, dict):
                            TOKENS.labels(node, "prompt").inc(value.get("prompt_tokens") or 0)
                            TOKENS.labels(node, "completion").inc(value.get("completion_tokens") or 0)
                        elif value:
                            PROCESSORS.labels(node, entry["processor"]).observe(value / 1000)


async def main() -> None:
    given = arguments()
    calls = await call_ids(given.base_url, given.token, given.streams, given.ca)
    before = rss_kib()
    server, _ = start_http_server(0, "127.0.0.1")
    client = httpx.AsyncClient(
        headers={"Authorization": f"Bearer {given.token}"},
        timeout=httpx.Timeout(None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        verify=ssl.create_default_context(cafile=given.ca) if given.ca else True,
    )
    tasks: list[asyncio.Task[None]] = []

    async def connected() -> None:
        for start in range(0, len(calls), 50):  # all at once would be worse: the pool scans itself for each
            tasks.extend(
                asyncio.ensure_future(follow(client, given.base_url, call)) for call in calls[start : start + 50]
            )
            await until(lambda: open_streams >= min(start + 50, len(calls)))  # noqa: B023 - awaited at once

    await obey(
        "httpx + httpx-sse + json + prometheus-client",
        len(calls),
        connected=connected,
        events=lambda: counted,
        rss_before=before,
        metrics_url=f"http://127.0.0.1:{server.server_port}/metrics",
    )


run(main)
