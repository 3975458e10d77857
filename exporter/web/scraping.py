"""Who asks for a page: a scraper that will come again, or somebody who only looks."""

from __future__ import annotations

import math
from hashlib import sha256

from aiohttp import web

from exporter.outputs.prometheus.scrapers import Scrape

_TIMEOUT = "X-Prometheus-Scrape-Timeout-Seconds"
_MOST_SECONDS = 3600.0


def scrape_of(request: web.Request) -> Scrape | None:
    """A scraper as far as its request tells; ``None`` for everybody else: only scrapers say how long they wait.

    Known by its address, its program and version, and how it asks (its timeout, the metrics it wants). Where a proxy
    is in between, by what the proxy says of it, and not by the connection, which the proxy shares among all.
    """
    written = request.headers.get(_TIMEOUT)
    if written is None or request.method != "GET":
        return None
    try:
        timeout = float(written)
    except ValueError:
        timeout = math.nan
    forwarded = [request.headers.get(name, "") for name in ("Forwarded", "X-Forwarded-For", "X-Real-IP")]
    asked = [request.remote or "", request.headers.get("User-Agent", ""), written, request.query_string]
    direct = not any(forwarded) and "Via" not in request.headers
    known = 0 < timeout <= _MOST_SECONDS
    return Scrape(
        key=sha256("\n".join([*asked, *forwarded]).encode("utf-8", "replace")).hexdigest()[:24],
        connection=request.transport if direct else None,
        timeout_seconds=timeout if known else None,
    )
