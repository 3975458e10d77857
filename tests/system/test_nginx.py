"""nginx between the exporter and the others: what a real proxy buffers, packs, cuts and refuses costs nothing."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import pytest

from exporter.simulator import parse_faults
from tests.support.authority import Authority
from tests.support.peers import free_port, nginx_in
from tests.system.books import differences, report
from tests.system.traces import Backend, flaws
from tests.system.world import until, world


def _proxy(port: int, upstream: str, *directives: str, listen: str = "") -> str:
    """A server block that passes everything on."""
    target = re.sub(r"^(https?://[^/]+).*", r"\1", upstream)
    location = "".join(f"{directive};\n" for directive in (f"proxy_pass {target}", *directives))
    return f"server {{ listen 127.0.0.1:{port}{listen};\nlocation / {{ {location} }} }}"


_PACKED = ("gzip on", "gzip_proxied any", "gzip_min_length 1", "gzip_types application/json text/event-stream")
_KINDS = {
    "HTTP/1.1 to the API, everything packed that may be": ("proxy_http_version 1.1", *_PACKED),
    "as it comes from the distribution, but buffering": ("proxy_ignore_headers X-Accel-Buffering",),
    "cut after a second of silence": ("proxy_http_version 1.1", "proxy_read_timeout 1s"),
}


@pytest.mark.parametrize("directives", _KINDS.values(), ids=_KINDS)
async def test_every_event_is_counted_once_behind_nginx(directives: tuple[str, ...], tmp_path: Path) -> None:
    port = free_port()
    faults = parse_faults("silence=0.3:seconds=3")
    async with world(tmp_path, calls=8, total_calls=8, speed=30.0, faults=faults) as here:
        direct, here.simulator.base_url = here.simulator.base_url, f"http://127.0.0.1:{port}/atoms/v1"
        with nginx_in(tmp_path / "nginx", _proxy(port, direct, *directives)):
            exporter = await here.exporter()
            here.simulator.begin()
            await here.played()
            page = await exporter.settled()
            assert not (unequal := differences(here.ledger, page)), report(unequal)
            assert page.events == here.ledger["published"] > 200
            assert page.total("atoms_exporter_up") == 1
            if "proxy_read_timeout 1s" in directives:
                assert page.total("atoms_exporter_stream_reconnects_total", reason="cut") > 0
            assert await exporter.stop() == 0


async def test_a_body_limit_in_front_of_a_backend_loses_neither_spans_nor_numbers(tmp_path: Path) -> None:
    backend = await Backend().start()
    direct = f"http://127.0.0.1:{backend.port}"
    port = free_port()
    limit = "client_max_body_size 3k"
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with nginx_in(tmp_path / "nginx", _proxy(port, direct, limit)):
        async with world(tmp_path, calls=6, total_calls=6, speed=60.0, env=env) as here:
            exporter = await here.exporter()
            here.simulator.begin()
            await here.played()
            await exporter.settled()
            assert await exporter.stop() == 0
            assert not (wrong := flaws(backend.spans, here.ledger)), report(wrong)
            assert "spans refused" not in exporter.log
            assert "the last metrics were not pushed" not in exporter.log
    await backend.stop()


async def test_a_terminator_with_a_certificate_of_a_new_authority_is_trusted_once_we_are_told(tmp_path: Path) -> None:
    old, new = Authority(tmp_path / "old", "old"), Authority(tmp_path / "new", "new")
    served, key, trusted = tmp_path / "served.pem", tmp_path / "served.key", tmp_path / "trusted.pem"

    def serve(authority: Authority) -> None:
        for source, target in zip(authority.issue("server"), (served, key), strict=True):
            shutil.copy(source, target)

    serve(old)
    shutil.copy(old.ca, trusted)
    port = free_port()
    async with world(tmp_path, calls=4, total_calls=10, speed=10.0, env={"SSL_CERT_FILE": str(trusted)}) as here:
        direct, here.simulator.base_url = here.simulator.base_url, f"https://127.0.0.1:{port}/atoms/v1"
        tls = (f"ssl_certificate {served};", f"ssl_certificate_key {key};")
        block = _proxy(
            port, direct, "proxy_http_version 1.1", "keepalive_timeout 0", listen=" ssl; " + " ".join(tls)[:-1]
        )
        with nginx_in(tmp_path / "nginx", block) as nginx:
            exporter = await here.exporter()
            here.simulator.begin()
            await until(lambda: exporter.page_now().events > 100, 30, "events over TLS")
            serve(new)
            nginx.send_signal(signal.SIGHUP)
            await until(lambda: "certificate verify failed" in exporter.log, 30, "the new certificate is not trusted")
            shutil.copy(new.ca, trusted)
            await until(lambda: "certificates read again" in exporter.log, 60, "and then it is")
            await here.played()
            page = await exporter.settled()
            assert not (unequal := differences(here.ledger, page)), report(unequal)
            assert page.events == here.ledger["published"]
            assert await exporter.stop() == 0
