"""How long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Delays of 1 s doubling to 30 s, each shortened by up to a half so that thousands do not return in step.

    A pause the peer asks for (``Retry-After``, ``retry:``) is kept at the least, and a little lengthened for the
    same reason. Whoever uses it calls ``reset`` when something useful arrived, not when a connection opened: a
    server that accepts and hangs up would otherwise be asked again every second.
    """

    __slots__ = ("_ceiling", "_first", "_rng", "_step")

    def __init__(self, rng: random.Random, *, first_seconds: float = 1.0, ceiling_seconds: float = 30.0) -> None:
        self._rng = rng
        self._first = first_seconds
        self._ceiling = ceiling_seconds
        self._step = first_seconds

    def __iter__(self) -> Backoff:
        return self

    def __next__(self) -> float:
        return self.delay()

    def delay(self, *, at_least_seconds: float | None = None) -> float:
        """The next delay in seconds, not shorter than the peer asked for."""
        delay = self._step * self._rng.uniform(0.5, 1.0)
        self._step = min(self._step * 2, self._ceiling)
        if at_least_seconds is not None and at_least_seconds > delay:
            delay = at_least_seconds * self._rng.uniform(1.0, 1.1)
        return delay

    def reset(self) -> None:
        """Begin again with the shortest delay."""
        self._step = self._first
