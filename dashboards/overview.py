"""The first page: does anything fire, are calls well now, and if not, where to look."""

from __future__ import annotations

from typing import Any

from .colours import BAD_SHARE_STEPS, BUDGET_STEPS, BURN_STEPS, CALL_LENGTH_STEPS, SUCCESS_STEPS, TURN_STEPS
from .firing import alerts_now, worst_agents, worst_nodes
from .frame import Board, agents, channels, datasources, nodes, scraped, slow_turns, to_dashboard
from .panels import graph, number, ranking
from .queries import (
    AGENT,
    BY_AGENT,
    CHANNEL,
    HEARD,
    LATELY,
    NODE,
    WHOLE,
    Query,
    increase,
    known,
    mean,
    quantile,
    rate,
    share,
)
from .recorded import budget_left, burn, thresholds

TURNS = "atoms_turn_latency_seconds"


def overview() -> dict[str, Any]:
    """What fires, calls, turn latency against the objective, interruptions, tools, tokens, the worst nodes."""
    board = Board(
        "atoms-overview",
        "Atoms / Overview",
        "Voice agent calls at a glance. Start here when an alert fires, then follow the worst node. Now is where the "
        "time range ends.",
        variables=[*datasources(), *scraped(), agents(), nodes(), channels()],
    )
    board.row("Firing", *alerts_now())
    board.row("Now: the last 15 minutes, whatever the time range", *_now(), *_worst())
    board.row("Turn latency and error budget", *_latency()).row("Calls", *_calls()).row("Conversations", *_quality())
    return board.row("The whole time range", worst_nodes(WHOLE, 12, 10), *_analysis()).document()


def _now() -> list[Any]:
    completed = increase("atoms_calls_ended_total", f'{CHANNEL},outcome="completed"', window=LATELY)
    answered = increase("atoms_calls_ended_total", f'{CHANNEL},outcome=~"completed|failed"', window=LATELY)
    slo = [("SLO dashboard", to_dashboard("atoms-slo", "${agent:queryparam}"))]
    return [
        number(
            "Calls in progress",
            "Calls on the line now. None although people call? See the Exporter dashboard: streams and discovery.",
            "short",
            Query(f"sum(atoms_calls_active{{{AGENT}}})"),
            width=3,
            decimals=0,
        ),
        number(
            "Calls started",
            "Calls of which a first sign was seen in the last 15 minutes.",
            "short",
            Query(f"round({increase('atoms_calls_started_total', CHANNEL, window=LATELY)})"),
            width=3,
            decimals=0,
        ),
        number(
            "Calls that succeed",
            "Completed calls among the completed and the failed of the last 15 minutes. The vendor warns below 90% "
            "and alarms below 80%. Low? See how calls end, and the agent errors of the node dashboard.",
            "percentunit",
            Query(share(completed, answered)),
            steps=SUCCESS_STEPS,
            decimals=1,
        ),
        number(
            "Turn latency",
            "From the caller's last word to the agent's first over the last 15 minutes, interrupted turns left out. "
            "The mean is good below 0.9 s and needs work above 2 s.",
            "s",
            Query(mean(TURNS, HEARD, window=LATELY), "mean"),
            Query(known(quantile(0.95, TURNS, HEARD, window=LATELY)), "p95"),
            width=6,
            steps=TURN_STEPS,
            decimals=2,
        ),
        number(
            "Burn rate, last hour",
            "How many times too fast the budget burns, of the agent and objective that burn fastest; 1 spends it "
            "exactly in its window.",
            "none",
            Query(f"max({burn(window='1h')})"),
            steps=BURN_STEPS,
            decimals=1,
            links=slo,
        ),
        number(
            "Error budget left",
            "The least that is left of any objective's budget for the chosen agents, over the objective's own window. "
            "Below zero the objective is missed: open the SLO dashboard.",
            "percentunit",
            Query(f"min({budget_left()})"),
            steps=BUDGET_STEPS,
            decimals=1,
            links=slo,
        ),
    ]


def _worst() -> list[Any]:
    return [worst_agents(LATELY, 11, 8), worst_nodes(LATELY, 13, 8)]


def _latency() -> list[Any]:
    return [
        graph(
            "Turn latency against the objectives",
            "Percentiles of all turns; the dashed lines are the objectives' thresholds. Dots are "
            "single turns: click one "
            "to see its trace. p99 far above p95: a few slow calls; all three up: look at the stages "
            "of the node dashboard.",
            "s",
            Query(quantile(0.99, TURNS, HEARD), "p99", exemplars=True),
            Query(quantile(0.95, TURNS, HEARD), "p95"),
            Query(quantile(0.5, TURNS, HEARD), "p50"),
            Query(thresholds(), "objective {{slo}}"),
            width=12,
            height=9,
            dashed="objective .*",
            links=[slow_turns()],
        ),
        graph(
            "Error budget by agent",
            "What is left of each agent's budget over the objective's window. A steep fall is an "
            "incident; a slow one a "
            "regression: compare with the last change of prompt, model or workflow.",
            "percentunit",
            Query(budget_left(), "{{agent_name}} {{slo}}"),
            width=6,
            height=9,
            bottom=None,
            steps=BUDGET_STEPS,
        ),
        graph(
            "Burn rate over the last hour",
            "How many times too fast the budget burns; 1 spends it exactly. 14.4 pages after two "
            "minutes, 6 after fifteen.",
            "none",
            Query(burn(window="1h"), "{{agent_name}} {{slo}}"),
            width=6,
            height=9,
            steps=BURN_STEPS,
        ),
    ]


def _calls() -> list[Any]:
    ended = f"60 * {rate('atoms_calls_ended_total', CHANNEL, 'outcome')}"
    return [
        graph(
            "Calls in progress by agent",
            "Near the account's concurrency limit, new calls are refused.",
            "short",
            Query(f"sum by (agent_id, agent_name) (atoms_calls_active{{{AGENT}}})", "{{agent_name}}"),
            width=6,
            stacked=True,
        ),
        graph(
            "Calls started per minute",
            "By channel. A channel that falls silent at a busy hour: check the telephony side first.",
            "short",
            Query(f"60 * {rate('atoms_calls_started_total', CHANNEL, 'channel')}", "{{channel}}"),
            width=6,
            stacked=True,
        ),
        graph(
            "Calls ended per minute, by outcome",
            "failed: see agent errors. no_answer, busy: the callee. blocked: not let through. "
            "lost: the exporter could not learn how they ended.",
            "short",
            Query(ended, "{{outcome}}"),
            width=6,
            stacked=True,
        ),
        graph(
            "Length of calls",
            "The vendor warns above 5 minutes and alarms above 10. Long calls: look for loops in the Flow dashboard.",
            "s",
            Query(quantile(0.95, "atoms_call_duration_seconds", CHANNEL), "p95"),
            Query(quantile(0.5, "atoms_call_duration_seconds", CHANNEL), "p50"),
            width=6,
            steps=CALL_LENGTH_STEPS,
        ),
    ]


def _quality() -> list[Any]:
    cut = rate(f"{TURNS}_count", f'{NODE},interrupted="true"', *BY_AGENT)
    turns = rate(f"{TURNS}_count", NODE, *BY_AGENT)
    failed = rate("atoms_tool_call_failures_total", NODE, "function")
    called = rate("atoms_tool_calls_total", NODE, "function")
    return [
        graph(
            "Interrupted turns",
            "Share of turns the caller talked over. Rising: answers come late or are long, or the end of turn is "
            "predicted too early. Shorten answers first.",
            "percentunit",
            Query(share(cut, turns), "{{agent_name}}"),
        ),
        graph(
            "Tool calls that fail",
            "By tool. One tool up: its backend. All tools up: the network or the credentials.",
            "percentunit",
            Query(share(failed, called), "{{function}}"),
            steps=BAD_SHARE_STEPS,
        ),
        graph(
            "Tokens per minute",
            "Prompt and completion. Prompts that grow without more calls: see tokens per turn in Capacity and cost.",
            "short",
            Query(f"60 * {rate('atoms_llm_tokens_total', NODE, 'type')}", "{{type}}"),
            stacked=True,
        ),
    ]


def _analysis() -> list[Any]:
    return [
        ranking(
            "What the post-call analysis found",
            "Yes/no and listed results. Needs the analytics webhook; without it this stays empty.",
            "short",
            Query(
                f"topk(12, {increase('atoms_disposition_results_total', AGENT, 'identifier', 'value')})",
                "{{identifier}}: {{value}}",
            ),
            width=6,
            height=10,
        ),
        ranking(
            "Numbers of the post-call analysis",
            "The median of each numeric result, such as a satisfaction score. Needs the analytics webhook.",
            "short",
            Query(known(quantile(0.5, "atoms_disposition_value", AGENT, "identifier", window=WHOLE)), "{{identifier}}"),
            width=6,
            height=10,
        ),
    ]
