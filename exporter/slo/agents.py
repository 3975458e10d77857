"""What agents are called, and how many calls begin: recorded once, for every objective.

atoms_slo:agent_name     {agent_id, agent_name}            1 for the present name
atoms_slo:calls          {agent_id, agent_name, window}    calls begun
atoms_slo:node_visits    {<node labels>, window}           visits begun
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .annotations import AGENT_NAMES
from .objectives import BY_AGENT, BY_NODE
from .promql import HOUR, MINUTE, Ranges, duration, summed_increase

STARTED = "atoms_calls_started_total"
TILE = 5 * MINUTE


def with_agent_name(by: tuple[str, ...], identity: tuple[str, ...], expr: str) -> str:
    """``expr`` with what the agent is called now, where ``by`` asks for a name that is not its identity."""
    if by == identity:
        return expr
    return f"{expr}\n* on (agent_id) group_left (agent_name) {AGENT_NAMES}"


def agent_rules(totals: Iterable[str], ranges: Ranges) -> list[dict[str, Any]]:
    """Names, and calls of five minutes; ``totals`` are counters that know agents, should no call have begun."""
    by, hour = ", ".join(BY_AGENT), ranges(1 * HOUR)
    begun = summed_increase("agent_id", STARTED, ranges(TILE))
    return [
        {"record": AGENT_NAMES, "expr": _present_name(by, hour, [STARTED, *totals])},
        _record("calls", TILE, with_agent_name(BY_AGENT, ("agent_id",), begun)),
    ]


def visit_rules(ranges: Ranges) -> list[dict[str, Any]]:
    """Visits to nodes over an hour, by which a broken node is told from one bad call."""
    visits = summed_increase(", ".join(BY_NODE), "atoms_node_visits_total", ranges(1 * HOUR))
    return [_record("node_visits", 1 * HOUR, visits)]


def _present_name(by: str, hour: str, totals: list[str]) -> str:
    """The name under which the most calls began in the last hour, else the one it had, else any.

    A renamed agent has series under both names; a nameless night must not make it swing between them.
    """
    lately = f"topk by (agent_id) (1, sum by ({by}) (increase({STARTED}[{hour}])) > 0)"
    known = [f"max by ({by}) ({AGENT_NAMES})"]
    known += [f"topk by (agent_id) (1, sum by ({by}) ({total}))" for total in dict.fromkeys(totals)]
    chain = "\nor on (agent_id)\n".join([lately, *known])
    return f"clamp(\n{chain},\n1, 1)"


def _record(metric: str, window: float, expr: str) -> dict[str, Any]:
    return {"record": f"atoms_slo:{metric}", "expr": expr, "labels": {"window": duration(window)}}
