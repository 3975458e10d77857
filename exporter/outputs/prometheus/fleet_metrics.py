"""What a replica counts about its fleet. Made only in a fleet: elsewhere there are no such series."""

from __future__ import annotations

from exporter.outputs.prometheus.catalogue import GONE_REASONS
from exporter.outputs.prometheus.series import Store


class FleetMetrics:
    """Seats, calls and leases."""

    def __init__(self, store: Store) -> None:
        self._store = store
        for reason in GONE_REASONS:
            store.counter("atoms_exporter_fleet_takeovers_total", reason)
        self._refused = store.counter("atoms_exporter_fleet_commits_refused_total")
        self._late = store.counter("atoms_exporter_fleet_renewals_late_total")
        self._renewal = store.histogram("atoms_exporter_fleet_renewal_seconds")

    def seen(self, *, members: int, owned: int, unowned: int, polls: bool) -> None:
        """The fleet as the last renewal told it."""
        for name, value in (
            ("members", members),
            ("calls_owned", owned),
            ("calls_unowned", unowned),
            ("poller", int(polls)),
        ):
            self._store.gauge(f"atoms_exporter_fleet_{name}").set(value)

    def renewed(self, seconds: float, *, late: bool) -> None:
        """Redis took so long to renew the lease."""
        self._renewal.observe(seconds)
        if late:
            self._late.inc()

    def taken_over(self, why: str, calls: int) -> None:
        """Calls of a replica that is ``dead``, or has ``left``."""
        self._store.counter("atoms_exporter_fleet_takeovers_total", why).inc(calls)

    def refused(self, lives: int) -> None:
        """So many lives of this name were refused, all in all: the one that was could not count itself."""
        self._refused.value = max(self._refused.value, lives)
