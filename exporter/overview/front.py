"""The page at ``/``, worked out of what was there at one moment: in a thread, so that nobody waits for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

from exporter.outputs.recent import EndedCall, Look, troubles
from exporter.overview.calls import ended_view, followed_view, found_view
from exporter.receivers.discovery import FoundCall
from exporter.receivers.following import Followed
from exporter.receivers.places import PENDING
from exporter.web import Capacity, FrontView, Health, Spent

CALLS_ON_A_PAGE: Final = 50
NODES_ON_A_PAGE: Final = 12
"""The first screen holds them, and the slowest calls below."""
_LATELY_MINUTES: Final = 15
_MOST_SPENDERS: Final = 20

_T = TypeVar("_T")


class Gathered(NamedTuple):
    """What was there at one moment; nothing of it is worked out.

    ``waiting`` is how many calls wait to be followed; ``behind`` are those that the page shows behind the others.
    """

    version: str
    now_at: float
    ready: tuple[bool, str]
    look: Look
    followed: Sequence[Followed]
    waiting: int
    behind: Sequence[FoundCall]
    capacity: Capacity
    health: Sequence[Health]

    def front(self, page: int, nodes_page: int) -> FrontView:
        """What the page shows; pages out of range are the nearest there are."""
        look = self.look
        known: list[Followed | EndedCall] = [*self.followed, *look.ended]
        known.sort(key=lambda each: -_slowest(each, look))
        nodes = look.nodes()
        page, pages = within(page, len(known) + self.waiting, CALLS_ON_A_PAGE)
        shown = _piece(known, page, CALLS_ON_A_PAGE)
        nodes_page, nodes_pages = within(nodes_page, len(nodes), NODES_ON_A_PAGE)
        return FrontView(
            version=self.version,
            now_at=self.now_at,
            ready=self.ready,
            slow_seconds=look.slow_seconds,
            troubles=troubles(look),
            lately=look.nodes(_LATELY_MINUTES),
            nodes=look.drawn(_piece(nodes, nodes_page, NODES_ON_A_PAGE)),
            nodes_page=nodes_page,
            nodes_pages=nodes_pages,
            outcomes_lately=look.outcomes(_LATELY_MINUTES),
            outcomes_hour=look.outcomes(),
            reasons_lately=look.reasons(_LATELY_MINUTES),
            reasons_hour=look.reasons(),
            capacity=self.capacity,
            spent=_spent(look),
            minute=look.minute,
            going_on=len(self.followed) + self.waiting,
            ended=len(look.ended),
            lines=[
                *(
                    ended_view(each)
                    if isinstance(each, EndedCall)
                    else followed_view(each, look.going_on.get(each.found.call_id), self.now_at)
                    for each in shown
                ),
                *(found_view(each, PENDING, self.now_at) for each in self.behind[: CALLS_ON_A_PAGE - len(shown)]),
            ],
            page=page,
            pages=pages,
            health=self.health,
        )


def _slowest(each: Followed | EndedCall, look: Look) -> float:
    turns = each if isinstance(each, EndedCall) else look.going_on.get(each.found.call_id)
    return turns.slowest.seconds if turns is not None and turns.slowest is not None else 0.0


def _spent(look: Look) -> list[Spent]:
    """Agents by what their calls of the last hour cost."""
    calls: dict[str, list[EndedCall]] = defaultdict(list)
    for call in look.ended:
        if call.cost is not None:
            calls[call.agent_id].append(call)
    spent = [
        Spent(
            agent_id,
            those[0].agent_name,
            len(those),
            sum(call.cost or 0.0 for call in those),
            sum(call.duration_seconds or 0.0 for call in those) / 60,
            look.versions.get(agent_id),
        )
        for agent_id, those in calls.items()
    ]
    return sorted(spent, key=lambda each: -each.cost)[:_MOST_SPENDERS]


def within(page: int, number: int, size: int) -> tuple[int, int]:
    """The nearest page there is, and how many there are."""
    pages = max(1, -(-number // size))
    return min(max(1, page), pages), pages


def _piece(things: Sequence[_T], page: int, size: int) -> Sequence[_T]:
    return things[(page - 1) * size : page * size]
