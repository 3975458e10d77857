"""Who is a scraper, and which: what the page's handler tells of a request."""

from __future__ import annotations

import httpx

from tests.webserver import Backstage, site

SCRAPE = {"User-Agent": "Prometheus/2.42.0", "X-Prometheus-Scrape-Timeout-Seconds": "10"}


async def test_only_who_says_how_long_it_waits_is_a_scraper() -> None:
    backstage = Backstage()
    async with site(backstage) as at:
        await at.client.get("/metrics")
        await at.client.head("/metrics", headers=SCRAPE)
        assert backstage.scrapes == []
        await at.client.get("/metrics", headers=SCRAPE)
        (scrape,) = backstage.scrapes
        assert scrape.timeout_seconds == 10.0
        await at.client.get("/metrics", headers=SCRAPE | {"X-Prometheus-Scrape-Timeout-Seconds": "soon"})
        assert [scrape.timeout_seconds for scrape in backstage.scrapes] == [10.0, None]


async def test_one_connection_is_one_scraper_and_another_is_another() -> None:
    backstage = Backstage()
    async with site(backstage) as at:
        for _ in range(2):
            await at.client.get("/metrics", headers=SCRAPE)
        async with httpx.AsyncClient(base_url=at.web.urls[0], trust_env=False) as other:
            await other.get("/metrics", headers=SCRAPE)
        one, again, another = backstage.scrapes
        assert one.key == again.key == another.key
        assert one.connection is again.connection is not None
        assert another.connection is not one.connection


async def test_behind_a_proxy_it_is_known_by_what_the_proxy_says() -> None:
    backstage = Backstage()
    async with site(backstage) as at:
        for address in ("10.0.0.1", "10.0.0.2", "10.0.0.1"):
            await at.client.get("/metrics", headers=SCRAPE | {"X-Forwarded-For": address})
        one, other, again = backstage.scrapes
        assert one.key == again.key != other.key
        assert one.connection is None


async def test_other_metrics_asked_for_are_another_scraper() -> None:
    backstage = Backstage()
    async with site(backstage) as at:
        await at.client.get("/metrics", headers=SCRAPE)
        await at.client.get("/metrics", params={"name[]": "atoms_calls_active"}, headers=SCRAPE)
        assert len({scrape.key for scrape in backstage.scrapes}) == 2


async def test_a_page_counts_as_seen_when_all_of_it_was_sent() -> None:
    backstage = Backstage(page=b"x" * 300_000)
    async with site(backstage) as at:
        await at.client.head("/metrics", headers=SCRAPE)
        assert backstage.went_out == 0
        await at.client.get("/metrics", headers=SCRAPE)
        assert backstage.went_out == 1
