"""How close the account is to its limit of calls at once: beyond it callers are dropped."""

from __future__ import annotations

from typing import Any

from .panels import graph, number
from .queries import AGENT, INSTANCE, Query

_LIMIT = f"max(atoms_concurrency_limit{{{INSTANCE}}} > 0)"
_ACTIVE = f"sum(atoms_calls_active{{{INSTANCE}}})"
_RESERVED = f"sum by (instance, agent_id, agent_name) (atoms_concurrency_reserved{{{AGENT}}})"
_QUEUED = f"max(atoms_calls_queued{{{INSTANCE}}})"


def capacity() -> list[Any]:
    """The row: limit, use, queue, and what agents have reserved."""
    return [
        number(
            "Of the limit in use",
            "Calls in progress over the calls the account may have at once. At 100 % inbound callers ring and are "
            "dropped, without any event.",
            "percentunit",
            Query(f"{_ACTIVE} / {_LIMIT}"),
            steps=((0, "green"), (0.8, "orange"), (0.95, "red")),
            width=4,
        ),
        number(
            "Queue",
            "Outbound calls that wait for a free place.",
            "short",
            Query(_QUEUED),
            steps=((0, "green"), (1, "orange")),
            width=4,
        ),
        graph(
            "Calls at once and the limit",
            "Shared is what no agent has reserved. Near the limit: raise it, or move campaigns to quiet hours.",
            "short",
            Query(_ACTIVE, "calls in progress"),
            Query(_LIMIT, "limit"),
            Query(f"max(atoms_concurrency_unreserved{{{INSTANCE}}})", "shared"),
            Query(_QUEUED, "queue"),
            width=8,
            dashed="/^limit$/",
        ),
        graph(
            "Reserved by agent",
            "Beside the agent's calls in progress: who needs more than he has takes from what is shared.",
            "short",
            Query(f"sum by (agent_id, agent_name) (atoms_calls_active{{{AGENT}}})", "{{agent_name}} in progress"),
            Query(f"max by (agent_id, agent_name) ({_RESERVED})", "{{agent_name}} reserved"),
            width=8,
            dashed="/ reserved$/",
        ),
    ]
