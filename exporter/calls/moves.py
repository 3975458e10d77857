"""Moving between nodes: which visit a call is in, and since when."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.calls.call import Call
from exporter.calls.observations import Hopped, LoopClosed, NodeEntered, NodeLeft
from exporter.calls.visits import NO_NODE, NOWHERE, UNKNOWN_NAME, Visit
from exporter.protocol import events as wire
from exporter.protocol.labels import label
from exporter.protocol.units import LONGEST_CALL_SECONDS, Skip, seconds_between


def node_shown(call: Call, event: wire.AgentNodeState, at: float) -> None:
    node_id = _node_id(event.node_id)
    if node_id is None:
        call.skip(Skip.MISSING)
        return
    if call.visit.node_id is None:
        first_node(call, node_id)
    elif call.visit.node_id != node_id:  # moved without a hop having been seen
        if call.visit.node_id != NO_NODE:
            leave(call, at)
        enter(call, node_id, at, came_from=None)
    if event.node_type:
        call.visit.node_type = label(event.node_type)
    if event.node_name and (name := label(event.node_name)) and call.names.get(node_id) != name:
        call.learn(node_id, name)
        settle(call, node_id, name)


def hopped(call: Call, event: wire.Hopping, at: float) -> None:
    origin_id, target_id = _node_id(event.from_node_id), _node_id(event.to_node_id)
    if target_id is None:
        call.skip(Skip.MISSING)
        return
    call.hops += 1
    call.stages.milestone(at)
    if call.visit.node_id is None and origin_id is not None:
        first_node(call, origin_id)
    origin = call.visit
    if origin_id is None and origin.node_id is None:  # came from nowhere
        origin = Visit(-1, NO_NODE, at, "")
        origin.settle(call.call_id, call.agent, NO_NODE, NO_NODE)
    elif origin_id is not None and origin.node_id != origin_id:  # a visit that was not seen
        origin = Visit(-1, origin_id, at, "")
        if (name := call.names.get(origin_id)) is not None:
            origin.settle(call.call_id, call.agent, origin_id, name)
    if call.visit.node_id is None:
        first_node(call, target_id)
    else:
        if call.visit.node_id != NO_NODE:
            leave(call, at)
        enter(call, target_id, at, came_from=origin)
    visit = call.visit
    visit.awaits_answer_since = at
    call.wait(visit, origin, Hopped(NOWHERE.place, NOWHERE.place))
    if call.left_before == target_id and origin.index >= 0:  # not if a hop in between was missed
        call.say(LoopClosed(visit.where))
    call.left_before = origin_id or origin.node_id
    release(call)


def first_node(call: Call, node_id: str) -> None:
    """The node the call has been in from its beginning is known now."""
    call.visit.node_id = node_id
    call.visit.key = call.next_visit(node_id)
    call.say(NodeEntered(call.visit.where, call.visit.entered_at))


def enter(call: Call, node_id: str, at: float, came_from: Visit | None) -> None:
    visit = Visit(call.visit.index + 1, node_id, at, call.next_visit(node_id))
    visit.came_from = came_from.node_id if came_from is not None else None
    if (name := call.names.get(node_id)) is not None:
        visit.settle(call.call_id, call.agent, node_id, name)
    call.visit = visit
    call.say(NodeEntered(visit.where, at))


def leave(call: Call, at: float, *, timed: bool = True) -> None:
    visit = call.visit
    duration = seconds_between(visit.entered_at, at)
    credible = 0 <= duration <= LONGEST_CALL_SECONDS
    left = NodeLeft(
        where=visit.where,
        at=at,
        entered_at=visit.entered_at,
        duration_seconds=duration if credible and timed else None,
        node_type=visit.node_type,
        from_node_id=visit.came_from,
        from_node_name=call.names.get(visit.came_from or ""),
        prompt_tokens=visit.spent.prompt,
        completion_tokens=visit.spent.completion,
        other_tokens=visit.spent.other,
        error=visit.error,
    )
    if not credible:
        call.skip(Skip.NEGATIVE if duration < 0 else Skip.IMPLAUSIBLE)
    call.say(left)


def settle(call: Call, node_id: str, name: str) -> None:
    """A node's name is known: for the visits that wait for it, and from now on."""
    for visit in (*call.waiting.visits(), call.visit):
        if visit.node_id == node_id:
            visit.settle(call.call_id, call.agent, node_id, name)
    release(call)


def release(call: Call) -> None:
    if call.waiting.size:
        call.out.extend(call.waiting.release())


def stop_waiting(call: Call, names: Mapping[str, str]) -> None:
    """No name is coming: what is known from elsewhere, or ``unknown``; ``none`` where there was no node at all."""
    for visit in (*call.waiting.visits(), call.visit):
        if visit.where is not NOWHERE:
            continue
        if visit.node_id is None:
            visit.node_id = NO_NODE
            visit.settle(call.call_id, call.agent, NO_NODE, NO_NODE)
        else:
            visit.settle(call.call_id, call.agent, visit.node_id, names.get(visit.node_id, UNKNOWN_NAME))
    release(call)


def _node_id(value: wire.Identifier) -> str | None:
    return None if value is None or value == "" else label(str(value))
