"""The last hour as a person asks about it: latency by node and minute, calls by their slowest turn, how calls ended.

A bounded memory beside the metrics, for the page at ``/`` and ``/api/v1/calls``: who has no Grafana at hand gets from a
slow node to a call. It counts by our own clock, by the minute in which a fact arrived: clocks are not compared.
"""

from __future__ import annotations

from exporter.outputs.recent.calls import EndedCall, SlowTurn, TurnsOf
from exporter.outputs.recent.hour import Hour, Minute, NodeHour, quantiles, summed
from exporter.outputs.recent.look import Look, Version
from exporter.outputs.recent.memory import Recent
from exporter.outputs.recent.troubles import BAD_OUTCOMES, Trouble, troubles

__all__ = [
    "BAD_OUTCOMES",
    "EndedCall",
    "Hour",
    "Look",
    "Minute",
    "NodeHour",
    "Recent",
    "SlowTurn",
    "Trouble",
    "TurnsOf",
    "Version",
    "quantiles",
    "summed",
    "troubles",
]
