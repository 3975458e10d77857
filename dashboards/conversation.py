"""What the two sides do: who is not answered, how long nobody speaks, how soon the agent does, why calls end."""

from __future__ import annotations

from typing import Any

from exporter.calls.account import FAILING_REASONS

from .colours import BAD_SHARE_STEPS
from .panels import graph, ranking, rows
from .queries import AGENT, BY_AGENT, BY_NODE, CHANNEL, NODE, NODE_LEGEND, Query, increase, quantile, rate, share

_TURNS = "atoms_user_turns_total"
_SILENCE = "atoms_dead_air_seconds"


def silence() -> list[Any]:
    """The row: whether callers are heard and answered at all. None of it has a latency."""
    return [
        graph(
            "Turns nobody answered",
            "The caller spoke, and no answer came within ten seconds or before the call ended; counted when it "
            "is over. A mute agent has no latency: it shows here.",
            "percentunit",
            Query(
                share(rate("atoms_unanswered_turns_total", NODE, *BY_NODE), rate(_TURNS, NODE, *BY_NODE)), NODE_LEGEND
            ),
            top=1.0,
        ),
        graph(
            "Dead air",
            "Share of the time of calls that ended in which neither side was heard for more than five seconds. Where "
            "in a call that was: its trace.",
            "percentunit",
            Query(
                share(
                    rate(f"{_SILENCE}_sum", AGENT, *BY_AGENT),
                    rate("atoms_call_duration_seconds_sum", AGENT, *BY_AGENT),
                ),
                "{{agent_name}}",
            ),
            top=1.0,
        ),
        graph(
            "First word after the connection",
            "Median and 95th percentile: callers hang up on an agent that says nothing.",
            "s",
            Query(quantile(0.95, "atoms_first_word_seconds", AGENT, *BY_AGENT), "{{agent_name}} p95"),
            Query(quantile(0.5, "atoms_first_word_seconds", AGENT, *BY_AGENT), "{{agent_name}} p50"),
        ),
        graph(
            "First word by channel",
            "Median by channel. One of them late: the carrier or the web client. All of them: the agent.",
            "s",
            Query(quantile(0.5, "atoms_first_word_seconds", AGENT, "channel"), "{{channel}}"),
        ),
        graph(
            "Words per minute by speaker",
            "An agent that talks much more than it used to bores its callers, and costs speech.",
            "short",
            Query(f"60 * {rate('atoms_words_total', NODE, 'speaker')}", "{{speaker}}"),
        ),
        graph(
            "Your own events per minute",
            "agent_log events by the names in metrics.agent_log_names; all others are other.",
            "short",
            Query(f"60 * {rate('atoms_agent_logs_total', NODE, 'name', 'severity')}", "{{name}} {{severity}}"),
        ),
    ]


def endings() -> list[Any]:
    """The row: how far calls come, where they end, and who or what ends them."""
    exits = increase("atoms_node_exits_total", NODE, *BY_NODE, "reason")
    return [
        ranking(
            "How far calls come",
            "Calls of the time range: begun; answered; those in which the agent was heard; ended without a failure; "
            "handed over to a person. Where the bars become short, callers are lost.",
            "short",
            *_funnel(),
        ),
        ranking(
            "Where calls end and why",
            "Of the time range. A node in which callers hang up is where they lose patience.",
            "short",
            Query(f"topk(15, {exits} > 0)", f"{NODE_LEGEND}: {{{{reason}}}}"),
        ),
        graph(
            "End reasons",
            "By who or what ended the call. Errors and timeouts are the platform's or the carrier's; alerts above a "
            "fifth of the answered calls.",
            "percentunit",
            Query(
                f"{rate('atoms_call_end_reasons_total', CHANNEL, 'reason')} / on () group_left () "
                f"({rate('atoms_call_end_reasons_total', CHANNEL)} > 0)",
                "{{reason}}",
            ),
            stacked=True,
            top=1.0,
        ),
        _ends_by_node(),
    ]


def _funnel() -> list[Query]:
    """Calls by how far they came."""
    steps = {
        "begun": increase("atoms_calls_started_total", CHANNEL),
        "answered": increase("atoms_calls_ended_total", f'{CHANNEL},outcome=~"completed|failed"'),
        "agent heard": increase("atoms_first_word_seconds_count", CHANNEL),
        "completed": increase("atoms_calls_ended_total", f'{CHANNEL},outcome="completed"'),
        "handed over": increase("atoms_call_end_reasons_total", f'{CHANNEL},reason="transfer_complete"'),
    }
    return [Query(f"round({expr} or vector(0))", step) for step, expr in steps.items()]


def _ends_by_node() -> Any:
    visits = f"({increase('atoms_node_visits_total', NODE, *BY_NODE)} > 0)"
    failing = "|".join(FAILING_REASONS)

    def ends(reasons: str) -> str:
        return increase("atoms_node_exits_total", f'{NODE},reason=~"{reasons}"', *BY_NODE)

    every = f"({ends('.*')} > 0)"
    return rows(
        "Ends by node",
        "Of the visits to a node, how many were the last of their call, and of those calls, how many the caller ended, "
        "and how many an error or a timeout. A high share in a node that is no goal: read such calls.",
        Query(f"round({visits})"),
        Query(f"round({every})"),
        Query(f"clamp_max({every} / {visits}, 1)"),
        Query(f"({ends('user_hangup')} or 0 * {every}) / {every}"),
        Query(f"({ends(failing)} or 0 * {every}) / {every}"),
        columns={
            "agent_id": "AgentId",
            "node_id": "NodeId",
            "agent_name": "Agent",
            "node_name": "Node",
            "Value #A": "Visits",
            "Value #B": "Ends",
            "Value #C": "End here",
            "Value #D": "By the caller",
            "Value #E": "By an error",
        },
        units={"Visits": "short", "Ends": "short"}
        | dict.fromkeys(("End here", "By the caller", "By an error"), "percentunit"),
        colours={"By an error": BAD_SHARE_STEPS},
        decimals={"Visits": 0, "Ends": 0},
        hidden=["AgentId", "NodeId"],
        sort="Ends",
        width=24,
        height=8,
    )
