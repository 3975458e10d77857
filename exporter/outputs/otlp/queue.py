"""Encoded spans waiting to be sent: bounded by number and by age, the newest kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

Waiting = tuple[float, bytes]  # when it was put, and what


class SpanQueue:
    """One thread puts, one thread takes; no lock, because every step is one atomic operation of a deque.

    A batch that could not be sent comes back to the front: then its spans are again the first to go when the queue
    is full, and the first to be sent. Times are seconds of any clock that only goes forward.
    """

    def __init__(self, capacity: int, max_age_seconds: float) -> None:
        self._waiting: deque[Waiting] = deque()
        self._capacity = capacity
        self._max_age = max_age_seconds
        self._pushed_out = 0  # written by the putting thread alone
        self._pushed_out_on_return = 0  # written by the taking thread alone
        self._too_old = 0
        self._reported = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, span: bytes, now: float) -> None:
        """Add the newest span; a full queue lets go of its oldest."""
        waiting = self._waiting
        if len(waiting) >= self._capacity:
            try:
                waiting.popleft()
                self._pushed_out += 1
            except IndexError:  # the other thread was faster: there is room
                pass
        waiting.append((now, span))

    def take(self, at_most: int, now: float) -> list[Waiting]:
        """The oldest spans, up to ``at_most``, leaving out those that waited too long."""
        oldest_allowed = now - self._max_age
        batch: list[Waiting] = []
        while len(batch) < at_most:
            try:
                waiting = self._waiting.popleft()
            except IndexError:
                break
            if waiting[0] < oldest_allowed:
                self._too_old += 1
            else:
                batch.append(waiting)
        return batch

    def give_back(self, batch: Sequence[Waiting]) -> None:
        """Return what could not be sent to the front, as far as there is room; the oldest go first."""
        room = max(self._capacity - len(self._waiting), 0)
        kept = batch[max(len(batch) - room, 0) :]
        self._pushed_out_on_return += len(batch) - len(kept)
        self._waiting.extendleft(reversed(kept))

    def lost(self) -> tuple[int, int]:
        """Spans pushed out by newer ones and spans that grew too old, each since the last time this was asked."""
        pushed_out = self._pushed_out + self._pushed_out_on_return - self._reported
        self._reported += pushed_out
        too_old, self._too_old = self._too_old, 0
        return pushed_out, too_old
