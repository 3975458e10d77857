"""Who is connected to our port, and who has to go when there is no room for one more.

Whoever opens connections and says nothing must not keep a scraper out: the oldest idle connection makes room for the
newest. What brought a scrape is kept the longest, and so is the place of the networks that scraped before.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Client", "Clients", "network"]

RESERVE: Final = 64
"""Connections that brought a scrape, the latest of them, which no stranger displaces."""
SLOW_SECONDS: Final = 10.0
"""A request that has been running for so long may be displaced when nobody is idle."""
_KNOWN_NETWORKS: Final = 256


def network(peer: Any) -> str:
    """Where a client comes from, as one place: an IPv4 address, the /64 of an IPv6 address."""
    host = str(peer[0]) if isinstance(peer, tuple) and peer else str(peer)
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


@dataclass(eq=False, slots=True)
class Client:
    """One connection. Times are the event loop's; ``busy_since`` is None between two requests."""

    network: str
    came_at: float
    end: Callable[[], object]
    established: bool = False
    """Its TLS handshake, if there is one, is done."""
    busy_since: float | None = None
    answered_at: float | None = None
    scraped: bool = False
    """It brought a scrape that was answered."""

    @property
    def heard_at(self) -> float:
        """Its last sign of life."""
        return self.came_at if self.answered_at is None else self.answered_at


class Clients:
    """The connections of a server: at most so many, and in which order they make room.

    :param most: connections at one time, those still in their TLS handshake included.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._clients: dict[Client, None] = {}
        self._known: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self._clients))

    def room_for(self, newcomer: str, now: float) -> tuple[bool, Client | None]:
        """Whether somebody from this network may come in, and who has to go for it."""
        if len(self._clients) < self.most:
            return True, None
        protected = self._protected()
        known = newcomer in self._known

        def rank(client: Client) -> tuple[bool, bool, bool, float]:
            since = client.busy_since if client.busy_since is not None else client.heard_at
            return client.busy_since is not None, client in protected, client.network in self._known, since

        first = min(self._clients, key=rank)
        if first.busy_since is not None:
            may_go = now - first.busy_since > SLOW_SECONDS or (known and first.network not in self._known)
        else:
            may_go = known or first not in protected
        return may_go, first if may_go else None

    def _protected(self) -> set[Client]:
        scraped = [client for client in self._clients if client.scraped]
        scraped.sort(key=lambda client: client.heard_at, reverse=True)
        return set(scraped[: min(RESERVE, self.most // 4)])

    def add(self, client: Client) -> None:
        """A connection that was let in."""
        self._clients[client] = None

    def discard(self, client: Client) -> None:
        """A connection that is gone."""
        self._clients.pop(client, None)

    def scrape_answered(self, client: Client) -> None:
        """What its network brings from now on has a place."""
        client.scraped = True
        self._known[client.network] = None
        self._known.move_to_end(client.network)
        if len(self._known) > _KNOWN_NETWORKS:
            self._known.popitem(last=False)
