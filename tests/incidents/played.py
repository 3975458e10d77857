"""Every incident: what goes wrong, what is delivered, what the linked panel shows, what the page at ``/`` says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

SLOW = {"node_id": "40008", "agent_id": "66f0a1c2d3e4f5a6b7c8d904"}
SLOW_NODE = "Escalate"
"""Few of the agent's turns are here: it does not page for it, and its page would silence the ticket about a node."""
Series = list[dict[str, Any]]


def values(series: Series, label: str) -> dict[str, float]:
    """The largest value by a label."""
    found: dict[str, float] = {}
    for one in series:
        name = one["metric"].get(label, "")
        found[name] = max(found.get(name, float("-inf")), float(one["value"][1]))
    return found


def any_of_it(series: Series) -> bool:
    """Something is there, and not all of it zero."""
    return any(float(one["value"][1]) > 0 for one in series)


def largest(label: str, *names: str, least: float = 0.0) -> Callable[[Series], bool]:
    """The largest value, above ``least``, is of one of ``names``."""

    def proves(series: Series) -> bool:
        by = values(series, label)
        worst = max(by, key=lambda name: by[name], default="")
        return worst in names and by[worst] > least

    return proves


def above(least: float) -> Callable[[Series], bool]:
    """Some value is above this."""
    return lambda series: any(float(one["value"][1]) > least for one in series)


def full(series: Series) -> bool:
    """Of the panel's first two queries: as many calls in progress as there may be."""
    by_query = values(series, "query")
    return by_query.get("A", 0.0) >= 0.9 * by_query.get("B", float("inf"))


def waiting(series: Series) -> bool:
    """Of the panel's queries: a queue, and calls in progress well below what there may be."""
    by_query = values(series, "query")
    return by_query.get("D", 0.0) >= 10 and by_query.get("A", 0.0) < 0.8 * by_query.get("B", 0.0)


@dataclass(frozen=True)
class Panel:
    """A panel on the dashboard that the alert's link leads to, and what its answer has to show."""

    title: str
    proves: Callable[[Series], bool] = any_of_it


@dataclass(frozen=True)
class Incident:
    """What goes wrong, and what somebody on call is told."""

    name: str
    faults: dict[str, Any]
    alert: str
    severity: str
    within: float
    """Minutes of the rules."""
    panels: tuple[Panel, ...]
    page: str = ""
    """What the exporter's page says, as a pattern; empty: it has no words for this."""
    calls: int = 40
    labels: dict[str, str] = field(default_factory=dict)
    alone: bool = True
    """No other page beside it."""
    healthy: float = 45.0
    """Minutes of the rules in which all is well before."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the exporter, as environment variables."""


INCIDENTS = (
    Incident(
        "every call fails",
        {"call_failure": 1.0},
        "AtomsCallFailuresBurning",
        "critical",
        40,
        (Panel("Calls ended per minute, by outcome"),),
        r"Calls of .+ fail since [\d:]+ UTC \(.+ ago\): \d+% of \d+, by .+ Such a call: CALL-",
        alone=False,  # an agent that fails its calls reports errors in each
    ),
    Incident(
        "every turn takes ten times as long",
        {"slow_node": {"node_id": "*", "factor": 10}},
        "AtomsSLOBudgetBurn",
        "critical",
        40,
        (
            Panel("Burn rate over every window", above(14.4)),
            Panel("Turn latency p99 by node, with the turns behind it", above(4)),
        ),
        r"is slow in .+ since [\d:]+ UTC \(.+ ago\): \d+% of \d+ turns .+ Such a call: CALL-",
        labels={"loosest": "true"},
    ),
    Incident(
        "callers speak, nobody answers",
        {"silent_agent": 1.0, "no_greeting": 1.0},
        "AtomsCallersUnanswered",
        "critical",
        40,  # calls in progress end as they began, ten of these minutes later
        (Panel("Turns nobody answered", above(0.5)), Panel("Turns and visits per minute")),
        r"Callers of .+ are not answered since|says nothing since",
    ),
    Incident(
        "no calls at all",
        {"no_calls": 1.0},
        "AtomsAllCallsStopped",
        "critical",
        60,
        (Panel("Calls started per minute", lambda series: not any_of_it(series)),),
    ),
    Incident(
        "an error in every turn",
        {"agent_error": 1.0},
        "AtomsAgentErrors",
        "critical",
        45,
        (Panel("Agent errors per minute"),),
    ),
    Incident(
        "one node of many is slow",
        {"slow_node": {**SLOW, "factor": 10}},
        "AtomsNodeFailsObjective",
        "warning",
        60,
        (Panel("Turn latency p95 by node", largest("node_name", SLOW_NODE, least=2)),),
        rf"is slow in {SLOW_NODE} since",
        labels={"node_id": SLOW["node_id"], "agent_id": SLOW["agent_id"], "loosest": "true"},
    ),
    Incident(
        "tools are slow",
        {"slow_tool": {"word": "*", "factor": 40}},
        "AtomsNodeFailsObjective",
        "warning",
        75,
        (Panel("Stages of the mean turn", largest("stage", "tool", least=0.5)),),
        r"is slow in .+ mostly in tool \(",
        alone=False,  # where these nodes are most of the agent, the agent pages as well
    ),
    Incident(
        "the greeting comes late",
        {"late_greeting": {"probability": 1.0, "seconds": 8}},
        "AtomsFirstWordSlow",
        "warning",
        75,
        (Panel("First word by channel", above(3)),),
        r"The first word of .+ comes late since .+ By channel: ",
        alone=False,  # for a waiting caller it is silence, too
    ),
    Incident(
        "a new version is dear",
        {"new_version": 1.0, "dear": {"probability": 1.0, "factor": 5}},
        "AtomsCostPerCallJumped",
        "warning",
        150,
        (
            Panel("Cost per call by version", largest("version", "4")),
            Panel("Cost per call by agent"),
            Panel("Billed by agent"),
        ),
        r"Calls of .+ cost more than before since .+ Version 4",
        healthy=240.0,
    ),
    Incident(
        "the account is at its limit",
        {"limit": {"calls": 20}},
        "AtomsNearConcurrencyLimit",
        "critical",
        40,
        (Panel("Calls at once and the limit", full),),
        r"The account is at its limit: \d+ of \d+ calls",
        alone=False,  # calls in progress beyond the new limit end first, and who is dropped does not begin one
    ),
    Incident(
        "the queue grows",
        {"slow_carrier": {"probability": 1.0, "seconds": 2.5}},
        "AtomsQueueGrowing",
        "warning",
        75,
        (Panel("Calls at once and the limit", waiting), Panel("Queue", above(10)), Panel("Queueing and ringing")),
        r"Outbound calls wait: \d+ in the queue, with room for \d+ more calls under the account's limit",
    ),
    Incident(
        "calls are ended by errors",
        {"broken_end": 1.0},
        "AtomsEndReasonsFailing",
        "warning",
        60,
        (Panel("End reasons", largest("reason", "connection_error", "system_error", "timeout", least=0.2)),),
        r"Calls of .+ are ended by errors or timeouts since .+, by (connection_error|system_error|timeout) \d+",
    ),
    Incident(
        "calls end unseen",
        {"no_call_end": 1.0, "log_away": {"probability": 1.0, "seconds": 80_000}},
        "AtomsCallsLost",
        "warning",
        75,
        (Panel("Calls ended per minute, by outcome", largest("outcome", "lost")),),
        r"Calls of .+ fail since .+ Such a call: ",
        alone=False,  # what streams miss is not there either
        settings={"ATOMS_EXPORTER_HISTORY__PATIENCE": "10s"},
    ),
    Incident(
        "streams are open and silent",
        {"half_open": 1.0},
        "AtomsEventsRecovered",
        "warning",
        60,  # calls end ten of these minutes later, and what their streams missed comes after that
        (Panel("Rejected, duplicate and recovered events per minute"),),
        alone=False,  # compressed, the idle time of a stream is half an hour: they count as stale as well
    ),
    Incident(
        "streams are refused, lists can be read",
        {"forbidden": {"probability": 1.0, "on": "events"}},
        "AtomsStreamsRefused",
        "critical",
        30,
        (Panel("Failures to open a stream per minute"),),
        r"Streams bad .*\d+ failing",
    ),
    Incident(
        "lists are refused, streams go on",
        {"server_error": {"probability": 1.0, "on": "conversation", "burst": 1}},
        "AtomsListNotReadable",
        "critical",
        30,
        (Panel("Requests that look for calls and names, per minute"),),
        r"Atoms API bad .* poll: error",
        alone=False,  # compressed, the calls in progress end before the alert is due, and their streams with them
    ),
)
