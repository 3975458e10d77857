"""Alerts on one node of many: it fails nearly everybody who gets there, and the agent's numbers do not show it."""

from __future__ import annotations

from typing import Any

from .annotations import AGENT, Alert
from .call_alerts import ERRORS
from .promql import DAY, HOUR, MINUTE, Ranges, number, summed_increase
from .thresholds import AlertThresholds

_NODE = "agent_id, node_id, node_name"
_SPOKEN, _RATIO = ('atoms_calls:node_spoken{window="1h"}', 'atoms_calls:node_answered_ratio{window="1h"}')
_SPEAKS = 3
_USUALLY = 0.5


def node_alerts(limits: AlertThresholds, ranges: Ranges) -> list[Alert]:
    """Alerts about single nodes, over the last hour."""
    return [_unanswered(limits, ranges), _errors(limits, ranges)]


def node_records(ranges: Ranges) -> list[dict[str, Any]]:
    """Of what callers said at a node in an hour, the share that was answered: a node may be meant to be silent."""
    spoken = summed_increase(_NODE, "atoms_user_turns_total", ranges(1 * HOUR))
    answered = summed_increase(_NODE, "atoms_turn_latency_seconds_count", ranges(1 * HOUR))
    return [
        {"record": "atoms_calls:node_spoken", "expr": spoken, "labels": {"window": "1h"}},
        {
            "record": "atoms_calls:node_answered_ratio",
            "expr": f"({answered} or on ({_NODE}) 0 * {_SPOKEN})\n/ on ({_NODE}) ({_SPOKEN} >= {_SPEAKS})",
            "labels": {"window": "1h"},
        },
    ]


def _unanswered(limits: AlertThresholds, ranges: Ranges) -> Alert:
    all_answered = summed_increase("agent_id", "atoms_turn_latency_seconds_count", ranges(1 * HOUR))
    visits = summed_increase(_NODE, "atoms_node_visits_total", ranges(1 * HOUR))
    return Alert(
        name="AtomsNodeUnanswered",
        expr=(
            f"1 - sum by ({_NODE}) ({_RATIO}) > {number(limits.node_bad_ratio)}\n"
            f"and on ({_NODE}) ({_SPOKEN} >= {limits.minimum_spoken})\n"
            f"and on ({_NODE}) (max_over_time({_RATIO}[{ranges(1 * DAY)}:{ranges(1 * HOUR)}]) > {_USUALLY})\n"
            # Where the agent answers nowhere, that is the news.
            f"and on (agent_id) ({all_answered} / sum by (agent_id) ({_SPOKEN}) > {number(limits.coverage)})\n"
            f"unless on ({_NODE}) ({visits} < {limits.minimum_visits})"
        ),
        for_seconds=5 * MINUTE,
        keep_seconds=30 * MINUTE,
        severity="warning",
        summary=f"Node {{{{ $labels.node_name }}}} of {AGENT} does not answer",
        description=(
            "{{ $value | humanizePercentage }} of what callers said at this node in the last hour got no answer that "
            "could be timed, though the node answers as a rule; elsewhere the agent does."
        ),
        dashboard="atoms-node",
        variables={"agent": AGENT, "node": "node_name"},
    )


def _errors(limits: AlertThresholds, ranges: Ranges) -> Alert:
    errors = summed_increase(_NODE, ERRORS, ranges(1 * HOUR))
    visits = summed_increase(_NODE, "atoms_node_visits_total", ranges(1 * HOUR))
    return Alert(
        name="AtomsNodeErrors",
        expr=(
            f"{errors} / {visits} > {number(limits.errors_per_call)}\n"
            f"and on ({_NODE}) ({errors} >= {limits.minimum_visits})\n"
            f"and on ({_NODE}) ({visits} >= {limits.minimum_visits})"
        ),
        for_seconds=5 * MINUTE,
        keep_seconds=30 * MINUTE,
        severity="warning",
        summary=f"Node {{{{ $labels.node_name }}}} of {AGENT} reports {{{{ $value | humanize }}}} errors per visit",
        description=(
            f"More than {number(limits.errors_per_call)} errors for every visit to this node in the last hour; the "
            "agent's other nodes may be well."
        ),
        dashboard="atoms-node",
        variables={"agent": AGENT, "node": "node_name"},
    )
