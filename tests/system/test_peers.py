"""Real peers: Prometheus scrapes and keeps exemplars, a collector takes the demo's traces and metrics."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.peers import need_program, rotel_in
from tests.system.world import clean_environment, free_port, until, world

_HOW = "on Debian: apt-get install prometheus"


async def _ask(prometheus: str, path: str, **params: Any) -> Any:
    async with httpx.AsyncClient(base_url=prometheus, trust_env=False, timeout=10) as client:
        try:
            answer = await client.get(f"/api/v1/{path}", params=params)
        except httpx.TransportError:
            return None
        return answer.json().get("data") if answer.status_code == 200 else None


async def test_prometheus_scrapes_and_keeps_exemplars(tmp_path: Path) -> None:
    program, promtool = need_program("prometheus", _HOW), need_program("promtool", _HOW)
    # Five times as fast as life, from a while ago: an exemplar that is later than now is not shown.
    async with world(tmp_path, calls=12, total_calls=60, speed=5.0, starts_at=time.time() - 900) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        target = exporter.url.removeprefix("http://")
        (tmp_path / "prometheus.yml").write_text(
            "global: {scrape_interval: 500ms}\n"
            f'scrape_configs: [{{job_name: atoms, static_configs: [{{targets: ["{target}"]}}]}}]\n'
        )
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            *(program, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"),
            *("--enable-feature=exemplar-storage", f"--web.listen-address=127.0.0.1:{port}"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        url = f"http://127.0.0.1:{port}"
        try:

            async def scraped() -> Any:
                targets = await _ask(url, "targets")
                return targets and [each for each in targets["activeTargets"] if each["health"] == "up"]

            async def exemplars() -> Any:
                span = {"start": time.time() - 1_200, "end": time.time() + 600}
                found = await _ask(url, "query_exemplars", query="atoms_turn_latency_seconds_bucket", **span)
                return [exemplar for series in found or () for exemplar in series["exemplars"]]

            assert (await until(scraped, 60, "the target is up"))[0]["lastError"] == ""
            kept = await until(exemplars, 60, "exemplars")
            labels = kept[0]["labels"]
            assert re.fullmatch(r"[0-9a-f]{32}", labels["trace_id"])
            assert re.fullmatch(r"[0-9a-f]{16}", labels["span_id"])
            counted = await _ask(url, "query", query="sum by (node_name) (atoms_turn_latency_seconds_count)")
            assert any(series["metric"]["node_name"] not in ("none", "unknown") for series in counted["result"])
            plain = await exporter.get("/metrics")
            checked = await asyncio.to_thread(
                subprocess.run, [promtool, "check", "metrics"], input=plain.content, capture_output=True, check=False
            )
            assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
        finally:
            process.terminate()
            await process.wait()
        assert await exporter.stop() == 0


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_a_collector_takes_traces_and_metrics_of_the_demo(protocol: str, tmp_path: Path) -> None:
    collector = rotel_in(tmp_path)
    try:
        await until(collector.listening, 60)
        port = collector.grpc_port if protocol == "grpc" else collector.http_port
        env = clean_environment(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_METRIC_EXPORT_INTERVAL="1000",
            OTEL_BSP_SCHEDULE_DELAY="500",
        )
        demo = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "exporter", "demo", "--speed", "20", "--calls", "4"),
            *("--web.listen-address", "127.0.0.1:0", "--log.level", "info"),
            env=env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        wanted = ("Name           : turn", "Name           : call", "atoms_turn_latency_seconds", "hop ")
        try:
            await until(lambda: all(text in collector.printed() for text in wanted), 60, "traces and metrics")
        finally:
            demo.terminate()
            said, _ = await asyncio.wait_for(demo.communicate(), 30)
        assert demo.returncode == 0, said
        assert b"Traceback" not in said
        assert "gen_ai.conversation.id: Str(CALL-" in collector.printed()
    finally:
        collector.stop()
