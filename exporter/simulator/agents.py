"""The simulated organisation: six agents, five with a workflow graph of 5 to 12 nodes, one with a single prompt.

Node ids are unique among the first four agents; the survey agent reuses the ids of the lead qualifier under other
names, as separate workflows do on the real platform, so that a consumer that keys names by node id alone shows itself.
"""

from __future__ import annotations

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


def agent_by_id(agent_id: str) -> Agent | None:
    """The agent with this id, or None."""
    return next((agent for agent in AGENTS if agent.id == agent_id), None)
