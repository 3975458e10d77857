"""Open files: how many this process may have, and how they are divided, so that streams never take the last one.

A stream, a client of our port, a request to the API or to a backend, a file of the state: each is a descriptor. Whoever
gets none fails in ways that are hard to tell from anything else, so each kind has its part from the start.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

RESERVE: Final = 64
"""For what is neither stream nor client: the state, logs, lists, histories, OTLP, certificates being read again."""
MOST_CLIENTS: Final = 512
FEWEST: Final = 8
"""Streams, and clients, however small the limit."""


@dataclass(frozen=True, slots=True)
class Division:
    """What each kind may have open at one time."""

    streams: int
    clients: int


def divide(allowed: int | None, streams: int) -> Division:
    """``streams`` as far as they fit. A quarter of what is allowed is for clients of our port, up to 512.

    :param allowed: descriptors this process may have; None: as many as it likes.
    """
    if allowed is None:
        return Division(streams, MOST_CLIENTS)
    clients = max(FEWEST, min(MOST_CLIENTS, allowed // 4))
    return Division(min(streams, max(FEWEST, allowed - clients - RESERVE)), clients)


def raise_limit() -> int | None:
    """As many open files as the system lets this process have (the usual soft limit is 1024); None: no limit."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # macOS allows less than it says
            hard = soft
    return None if hard == resource.RLIM_INFINITY else hard
