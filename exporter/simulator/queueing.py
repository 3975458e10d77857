"""Outbound calls that wait: for a free place under the account's limit, or for a carrier that takes few at a time.

Times are the simulated clock's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .call_logs import log_entry
from .faults import Faults
from .happenings import CallScript


@dataclass(frozen=True, slots=True)
class Queued:
    """An outbound call that waits."""

    number: int
    since_ms: int
    script: CallScript
    call_id: str


class Queue:
    """Those that wait, oldest first."""

    def __init__(self, faults: Faults) -> None:
        self._waiting: deque[Queued] = deque()
        self._faults = faults
        self._dialled_ms = 0
        self._beside: set[int] = set()
        """Calls that hold no place: when they came, the next one was handed in all the same."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Queued]:
        return iter(self._waiting)

    @property
    def may_dial_ms(self) -> int:
        """When the carrier takes the next one."""
        return self._dialled_ms + (self._faults.dialling_ms or 0)

    def wait(self, call: Queued, *, holds_its_place: bool = True) -> None:
        """One more."""
        self._waiting.append(call)
        if not holds_its_place:
            self._beside.add(call.number)

    def take(self, now_ms: int) -> Queued | None:
        """The one that has waited longest, if there is one and the carrier takes it now."""
        if not self._waiting or self.may_dial_ms > now_ms:
            return None
        self._dialled_ms = now_ms
        return self._waiting.popleft()

    def held_a_place(self, number: int) -> bool:
        """Whether another call may begin where this one has ended."""
        if number not in self._beside:
            return True
        self._beside.remove(number)
        return False

    def entries(self) -> list[dict[str, Any]]:
        """Their lines in the list of calls."""
        return [
            log_entry(call.script, call.call_id, call.since_ms, call.since_ms, "in_queue", call.since_ms, 0)
            for call in self._waiting
        ]
