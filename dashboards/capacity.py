"""How close the account is to its limit of calls at once: beyond it callers are dropped."""

from __future__ import annotations

from typing import Any

from .panels import graph, number, rows
from .queries import AGENT, BY_AGENT, INSTANCE, Query, increase, quantile, rate, share

_LIMIT = f"max(atoms_concurrency_limit{{{INSTANCE}}} > 0)"
_ACTIVE = f"sum(atoms_calls_active{{{INSTANCE}}})"
_RESERVED = f"sum by (instance, agent_id, agent_name) (atoms_concurrency_reserved{{{AGENT}}})"
_QUEUED = f"max(atoms_calls_queued{{{INSTANCE}}})"


def capacity() -> list[Any]:
    """The row: limit, use, queue, and what agents have reserved."""
    return [
        number(
            "Of the limit in use",
            "Calls in progress over the calls the account may have at once. At 100 % inbound callers ring and are "
            "dropped, without any event.",
            "percentunit",
            Query(f"{_ACTIVE} / {_LIMIT}"),
            steps=((0, "green"), (0.8, "orange"), (0.95, "red")),
            width=4,
        ),
        number(
            "Queue",
            "Outbound calls that wait for a free place.",
            "short",
            Query(_QUEUED),
            steps=((0, "green"), (1, "orange")),
            width=4,
        ),
        graph(
            "Calls at once and the limit",
            "Shared is what no agent has reserved. Near the limit: raise it, or move campaigns to quiet hours.",
            "short",
            Query(_ACTIVE, "calls in progress"),
            Query(_LIMIT, "limit"),
            Query(f"max(atoms_concurrency_unreserved{{{INSTANCE}}})", "shared"),
            Query(_QUEUED, "queue"),
            width=8,
            dashed="/^limit$/",
        ),
        graph(
            "Reserved by agent",
            "Beside the agent's calls in progress: who needs more than he has takes from what is shared.",
            "short",
            Query(f"sum by (agent_id, agent_name) (atoms_calls_active{{{AGENT}}})", "{{agent_name}} in progress"),
            Query(f"max by (agent_id, agent_name) ({_RESERVED})", "{{agent_name}} reserved"),
            width=8,
            dashed="/ reserved$/",
        ),
    ]


def billed() -> list[Any]:
    """The row: what the API says calls cost, in its own unit; versions, attempts, and how long callers wait."""
    spent = increase("atoms_call_cost_total", AGENT, *BY_AGENT)
    ended = increase("atoms_calls_ended_total", AGENT, *BY_AGENT)
    minutes = f"({increase('atoms_call_duration_seconds_sum', AGENT, *BY_AGENT)} / 60)"
    return [
        rows(
            "Billed by agent",
            "callCost of the calls that ended in the time range, in the API's own unit.",
            Query(spent),
            Query(f"{spent} / ({ended} > 0)"),
            Query(f"{spent} / ({minutes} > 0)"),
            columns={
                "agent_id": "AgentId",
                "agent_name": "Agent",
                "Value #A": "Cost",
                "Value #B": "Per call",
                "Value #C": "Per minute",
            },
            units={"Cost": "short", "Per call": "short", "Per minute": "short"},
            decimals={"Cost": 2, "Per call": 4, "Per minute": 4},
            hidden=["AgentId"],
            sort="Cost",
            width=8,
            height=8,
        ),
        graph(
            "Billed per hour",
            "By agent.",
            "short",
            Query(f"3600 * {rate('atoms_call_cost_total', AGENT, *BY_AGENT)}", "{{agent_name}}"),
            stacked=True,
        ),
        graph(
            "Version in use",
            "The version of each agent's latest call: a line that ends where another begins is a deployment.",
            "short",
            Query(
                f"max by (agent_id, agent_name, version) (atoms_agent_version_info{{{AGENT}}})",
                "{{agent_name}} {{version}}",
            ),
        ),
        graph(
            "Cost per call by agent",
            "Of answered calls. Alerts when the last hour costs twice what the hours of the day before did: look for "
            "loops and for calls that do not end.",
            "short",
            Query(_per_call(*BY_AGENT), "{{agent_name}}"),
        ),
        graph(
            "Cost per call by version",
            "The same by the version in use at that time. A step where a version begins: the version is dearer.",
            "short",
            Query(_with_version(_per_call("agent_id")), "{{agent_name}} {{version}}"),
        ),
        graph(
            "Cost per minute talked by agent",
            "Level while the cost per call rises: calls became longer. Rising as well: a dearer voice or model.",
            "short",
            Query(
                share(
                    rate("atoms_call_cost_total", AGENT, *BY_AGENT),
                    f"({rate('atoms_call_duration_seconds_sum', AGENT, *BY_AGENT)} / 60)",
                ),
                "{{agent_name}}",
            ),
        ),
        graph(
            "Queueing and ringing",
            "From a call's creation to its connection, 95th percentile by agent.",
            "s",
            Query(quantile(0.95, "atoms_call_setup_seconds", AGENT, *BY_AGENT), "{{agent_name}}"),
            width=12,
        ),
        graph(
            "Attempts and tests per hour",
            "Retries of a campaign are calls nobody took before. Tests count like all calls.",
            "short",
            Query(f"3600 * {rate('atoms_call_attempts_total', AGENT, 'attempt')}", "{{attempt}}"),
            Query(f"3600 * {rate('atoms_test_calls_total', AGENT)}", "test"),
            width=12,
        ),
    ]


def _per_call(*by: str) -> str:
    answered = rate("atoms_calls_ended_total", f'{AGENT},outcome=~"completed|failed"', *by)
    return share(rate("atoms_call_cost_total", AGENT, *by), f"({answered})")


def _with_version(by_agent_id: str) -> str:
    """With the version that was in use at the time; with both where exporters saw two at once."""
    versions = f"max by (agent_id, agent_name, version) (atoms_agent_version_info{{{AGENT}}})"
    return f"{versions} * on (agent_id) group_left () ({by_agent_id})"
