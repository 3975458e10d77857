"""The simulated organisation: six agents, five with a workflow graph of 5 to 12 nodes, one with a single prompt.

Node ids are unique among the first four agents; the survey agent reuses the ids of the lead qualifier under other
names, as separate workflows do on the real platform, so that a consumer that keys names by node id alone shows itself.
"""

from __future__ import annotations

from dataclasses import replace

from .inbound import APPOINTMENT_BOOKING, CONCIERGE, SUPPORT_TRIAGE
from .outbound import DEBT_COLLECTION, LEAD_QUALIFICATION, SURVEY
from .workflow import Agent

AGENTS: tuple[Agent, ...] = (
    LEAD_QUALIFICATION,
    DEBT_COLLECTION,
    APPOINTMENT_BOOKING,
    SUPPORT_TRIAGE,
    SURVEY,
    CONCIERGE,
)


QUIET: tuple[Agent, ...] = tuple(
    replace(
        agent := AGENTS[number % len(AGENTS)],
        id=f"{agent.id[:-6]}{0x901E70 + number:06x}",
        name=f"{agent.name}, branch {number + 1}",
    )
    for number in range(20)
)
"""Agents that are seldom called, and only where that is asked for (``quiet_agents``): twins of the others, with the
same nodes. The list of agents leaves them out."""
_BY_ID = {agent.id: agent for agent in (*AGENTS, *QUIET)}


def agent_by_id(agent_id: str) -> Agent | None:
    """The agent with this id, or None."""
    return _BY_ID.get(agent_id)
