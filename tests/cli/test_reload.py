"""Configuration and secrets read again while it runs: the process as an operator has it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from exporter.config import changed_keys, load, with_keys
from exporter.simulator import Simulator, SimulatorOptions
from tests.system.world import Exporter, clean_environment, until


@asynccontextmanager
async def running(tmp_path: Path, configuration: str, token: str = "first-key") -> AsyncIterator[Exporter]:
    """`run` against a simulator that accepts ``token``, with files of its own for the configuration and each secret."""
    simulator = Simulator(SimulatorOptions(calls=2, speed=5.0, token=token))
    base_url = await simulator.start()
    (tmp_path / "key").write_text("first-key")
    (tmp_path / "hook").write_text("first-secret")
    (tmp_path / "config.yml").write_text(configuration)
    env = clean_environment(
        ATOMS_API_KEY_FILE=str(tmp_path / "key"),
        ATOMS_WEBHOOK_SECRET_FILE=str(tmp_path / "hook"),
        ATOMS_BASE_URL=base_url,
        ATOMS_EXPORTER_WEB__LISTEN_ADDRESS="127.0.0.1:0",
        ATOMS_EXPORTER_DISCOVERY__POLL__INTERVAL="1s",
        ATOMS_EXPORTER_STATE__PATH="",
    )
    command = [sys.executable, "-m", "exporter", "run", "--config.file", str(tmp_path / "config.yml")]
    exporter = Exporter(command, env, tmp_path / "log")
    try:
        yield await exporter.listening()
    finally:
        exporter.process.kill()
        exporter.process.wait()
        await simulator.stop()


async def signed(exporter: Exporter, secret: str, delivery: str) -> int:
    body = json.dumps({"event": "a1.pre-conversation", "id": delivery, "metadata": {"callId": "CALL-1"}}).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    async with httpx.AsyncClient(base_url=exporter.url, trust_env=False) as client:
        answer = await client.post("/webhooks/atoms", content=body, headers={"X-Signature": signature})
    return answer.status_code


async def posted(exporter: Exporter) -> httpx.Response:
    async with httpx.AsyncClient(base_url=exporter.url, trust_env=False, timeout=20) as client:
        return await client.post("/-/reload")


async def test_a_hangup_reads_everything_again_and_names_what_waits_for_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, "log: {level: info}\n") as exporter:
        (starting,) = [line for line in exporter.log.splitlines() if "msg=starting" in line]
        for field in (
            "version=",
            "python=3",
            f"configuration={tmp_path}",
            "api=http",
            "state=none",
            "traces=",
            "metrics=",
        ):
            assert field in starting
        (tmp_path / "config.yml").write_text("log: {level: debug}\napi: {max_streams: 7}\nshutdown_timeout: 3s\n")
        exporter.process.send_signal(signal.SIGHUP)
        await until(lambda: "only a restart applies it" in exporter.log, what=exporter.log)
        assert 'applied="shutdown_timeout, log.level"' in exporter.log or 'applied="log.level, shutdown' in exporter.log
        assert "keys=api.max_streams" in exporter.log
        (tmp_path / "config.yml").write_text("log: {level: loud}\n")
        exporter.process.send_signal(signal.SIGHUP)
        await until(lambda: "cannot be used, keeping the one before" in exporter.log, what=exporter.log)
        assert exporter.process.poll() is None
        exporter.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(exporter.process.wait, 20) == 0
        assert "timeout_seconds=3.0" in exporter.log, "the new one is in force"
        assert "Traceback" not in exporter.log


async def test_a_rotated_signing_secret_is_taken_into_use_by_itself(tmp_path: Path) -> None:
    async with running(tmp_path, "") as exporter:
        assert await signed(exporter, "first-secret", "one") == 202
        (tmp_path / "hook").write_text("second-secret,first-secret")
        await until(lambda: "applied=discovery.webhook.secret" in exporter.log, what=exporter.log)
        assert await signed(exporter, "second-secret", "two") == 202
        assert await signed(exporter, "first-secret", "three") == 202
        assert await signed(exporter, "third-secret", "four") == 401
        assert "second-secret" not in exporter.log


async def test_a_rotated_key_is_taken_into_use_by_itself(tmp_path: Path) -> None:
    async with running(tmp_path, "", token="second-key") as exporter:
        (tmp_path / "key.new").write_text("second-key\n")
        (tmp_path / "key.new").replace(tmp_path / "key")
        await until(lambda: "applied=api.api_key" in exporter.log, what=exporter.log)
        assert "second-key" not in exporter.log


@pytest.mark.parametrize(("lifecycle", "status"), [(False, 403), (True, 200)])
async def test_a_request_reads_it_again_where_that_is_allowed(tmp_path: Path, lifecycle: bool, status: int) -> None:
    allowed = f"web: {{enable_lifecycle: {str(lifecycle).lower()}}}\n"
    async with running(tmp_path, allowed) as exporter:
        (tmp_path / "config.yml").write_text(allowed + "api: {max_streams: 7}\nlog: {level: warning}\n")
        answer = await posted(exporter)
        assert answer.status_code == status
        if lifecycle:
            assert answer.json() == {"status": "applied: log.level; for a restart: api.max_streams"}
            (tmp_path / "config.yml").write_text("nonsense: 1\n")
            refused = await posted(exporter)
            assert refused.status_code == 500
            assert "nonsense" in refused.json()["error"]
        else:
            assert "enable_lifecycle" in answer.json()["error"]


def test_a_configuration_made_of_two_has_the_keys_it_was_given() -> None:
    before, after = load({}, {}, None), load({"log.level": "debug", "api.max_streams": 7}, {}, None)
    assert changed_keys(before, after) == ["api.max_streams", "log.level"]
    mixed = with_keys(before, after, ["log.level"])
    assert changed_keys(before, mixed) == ["log.level"]
    assert mixed.log.level == "debug"
