"""What is kept, and the store it is kept in: the interface that SQLite fulfils, and that a shared store can.

A commit is all or nothing: the numbers of the series that changed, and of every call in flight the identities of the
events they were counted from. Whatever a store is, the two are never apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from exporter.calls.identity import SeenEvents
from exporter.calls.observations import Agent
from exporter.errors import AtomsExporterError, Interrupted
from exporter.outputs.prometheus.kept import KeptSeries
from exporter.outputs.prometheus.scrapers import SeenPages

CALL_FORM = 2
"""How the events of a call are told apart in what is kept: 1 was by id, 2 is by id and type. A call in another form is
known, but not its events."""


class CallNews(NamedTuple):
    """What is new about one call since the last commit."""

    call_id: str
    agent: Agent
    channel: str
    opened_at: float
    counted: Sequence[int]
    waiting: Mapping[int, frozenset[str]]


@dataclass(frozen=True)
class SavedCall:
    """A call that was in flight when the earlier life ended. ``form`` says how its events were told apart."""

    call_id: str
    agent: Agent
    channel: str
    opened_at: float
    counted: SeenEvents
    waiting: Mapping[int, frozenset[str]]
    form: int = CALL_FORM


@dataclass(frozen=True)
class PagesSeen:
    """Who has seen which page: see ``outputs.prometheus.scrapers``."""

    edition: int = 0
    shown: int = 0
    seen: Sequence[SeenPages] = ()


@dataclass(frozen=True)
class Commit:
    """What is to be kept from now on, in one transaction.

    ``anew``: the series in the store are not those this life counts on; they go, and ``series`` are all there are.
    ``counts_since``: calls that began after this (Unix time, the API's clock) are counted; ``None``: not known yet.
    ``in_full``: the store lost what it had; so are the series, and each call has all that was counted of it.
    ``layouts`` are those of all families; series of a family with another layout go, too.
    """

    at: float
    calls: Sequence[CallNews] = ()
    over: Sequence[str] = ()
    series: Sequence[KeptSeries] = ()
    forgotten: Sequence[tuple[str, tuple[str, ...]]] = ()
    layouts: Mapping[str, str] = field(default_factory=dict)
    pages: PagesSeen = PagesSeen()
    instance_id: str = ""
    counts_since: float | None = None
    anew: bool = False
    in_full: bool = False


@dataclass(frozen=True)
class SavedState:
    """Everything an earlier life left.

    ``existed`` is false on the first start ever. ``trouble`` says why nothing can be written now (``None``: it can);
    ``readable`` is false when not even what is there could be read. ``ahead``: the earlier life showed more than it
    could keep, so that its numbers must not be gone on from.
    """

    calls: Sequence[SavedCall] = ()
    finished: Sequence[str] = ()
    existed: bool = False
    series: Sequence[KeptSeries] = ()
    layouts: Mapping[str, str] = field(default_factory=dict)
    pages: PagesSeen = PagesSeen()
    instance_id: str = ""
    counts_since: float | None = None
    committed_at: float | None = None
    trouble: str | None = None
    readable: bool = True
    ahead: bool = False


class Fenced(AtomsExporterError):
    """Others have taken over what this process counts on: it must end, and show nothing that is not kept."""


class LostData(Interrupted):
    """The store does not have what it said it kept: the next commit must be ``in_full``."""


class StateStore(Protocol):
    """Where it is kept. All methods may block; they are called from one thread at a time, never the event loop's."""

    def load(self) -> SavedState:
        """What the earlier life left."""

    def save(self, commit: Commit) -> None:
        """Keep it, all or nothing, and only return when it would survive a power cut. Raises ``Interrupted`` when it
        cannot; the same may be saved again. A shared store may also raise ``Fenced`` or ``LostData``."""

    def go_ahead(self) -> bool:
        """Make sure that the next life does not go on from the numbers that are kept, because more is about to be
        shown; ``False`` when not even that can be written."""

    def caught_up(self) -> None:
        """All that was shown is kept again."""

    def tidy(self) -> None:
        """What can be done when nobody waits; called after commits."""

    def expire(self, before: float) -> None:
        """Forget calls not heard of since ``before`` (Unix time)."""

    def close(self) -> None:
        """Nothing more will be saved; somebody else may have it."""
