"""Canaries in everything that comes in, all outputs of the real process searched for them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import httpx

from exporter.simulator import parse_faults, signature
from tests.support.canary import CANARY, PHONE, SECRET, canaried_events, canaried_webhooks
from tests.support.peers import RedisServer
from tests.system.test_bad_input import frame, upstream
from tests.system.traces import Backend
from tests.system.world import SECRET as SIGNING
from tests.system.world import Exporter, until, world
from tests.test_privacy import CONTENT

_CALL = f"CALL-{time.time_ns() // 1_000_000:013d}-80752e"  # begun just now: of an old one no webhook would be news
_BIRD = "kanarienvogel-4711"


async def _outputs(exporter: Exporter, backend: Backend, folder: Path) -> dict[str, str]:
    """Everything the process shows, by where."""
    openmetrics = {"Accept": "application/openmetrics-text; version=1.0.0"}
    shown = {
        "metrics": (await exporter.get("/metrics")).text,
        "openmetrics": (await exporter.get("/metrics", headers=openmetrics)).text,
        "landing page": (await exporter.get("/")).text,
        "calls": (await exporter.get("/api/v1/calls")).text,
        "pages of calls": await _pages_of_calls(exporter),
        "log": exporter.log,
        "OTLP": b"".join(backend.texts).decode("latin-1"),
    }
    for file in folder.glob("state.db*"):
        shown[file.name] = file.read_bytes().decode("latin-1")
    return shown


async def _pages_of_calls(exporter: Exporter) -> str:
    """The pages of some calls that are followed or have ended."""
    calls = (await exporter.get("/api/v1/calls")).json()["calls"]
    pages = [await exporter.get(f"/calls/{call['call_id']}") for call in calls[:3] + calls[-3:]]
    return "".join(page.text for page in pages)


async def _explained(call_id: str, url: str, env: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "explain", call_id, "--api.base-url", url),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, said
    return said.decode()


async def test_what_simulated_callers_say_shows_nowhere(tmp_path: Path) -> None:
    backend = await Backend().start()
    env = backend.env | {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"http://127.0.0.1:{backend.port}/v1/metrics"}
    settings = {"log.level": "debug", "state.path": str(tmp_path / "state.db"), "state.checkpoint_interval": "200ms"}
    settings |= {"metrics.agent_log_names": "escalated,consent"}
    faults = parse_faults("custom_event=0.5,recording_failure=0.5,new_version=0.5,broken_end=0.3")
    async with world(tmp_path, canary=_BIRD, env=env, settings=settings, faults=faults) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        await until(lambda: here.simulator.switchboard.ended >= 3, 60)
        shown = await _outputs(exporter, backend, tmp_path)
        await here.played()
        await exporter.settled()
        call_id = next(iter(here.ledger["calls"]))
        shown |= {f"{where}, later": text for where, text in (await _outputs(exporter, backend, tmp_path)).items()}
        shown["explain"] = await _explained(call_id, here.simulator.base_url, here.env)
        assert await exporter.stop() == 0
        shown["the end of the log"] = exporter.log
        shown["OTLP at the end"] = b"".join(backend.texts).decode("latin-1")
    await backend.stop()
    assert call_id in shown["explain"]
    assert "turn" in shown["OTLP"]
    assert [where for where, text in shown.items() if _BIRD in text.lower()] == []


async def _canaried(tmp_path: Path, *, capture: bool, redis_url: str = "") -> tuple[dict[str, str], Backend]:
    """A call and its webhooks with a canary in every field, live and from the history; all that is shown of it."""
    fleet = {"fleet.redis_url": redis_url, "fleet.name": "one", "fleet.lease": "1s"} if redis_url else {}
    backend = await Backend().start()
    history = {"callId": _CALL, "status": "completed", "agentId": "a1", "agent": {"_id": "a1", "name": "Anna"}}
    events = canaried_events(_CALL)
    settings = {"log.level": "debug"} | fleet
    async with world(tmp_path, env=backend.env, settings=settings) as here, upstream() as api:
        here.simulator.base_url = api.url
        api.history = history | {"events": events, "recordingUrl": f"https://{SECRET}/x.wav", "from": str(PHONE)}
        api.events = [frame({"event_type": "sse_init", "event_time": "2026-03-02T10:00:00Z"})]
        api.events += [frame(event) for event in events if event["event_type"] != "call_end"]
        exporter = await here.exporter(traces__capture_content="true" if capture else "false")
        async with httpx.AsyncClient(base_url=exporter.url, trust_env=False) as client:
            for number, body in enumerate(canaried_webhooks(_CALL, "a1")):
                raw = json.dumps(body | {"id": f"delivery-{number}"}).encode()
                signed = {"X-Signature": signature(SIGNING, raw)}
                assert (await client.post("/webhooks/atoms", content=raw, headers=signed)).status_code == 202
        shown = await _outputs(exporter, backend, tmp_path)
        await until(lambda: "call ended" in exporter.log, 60, "the end of the call")
        shown |= {f"{where}, later": text for where, text in (await _outputs(exporter, backend, tmp_path)).items()}
        assert await exporter.stop() == 0
        shown["the end of the log"] = exporter.log
        shown["OTLP at the end"] = b"".join(backend.texts).decode("latin-1")
    await backend.stop()
    return shown, backend


async def test_a_canary_in_every_field_of_every_event_and_webhook_sings_nowhere(tmp_path: Path) -> None:
    shown, backend = await _canaried(tmp_path, capture=False)
    assert len(backend.spans) > 5
    assert [where for where, text in shown.items() if CANARY.lower() in text.lower() or str(PHONE) in text] == []


async def test_no_canary_sings_in_a_fleets_redis(tmp_path: Path) -> None:
    password = f"{CANARY}-of-redis"
    server = RedisServer(tmp_path / "redis", "--appendonly", "yes", "--requirepass", password)
    server.start()
    try:
        shown, _ = await _canaried(tmp_path, capture=True, redis_url=f"redis://:{password}@127.0.0.1:{server.port}/0")
    finally:
        server.stop()
    shown = {where: text for where, text in shown.items() if "OTLP" not in where}
    files = [file for file in (tmp_path / "redis").rglob("*") if file.is_file() and file.name != "redis.log"]
    shown |= {file.name: file.read_bytes().decode("latin-1") for file in files}  # whatever was ever written there
    assert any(_CALL in shown[file.name] for file in files)
    assert [where for where, text in shown.items() if CANARY.lower() in text.lower() or str(PHONE) in text] == []


async def test_with_content_captured_it_sings_in_the_documented_span_attributes_only(tmp_path: Path) -> None:
    shown, backend = await _canaried(tmp_path, capture=True)
    elsewhere = {where: text for where, text in shown.items() if "OTLP" not in where}
    assert [where for where, text in elsewhere.items() if CANARY.lower() in text.lower()] == []
    assert [where for where, text in shown.items() if SECRET.lower() in text.lower()] == []
    singing = {
        name
        for span in backend.spans
        for name, value in span.attributes.items()
        if CANARY.lower() in f"{value}".lower()
    }
    assert singing
    assert singing <= set(CONTENT)
    assert not [span.name for span in backend.spans if CANARY.lower() in span.name.lower()]
