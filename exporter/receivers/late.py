"""Post-call analytics may be written some time after a call has ended: its log is looked at once more for them.

Once a call, some time after its end, and only where that is worth a request: for agents of whose calls such a look has
brought something, for the first calls of each, and now and then for one of the others.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

from exporter.calls.observations import Agent
from exporter.calls.tracker import Tracker
from exporter.errors import AtomsExporterError
from exporter.protocol.dispositions import Disposition
from exporter.receivers.history import History

MOST_WAITING: Final = 1_000
"""Calls that wait for their second look; the oldest goes without it."""
TRIES: Final = 3
"""Looks in vain until an agent counts as one without late analytics."""
ONE_OF: Final = 50
"""Of such an agent's calls one of so many is looked at all the same."""
MOST_UNASKED: Final = 5_000
"""Calls whose results wait for a fleet's Redis."""
_MOST_AGENTS: Final = 10_000
_PAUSE_SECONDS: Final = 1.0


BeforeResults = Callable[[str, Sequence[Disposition]], Awaitable[bool]]
"""Learns which results of a call others have counted; whether it could. Those that are left are to be counted here."""


class _Unasked(NamedTuple):
    call_id: str
    agent: Agent
    dispositions: Sequence[Disposition]


class _Waiting(NamedTuple):
    due: float
    call_id: str
    agent: Agent


@dataclass(slots=True)
class _Tried:
    """What came of it for one agent: looks in vain, and calls since the last look."""

    in_vain: int = 0
    passed_over: int = 0


class LateAnalytics:
    """Which ended calls are looked at again, and when.

    :param after: seconds from a call's end; 0: never.
    :param clock: monotonic.
    :param before_results: None where there are no others.
    :param bound_hit: told ``calls`` when more results wait than may.
    """

    def __init__(
        self,
        history: History,
        tracker: Tracker,
        *,
        after: float,
        clock: Callable[[], float],
        before_results: BeforeResults | None = None,
        bound_hit: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._history = history
        self._tracker = tracker
        self._after = after
        self._clock = clock
        self._before_results = before_results
        self._bound_hit = bound_hit
        self._waiting: deque[_Waiting] = deque(maxlen=MOST_WAITING)
        self._unasked: deque[_Unasked] = deque()
        self._agents: OrderedDict[str, _Tried] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def ended(self, call_id: str, agent: Agent) -> None:
        """A call has ended, and its log tells of no analytics yet."""
        if not self._after:
            return
        tried = self._tried(agent)
        tried.passed_over += 1
        if tried.in_vain < TRIES or tried.passed_over >= ONE_OF:
            tried.passed_over = 0
            self._waiting.append(_Waiting(self._clock() + self._after, call_id, agent))

    def unasked(self, call_id: str, agent: Agent, dispositions: Sequence[Disposition]) -> None:
        """Who counts these could not be learnt: it is tried again. Beyond a bound the oldest count as if nobody else
        did."""
        self._unasked.append(_Unasked(call_id, agent, dispositions))
        if len(self._unasked) > MOST_UNASKED:
            self._bound_hit("calls")
            self._tracker.analysed(*self._unasked.popleft())

    async def run(self) -> NoReturn:
        """Look when it is time, until cancelled."""
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look at all calls whose time has come, one after the other."""
        await self._ask_again()
        while self._waiting and self._waiting[0].due <= self._clock():
            await self._look(self._waiting.popleft())

    async def _ask_again(self) -> None:
        while self._unasked and self._before_results is not None:
            each = self._unasked.popleft()
            if not await self._before_results(each.call_id, each.dispositions):
                self._unasked.appendleft(each)
                return
            self._tracker.analysed(*each)

    async def _look(self, waiting: _Waiting) -> None:
        try:
            async with self._history.look(waiting.call_id) as call_log:
                dispositions = call_log.dispositions
        except AtomsExporterError:
            return  # one try: what is missed here is what was missed before
        ask = self._before_results
        if ask is not None and dispositions and not await ask(waiting.call_id, dispositions):
            self.unasked(waiting.call_id, waiting.agent, dispositions)
            return
        tried = self._tried(waiting.agent)
        news = self._tracker.analysed(waiting.call_id, waiting.agent, dispositions)
        tried.in_vain = 0 if news else tried.in_vain + 1

    def _tried(self, agent: Agent) -> _Tried:
        tried = self._agents.setdefault(agent.agent_id, _Tried())
        self._agents.move_to_end(agent.agent_id)
        if len(self._agents) > _MOST_AGENTS:
            self._agents.popitem(last=False)
        return tried
