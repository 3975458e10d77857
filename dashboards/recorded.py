"""What panels read from the recording rules.

Never a sum, and never a bare join: a store may hold the rules' series twice (two Prometheis evaluate them), and
agents, nodes and objectives of one name are not one.
"""

from __future__ import annotations

from .queries import AGENT_NAME, BY_AGENT, BY_NODE, NODE_NAME

CHOSEN = f'slo=~"$slo",{AGENT_NAME}'
ANY = AGENT_NAME


def budget_left(chosen: str = ANY) -> str:
    """What is left of each budget, a share of it, by objective and agent."""
    return f"min by (slo, {', '.join(BY_AGENT)}) (atoms_slo:error_budget_remaining{{{chosen}}})"


def burn(chosen: str = ANY, *, window: str, by: tuple[str, ...] = ("slo", *BY_AGENT)) -> str:
    """How many times too fast the budgets burn over one of the windows, of whoever burns fastest in each group."""
    return _burn(f'{chosen},window="{window}"', by)


def burn_by_window(chosen: str = ANY) -> str:
    """The same for every window, over all agents."""
    return _burn(chosen, ("slo", "window"))


def _burn(chosen: str, by: tuple[str, ...]) -> str:
    budget = "max by (slo) (1 - atoms_slo:objective)"
    return f"max by ({', '.join(by)}) (atoms_slo:error_ratio{{{chosen}}}) / on (slo) group_left () {budget}"


def objective() -> str:
    """The share that has to be good, by objective."""
    return 'max by (slo) (atoms_slo:objective{slo=~"$slo"})'


def thresholds(chosen: str = "") -> str:
    """Slower is bad, in seconds, by objective."""
    return f"max by (slo) (atoms_slo:threshold_seconds{chosen})"


def events_in_window() -> str:
    """Events each budget rests on, by objective."""
    agents = (
        f"max by (slo, {', '.join(BY_AGENT)}) (atoms_slo:events{{{CHOSEN}}} and on (slo, window) atoms_slo:objective)"
    )
    return f"sum by (slo) ({agents})"


def bad_share_of_nodes() -> str:
    """The bad share of the last hour at each node."""
    return _of_nodes("node_error_ratio")


def events_of_nodes() -> str:
    """Events of the last hour at each node."""
    return _of_nodes("node_events")


def _of_nodes(metric: str) -> str:
    return f"max by (slo, {', '.join(BY_NODE)}) (atoms_slo:{metric}{{{CHOSEN},{NODE_NAME}}})"
