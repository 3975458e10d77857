"""What the last hour says at one moment: asked in a thread of its own, while facts go on coming."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from exporter.calls.observations import Place
from exporter.outputs.recent.calls import EndedCall, TurnsOf
from exporter.outputs.recent.hour import MINUTES, Hour, NodeHour
from exporter.outputs.recent.rings import Makeup, Ring


class Version(NamedTuple):
    """The version of an agent's latest call, since which minute; ``before`` is the one that was seen before it."""

    version: str
    since: int
    before: str | None


class NodeMemory:
    """All that is remembered of one node; of an agent, for its first words."""

    __slots__ = ("answers", "hour", "makeup")

    def __init__(self, place: Place, slow_seconds: float) -> None:
        self.hour = Hour(place, slow_seconds)
        self.answers = Ring(3)
        """Turns of callers, turns answered, turns nobody answered."""
        self.makeup = Makeup()


class Look(NamedTuple):
    """The memory as it is now; everything that grows is copied, what it is made of is shared.

    ``begun`` is when it began to remember; ``ended`` are calls, newest first; ``endings`` counts by minute (agent,
    outcome, reason).
    """

    minute: int
    now: float
    begun: float
    slow_seconds: float
    memories: Sequence[NodeMemory]
    first_words: Sequence[NodeMemory]
    versions: Mapping[str, Version]
    endings: Sequence[tuple[int, Counter[tuple[str, str, str]]]]
    ended: Sequence[EndedCall]
    going_on: Mapping[str, TurnsOf]

    @property
    def lately_minutes(self) -> int:
        """What is compared with the time before it: a quarter of an hour, less while little more is remembered."""
        return max(1, min(15, int((self.now - self.begun) // 180)))

    def nodes(self, minutes: int = MINUTES) -> list[NodeHour]:
        """Nodes that answered within so many minutes: largest share of slow turns first, then by 95th percentile.

        Without their single minutes, which ``drawn`` adds.
        """
        hours = (memory.hour for memory in self.memories)
        read = [each for hour in hours if (each := hour.read(self.minute, minutes, each=False)) is not None]
        return sorted(read, key=lambda node: (-node.slow / node.turns, -node.p95_seconds, key_of(node.place)))

    def drawn(self, nodes: Iterable[NodeHour]) -> list[NodeHour]:
        """The same nodes with every minute of the hour."""
        hours = {key_of(memory.hour.place): memory.hour for memory in self.memories}
        return [hours[key_of(node.place)].read(self.minute) or node for node in nodes]

    def outcomes(self, minutes: int = MINUTES) -> Counter[str]:
        """How calls ended within so many minutes."""
        return self._summed(minutes, 1)

    def reasons(self, minutes: int = MINUTES) -> Counter[str]:
        """Who or what ended calls within so many minutes; ``unknown`` where no log said."""
        return self._summed(minutes, 2)

    def _summed(self, minutes: int, which: int) -> Counter[str]:
        total: Counter[str] = Counter()
        for minute, endings in self.endings:
            if minute > self.minute - minutes:
                for key, number in endings.items():
                    total[key[which]] += number
        return total


def key_of(place: Place) -> tuple[str, str]:
    """What tells one node from another."""
    return place.agent_id, place.node_id
