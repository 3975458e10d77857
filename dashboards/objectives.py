"""Objectives, what is left of their budgets, and the calls that spent them."""

from __future__ import annotations

from typing import Any

from .frame import Board, agents, datasources, filter_by, node_of_series, nodes, slow_turns_of_node, to_dashboard
from .panels import BAD_SHARE_STEPS, BUDGET_STEPS, BURN_STEPS, graph, heat, number, rows, traces
from .queries import HEARD, Query, quantile, rate

CHOSEN = 'slo=~"$slo",agent_name=~"$agent"'
BUDGET = "on (slo) group_left () (1 - atoms_slo:objective)"
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
            Query('max by (slo) (atoms_slo:objective{slo=~"$slo"})', "{{slo}}"),
            width=5,
            spark=False,
        ),
        number(
            "Threshold",
            "Slower than this is bad.",
            "s",
            Query('max by (slo) (atoms_slo:threshold_seconds{slo=~"$slo"})', "{{slo}}"),
            spark=False,
        ),
        number(
            "Budget left",
            "Of the agent that has the least. Below zero: stop risky changes, and work on latency first.",
            "percentunit",
            Query(f"min by (slo) (atoms_slo:error_budget_remaining{{{CHOSEN}}})", "{{slo}}"),
            width=5,
            steps=BUDGET_STEPS,
            decimals=1,
        ),
        number(
            "Burn rate, last hour",
            "Of the agent that burns fastest; 1 spends the budget exactly in its window.",
            "none",
            Query(f'max by (slo) (atoms_slo:error_ratio{{{CHOSEN},window="1h"}} / {BUDGET})', "{{slo}}"),
            width=5,
            steps=BURN_STEPS,
            decimals=1,
        ),
        number(
            "Measured in the window",
            "Events the budget rests on. None: the objective measures nothing, and an alert says so.",
            "short",
            Query(
                f"sum by (slo) (atoms_slo:events{{{CHOSEN}}} and on (slo, window) atoms_slo:objective)",
                "{{slo}}",
            ),
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
            Query(f"atoms_slo:error_budget_remaining{{{CHOSEN}}}", "{{agent_name}} {{slo}}"),
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
            Query(f"max by (slo, window) (atoms_slo:error_ratio{{{CHOSEN}}} / {BUDGET})", "{{window}} {{slo}}"),
            width=12,
            height=9,
            steps=BURN_STEPS,
        ),
    ]


def _who() -> list[Any]:
    burns = [
        Query(f'sum by (slo, agent_name) (atoms_slo:error_ratio{{{CHOSEN},window="{window}"}} / {BUDGET})')
        for window in WINDOWS
    ]
    budget = Query(f"sum by (slo, agent_name) (atoms_slo:error_budget_remaining{{{CHOSEN}}})")
    columns = {"slo": "Objective", "agent_name": "Agent", "Value #A": "Budget left"}
    columns |= {f"Value #{chr(ord('B') + i)}": f"Burn {window}" for i, window in enumerate(WINDOWS)}
    colours = {"Budget left": BUDGET_STEPS} | {f"Burn {window}": BURN_STEPS for window in WINDOWS}
    by = ("slo", "agent_name", "node_name")
    grouped = f"sum by ({', '.join(by)})"
    node = f'{CHOSEN},node_name=~"$node"'
    link = "var-agent=${__data.fields.Agent:percentencode}&var-node=${__value.text:percentencode}"
    return [
        rows(
            "By agent",
            "Windows are those of a 30 day objective; shorter objectives have shorter ones, see the graph above.",
            budget,
            *burns,
            columns=columns,
            units={"Budget left": "percentunit"},
            colours=colours,
            sort="Burn 1h",
            width=14,
        ),
        rows(
            "By node, last hour",
            "Bad share at each node, and how much it weighs. Many bad turns at one node: open it.",
            Query(f"{grouped} (atoms_slo:node_error_ratio{{{node}}})"),
            Query(f"{grouped} (atoms_slo:node_events{{{node}}} * atoms_slo:node_error_ratio{{{node}}})"),
            Query(f"{grouped} (atoms_slo:node_events{{{node}}})"),
            columns={
                "slo": "Objective",
                "agent_name": "Agent",
                "node_name": "Node",
                "Value #A": "Bad",
                "Value #B": "Bad events",
                "Value #C": "Events",
            },
            units={"Bad": "percentunit", "Bad events": "short", "Events": "short"},
            colours={"Bad": BAD_SHARE_STEPS},
            links={"Node": [("Node dashboard", to_dashboard("atoms-node", link))]},
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
            Query(quantile(0.99, TURNS, HEARD, "agent_name", "node_name"), "{{node_name}}", exemplars=True),
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
            "From the trace datasource: turns over two seconds. Open one to see its stages and tools.",
            '{ name = "turn" && duration > 2s && span.atoms.turn.interrupted = false }',
            width=24,
        ),
    ]
