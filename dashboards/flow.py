"""How callers move through the workflow, where they go in circles, where they leave."""

from __future__ import annotations

from typing import Any

from .colours import LOOP_STEPS
from .conversation import endings
from .frame import Board, agents, channels, datasources, node_of_series, nodes, scraped
from .panels import graph, matrix, node_graph, ranking, rows
from .queries import (
    AGENT,
    AT_THE_END,
    BY_AGENT,
    BY_NODE,
    CHANNEL,
    EVERY,
    NODE,
    NODE_LEGEND,
    WHOLE,
    Query,
    busiest,
    increase,
    mean,
    rate,
    share,
)

HOPS = "atoms_node_hops_total"
WAY = (*BY_AGENT, "from_node_id", "from_node_name", "to_node_id", "to_node_name")
FROM = f"{AGENT},from_node_name=~`${{node:regex}}`"
TO = f"{AGENT},to_node_name=~`${{node:regex}}`"


def _hops(count: str, by: tuple[str, ...], window: str = WHOLE) -> str:
    """Hops at whose one end or other a chosen node stands."""
    either = f"{count}({HOPS}{{{FROM}}}{window}) or {count}({HOPS}{{{TO}}}{window})"
    return f"sum by ({', '.join(by)}) ({either})"


def flow() -> dict[str, Any]:
    """Hops from node to node, loops, where calls end, where time goes."""
    board = Board(
        "atoms-flow",
        "Atoms / Flow",
        "The workflow as calls really walk it. A loop or an early end is usually a prompt that does not lead onward.",
        variables=[*datasources(), *scraped(), agents(), nodes(), channels()],
    )
    board.row("From node to node", _graph(), _matrix()).row("Circles and ends", *_ends()).row(
        "Where calls end", *endings()
    ).row("Time", *_time())
    return board.row("Hops", *_ways()).document()


def _copied(expr: str, label: str, to: str) -> str:
    """The same series with a label under another name as well."""
    return f'label_replace({expr}, "{to}", "$1", "{label}", "(.*)")'


def _graph() -> Any:
    hops = _hops("increase", WAY)
    ends = " or ".join(
        f"0 * sum by ({', '.join(BY_NODE)}) "
        f"({_copied(_copied(hops, f'{end}_node_id', 'node_id'), f'{end}_node_name', 'node_name')})"
        for end in ("from", "to")
    )
    # Neighbours are drawn with their own visits: an arrow needs a node at either end.
    visits = increase("atoms_node_visits_total", AGENT, *BY_NODE)
    chosen = increase("atoms_node_visits_total", NODE, *BY_NODE)
    nodes_table = f"({chosen} or ({visits} and ({ends})) or {ends})"
    nodes_table = f'label_join({nodes_table}, "id", "/", "agent_id", "node_id")'
    nodes_table = _copied(_copied(nodes_table, "node_name", "title"), "agent_name", "subtitle")
    edges = f'label_join({hops}, "source", "/", "agent_id", "from_node_id")'
    edges = f'label_join({edges}, "target", "/", "agent_id", "to_node_id")'
    edges = f'label_join({edges}, "id", " → ", "agent_id", "from_node_id", "to_node_id")'
    return node_graph(
        "Workflow",
        "Nodes with their visits, hops as arrows with their number; with a node chosen, the ways to and from it. "
        "Choose one agent: several make a crowd.",
        f"round(sum by (id, title, subtitle) ({nodes_table}))",
        f"round(sum by (id, source, target) ({edges})) > 0",
    )


def _matrix() -> Any:
    return matrix(
        "Hops from (rows) to (columns)",
        "The same as numbers. Both a → b and b → a filled: callers are sent back and forth.",
        "short",
        Query(f"round({_hops('increase', ('from_node_name', 'to_node_name'))}) > 0"),
        "from_node_name",
        "to_node_name",
    )


def _ends() -> list[Any]:
    visits = increase("atoms_node_visits_total", NODE, *BY_NODE)
    left = increase(HOPS, FROM, *BY_AGENT, "from_node_id", "from_node_name")
    left = _copied(_copied(left, "from_node_id", "node_id"), "from_node_name", "node_name")
    left = f"sum by ({', '.join(BY_NODE)}) ({left})"
    loops = increase("atoms_node_loops_total", NODE, *BY_NODE)
    return [
        ranking(
            "Where calls end",
            "Visits to a node that no hop left: there the caller or the agent hung up, or the call is still in it. "
            "Ends before the goal: read such calls' traces.",
            "short",
            Query(f"topk(12, round(clamp_min({visits} - ({left} or 0 * {visits}), 0)))", NODE_LEGEND),
        ),
        ranking(
            "Loops per visit",
            "Share of visits that came straight back from the node just handed over to. Above one half it alerts: "
            "make the condition between the two nodes exclusive.",
            "percentunit",
            Query(f"topk(12, {share(loops, visits)})", NODE_LEGEND),
            steps=LOOP_STEPS,
        ),
        ranking(
            "How calls end",
            "Outcomes in the time range, by channel.",
            "short",
            Query(
                f"sort_desc(round({increase('atoms_calls_ended_total', CHANNEL, 'channel', 'outcome')}) > 0)",
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
            Query(rate(f"{spent}_sum", NODE, *BY_NODE), NODE_LEGEND),
            width=12,
            stacked=True,
            links=[node_of_series()],
        ),
        graph(
            "Mean time per visit",
            "A visit that grows longer: callers do not understand what is asked.",
            "s",
            Query(mean(spent, NODE, *BY_NODE), NODE_LEGEND),
            width=12,
            links=[node_of_series()],
        ),
    ]


def _ways() -> list[Any]:
    most = busiest(12, f"60 * {_hops('rate', WAY, EVERY)}", WAY, _hops("increase", WAY, AT_THE_END))
    return [
        graph(
            "Hops per minute, the busiest ways",
            "The twelve ways most often taken in the time range. A way that dies after a change of the workflow: a "
            "broken condition.",
            "short",
            Query(most, "{{from_node_name}} → {{to_node_name}} · {{agent_name}}"),
            width=12,
            height=9,
        ),
        rows(
            "Ways, by how often they are taken",
            "Every hop of the time range.",
            Query(f"round({_hops('increase', WAY)}) > 0"),
            columns={
                "agent_id": "AgentId",
                "from_node_id": "FromId",
                "to_node_id": "ToId",
                "agent_name": "Agent",
                "from_node_name": "From",
                "to_node_name": "To",
                "Value #A": "Hops",
            },
            units={"Hops": "short"},
            hidden=["AgentId", "FromId", "ToId"],
            sort="Hops",
            width=12,
            height=9,
        ),
    ]
