"""What the web server needs from the rest of the process: plain callables and small values."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from enum import StrEnum

from exporter.outputs.prometheus.pages import Page
from exporter.outputs.prometheus.scrapers import Scrape
from exporter.protocol.webhooks import WebhookAnswer
from exporter.web.pages import CallPage, CallsView, CallView, FrontView

__all__ = ["CallView", "CallsView", "FollowAnswer", "WebPorts", "WebhookAnswer"]


class FollowAnswer(StrEnum):
    """What became of the wish to follow a call."""

    ACCEPTED = "accepted"
    ALREADY = "already_followed"
    ELSEWHERE = "elsewhere"
    """Another process follows this call; nobody but that one can be asked for it."""
    MALFORMED = "malformed"
    UNAVAILABLE = "unavailable"
    """Draining, or as many streams as allowed."""


def _nothing(answer: WebhookAnswer) -> None:
    """Nobody counts."""


def _not_counted(what: str) -> None:
    """Nobody counts."""


def _nobody() -> None:
    """Nobody wants to know."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WebPorts:
    """Everything the web server asks.

    ``render`` takes the Accept header, the metric names asked for (empty: all), what is known of a scraper, and
    whether it takes the page compressed, and gives the page; its ``went_out`` is called when all of it was sent.
    ``calls`` takes the number of a page and how many calls it has, and gives those there are.
    ``front`` takes the number of the page of calls and of nodes, and gives what works the page out, in a thread;
    ``call`` takes an id or a trace id, and knows a call or not (AtomsExporterError: it does, but cannot learn more of
    it now). ``ready`` says whether the process does its job, and
    if not, why. ``webhook`` takes the raw body and ``X-Signature``; None means there is no secret and the endpoint
    does not exist. ``reload`` reads the configuration again, and says whether it could be used and what came of it;
    None where there is nothing to read. ``webhook_turned_away`` is told of
    deliveries that were not even read (too large, too slow), for the counters; ``bound_hit`` of clients that took more
    than their share (``passwords``, ``page_readers``, ``bodies``); ``asked`` that a request has come.
    """

    version: str
    render: Callable[[str, tuple[str, ...], Scrape | None, bool], Awaitable[Page]]
    ready: Callable[[], tuple[bool, str]]
    calls: Callable[[int, int], Awaitable[CallsView]]
    front: Callable[[int, int], Callable[[], FrontView]]
    call: Callable[[str], Awaitable[CallPage | None]]
    follow: Callable[[str], Awaitable[FollowAnswer]]
    webhook: Callable[[bytes, str | None], Awaitable[WebhookAnswer]] | None = None
    reload: Callable[[], Awaitable[tuple[bool, str]]] | None = None
    webhook_path: str = "/webhooks/atoms"
    webhook_turned_away: Callable[[WebhookAnswer], None] = _nothing
    bound_hit: Callable[[str], None] = _not_counted
    asked: Callable[[], None] = _nobody
