"""How a simulator is set up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .dialects import Dialect
from .faults import Fault

Reconnect = Literal["live", "replay"]


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """All of it has a default: fifty calls at once, in real time, without a fault.

    ``calls`` are kept going: when one ends another begins, until ``total_calls`` have begun (None: without end).
    ``speed`` times real time; timestamps are the simulated clock's, which begins at ``starts_at`` (Unix seconds,
    None: now), so with a speed above 1 they run ahead of the wall clock, and latencies stay what they are.
    ``ramp_seconds`` (simulated) is over which the first calls begin. ``duration`` (wall seconds) ends ``run_forever``.
    ``reconnect``: what a client that comes back gets: only what happens from then on, or everything again. A first
    connection always gets the call from its start. ``linger_seconds`` (simulated): how long a call that is over may
    still be streamed, as the 2025 guide has it. ``events_rate``: endless calls of a steady rate of events per
    second for load tests; a call then begins with its first connection.
    ``paused``: it answers, but no call begins before ``Simulator.begin()``, so that a client can be there first.
    ``history`` ended calls are remembered; older ones are unknown to ``/conversation`` (the ledger's totals keep them).
    """

    calls: int = 50
    speed: float = 1.0
    seed: int = 1
    dialect: Dialect = "2026"
    token: str = "simulated-key"
    faults: tuple[Fault, ...] = ()
    webhook_url: str = ""
    webhook_secret: str = field(default="simulated-secret", repr=False)
    duration: float | None = None
    total_calls: int | None = None
    starts_at: float | None = None
    ramp_seconds: float = 10.0
    reconnect: Reconnect = "live"
    linger_seconds: float = 0.0
    events_rate: float | None = None
    paused: bool = False
    history: int = 20_000
    canary: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
