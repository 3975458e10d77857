"""What the page at ``/`` remembers, fed by the same facts as the metrics."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from exporter.calls.observations import CallEnded, Observation, Place, TurnAnswered
from exporter.outputs.recent.calls import Calls, EndedCall, TurnsOf
from exporter.outputs.recent.hour import MINUTES, Hour, NodeHour

_MOST_PLACES: Final = 1000
_MOST_CALLS: Final = 10_000
_NOW_MINUTES: Final = 5
_FEWEST_TURNS: Final = 5
_FEWEST_CALLS: Final = 3
_SLOW_SHARE: Final = 0.25
_FAILED_SHARE: Final = 0.25
_QUIET_MINUTES: Final = 3
BAD_OUTCOMES: Final = frozenset(("failed", "lost"))


class Trouble(NamedTuple):
    """Callers are suffering: where, since how many minutes, and a call that shows it.

    ``kind`` is ``slow`` (``share`` of turns above the threshold, ``seconds`` their 95th percentile) or ``failing``
    (``share`` of ended calls that failed or were lost, ``seconds`` 0).
    """

    kind: str
    agent_id: str
    agent_name: str
    node_id: str | None
    node_name: str | None
    share: float
    of: int
    seconds: float
    minutes_ago: int
    call_id: str


class Recent:
    """The last hour. ``recorders`` has a way to remember for each class of facts that matters here.

    :param slow_seconds: a turn longer than this is slow: the objective's threshold.
    :param clock: seconds that never step back, for minutes and ages; ``wall`` is Unix time, for people.
    """

    def __init__(
        self,
        *,
        slow_seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        most_places: int = _MOST_PLACES,
        most_calls: int = _MOST_CALLS,
    ) -> None:
        self.slow_seconds = slow_seconds
        self._clock = clock
        self._wall = wall
        self._most_places = most_places
        self._places: OrderedDict[tuple[str, str], Hour] = OrderedDict()
        self._calls = Calls(most_calls)
        self._outcomes: OrderedDict[int, Counter[tuple[str, str]]] = OrderedDict()
        self.recorders: Mapping[type[Observation], Callable[[Any], None]] = {
            TurnAnswered: self._answered,
            CallEnded: self._ended,
        }

    # -- what is said

    def _answered(self, fact: TurnAnswered) -> None:
        self._calls.answered(fact)
        if fact.interrupted:
            return
        place = fact.where.place
        key = _key(place)
        hour = self._places.get(key)
        if hour is None:
            hour = self._places[key] = Hour(place, self.slow_seconds)
            if len(self._places) > self._most_places:
                self._places.popitem(last=False)
        else:
            self._places.move_to_end(key)
            hour.place = place  # the newest name of a node is the one people know it by
        hour.add(self._minute(), fact.seconds, fact.where.call_id)

    def _ended(self, fact: CallEnded) -> None:
        self._calls.ended(fact, self._clock(), self._wall())
        minute = self._minute()
        outcomes = self._outcomes.get(minute)
        if outcomes is None:
            outcomes = self._outcomes[minute] = Counter()
            while next(iter(self._outcomes)) <= minute - MINUTES:
                self._outcomes.popitem(last=False)
        key = fact.agent.agent_id, fact.outcome
        if key in outcomes or len(outcomes) < self._most_places:
            outcomes[key] += 1

    # -- what is asked

    def nodes(self, minutes: int = MINUTES) -> list[NodeHour]:
        """Nodes that answered within so many minutes: largest share of slow turns first, then by 95th percentile."""
        now = self._minute()
        read = [each for hour in self._places.values() if (each := hour.read(now, minutes)) is not None]
        return sorted(read, key=lambda node: (-node.slow / node.turns, -node.p95_seconds, _key(node.place)))

    def outcomes(self, minutes: int = MINUTES) -> Counter[str]:
        """How calls ended within so many minutes."""
        now = self._minute()
        total: Counter[str] = Counter()
        for minute, outcomes in self._outcomes.items():
            if minute > now - minutes:
                for (_, outcome), number in outcomes.items():
                    total[outcome] += number
        return total

    def ended(self) -> list[EndedCall]:
        """Calls that ended within the hour, newest first."""
        return self._calls.lately(self._clock())

    def turns_of(self, call_id: str) -> TurnsOf | None:
        """The turns of a call that goes on."""
        return self._calls.turns_of(call_id)

    def call_named(self, name: str) -> str | None:
        """The id of a call known here, by its id or its trace id."""
        return self._calls.named(name)

    def troubles(self) -> list[Trouble]:
        """Where callers are suffering now, the worst first; empty when all is well or nothing is known."""
        return sorted([*self._slow(), *self._failing()], key=lambda trouble: -trouble.share)

    def _slow(self) -> list[Trouble]:
        now = self._minute()
        found = []
        for node in self.nodes(_NOW_MINUTES):
            share = node.slow / node.turns
            if node.turns < _FEWEST_TURNS or share < _SLOW_SHARE:
                continue
            hour = self._places[_key(node.place)].read(now)
            since = _slow_since(hour) if hour is not None else 0
            place: Place = node.place
            found.append(
                Trouble(
                    "slow",
                    place.agent_id,
                    place.agent_name,
                    place.node_id,
                    place.node_name,
                    share,
                    node.turns,
                    node.p95_seconds,
                    since,
                    node.slowest_call,
                )
            )
        return found

    def _failing(self) -> list[Trouble]:
        now = self._clock()
        by_agent: dict[str, list[EndedCall]] = {}
        for call in self.ended():
            if now - call.heard_at <= 3 * _NOW_MINUTES * 60:
                by_agent.setdefault(call.agent_id, []).append(call)
        found = []
        for agent_id, calls in by_agent.items():
            bad = [call for call in calls if call.outcome in BAD_OUTCOMES]
            if len(bad) < _FEWEST_CALLS or len(bad) < _FAILED_SHARE * len(calls):
                continue
            ago = int((now - bad[-1].heard_at) // 60)
            name, share = bad[0].agent_name, len(bad) / len(calls)
            found.append(Trouble("failing", agent_id, name, None, None, share, len(calls), 0.0, ago, bad[0].call_id))
        return found

    def _minute(self) -> int:
        return int(self._clock() // 60)


def _key(place: Place) -> tuple[str, str]:
    return place.agent_id, place.node_id


def _slow_since(hour: NodeHour) -> int:
    """How many minutes ago the present slowness began: back to the last minute that was not slow, over quiet ones."""
    since = quiet = 0
    for ago, minute in enumerate(reversed(hour.minutes)):
        if not minute.turns:
            quiet += 1
            if quiet > _QUIET_MINUTES:
                break
        elif minute.slow < _SLOW_SHARE * minute.turns:
            break
        else:
            since, quiet = ago, 0
    return since
