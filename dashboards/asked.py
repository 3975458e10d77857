"""What an on-call asks, and where it is answered: question → metric → panel → alert → runbook. The table of the docs.

``tests/incidents`` walks every row against a real Prometheus with the row's incident played by the simulator.
"""

from __future__ import annotations

from typing import NamedTuple


class Asked(NamedTuple):
    """One question. ``dashboard`` is where the alert's link leads; ``panel`` on it shows the cause.

    ``on_the_page`` is what the exporter's own page says, in its words.
    """

    question: str
    metric: str
    dashboard: str
    panel: str
    alert: str
    on_the_page: str
    incident: str
    """The name of the incident in ``tests/incidents`` that shows it."""


QUESTIONS = (
    Asked(
        "Which node is slow?",
        "atoms_turn_latency_seconds",
        "atoms-node",
        "Turn latency p95 by node",
        "AtomsNodeFailsObjective",
        "*agent* is slow in *node*",
        "one node of many is slow",
    ),
    Asked(
        "Since when?",
        "atoms_turn_latency_seconds",
        "atoms-slo",
        "Burn rate over every window",
        "AtomsSLOBudgetBurn",
        "since 02:14:20 UTC (12 min ago)",
        "every turn takes ten times as long",
    ),
    Asked(
        "Which stage?",
        "atoms_turn_stage_latency_seconds",
        "atoms-node",
        "Stages of the mean turn",
        "AtomsNodeFailsObjective",
        "mostly in tool",
        "tools are slow",
    ),
    Asked(
        "For whom: on which channel?",
        "atoms_first_word_seconds",
        "atoms-node",
        "First word by channel",
        "AtomsFirstWordSlow",
        "The first word of *agent* comes late",
        "the greeting comes late",
    ),
    Asked(
        "For whom: of which version?",
        "atoms_agent_version_info",
        "atoms-cost",
        "Cost per call by version",
        "AtomsCostPerCallJumped",
        "Version 4, new 3 min ago (before: 3)",
        "a new version is dear",
    ),
    Asked(
        "What does it cost?",
        "atoms_call_cost_total",
        "atoms-cost",
        "Cost per call by agent",
        "AtomsCostPerCallJumped",
        "Calls of *agent* cost more than before",
        "a new version is dear",
    ),
    Asked(
        "Are we near the limit?",
        "atoms_concurrency_limit",
        "atoms-cost",
        "Calls at once and the limit",
        "AtomsNearConcurrencyLimit",
        "The account is at its limit",
        "the account is at its limit",
    ),
    Asked(
        "Do calls wait in a queue, and does it grow?",
        "atoms_calls_queued",
        "atoms-cost",
        "Calls at once and the limit",
        "AtomsQueueGrowing",
        "Outbound calls wait",
        "the queue grows",
    ),
    Asked(
        "Why did calls end?",
        "atoms_call_end_reasons_total",
        "atoms-flow",
        "End reasons",
        "AtomsEndReasonsFailing",
        "Calls of *agent* are ended by errors or timeouts",
        "calls are ended by errors",
    ),
    Asked(
        "Who is not answered?",
        "atoms_unanswered_turns_total",
        "atoms-node",
        "Turns nobody answered",
        "AtomsCallersUnanswered",
        "Callers of *agent* are not answered",
        "callers speak, nobody answers",
    ),
    Asked(
        "Show me such a call.",
        "atoms_turn_latency_seconds",
        "atoms-slo",
        "Turn latency p99 by node, with the turns behind it",
        "AtomsSLOBudgetBurn",
        "Such a call: CALL-…",
        "every turn takes ten times as long",
    ),
)
