"""An Atoms API for demos and tests. It shares nothing with the rest of the package: an independent witness."""

from __future__ import annotations

from typing import Any

from .agents import AGENTS, QUIET
from .book import LABELS, NOTES, Book
from .call_logs import call_log as _call_log
from .dialects import EPOCH_MS, Dialect, events_of, sse_bytes
from .faults import FAULTS, Fault, parse_faults
from .happenings import Conditions, Slowdown
from .ledger import book_of
from .options import SimulatorOptions
from .scenario import script
from .server import Simulator, simulating
from .serving import run_forever, serve
from .webhooks import signature
from .workflow import Agent, Node

__all__ = [
    "AGENTS",
    "FAULTS",
    "LABELS",
    "NOTES",
    "QUIET",
    "Agent",
    "Book",
    "Conditions",
    "Dialect",
    "Fault",
    "Node",
    "Simulator",
    "SimulatorOptions",
    "Slowdown",
    "book_of",
    "call_log",
    "parse_faults",
    "recorded",
    "run_forever",
    "script",
    "serve",
    "signature",
    "simulating",
    "sse_bytes",
]


def recorded(
    seed: int, number: int, dialect: Dialect = "2026", conditions: Conditions | None = None
) -> list[dict[str, Any]]:
    """The events of one whole call, always the same for the same arguments; it began 90 s × number into 2026."""
    schedule = ((0, conditions or Conditions()),)
    return events_of(script(seed, number, schedule), EPOCH_MS + number * 90_000, dialect)


def call_log(seed: int, number: int, dialect: Dialect = "2026", conditions: Conditions | None = None) -> dict[str, Any]:
    """What ``GET /conversation/{id}`` answers about that call when it is over."""
    schedule = ((0, conditions or Conditions()),)
    return _call_log(script(seed, number, schedule), EPOCH_MS + number * 90_000, dialect)
