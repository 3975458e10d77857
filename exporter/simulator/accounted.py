"""What the time of a turn went into, beside the stages that the platform reports: painted, a millisecond at a time.

Tools come first, then knowledge bases, extractions and the customer's API, each where nothing before it has painted,
all of them no more than the reported stages leave. An API's event says no latency: it may have begun right after
whatever happened before it, in the turn in which it is told.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

KINDS = ("tool", "knowledgebase", "variable_extraction", "api_call")
"""In the order in which they are served."""


@dataclass(slots=True)
class Accounts:
    """Turns and what ran, in milliseconds of the call. ``turns``: node, end, length, the reported stages' sum."""

    turns: list[tuple[str | None, int, int, int]] = field(default_factory=list)
    ran: list[tuple[str, int, int]] = field(default_factory=list)
    apis: list[int] = field(default_factory=list)
    moments: list[int] = field(default_factory=list)

    def split(self) -> list[tuple[str | None, dict[str, int]]]:
        """By turn: its node, and milliseconds by stage; ``unattributed`` is always among them."""
        heard = [end for _, end, _, _ in self.turns]
        moments = sorted([*self.moments, *heard, *self.apis, *(until for _, _, until in self.ran)])
        painted = list(self.ran)
        for at in self.apis:
            before = bisect_left(moments, at)
            painted.append(("api_call", moments[before - 1] if before else 0, at))
        return [(node, _paint(end - ms, end, ms - told, painted)) for node, end, ms, told in self.turns]


def _paint(begun: int, ended: int, free: int, painted: list[tuple[str, int, int]]) -> dict[str, int]:
    canvas = bytearray(ended - begun)
    for number in range(len(KINDS), 0, -1):
        for kind, since, until in painted:
            first, last = max(since, begun) - begun, min(until, ended) - begun
            if kind == KINDS[number - 1] and first < last:
                canvas[first:last] = bytes((number,)) * (last - first)
    spent: dict[str, int] = {}
    free = max(0, free)
    for number, kind in enumerate(KINDS, 1):
        if taken := min(canvas.count(number), free):
            spent[kind] = taken
            free -= taken
    return {**spent, "unattributed": free}
