"""The container's health check, against real servers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from exporter.healthcheck import address_of, healthy
from tests.certificates import Certificates


@asynccontextmanager
async def _server(status: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/-/healthy", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _check(port: int) -> bool:
    return await asyncio.to_thread(healthy, "127.0.0.1", port)


@pytest.mark.parametrize(("status", "well"), [(200, True), (401, True), (500, False), (503, False)])
async def test_any_answer_but_a_failure_is_alive(status: int, well: bool) -> None:
    async with _server(status) as port:
        assert await _check(port) is well


async def test_nobody_there_is_not_alive() -> None:
    async with _server(200) as port:
        pass
    assert not await _check(port)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    Certificates(directory)
    return directory


async def test_tls_is_alive(certificates: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    async with _server(200, tls) as port:
        assert await _check(port)


async def test_tls_that_wants_a_client_certificate_is_alive(certificates: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificates / "ca.crt"))
    tls.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    tls.verify_mode = ssl.CERT_REQUIRED
    async with _server(200, tls) as port:
        assert await _check(port)


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        (None, ("127.0.0.1", 9464)),
        (":8080", ("127.0.0.1", 8080)),
        ("0.0.0.0:8080", ("127.0.0.1", 8080)),
        ("10.1.2.3:9464", ("10.1.2.3", 9464)),
        ("[::]:9464", ("::1", 9464)),
    ],
)
def test_it_asks_where_the_environment_says(written: str | None, asked: tuple[str, int]) -> None:
    environment = {} if written is None else {"ATOMS_EXPORTER_WEB__LISTEN_ADDRESS": written}
    assert address_of(environment) == asked
