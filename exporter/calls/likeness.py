"""Whether the stream and the history of a call bear different ids for the same events.

An event is known by its id, and nobody has documented that both sources give it the same one. Should they not, every
number would double, and silently. So the first events of a stream are looked for in the history: where none is there by
its id, but their types and times are, the two tell the same in other words, and one of them is enough.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

from exporter.calls.identity import SeenEvents, milliseconds_of
from exporter.calls.recovery import ReadEvent
from exporter.protocol.events import WIRE_NAMES, Event
from exporter.protocol.units import unix_seconds

ENOUGH = 8
"""So many moments are no coincidence."""
_MOST = 16
_MANY = 32
"""Events that an earlier life counted, of which no more is known than their identities."""
_KINDS = {cls: number for number, cls in enumerate(WIRE_NAMES)}


def _moment(event: Event, at: float) -> int:
    """What happened, and in which millisecond: as one number, because every followed call has some."""
    return milliseconds_of(at) * 64 + _KINDS[type(event)]


class FirstEvents:
    """The first events of a call's stream, and of a history that came before it."""

    __slots__ = ("_identities", "_kinds", "_repeats", "_times", "_told", "complete")

    def __init__(self) -> None:
        self._identities = array("Q")
        self._kinds = array("B")
        self._times = array("d")
        self._told: Sequence[ReadEvent] = ()
        self._repeats: Counter[int] | None = None
        self.complete = False
        """Nothing more is to be learnt from the stream."""

    def history_came(self, read: Sequence[ReadEvent]) -> None:
        """A history was taken before the stream had brought anything."""
        if not self._identities and not self._told:
            self._told = [entry for entry in read if unix_seconds(entry.event.timestamp) is not None]

    def streamed(self, event: Event, identity: int, at: float | None) -> bool:
        """The stream brought an event of a new id; ``False`` when the history has told it all the same."""
        if at is None:
            return True
        if (self._told or self._repeats is not None) and self._is_repeated(_moment(event, at)):
            return False
        identities = self._identities
        if len(identities) < _MOST:
            identities.append(identity)
            self._kinds.append(_KINDS[type(event)])
            self._times.append(at)
        elif self._repeats is None:
            self.complete = True
        return True

    def _is_repeated(self, moment: int) -> bool:
        if self._told:
            self._repeats = self._repeated(moment)
            self._told = ()
        if self._repeats is None:
            return False
        if self._repeats[moment] > 0:
            self._repeats[moment] -= 1
            return True
        if not +self._repeats:
            self._repeats = None
        return False

    def _repeated(self, moment: int) -> Counter[int]:
        """What a stream that begins as the history does, under another id, will bring again."""
        moments = [_moment(entry.event, entry.at) for entry in self._told]
        return Counter(moments) if moments[0] == moment and len(set(moments)) >= ENOUGH else Counter()

    def other_ids_in(self, read: Sequence[ReadEvent], seen: SeenEvents, *, resumed: bool, known: bool) -> bool:
        """Whether this history tells what the stream has told, under other ids.

        :param resumed: what was seen was seen by an earlier life, of which only identities are known.
        :param known: the two were found to bear different ids before.
        """
        if self._identities:
            streamed = set(self._identities)
            if any(entry.identity in streamed for entry in read):
                return False
            moments = {milliseconds_of(at) * 64 + kind for kind, at in zip(self._kinds, self._times, strict=True)}
            shared = moments.intersection(_moment(entry.event, entry.at) for entry in read)
            return len(shared) >= (1 if known else ENOUGH) and 2 * len(shared) >= len(moments)
        if not resumed or len(seen) < _MANY or 2 * len(read) < len(seen):
            return False
        return not any(entry.identity in seen for entry in read)
