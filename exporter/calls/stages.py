"""Where a turn's time went beside the platform's own stages: tools, look-ups, calls of the customer's API.

A turn is stamped when it ends, and so is whatever ran in it; each says how long it took. So it is known what ran inside
which turn, whatever came first. What the platform reports of a turn comes first; what ran takes of the rest what it
covers, each kind what those before it have left; what nobody accounts for is ``unattributed``. They sum to the turn.

A tool's events may come late, or from the history alone, and a histogram cannot take back what it was told. So nothing
of this is said before the call is over. Until then it is remembered, within bounds.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from exporter.calls.visits import Visit
from exporter.protocol.units import LONGEST_PLAUSIBLE_SECONDS

RAN = ("tool", "knowledgebase", "variable_extraction", "api_call")
"""What runs inside turns, in the order in which it is given its share."""
UNATTRIBUTED = "unattributed"
"""What a turn took beyond everything that is known to have run in it."""
_TOOL, _API = 0, 3

_MOST_TURNS = 1024
_MOST_RUNS = 4096
_MOST_IN_A_TURN = 32
_LONGEST = round(LONGEST_PLAUSIBLE_SECONDS * 1e6)

Interval = tuple[int, int]


class Shares(NamedTuple):
    """What of a turn beside the reported stages is known: seconds by stage, ``unattributed`` the last of them."""

    visit: Visit
    at: float
    stages: tuple[tuple[str, float], ...]


class _Turn(NamedTuple):
    """A turn that is not told yet; ``reported`` seconds are the platform's, ``None`` where it reports no stage."""

    visit: Visit
    at: float
    seconds: float
    reported: float | None


class _Tool:
    """What the events of one tool call say of its time, in microseconds: the same whichever of them comes first."""

    __slots__ = ("began", "ended", "timed_end", "took")

    def __init__(self) -> None:
        self.began: int | None = None
        self.ended: int | None = None
        self.timed_end: int | None = None  # of the end that says how long it took
        self.took = 0

    def interval(self) -> Interval | None:
        """When it ran, if it is known to have ended."""
        if self.timed_end is not None:
            return self.timed_end - self.took, self.timed_end
        if self.began is None or self.ended is None or not 0 <= self.ended - self.began <= _LONGEST:
            return None
        return self.began, self.ended


class Stages:
    """The turns of a call, and what ran in it."""

    __slots__ = ("_apis", "_milestones", "_runs", "_tools", "_turns")

    def __init__(self) -> None:
        self._turns: list[_Turn] = []
        self._tools: dict[str, _Tool] = {}
        self._runs: list[tuple[int, int, int]] = []  # kind, from, to
        self._apis = array("q")
        self._milestones = array("q")  # the caller's words and the hops: what an API call can have begun after

    def turned(self, visit: Visit, at: float, seconds: float, reported: float | None) -> list[Shares]:
        """A turn was measured. Returns the oldest ones where there are too many to remember."""
        self._turns.append(_Turn(visit, at, seconds, reported))
        if len(self._turns) < _MOST_TURNS:
            return []
        oldest, self._turns = self._turns[: _MOST_TURNS // 2], self._turns[_MOST_TURNS // 2 :]
        return self._told(oldest)

    def tool_began(self, key: str, at: float) -> None:
        """A tool call's start."""
        tool, at_us = self._tool(key), _microseconds(at)
        tool.began = at_us if tool.began is None else min(tool.began, at_us)

    def tool_ended(self, key: str | None, at: float, took: float | None) -> None:
        """A tool call's end or error; ``took`` is what the event itself says, if it does."""
        at_us = _microseconds(at)
        if key is None:
            if took is not None:
                self.ran(_TOOL, at, took)
            return
        tool = self._tool(key)
        tool.ended = at_us if tool.ended is None else min(tool.ended, at_us)
        if took is not None and (tool.timed_end is None or at_us < tool.timed_end):
            tool.timed_end, tool.took = at_us, _microseconds(took)

    def ran(self, kind: int, at: float, took: float) -> None:
        """Something ended ``at``, ``took`` seconds after it began; ``kind`` is its place in ``RAN``."""
        if len(self._runs) < _MOST_RUNS:
            ended = _microseconds(at)
            self._runs.append((kind, ended - _microseconds(took), ended))

    def api_called(self, at: float) -> None:
        """The customer's API has answered. No event says how long that took."""
        if len(self._apis) < _MOST_RUNS:
            self._apis.append(_microseconds(at))

    def milestone(self, at: float) -> None:
        """The caller has spoken, or the agent has moved: an API call that comes next began after this."""
        if len(self._milestones) < _MOST_RUNS:
            self._milestones.append(_microseconds(at))

    def forget_turns(self) -> None:
        """The turns so far are not counted here, so nothing of them is."""
        self._turns.clear()

    def over(self) -> list[Shares]:
        """The call has ended: all that is not told yet."""
        turns, self._turns = self._turns, []
        return self._told(turns)

    def _tool(self, key: str) -> _Tool:
        tool = self._tools.get(key)
        if tool is None:
            if len(self._tools) >= _MOST_RUNS:
                del self._tools[next(iter(self._tools))]
            tool = self._tools[key] = _Tool()
        return tool

    def _told(self, turns: Iterable[_Turn]) -> list[Shares]:
        if not (self._tools or self._runs or self._apis):  # nearly always
            return [
                Shares(turn.visit, turn.at, ((UNATTRIBUTED, max(0.0, turn.seconds - turn.reported)),))
                for turn in turns
                if turn.reported is not None
            ]
        runs, unended = self._all_runs()
        ends = [ended for _, ended, _ in runs]
        apis = sorted(self._apis)
        milestones = sorted([*self._milestones, *ends, *apis]) if apis else []
        shares = (_shares(turn, runs, ends, unended, apis, milestones) for turn in turns)
        return [each for each in shares if each is not None]

    def _all_runs(self) -> tuple[list[tuple[int, int, int]], list[int]]:
        """Everything that ran, as (kind, to, from) by its end; and when what never ended began."""
        runs = [(kind, ended, began) for kind, began, ended in self._runs]
        unended: list[int] = []
        for tool in self._tools.values():
            interval = tool.interval()
            if interval is not None:
                runs.append((_TOOL, interval[1], interval[0]))
            elif tool.ended is None and tool.began is not None:
                unended.append(tool.began)
        runs.sort(key=lambda run: (run[1], run[2], run[0]))
        return runs, sorted(unended)


class _NoStages(Stages):
    """Nobody asks."""

    __slots__ = ()

    def turned(self, visit: Visit, at: float, seconds: float, reported: float | None) -> list[Shares]:
        return []

    def tool_began(self, key: str, at: float) -> None:
        """Not kept."""

    def tool_ended(self, key: str | None, at: float, took: float | None) -> None:
        """Not kept."""

    def ran(self, kind: int, at: float, took: float) -> None:
        """Not kept."""

    def api_called(self, at: float) -> None:
        """Not kept."""

    def milestone(self, at: float) -> None:
        """Not kept."""


NO_STAGES = _NoStages()
"""For all calls, where turns are not explained."""


def _shares(
    turn: _Turn,
    runs: Sequence[tuple[int, int, int]],
    ends: Sequence[int],
    unended: Sequence[int],
    apis: Sequence[int],
    milestones: Sequence[int],
) -> Shares | None:
    """What of one turn is whose; ``None`` where nothing is known of it."""
    ended = _microseconds(turn.at)
    begun = ended - _microseconds(turn.seconds)
    by_kind: list[list[Interval]] = [[], [], [], []]
    first = bisect_right(ends, begun)
    for kind, run_ended, run_began in runs[first : min(bisect_left(ends, ended + _LONGEST), first + _MOST_IN_A_TURN)]:
        by_kind[kind].append((run_began, run_ended))
    # One that never answered is waited for no longer than the turn it began in: the agent went on without it.
    first = bisect_left(unended, begun)
    for began in unended[first : first + _MOST_IN_A_TURN]:
        by_kind[_TOOL].append((began, ended))
    if turn.reported is not None and apis:  # without any stage it would be given what the model took
        first = bisect_right(apis, begun)
        for at in apis[first : min(bisect_right(apis, ended), first + _MOST_IN_A_TURN)]:
            before = bisect_left(milestones, at)
            by_kind[_API].append((milestones[before - 1] if before else begun, at))
    left = max(0, _microseconds(turn.seconds - (turn.reported or 0.0)))
    stages: list[tuple[str, float]] = []
    covered: list[Interval] = []
    reached = 0
    for stage, intervals in zip(RAN, by_kind, strict=True):
        inside = [(max(began, begun), min(until, ended)) for began, until in intervals]
        covered += [(began, until) for began, until in inside if began < until]
        length = _length(covered)
        share, reached = min(length - reached, left), length
        left -= share
        if share:
            stages.append((stage, share / 1e6))
    if turn.reported is None and not stages:
        return None
    stages.append((UNATTRIBUTED, left / 1e6))
    return Shares(turn.visit, turn.at, tuple(stages))


def _length(intervals: Iterable[Interval]) -> int:
    """Of all of them together, what two cover once."""
    total, reached = 0, -1
    for began, ended in sorted(intervals):
        if ended > reached:
            total += ended - max(began, reached)
            reached = ended
    return total


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)
