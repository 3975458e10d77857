"""What the page at ``/`` remembers, fed by the same facts as the metrics."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from exporter.calls.observations import (
    CallEnded,
    CallResumed,
    CallStarted,
    FirstWordHeard,
    Observation,
    Place,
    TurnAnswered,
    TurnExplained,
    TurnUnanswered,
    UserSpoke,
)
from exporter.calls.stages import UNATTRIBUTED
from exporter.calls.visits import UNKNOWN_NAME
from exporter.outputs.recent.calls import Calls, EndedCall, TurnsOf
from exporter.outputs.recent.hour import MINUTES, NodeHour
from exporter.outputs.recent.look import Look, NodeMemory, Version, key_of
from exporter.outputs.recent.troubles import LATE_SECONDS, Trouble, troubles

_MOST_PLACES: Final = 1000
_MOST_CALLS: Final = 10_000
SPOKEN, ANSWERED, UNANSWERED = range(3)


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
        self._remembers_since = clock()
        self._most_places = most_places
        self._memories: OrderedDict[tuple[str, str], NodeMemory] = OrderedDict()
        self._first_words: OrderedDict[str, NodeMemory] = OrderedDict()
        self._versions: OrderedDict[str, Version] = OrderedDict()
        self._calls = Calls(most_calls)
        self._endings: OrderedDict[int, Counter[tuple[str, str, str]]] = OrderedDict()
        self.recorders: Mapping[type[Observation], Callable[[Any], None]] = {
            CallStarted: self._begun,
            CallResumed: self._begun,
            UserSpoke: self._spoken,
            TurnAnswered: self._answered,
            TurnExplained: self._explained,
            TurnUnanswered: self._unanswered,
            FirstWordHeard: self._first_word,
            CallEnded: self._ended,
        }

    # -- what is said

    def _begun(self, fact: CallStarted | CallResumed) -> None:
        self._calls.begun(fact.call_id, fact.channel)

    def _spoken(self, fact: UserSpoke) -> None:
        self._memory(fact.where.place).answers.add(self._minute(), SPOKEN)

    def _unanswered(self, fact: TurnUnanswered) -> None:
        self._memory(fact.where.place).answers.add(self._minute(), UNANSWERED)

    def _answered(self, fact: TurnAnswered) -> None:
        channel = self._calls.answered(fact).channel
        memory, minute = self._memory(fact.where.place), self._minute()
        memory.answers.add(minute, ANSWERED)
        if fact.interrupted:
            return
        memory.hour.add(minute, fact.seconds, fact.where.call_id)
        stages = fact.stages
        if fact.unreported_seconds is not None:
            stages = (*stages, (UNATTRIBUTED, fact.unreported_seconds))
        memory.makeup.add(minute, channel, fact.seconds > self.slow_seconds, stages)

    def _explained(self, fact: TurnExplained) -> None:
        """Where unattributed time went, said when the call is over. Of turns that were slow for this reason alone."""
        if sum(took for _, took in fact.stages) > self.slow_seconds:
            self._memory(fact.where.place).makeup.explain(self._minute(), fact.stages)

    def _first_word(self, fact: FirstWordHeard) -> None:
        agent = fact.agent
        memory = self._first_words.get(agent.agent_id)
        if memory is None:
            place = Place(agent.agent_id, agent.name, "", "")
            memory = self._first_words[agent.agent_id] = NodeMemory(place, LATE_SECONDS)
            _bounded(self._first_words, self._most_places)
        minute = self._minute()
        memory.hour.add(minute, fact.seconds, "")
        memory.makeup.add(minute, fact.channel, fact.seconds > LATE_SECONDS, ())

    def _ended(self, fact: CallEnded) -> None:
        self._calls.ended(fact, self._clock(), self._wall())
        minute, agent_id = self._minute(), fact.agent.agent_id
        version = fact.account.version
        known = self._versions.get(agent_id)
        if version is not None and (known is None or known.version != version):
            self._versions[agent_id] = Version(version, minute, known.version if known is not None else None)
            _bounded(self._versions, self._most_places)
        endings = self._endings.get(minute)
        if endings is None:
            endings = self._endings[minute] = Counter()
            while next(iter(self._endings)) <= minute - MINUTES:
                self._endings.popitem(last=False)
        key = agent_id, fact.outcome, fact.account.end_reason
        if key in endings or len(endings) < self._most_places:
            endings[key] += 1

    def _memory(self, place: Place) -> NodeMemory:
        key = key_of(place)
        memory = self._memories.get(key)
        if memory is None:
            memory = self._memories[key] = NodeMemory(place, self.slow_seconds)
            _bounded(self._memories, self._most_places)
        else:
            self._memories.move_to_end(key)
            if place.node_name != UNKNOWN_NAME:
                memory.hour.place = place  # the newest name of a node is the one people know it by
        return memory

    # -- what is asked

    def look(self) -> Look:
        """Everything as it is now, in a moment: what it means is worked out elsewhere."""
        return Look(
            self._minute(),
            self._clock(),
            self._remembers_since,
            self.slow_seconds,
            list(self._memories.values()),
            list(self._first_words.values()),
            dict(self._versions),
            [(minute, endings.copy()) for minute, endings in self._endings.items()],
            self.ended(),
            self._calls.going_on(),
        )

    def nodes(self, minutes: int = MINUTES) -> list[NodeHour]:
        """Nodes that answered within so many minutes, the worst first."""
        look = self.look()
        return look.drawn(look.nodes(minutes))

    def outcomes(self, minutes: int = MINUTES) -> Counter[str]:
        """How calls ended within so many minutes."""
        return self.look().outcomes(minutes)

    def troubles(self) -> list[Trouble]:
        """Where callers are suffering now, the worst first; empty when all is well or nothing is known."""
        return troubles(self.look())

    def ended(self) -> list[EndedCall]:
        """Calls that ended within the hour, newest first."""
        return self._calls.lately(self._clock())

    def turns_of(self, call_id: str) -> TurnsOf | None:
        """The turns of a call that goes on."""
        return self._calls.turns_of(call_id)

    def call_named(self, name: str) -> str | None:
        """The id of a call known here, by its id or its trace id."""
        return self._calls.named(name)

    def _minute(self) -> int:
        return int(self._clock() // 60)


def _bounded(kept: OrderedDict[Any, Any], most: int) -> None:
    if len(kept) > most:
        kept.popitem(last=False)
