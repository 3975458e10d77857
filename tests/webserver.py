"""A web server under test: the real one on a free port, with a registry, calls and answers of the test's making."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.exposition import choose_encoder

from exporter.errors import AtomsExporterError
from exporter.outputs.prometheus.pages import Page
from exporter.outputs.prometheus.scrapers import Scrape
from exporter.web import (
    CallPage,
    CallsView,
    CallView,
    FollowAnswer,
    FrontView,
    Limits,
    ListenAddress,
    RunningWeb,
    WebConfigFile,
    WebhookAnswer,
    WebPorts,
    build_app,
    serve,
)


@dataclasses.dataclass
class Backstage:
    """What stands behind the ports of one test."""

    registry: CollectorRegistry = dataclasses.field(default_factory=CollectorRegistry)
    calls: list[CallView] = dataclasses.field(default_factory=list)
    followed: list[str] = dataclasses.field(default_factory=list)
    deliveries: list[tuple[bytes, str | None]] = dataclasses.field(default_factory=list)
    turned_away: list[WebhookAnswer] = dataclasses.field(default_factory=list)
    bounds_hit: list[str] = dataclasses.field(default_factory=list)
    asked_names: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    ready: tuple[bool, str] = (True, "")
    follow_answer: FollowAnswer = FollowAnswer.ACCEPTED
    webhook_answer: WebhookAnswer = WebhookAnswer.ACCEPTED
    asked_pages: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    front_view: FrontView | None = None
    call_pages: dict[str, CallPage] = dataclasses.field(default_factory=dict)
    call_trouble: AtomsExporterError | None = None
    render_gate: asyncio.Event | None = None
    page: bytes | None = None
    scrapes: list[Scrape] = dataclasses.field(default_factory=list)
    went_out: int = 0

    def count(self, series: int = 3) -> None:
        counter = Counter("atoms_things", "Things.", ["thing"], registry=self.registry)
        for number in range(series):
            counter.labels(f"thing {number}").inc()

    async def render(self, accept: str, names: tuple[str, ...], scrape: Scrape | None, gzipped: bool) -> Page:
        self.asked_names.append(names)
        if scrape is not None:
            self.scrapes.append(scrape)
        if self.render_gate is not None:
            await self.render_gate.wait()
        encoder, content_type = choose_encoder(accept)
        if self.page is not None:
            return Page(content_type, self.page, self._went_out)
        return Page(content_type, encoder(self.registry), self._went_out)

    def _went_out(self) -> None:
        self.went_out += 1

    async def listed(self, page: int, size: int) -> CallsView:
        self.asked_pages.append((page, size))
        shown, total = self.calls[(page - 1) * size : page * size], len(self.calls)
        return CallsView(shown, page, -(-total // size), total)

    def front(self, page: int, nodes_page: int) -> Callable[[], FrontView]:
        self.asked_pages.append((page, nodes_page))
        view = self.front_view
        if view is not None:
            return lambda: view
        going_on = sum(call.ended_at is None for call in self.calls)
        return lambda: FrontView(
            version="1.2.3",
            now_at=time.time(),
            ready=self.ready,
            slow_seconds=2.0,
            going_on=going_on,
            ended=len(self.calls) - going_on,
            lines=self.calls,
            page=page,
        )

    async def call(self, name: str) -> CallPage | None:
        if self.call_trouble is not None:
            raise self.call_trouble
        return self.call_pages.get(name)

    async def follow(self, call_id: str) -> FollowAnswer:
        self.followed.append(call_id)
        return self.follow_answer

    async def webhook(self, body: bytes, signature: str | None) -> WebhookAnswer:
        self.deliveries.append((body, signature))
        return self.webhook_answer

    def ports(self, *, webhook: bool = True) -> WebPorts:
        return WebPorts(
            version="1.2.3",
            render=self.render,
            ready=lambda: self.ready,
            calls=self.listed,
            front=self.front,
            call=self.call,
            follow=self.follow,
            webhook=self.webhook if webhook else None,
            webhook_turned_away=self.turned_away.append,
            bound_hit=self.bounds_hit.append,
        )


@dataclasses.dataclass
class Site:
    """One running server and a client for it."""

    web: RunningWeb
    client: httpx.AsyncClient
    access: WebConfigFile

    @property
    def port(self) -> int:
        return self.web.port

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@contextlib.asynccontextmanager
async def site(
    backstage: Backstage | None = None,
    config_file: Path | None = None,
    *,
    webhook: bool = True,
    limits: Limits | None = None,
    verify: Any = True,
    bound_hit: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> AsyncIterator[Site]:
    """Run the server with its watch, and end both."""
    backstage = backstage or Backstage()
    access = WebConfigFile(config_file, webhook_open=webhook)
    app = build_app(backstage.ports(webhook=webhook), access, **options)
    web = await serve(app, ListenAddress("127.0.0.1", 0), access, limits or Limits(look_every_seconds=0.05), bound_hit)
    base = web.urls[0]
    async with (
        asyncio.TaskGroup() as group,
        httpx.AsyncClient(base_url=base, verify=verify, timeout=30, trust_env=False) as client,
    ):
        watch = group.create_task(web.watch())
        try:
            yield Site(web, client, access)
        finally:
            watch.cancel()
            await web.close(2)


async def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Wait for something to become true, at most so long."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(0.01)


def file_in(directory: Path, text: str | bytes, name: str = "web.yml") -> Path:
    """Written beside the certificates (paths in it are relative to it), and at once."""
    new = directory / f"{name}.new"
    new.write_bytes(text if isinstance(text, bytes) else text.encode())
    return new.replace(directory / name)
