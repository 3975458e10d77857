"""What slow clients may hold of us, each and together."""

from __future__ import annotations

import asyncio
import dataclasses

from exporter.outputs.prometheus.pages import Page
from exporter.outputs.prometheus.scrapers import Scrape
from exporter.web import Limits
from tests.web.test_web import gone, not_reading
from tests.webserver import Backstage, site, until


@dataclasses.dataclass
class EverNew(Backstage):
    """Each scrape gets a large page of its own, as when everything changes between two."""

    async def render(self, accept: str, names: tuple[str, ...], scrape: Scrape | None, gzipped: bool) -> Page:
        self.asked_names.append(names)
        return Page("text/plain", b"x" * 40_000_000, lambda: None)


async def test_of_many_who_do_not_read_their_page_the_first_are_let_go() -> None:
    backstage = EverNew()
    async with site(backstage, limits=Limits(look_every_seconds=3_600)) as at:
        slow = []
        for number in range(4):
            reader, writer = await not_reading(at.port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda number=number: len(backstage.asked_names) == number + 1)
            slow.append((reader, writer))
        assert await gone(slow[0][0])
        assert await gone(slow[1][0])
        await until(lambda: backstage.bounds_hit == ["page_readers"] * 2)
        answer = await at.client.get("/metrics")
        assert len(answer.content) == 40_000_000, "who reads gets it whole"


async def test_large_bodies_share_their_room_and_small_ones_always_have_some() -> None:
    backstage = Backstage()
    head = b"POST /webhooks/atoms HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    async with site(backstage) as at:
        held = []
        for _ in range(40):
            reader, writer = await at.raw()
            writer.write(head % 1_000_000 + b"x" * 900_000)
            await writer.drain()
            held.append((asyncio.ensure_future(reader.readline()), writer))
        await until(lambda: len(backstage.bounds_hit) >= 3)  # 36 MB came, and there is room for 32 MiB
        assert set(backstage.bounds_hit) == {"bodies"}
        await until(lambda: sum(answer.done() for answer, _ in held) == len(backstage.bounds_hit) < 10)
        assert all(b" 503 " in answer.result() for answer, _ in held if answer.done())
        assert (await at.client.post("/webhooks/atoms", content=b"x" * 60_000)).status_code == 202
        for answer, writer in held:
            answer.cancel()
            writer.close()
        await until(lambda: not at.web.connections > 1)
        assert (await at.client.post("/webhooks/atoms", content=b"x" * 1_000_000)).status_code == 202
