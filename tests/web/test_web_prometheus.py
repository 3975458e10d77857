"""A real Prometheus scrapes the web server through TLS, a client certificate and a password."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from pathlib import Path

import bcrypt
import httpx
import pytest

from tests.certificates import Certificates
from tests.support.peers import need_program, needs
from tests.webserver import Backstage, file_in, site

pytestmark = needs("prometheus", "openssl")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    need_program("openssl")
    return Certificates(tmp_path_factory.mktemp("certificates"))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def test_prometheus_scrapes_through_everything_its_own_file_can_ask_for(
    certificates: Certificates, tmp_path: Path
) -> None:
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(5)).decode()
    web = file_in(
        certificates.directory,
        "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt,\n"
        "  client_auth_type: RequireAndVerifyClientCert, min_version: TLS13}\n"
        f"basic_auth_users: {{prometheus: {hashed}}}\n",
    )
    backstage = Backstage()
    backstage.count(500)
    async with site(backstage, config_file=web, verify=certificates.trusting("client")) as at:
        tls = ", ".join(
            f"{key}: {certificates.directory / file}"
            for key, file in (("ca_file", "ca.crt"), ("cert_file", "client.crt"), ("key_file", "client.key"))
        )
        (tmp_path / "prometheus.yml").write_text(f"""
global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: good
  scheme: https
  tls_config: {{{tls}}}
  basic_auth: {{username: prometheus, password: secret}}
  static_configs: [{{targets: ["127.0.0.1:{at.port}"]}}]
- job_name: stranger
  scheme: https
  tls_config: {{{tls}}}
  basic_auth: {{username: prometheus, password: guess}}
  static_configs: [{{targets: ["127.0.0.1:{at.port}"]}}]
""")
        port = free_port()
        server = await asyncio.create_subprocess_exec(
            *("prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"),
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            found = await asyncio.wait_for(_what_prometheus_sees(port), 90)
        finally:
            server.terminate()
            await server.wait()
    assert found["good"] == ("up", "")
    assert found["stranger"][0] == "down"
    assert "401" in found["stranger"][1]


async def _what_prometheus_sees(port: int) -> dict[str, tuple[str, str]]:
    """Health and last error by job, once every target was scraped."""
    deadline = time.monotonic() + 80
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                answer = (await client.get("/api/v1/targets")).raise_for_status()  # it listens before it is ready
                targets = answer.json()["data"]["activeTargets"]
                seen = {target["labels"]["job"]: (target["health"], target["lastError"]) for target in targets}
                if len(seen) == 2 and all(health != "unknown" for health, _ in seen.values()):
                    return seen
            await asyncio.sleep(0.1)
    raise TimeoutError
