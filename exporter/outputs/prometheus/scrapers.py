"""Who has seen which page: so that a series is shown at 0 first to each scraper, and never at 0 again.

``increase()`` ignores a series' first value. A series that appeared since a scraper's last visit is shown to it at what
it counts from, and at its value from the next visit on. To show 0 to somebody who has seen more would be a step back,
which Prometheus takes for a reset; so whoever is not known sees at 0 only what nobody was shown at its value.

A scraper is known by where its requests come from and what they say of themselves; two behind one address (a NAT, one
host) are told apart by their connections, which scrapers keep open. After a restart, when no connection is left to tell
by, both are shown at 0 what either of them may not have seen and none has seen at its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

MOST_SCRAPERS = 64
_COMES_AGAIN_SECONDS = 150.0
"""Who was here within this time is expected once more."""
_FORGET_SECONDS = 6 * 3600.0


class Connection(Protocol):
    """What a request came by."""

    def is_closing(self) -> bool:
        """It is of no use any more."""


@dataclass(frozen=True)
class Scrape:
    """A request for a page by somebody who will ask again.

    ``key`` is what the request says of its sender, ``connection`` what it came by (``None``: that tells nothing, a
    proxy is in between), ``timeout_seconds`` how long the sender waits.
    """

    key: str
    connection: Connection | None
    timeout_seconds: float | None = None


class SeenPages(NamedTuple):
    """What is kept of a scraper: the edition below which it may have seen series at their value, the one it saw last,
    and when it came, Unix time."""

    key: str
    valued: int
    last: int
    at: float


class _Scraper:
    """``last`` is the edition it saw last, ``valued`` the one below which it may have seen series at their value: the
    last one before that, or, while a page is on its way to it, ``last``. ``whole``: the last one on which it saw every
    series at its value."""

    __slots__ = ("at", "connection", "in_time", "key", "last", "sent", "valued", "whole")

    def __init__(self, key: str, valued: int, last: int, at: float) -> None:
        self.key = key
        self.valued = valued
        self.last = last
        self.at = at
        self.whole = -1
        self.connection: Connection | None = None
        self.sent = 0
        self.in_time = False

    def settle(self, *, kept_connection: bool) -> None:
        """It asks again. Who keeps its connection has read the page before; who gave up has closed it. By another one,
        only a page that came early was read: to show a series at 0 once more is no step back."""
        self.last = max(self.last, self.sent) if kept_connection else self.surely
        self.sent = 0

    @property
    def surely(self) -> int:
        """The edition it saw last, if nothing more is heard from it on this connection."""
        return max(self.last, self.sent) if self.in_time else self.last

    @property
    def away(self) -> bool:
        """Nobody is bound to be it: its connection is gone."""
        return self.connection is None or self.connection.is_closing()


class Visit(NamedTuple):
    """One request of one scraper. Series born in edition ``floor`` or later are new to it; by what is kept, and by
    that another life would go, those born in ``kept_floor`` or later."""

    scraper: _Scraper
    floor: int
    kept_floor: int


class Scrapers:
    """All scrapers of this process, a bounded number: who was away longest is forgotten first, and is a stranger then.

    ``shown`` is the edition below which every series was shown at its value to somebody who is forgotten by now.
    """

    def __init__(self) -> None:
        self.shown = 0
        self._known: list[_Scraper] = []
        self._kept: tuple[Sequence[SeenPages], int] = ((), 0)

    def visit(self, scrape: Scrape, now: float) -> Visit:
        """Somebody asks for a page."""
        scraper, floor = self._who(scrape)
        scraper.connection, scraper.at = scrape.connection, now
        scraper.valued = max(scraper.valued, floor)
        self._forget(now)
        return Visit(scraper, floor, min(floor, self._kept_floor(scrape.key)))

    def _kept_floor(self, key: str) -> int:
        seen, shown = self._kept
        alike = [scraper for scraper in seen if scraper.key == key]
        return _common_floor(alike) if alike else max([shown, *(scraper.valued for scraper in seen)])

    def _who(self, scrape: Scrape) -> tuple[_Scraper, int]:
        alike = [scraper for scraper in self._known if scraper.key == scrape.key]
        for scraper in alike:
            if scrape.connection is not None and scraper.connection is scrape.connection:
                scraper.settle(kept_connection=True)
                return scraper, scraper.last
        away = [scraper for scraper in alike if scraper.away]
        for scraper in away:
            scraper.settle(kept_connection=False)
        if not away:
            floor = max([self.shown, *(scraper.valued for scraper in self._known)])
            scraper = _Scraper(scrape.key, floor, floor, 0.0)
            self._known.append(scraper)
            return scraper, floor
        return min(away, key=lambda scraper: scraper.at), _common_floor(away)

    def got(self, visit: Visit, edition: int, *, whole: bool = False, in_time: bool = True) -> None:
        """The page of this edition went out to whoever made the visit. ``whole``: nothing on it was new to them;
        ``in_time``: long before they give up. Whether they have read it shows when they come again."""
        visit.scraper.sent, visit.scraper.in_time = edition, in_time
        if whole:
            visit.scraper.whole = max(visit.scraper.whole, edition)

    def expected(self, edition: int, now: float) -> int:
        """How many of those who come regularly have not seen every series at its value on a later page than this."""
        return sum(now - each.at < _COMES_AGAIN_SECONDS and each.whole <= edition for each in self._known)

    def seen(self) -> list[SeenPages]:
        """For whoever keeps it."""
        return [SeenPages(each.key, each.valued, each.surely, each.at) for each in self._known]

    def were_kept(self, seen: Sequence[SeenPages], shown: int) -> None:
        """What another life would know by now."""
        self._kept = seen, shown

    def restore(self, seen: Sequence[SeenPages], shown: int) -> None:
        """What another life knew. Its connections are gone: those of one key may be taken for each other."""
        self._kept = seen, shown
        self.shown = shown
        self._known = [_Scraper(*each) for each in seen]
        for key in {scraper.key for scraper in self._known}:
            alike = [scraper for scraper in self._known if scraper.key == key]
            floor = _common_floor(alike)
            for scraper in alike:
                scraper.last = floor

    def _forget(self, now: float) -> None:
        self._known.sort(key=lambda scraper: -scraper.at)
        for place, scraper in reversed(list(enumerate(self._known))):
            if place >= MOST_SCRAPERS or (scraper.away and now - scraper.at > _FORGET_SECONDS):
                self.shown = max(self.shown, scraper.valued)
                del self._known[place]


def _common_floor(scrapers: Sequence[_Scraper | SeenPages]) -> int:
    """What is new to any of them and was shown to none of them at its value."""
    return max(min(scraper.last for scraper in scrapers), max(scraper.valued for scraper in scrapers))
