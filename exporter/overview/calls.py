"""One call as an operator sees it, whether it goes on or is over."""

from __future__ import annotations

from exporter.calls.identity import trace_id
from exporter.outputs.recent import EndedCall, TurnsOf
from exporter.receivers.discovery import FoundCall
from exporter.receivers.following import Followed
from exporter.web import CallView


def followed_view(followed: Followed, turns: TurnsOf | None, now: float) -> CallView:
    """A call that is being followed; ``turns`` is what is remembered of its turns."""
    found, tracked = followed.found, followed.tracked
    if tracked is None:
        return found_view(found, followed.state, now)
    call, slowest = tracked.call, turns.slowest if turns is not None else None
    return CallView(
        call_id=found.call_id,
        state=followed.state,
        since_at=call.first_at if call.first_at is not None else tracked.opened_at,
        events=len(tracked.seen),
        last_event_age_seconds=followed.quiet_seconds,
        agent_id=call.agent.agent_id,
        agent_name=call.agent.name,
        node_id=call.visit.node_id,
        node_name=call.node_name or None,
        trace_id=trace_of(found.call_id),
        turns=call.turns,
        last_turn_seconds=turns.last_seconds if turns is not None and slowest is not None else None,
        slowest_turn_seconds=slowest.seconds if slowest is not None else None,
        slowest_node_name=slowest.place.node_name if slowest is not None else None,
    )


def found_view(found: FoundCall, state: str, now: float) -> CallView:
    """A call of which no more is known than that there is one."""
    since = found.created_at or now
    return CallView(found.call_id, state, since, agent_id=found.agent_id, trace_id=trace_of(found.call_id))


def ended_view(call: EndedCall) -> CallView:
    """A call that ended within the hour."""
    slowest = call.slowest
    began = call.ended_at - call.duration_seconds if call.duration_seconds is not None else call.ended_at
    return CallView(
        call_id=call.call_id,
        state="ended",
        since_at=began,
        agent_id=call.agent_id,
        agent_name=call.agent_name,
        trace_id=trace_of(call.call_id),
        turns=call.turns,
        last_turn_seconds=call.last_turn_seconds,
        slowest_turn_seconds=slowest.seconds if slowest is not None else None,
        slowest_node_name=slowest.place.node_name if slowest is not None else None,
        outcome=call.outcome,
        end_reason=call.end_reason,
        ended_at=call.ended_at,
    )


def trace_of(call_id: str) -> str:
    """A call's trace id, 32 hex digits."""
    return f"{trace_id(call_id):032x}"
