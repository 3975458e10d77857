"""Objectives, what is left of their budgets, and the calls that spent them."""

from __future__ import annotations

from typing import Any

from .colours import BAD_SHARE_STEPS, BUDGET_STEPS, BURN_STEPS
from .frame import (
    Board,
    agents,
    datasources,
    filter_by,
    node_of_series,
    nodes,
    scraped,
    slow_turns_of_node,
    slow_turns_of_row,
    to_dashboard,
)
from .panels import graph, heat, number, rows, traces
from .queries import BY_NODE, HEARD, NODE_LEGEND, Query, quantile, rate
from .recorded import (
    CHOSEN,
    bad_share_of_nodes,
    budget_left,
    burn,
    burn_by_window,
    events_in_window,
    events_of_nodes,
    objective,
    thresholds,
)

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
TURNS = "atoms_turn_latency_seconds"


def slo() -> dict[str, Any]:
    """Objective, budget and burn by agent and node, and the turns behind it."""
    what = "Objectives from the slo section of the configuration, by name."
    board = Board(
        "atoms-slo",
        "Atoms / SLO",
        "Is the promise kept, how fast is the budget spent, by whom, and which calls spent it.",
        variables=[
            *datasources(),
            *scraped(),
            filter_by("slo", "Objective", "label_values(atoms_slo:objective, slo)", what),
            agents(),
            nodes(),
        ],
        span="now-24h",
    )
    board.row("Promise", *_promise()).row("Budget and burn", *_burn()).row("Who", *_who())
    return board.row("The calls behind it", *_calls()).document()


def _promise() -> list[Any]:
    return [
        number(
            "Objective",
            "The share of events that has to be good over the objective's window.",
            "percentunit",
            Query(objective(), "{{slo}}"),
            width=5,
        ),
        number(
            "Threshold",
            "Slower than this is bad.",
            "s",
            Query(thresholds('{slo=~"$slo"}'), "{{slo}}"),
        ),
        number(
            "Budget left",
            "Of the agent that has the least. Below zero: stop risky changes, and work on latency first.",
            "percentunit",
            Query(f"min by (slo) ({budget_left(CHOSEN)})", "{{slo}}"),
            width=5,
            steps=BUDGET_STEPS,
            decimals=1,
        ),
        number(
            "Burn rate, last hour",
            "Of the agent that burns fastest; 1 spends the budget exactly in its window.",
            "none",
            Query(burn(CHOSEN, window="1h", by=("slo",)), "{{slo}}"),
            width=5,
            steps=BURN_STEPS,
            decimals=1,
        ),
        number(
            "Measured in the window",
            "Events the budget rests on. None: the objective measures nothing, and an alert says so.",
            "short",
            Query(events_in_window(), "{{slo}}"),
            width=5,
            decimals=0,
        ),
    ]


def _burn() -> list[Any]:
    return [
        graph(
            "Error budget left",
            "Over the objective's own window, by agent. Zero is the promise.",
            "percentunit",
            Query(budget_left(CHOSEN), "{{agent_name}} {{slo}}"),
            width=12,
            height=9,
            bottom=None,
            steps=BUDGET_STEPS,
        ),
        graph(
            "Burn rate over every window",
            "Short windows react first, long ones forget last. It pages when 1h and 5m are above 14.4, or 6h and 30m "
            "above 6; it warns when 1d and 2h are above 3, or 3d and 6h above 1.",
            "none",
            Query(burn_by_window(CHOSEN), "{{window}} {{slo}}"),
            width=12,
            height=9,
            steps=BURN_STEPS,
        ),
    ]


def _who() -> list[Any]:
    budget, burns = Query(budget_left(CHOSEN)), [Query(burn(CHOSEN, window=window)) for window in WINDOWS]
    columns = {"agent_id": "AgentId", "slo": "Objective", "agent_name": "Agent", "Value #A": "Budget left"}
    columns |= {f"Value #{chr(ord('B') + i)}": f"Burn {window}" for i, window in enumerate(WINDOWS)}
    colours = {"Budget left": BUDGET_STEPS} | {f"Burn {window}": BURN_STEPS for window in WINDOWS}
    link = "var-agent=${__data.fields.Agent:percentencode}&var-node=${__value.text:percentencode}"
    return [
        rows(
            "By agent",
            "Windows are named as for an objective of 30 days; those of a shorter one span less (label range).",
            budget,
            *burns,
            columns=columns,
            units={"Budget left": "percentunit"},
            colours=colours,
            decimals={f"Burn {window}": 1 for window in WINDOWS},
            hidden=["AgentId"],
            sort="Burn 1h",
            width=14,
        ),
        rows(
            "By node, last hour",
            "Bad share at each node, and how much it weighs. Many bad turns at one node: open it.",
            Query(bad_share_of_nodes()),
            Query(f"round({events_of_nodes()} * {bad_share_of_nodes()})"),
            Query(f"round({events_of_nodes()})"),
            columns={
                "agent_id": "AgentId",
                "node_id": "NodeId",
                "slo": "Objective",
                "agent_name": "Agent",
                "node_name": "Node",
                "Value #A": "Bad",
                "Value #B": "Bad events",
                "Value #C": "Events",
            },
            units={"Bad": "percentunit", "Bad events": "short", "Events": "short"},
            colours={"Bad": BAD_SHARE_STEPS},
            links={"Node": [("Node dashboard", to_dashboard("atoms-node", link)), slow_turns_of_row()]},
            hidden=["AgentId", "NodeId"],
            sort="Bad events",
            width=10,
        ),
    ]


def _calls() -> list[Any]:
    return [
        graph(
            "Turn latency p99 by node, with the turns behind it",
            "Every dot is a turn: click it, then open its trace. The stage that takes most of the turn is the cause.",
            "s",
            Query(quantile(0.99, TURNS, HEARD, *BY_NODE), NODE_LEGEND, exemplars=True),
            width=12,
            height=9,
            links=[slow_turns_of_node(), node_of_series()],
        ),
        heat(
            "Turn latency",
            "How far the slow turns are from the rest.",
            Query(rate(f"{TURNS}_bucket", HEARD, "le"), "{{le}}", exemplars=True),
            height=9,
        ),
        traces(
            "Slow turns, newest first",
            "From the trace datasource: turns over two seconds at the chosen agents and nodes. "
            "Open one to see its stages and tools.",
            '{ name = "turn" && duration > 2s && span.atoms.turn.interrupted = false '
            "&& span.gen_ai.agent.name =~ `${agent:regex}` && span.atoms.node.name =~ `${node:regex}` }",
            width=24,
        ),
    ]
