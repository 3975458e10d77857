"""Who may stay connected when there is no room for everybody."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

from exporter.web import Limits
from exporter.web.connections import Client, Clients, network
from tests.certificates import Certificates
from tests.web.test_web import gone
from tests.webserver import Site, file_in, site

SMALL = Limits(connections=8, look_every_seconds=3_600)
"""Eight places, of which two are for who scraped."""


class Names:
    """Clients of one test by name."""

    def __init__(self, most: int) -> None:
        self.clients = Clients(most)
        self.by_name: dict[str, Client] = {}

    def come(self, name: str, place: str = "192.0.2.1", at: float = 0.0) -> Client:
        client = self.by_name[name] = Client(place, at, end=lambda: None)
        self.clients.add(client)
        return client

    def leaves(self, newcomer: str = "192.0.2.9", now: float = 100.0) -> str | None:
        """Who goes for somebody from there; ``None``: nobody, and the newcomer is turned away."""
        _, client = self.clients.room_for(newcomer, now)
        return next((name for name, one in self.by_name.items() if one is client), None)


def test_the_oldest_idle_connection_makes_room() -> None:
    names = Names(3)
    names.come("second", at=2.0)
    names.come("first", at=1.0)
    names.come("busy", at=0.0).busy_since = 0.5
    assert names.leaves() == "first"
    names.by_name["first"].answered_at = 50.0  # it has just been of use
    assert names.leaves() == "second"


def test_what_scraped_stays_longer_than_what_said_nothing_and_a_stranger_never_displaces_it() -> None:
    names = Names(4)
    scraper = names.come("scraper", "192.0.2.5", at=0.0)
    names.clients.scrape_answered(scraper)
    for number in range(3):
        names.come(f"busy {number}", at=10.0).busy_since = 95.0
    assert names.leaves() is None
    assert names.leaves("192.0.2.5") == "scraper", "its own network may"


def test_who_scraped_before_has_a_place_among_requests_that_do_not_end() -> None:
    names = Names(3)
    names.clients.scrape_answered(names.come("left", "192.0.2.5"))
    names.clients.discard(names.by_name["left"])
    for number in range(3):
        names.come(f"slow {number}").busy_since = 91.0 + number
    assert names.leaves("192.0.2.5") == "slow 0"
    assert names.leaves("192.0.2.77") is None
    assert names.leaves("192.0.2.77", now=102.0) == "slow 0", "what takes so long is no better than idle"


def test_scraping_from_many_connections_takes_a_quarter_of_the_places_at_most() -> None:
    names = Names(8)
    for number in range(8):
        names.clients.scrape_answered(names.come(f"scraper {number}", f"192.0.2.{number}", at=float(number)))
    assert names.leaves("198.51.100.1") == "scraper 0"


@pytest.mark.parametrize(
    ("peer", "place"),
    [
        (("192.0.2.7", 50_000), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 50_000, 0, 0), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.7", 50_000, 0, 0), "192.0.2.7"),
        (("fe80::1%eth0", 50_000, 0, 2), "fe80::/64"),
        ("", ""),
    ],
)
def test_a_network_is_an_address_or_what_one_host_may_have_of_them(peer: object, place: str) -> None:
    assert network(peer) == place


async def idle_connections(at: Site, number: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    return [await at.raw() for _ in range(number)]


async def test_a_scrape_is_answered_while_others_hold_more_connections_than_there_are_places() -> None:
    hits: list[str] = []
    async with site(limits=SMALL, bound_hit=hits.append) as at:
        held = await idle_connections(at, 20)
        for _ in range(3):
            async with httpx.AsyncClient(trust_env=False) as scraper:
                assert (await scraper.get(f"{at.web.urls[0]}/metrics")).status_code == 200
        assert at.web.connections <= 8
        assert await gone(held[0][0])
        assert set(hits) == {"connections"}
        assert len(hits) >= 12


async def test_a_kept_connection_that_scrapes_outlasts_a_flood_of_idle_ones() -> None:
    async with site(limits=SMALL) as at:
        assert (await at.client.get("/metrics")).status_code == 200
        for _ in range(5):
            await idle_connections(at, 20)
            answer = await at.client.get("/metrics")
            assert answer.status_code == 200
        assert len({id(answer.extensions["network_stream"])}) == 1
        assert at.web.connections <= 8


async def test_handshakes_that_do_not_end_make_room_too(tmp_path: Path) -> None:
    signed = Certificates(tmp_path)
    text = "tls_server_config: {cert_file: server.crt, key_file: server.key}"
    async with site(config_file=file_in(tmp_path, text), limits=SMALL, verify=signed.trusting()) as at:
        held = []
        for _ in range(20):
            sock = socket.create_connection(("127.0.0.1", at.port))
            held.append(sock)
            await asyncio.sleep(0)
        assert (await at.client.get("/-/healthy")).status_code == 200
        assert at.web.connections == 1
        for sock in held:
            sock.close()
