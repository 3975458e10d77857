"""What is wrong, in a sentence: where, since when, which stage, for whom, at what cost, and a call that shows it."""

from __future__ import annotations

from html import escape

from exporter.calls.visits import NO_NODE
from exporter.outputs.recent import Trouble
from exporter.web.pages.frame import ago, call_link, clock_time, named, seconds
from exporter.web.pages.view import Capacity, FrontView

NEAR, FULL = 0.8, 0.95
"""Shares of the calls at once that are near the limit, and at it."""
MANY_QUEUED = 10
"""So many outbound calls that wait are said although there is room: as many as the alert on a queue asks for."""
_NEW_MINUTES = 120
"""A version that is in use for no longer is worth a word."""
_MOST_CHANNELS = 3


def told(trouble: Trouble, view: FrontView) -> str:
    """One trouble as HTML."""
    agent = named(trouble.agent_name, trouble.agent_id)
    says = {
        "slow": f"{agent} is slow{_where(trouble, ' in ')}",
        "failing": f"Calls of {agent} fail",
        "broken": f"Calls of {agent} are ended by errors or timeouts",
        "unanswered": f"Callers of {agent} are not answered",
        "mute": f"{agent} says nothing",
        "late": f"The first word of {agent} comes late",
        "dear": f"Calls of {agent} cost more than before",
    }[trouble.kind]
    since = f"{clock_time(round(view.now_at - trouble.seconds_ago))} UTC ({ago(trouble.seconds_ago)})"
    more = [_how_much(trouble, view), _for_whom(trouble), _version(trouble, view)]
    call = f" Such a call: {call_link(trouble.call_id)}" if trouble.call_id else ""
    return f"<b>{says}</b> since {since}: {' '.join(part for part in more if part)}{call}"


def _where(trouble: Trouble, before: str) -> str:
    """The node, where there are nodes: an agent of a single prompt has none."""
    return "" if trouble.node_id == NO_NODE else f"{before}{named(trouble.node_name, trouble.node_id)}"


def _how_much(trouble: Trouble, view: FrontView) -> str:
    of = f"{min(1.0, trouble.share):.0%} of {trouble.of}"
    if trouble.kind == "slow":
        stage = (
            f", mostly in {escape(trouble.stage[0])} ({trouble.stage[1]:.0%} of their time)" if trouble.stage else ""
        )
        return f"{of} turns took longer than {seconds(view.slow_seconds)}, p95 {seconds(trouble.seconds)}{stage}."
    if trouble.kind == "unanswered":
        return f"{of} turns{_where(trouble, ', most of them in ')}."
    if trouble.kind == "late":
        return f"after {seconds(trouble.seconds)} in the middle of {trouble.of} calls."
    if trouble.kind == "dear":
        minutes = round(trouble.seconds_ago / 60)
        return f"{trouble.share:.1f} times as much in the last {minutes} minutes, {trouble.of} calls."
    if trouble.kind == "mute":
        return f"not a word in {of} calls."
    return f"{of}" + (f", by {_listed(trouble.reasons)}." if trouble.reasons else ".")


def _listed(reasons: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{escape(reason)} {number}" for reason, number in reasons)


def _for_whom(trouble: Trouble) -> str:
    """By channel, where there are several or the one is not unknown."""
    named_ones = [each for each in trouble.channels if each[2]]
    if not named_ones or [channel for channel, _, _ in named_ones] == ["unknown"]:
        return ""
    listed = ", ".join(f"{escape(channel)} {bad} of {of}" for channel, bad, of in named_ones[:_MOST_CHANNELS])
    return f"By channel: {listed}."


def _version(trouble: Trouble, view: FrontView) -> str:
    version = trouble.version
    if version is None:
        return ""
    minutes = view.minute - version.since
    if version.before is None or minutes > _NEW_MINUTES:
        return f"Version {escape(version.version)}."
    return f"Version {escape(version.version)}, new {ago(60 * minutes)} (before: {escape(version.before)})."


def crowded(view: FrontView) -> list[tuple[str, str]]:
    """That the account is near its limit of calls at once, or that calls wait although it is not: the line's class, and
    the line."""
    capacity = view.capacity
    if capacity is None:
        return []
    if capacity.used is None or capacity.used < NEAR:
        return _waiting(capacity)
    full = capacity.used >= FULL
    known = [(capacity.active, capacity.limit, "calls the account may have at once")]
    known.append((capacity.shared_active, capacity.shared, "calls that no agent has reserved for itself"))
    active, most, what = max(((n, of, text) for n, of, text in known if of), key=lambda each: each[0] / (each[1] or 1))
    says = "at its limit" if full else "near its limit"
    queue = f" {capacity.queued} outbound calls wait." if capacity.queued else ""
    lost = " Inbound callers are dropped." if full else ""
    return [("bad" if full else "warn", f"<b>The account is {says}:</b> {active} of {most} {what}.{lost}{queue}")]


def _waiting(capacity: Capacity) -> list[tuple[str, str]]:
    if capacity.queued is None or capacity.queued < MANY_QUEUED:
        return []
    known = ((capacity.active, capacity.limit), (capacity.shared_active, capacity.shared))
    left = [most - active for active, most in known if most]
    room = f", with room for {max(0, min(left))} more calls under the account's limit" if left else ""
    return [("warn", f"<b>Outbound calls wait:</b> {capacity.queued} in the queue{room}.")]
