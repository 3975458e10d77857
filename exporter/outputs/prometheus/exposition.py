"""``/metrics``: the store's cached lines and the process' own metrics, in the format the scraper asked for."""

from __future__ import annotations

from collections.abc import Collection

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from exporter.errors import Malformed
from exporter.outputs.prometheus.negotiation import families_named, wants_openmetrics
from exporter.outputs.prometheus.series import PLAIN, Store, View

__all__ = ["OPENMETRICS", "TEXT", "render", "wants_openmetrics"]

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def render(
    store: Store, others: CollectorRegistry, accept: str, names: Collection[str] = (), view: View = PLAIN
) -> tuple[str, bytes]:
    """Content type and body. Safe in any thread; takes about 10 ms for 50,000 lines of which a tenth changed.

    :param names: only these metrics (``/metrics?name[]=…``), by their own names or their samples'; empty for all.
    :param view: what of the series the reader may see.
    :raises Malformed: there is none of these names.
    """
    chosen = others.restricted_registry(names) if names else others
    if names:
        found = families_named(tuple(names), store.families)
        if not found and next(iter(chosen.collect()), None) is None:
            raise Malformed("there is no metric of this name", reason="no_such_metric")
        names = found or {""}
    if wants_openmetrics(accept):
        rest = openmetrics.generate_latest(chosen).decode()  # type: ignore[no-untyped-call]  # untyped upstream
        return OPENMETRICS, (store.render(True, names, view) + rest).encode()
    return TEXT, store.render(False, names, view).encode() + generate_latest(chosen)
