"""How callers move through the workflow, where they go in circles, where they leave."""

from __future__ import annotations

from typing import Any

from .frame import Board, agents, channels, datasources, node_of_series, nodes
from .panels import LOOP_STEPS, graph, matrix, node_graph, ranking, rows
from .queries import AGENT, CHANNEL, NODE, Query, increase, mean, rate

HOPS = f'{AGENT},from_node_name=~"$node",to_node_name=~"$node"'
LEFT = f'{AGENT},from_node_name=~"$node"'


def flow() -> dict[str, Any]:
    """Hops from node to node, loops, where calls end, where time goes."""
    board = Board(
        "atoms-flow",
        "Atoms / Flow",
        "The workflow as calls really walk it. A loop or an early end is usually a prompt that does not lead onward.",
        variables=[*datasources(), agents(), nodes(), channels()],
    )
    board.row("From node to node", _graph(), _matrix()).row("Circles and ends", *_ends()).row("Time", *_time())
    return board.row("Hops", *_hops()).document()


def _copied(expr: str, label: str, to: str) -> str:
    """The same series with a label under another name as well."""
    return f'label_replace({expr}, "{to}", "$1", "{label}", "(.*)")'


def _graph() -> Any:
    visits = increase("atoms_node_visits_total", NODE, "agent_name", "node_name")
    hops = increase("atoms_node_hops_total", HOPS, "agent_name", "from_node_name", "to_node_name")
    nodes_table = _copied(visits, "node_name", "title")
    nodes_table = f'label_join({nodes_table}, "id", "/", "agent_name", "node_name")'
    nodes_table = _copied(nodes_table, "agent_name", "subtitle")
    edges = f'label_join({hops}, "source", "/", "agent_name", "from_node_name")'
    edges = f'label_join({edges}, "target", "/", "agent_name", "to_node_name")'
    edges = f'label_join({edges}, "id", " → ", "agent_name", "from_node_name", "to_node_name")'
    return node_graph(
        "Workflow",
        "Nodes with their visits, hops as arrows with their number. Choose one agent: several make a crowd.",
        f"sum by (id, title, subtitle) ({nodes_table})",
        f"sum by (id, source, target) ({edges}) > 0",
    )


def _matrix() -> Any:
    return matrix(
        "Hops from (rows) to (columns)",
        "The same as numbers. Both a → b and b → a filled: callers are sent back and forth.",
        "short",
        Query(f"round({increase('atoms_node_hops_total', HOPS, 'from_node_name', 'to_node_name')}) > 0"),
        "from_node_name",
        "to_node_name",
    )


def _ends() -> list[Any]:
    by = ("agent_name", "node_name")
    visits = increase("atoms_node_visits_total", NODE, *by)
    left = _copied(
        increase("atoms_node_hops_total", LEFT, "agent_name", "from_node_name"), "from_node_name", "node_name"
    )
    left = f"sum by (agent_name, node_name) ({left})"
    loops = increase("atoms_node_loops_total", NODE, *by)
    return [
        ranking(
            "Where calls end",
            "Visits to a node that no hop left: there the caller or the agent hung up, or the call is still in it. "
            "Ends before the goal: read such calls' traces.",
            "short",
            Query(f"sort_desc(clamp_min({visits} - ({left} or 0 * {visits}), 0))", "{{node_name}}"),
        ),
        ranking(
            "Loops per visit",
            "Share of visits that came straight back from the node just handed over to. Above one half it alerts: "
            "make the condition between the two nodes exclusive.",
            "percentunit",
            Query(f"sort_desc(({loops} or 0 * {visits}) / {visits})", "{{node_name}}"),
            steps=LOOP_STEPS,
        ),
        ranking(
            "How calls end",
            "Outcomes in the time range, by channel.",
            "short",
            Query(
                f"sort_desc({increase('atoms_calls_ended_total', CHANNEL, 'channel', 'outcome')} > 0)",
                "{{channel}} {{outcome}}",
            ),
        ),
    ]


def _time() -> list[Any]:
    spent = "atoms_node_duration_seconds"
    return [
        graph(
            "Caller-minutes per minute, by node",
            "Where callers spend their time: as many minutes a minute as there are calls.",
            "short",
            Query(rate(f"{spent}_sum", NODE, "agent_name", "node_name"), "{{node_name}}"),
            width=12,
            stacked=True,
            links=[node_of_series()],
        ),
        graph(
            "Mean time per visit",
            "A visit that grows longer: callers do not understand what is asked.",
            "s",
            Query(mean(spent, NODE, "agent_name", "node_name"), "{{node_name}}"),
            width=12,
            links=[node_of_series()],
        ),
    ]


def _hops() -> list[Any]:
    by = ("agent_name", "from_node_name", "to_node_name")
    return [
        graph(
            "Hops per minute, the busiest ways",
            "The usual ways through the workflow. A way that dies after a change of the workflow: a broken condition.",
            "short",
            Query(
                f"topk(12, 60 * {rate('atoms_node_hops_total', HOPS, *by)})", "{{from_node_name}} → {{to_node_name}}"
            ),
            width=12,
        ),
        rows(
            "Ways, by how often they are taken",
            "Every hop of the time range.",
            Query(f"round({increase('atoms_node_hops_total', HOPS, *by)}) > 0"),
            columns={"agent_name": "Agent", "from_node_name": "From", "to_node_name": "To", "Value #A": "Hops"},
            units={"Hops": "short"},
            sort="Hops",
            width=12,
            height=8,
        ),
    ]
