"""The first screen's tables: what fires, since when, for whom; the worst agents and nodes."""

from __future__ import annotations

from typing import Any

from .colours import (
    BAD_SHARE_STEPS,
    FIRING_STEPS,
    INTERRUPTED_STEPS,
    LOOP_STEPS,
    RED,
    SLOWEST_STEPS,
    WARNING_STEPS,
    YELLOW,
)
from .frame import firing_alerts, slow_turns_of_row, to_dashboard, with_agent_names
from .panels import number, rows
from .queries import BY_AGENT, BY_NODE, CHANNEL, HEARD, LATELY, NODE, Query, increase, known, quantile, share

TURNS = "atoms_turn_latency_seconds"
LEAST_TURNS, LEAST_CALLS = 5, 3
"""Below these a share says nothing: one slow turn of one is 100%."""
_WHOM = (
    "alertname", "severity", "agent_id", "agent_name", "node_id", "node_name", "function", "slo", "of", "instance",
)  # fmt: skip
"""Two agents of one name are two lines, and so are two nodes."""


def alerts_now() -> list[Any]:
    """How many alerts fire, and which."""
    rules = "0 * max(atoms_slo:objective)"
    since = with_agent_names(f"(ALERTS_FOR_STATE and ignoring (alertstate) {firing_alerts()})")
    agent = to_dashboard("atoms-overview", "var-agent=${__value.text:percentencode}")
    node = to_dashboard(
        "atoms-node", "var-agent=${__data.fields.Agent:percentencode}&var-node=${__value.text:percentencode}"
    )
    objective = to_dashboard(
        "atoms-slo", "var-slo=${__value.text:percentencode}&var-agent=${__data.fields.Agent:percentencode}"
    )
    return [
        number(
            "Alerts",
            "How many fire for the chosen agents. No rules: Prometheus has not loaded the files of dashboards/rules, "
            "so nothing can fire.",
            "short",
            Query(f"{_alerts('critical')} or {rules}", "critical"),
            Query(f"{_alerts('warning')} or {rules}", "warning"),
            height=6,
            steps=FIRING_STEPS,
            decimals=0,
            nothing="no rules",
            named_steps={"warning": WARNING_STEPS},
        ),
        rows(
            "Firing alerts",
            "Oldest last. Since: when the condition began to hold. Each alert has a section in the runbook.",
            Query(f"1000 * min by ({', '.join(_WHOM)}) ({since})"),
            columns={
                "severity": "Severity",
                "alertname": "Alert",
                "Value #A": "Since",
                "agent_name": "Agent",
                "agent_id": "Agent id",
                "node_name": "Node",
                "node_id": "NodeId",
                "function": "Tool",
                "slo": "Objective",
                "of": "Of",
                "instance": "Exporter",
            },
            units={"Since": "dateTimeFromNow"},
            words={"Severity": {"critical": RED, "warning": YELLOW}},
            links={
                "Agent": [("This agent", agent)],
                "Node": [("This node", node)],
                "Objective": [("This objective", objective)],
            },
            hidden=["NodeId"],
            nothing="Nothing fires",
            sort="Since",
            width=20,
            height=6,
        ),
    ]


def _alerts(severity: str) -> str:
    """How many alerts of a severity fire; each once, though two Prometheis may evaluate it."""
    matcher = f'severity="{severity}"'
    return f"count(count by ({', '.join(_WHOM)}) ({firing_alerts(matcher)}))"


def _of(window: str) -> str:
    return "the last 15 minutes" if window == LATELY else "the time range"


def _slow(window: str, by: tuple[str, ...]) -> str:
    """The share of turns slower than two seconds, where there are enough of them."""
    fast = increase(f"{TURNS}_bucket", f'{HEARD},le=~"2|2[.]0"', *by, window=window)
    turns = increase(f"{TURNS}_count", HEARD, *by, window=window)
    return f"clamp_min(1 - {fast} / ({turns} >= {LEAST_TURNS}), 0)"


def worst_agents(window: str, width: int, height: int) -> Any:
    """Agents by the larger of the shares of calls and of turns that are bad."""

    def ended(outcomes: str) -> str:
        return increase("atoms_calls_ended_total", f'{CHANNEL},outcome=~"{outcomes}"', *BY_AGENT, window=window)

    failing = share(ended("failed"), f"({ended('completed|failed')} >= {LEAST_CALLS})")
    lost = share(ended("lost"), f"({ended('.*')} >= {LEAST_CALLS})")
    slow = _slow(window, BY_AGENT)
    shares = {"failing": failing, "lost": lost, "slow": slow}
    labelled = " or ".join(f'label_replace({expr}, "of", "{name}", "", "")' for name, expr in shares.items())
    agent = to_dashboard("atoms-overview", "var-agent=${__value.text:percentencode}")
    return rows(
        f"Worst agents, {_of(window)}",
        f"Bad is the largest of the shares beside it. Calls count from {LEAST_CALLS} on, turns from {LEAST_TURNS}. "
        "Click an agent to see only that one.",
        Query(f"max by ({', '.join(BY_AGENT)}) ({labelled})"),
        Query(failing),
        Query(lost),
        Query(slow),
        Query(f"round({increase(f'{TURNS}_count', NODE, *BY_AGENT, window=window)})"),
        Query(f"round({ended('.*')})"),
        columns={
            "agent_id": "AgentId",
            "agent_name": "Agent",
            "Value #A": "Bad",
            "Value #B": "Calls fail",
            "Value #C": "Calls lost",
            "Value #D": "Over 2 s",
            "Value #E": "Turns",
            "Value #F": "Calls",
        },
        units=dict.fromkeys(("Bad", "Calls fail", "Calls lost", "Over 2 s"), "percentunit")
        | {"Turns": "short", "Calls": "short"},
        colours=dict.fromkeys(("Bad", "Calls fail", "Calls lost", "Over 2 s"), BAD_SHARE_STEPS),
        decimals={"Turns": 0, "Calls": 0},
        links={"Agent": [("Only this agent", agent)]},
        hidden=["AgentId"],
        nothing=f"No agent had {LEAST_CALLS} calls or {LEAST_TURNS} turns",
        sort="Bad",
        width=width,
        height=height,
    )


def worst_nodes(window: str, width: int, height: int) -> Any:
    """Nodes by the share of slow turns, with what usually explains it."""
    turns = increase(f"{TURNS}_count", NODE, *BY_NODE, window=window)
    busy = f"({turns} >= {LEAST_TURNS})"
    cut = share(increase(f"{TURNS}_count", f'{NODE},interrupted="true"', *BY_NODE, window=window), busy)
    visits = increase("atoms_node_visits_total", NODE, *BY_NODE, window=window)
    loops = share(increase("atoms_node_loops_total", NODE, *BY_NODE, window=window), f"({visits} >= {LEAST_CALLS})")
    tools = increase("atoms_tool_calls_total", NODE, *BY_NODE, window=window)
    fails = share(
        increase("atoms_tool_call_failures_total", NODE, *BY_NODE, window=window), f"({tools} >= {LEAST_CALLS})"
    )
    node = to_dashboard(
        "atoms-node", "var-agent=${__data.fields.Agent:percentencode}&var-node=${__value.text:percentencode}"
    )
    return rows(
        f"Worst nodes, {_of(window)}",
        f"Nodes with at least {LEAST_TURNS} turns by the share slower than two seconds. Click a node for its stages, "
        "tools and model.",
        Query(_slow(window, BY_NODE)),
        Query(f"{known(quantile(0.95, TURNS, HEARD, *BY_NODE, window=window))} and {busy}"),
        Query(f"round({busy})"),
        Query(cut),
        Query(f"{loops} and {busy}"),
        Query(f"{fails} and {busy}"),
        columns={
            "agent_id": "AgentId",
            "node_id": "NodeId",
            "agent_name": "Agent",
            "node_name": "Node",
            "Value #A": "Over 2 s",
            "Value #B": "p95",
            "Value #C": "Turns",
            "Value #D": "Interrupted",
            "Value #E": "Loops",
            "Value #F": "Tools fail",
        },
        units=dict.fromkeys(("Over 2 s", "Interrupted", "Loops", "Tools fail"), "percentunit")
        | {"p95": "s", "Turns": "short"},
        colours={
            "Over 2 s": BAD_SHARE_STEPS,
            "p95": SLOWEST_STEPS,
            "Interrupted": INTERRUPTED_STEPS,
            "Loops": LOOP_STEPS,
            "Tools fail": BAD_SHARE_STEPS,
        },
        decimals={"Turns": 0},
        links={"Node": [("Node dashboard", node), slow_turns_of_row()]},
        hidden=["AgentId", "NodeId"],
        nothing=f"No node had {LEAST_TURNS} turns",
        sort="Over 2 s",
        width=width,
        height=height,
    )
