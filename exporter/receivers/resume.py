"""A call's history into its state: what an earlier life knew, what a gap has lost, what came before we did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from exporter.calls.identity import SeenEvents
from exporter.calls.tracker import TrackedCall, Tracker
from exporter.protocol.api import CallLog


@dataclass(frozen=True)
class Earlier:
    """What an earlier life of the process knew of a call: the events it counted, and the facts it held back."""

    counted: SeenEvents
    waiting: Mapping[int, frozenset[str]]


class Resume:
    """Takes the history of one call, as often as it is had. ``gap``: events may have been missed since.

    :param under_way: the call began before this process, which cannot tell what an earlier life counted of it: what
        its history holds at first is not counted.
    """

    __slots__ = ("_earlier", "_log", "_said", "_tracked", "_tracker", "_under_way", "gap")

    def __init__(
        self,
        tracker: Tracker,
        tracked: TrackedCall,
        log: FilteringBoundLogger,
        *,
        earlier: Earlier | None = None,
        under_way: bool = False,
    ) -> None:
        self._tracker = tracker
        self._tracked = tracked
        self._log = log
        self._earlier = earlier
        self._under_way = under_way
        self.gap = True
        self._said = False
        if earlier is not None:
            tracker.resume(tracked, earlier.counted, earlier.waiting)

    @property
    def is_new(self) -> bool:
        """Nothing happened in the call that an earlier life could have counted."""
        return self._earlier is None and not self._under_way

    def take(self, call_log: CallLog, now: float) -> None:
        """Rebuilt, muted or recovered, as the call's past demands; ``now`` is Unix time."""
        tracker, tracked = self._tracker, self._tracked
        earlier, self._earlier = self._earlier, None
        under_way, self._under_way = self._under_way, False
        if call_log.events:
            self.gap = False
        if earlier is not None:
            recovered = tracker.rebuild(tracked, earlier.waiting, call_log.events, now)
        elif under_way and not len(tracked.seen):
            tracker.mute_before(tracked, call_log.events, now)
            return
        else:
            recovered = tracker.recover(tracked, call_log.events, now, only_after_first=under_way)
        if tracked.other_ids and not self._said:
            self._said = True
            self._log.warning("a history bears other ids than its stream; counted from one of them")
        if recovered:
            self._log.debug("recovered what the stream missed", events=recovered)
