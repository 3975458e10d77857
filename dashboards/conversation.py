"""What the two sides do: who is not answered, how long nobody speaks, how soon the agent does, why calls end."""

from __future__ import annotations

from typing import Any

from .panels import graph, ranking
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
            "Share of the calls' time in which neither side was heard for more than five seconds.",
            "percentunit",
            Query(
                share(rate(f"{_SILENCE}_sum", NODE, *BY_NODE), rate("atoms_node_duration_seconds_sum", NODE, *BY_NODE)),
                NODE_LEGEND,
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
            "Words per minute by speaker",
            "An agent that talks much more than it used to bores its callers, and costs speech.",
            "short",
            Query(f"60 * {rate('atoms_words_total', NODE, 'speaker')}", "{{speaker}}"),
            width=12,
        ),
        graph(
            "Your own events per minute",
            "agent_log events by the names in metrics.agent_log_names; all others are other.",
            "short",
            Query(f"60 * {rate('atoms_agent_logs_total', NODE, 'name', 'severity')}", "{{name}} {{severity}}"),
            width=12,
        ),
    ]


def endings() -> list[Any]:
    """The row: where calls end, and who or what ends them."""
    exits = increase("atoms_node_exits_total", NODE, *BY_NODE, "reason")
    return [
        ranking(
            "Where calls end and why",
            "Of the time range. A node in which callers hang up is where they lose patience.",
            "short",
            Query(f"topk(15, {exits} > 0)", f"{NODE_LEGEND}: {{{{reason}}}}"),
            width=12,
        ),
        graph(
            "End reasons",
            "By who or what ended the call. Errors and timeouts are the platform's or the carrier's.",
            "percentunit",
            Query(
                share(
                    rate("atoms_call_end_reasons_total", CHANNEL, "reason"),
                    rate("atoms_call_end_reasons_total", CHANNEL),
                ),
                "{{reason}}",
            ),
            width=12,
            stacked=True,
            top=1.0,
        ),
    ]
