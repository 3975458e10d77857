"""Alerts on what goes wrong in calls, by agent and node; and how calls are counted for them.

atoms_calls:started, atoms_calls:errors, atoms_calls:spoken, atoms_calls:answered    {agent_id, window}
atoms_calls:ended                                                                    {agent_id, outcome, window}
"""

from __future__ import annotations

from typing import Any

from .annotations import AGENT, Alert
from .promql import DAY, HOUR, MINUTE, Ranges, duration, number, quoted, selector, summed_increase
from .shares import lasting, proven
from .thresholds import AlertThresholds

_AGENT = "agent_id"
_NODE = f"{_AGENT}, node_id, node_name"
_AGENT_VARIABLES = {"agent": AGENT}
_NODE_VARIABLES = {"agent": AGENT, "node": "node_name"}

ERRORS = 'atoms_agent_errors_total{severity!="warning"}'
"""Errors that hurt: a warning goes on with the call."""
TILE = 5 * MINUTE
_FAILED, _ANSWERED = 'outcome="failed"', 'outcome=~"completed|failed"'


def call_records(ranges: Ranges) -> list[dict[str, Any]]:
    """What the alerts about calls are counted from; whatever spans hours is laid out with five minutes."""
    ended, answered = "atoms_calls_ended_total", "atoms_turn_latency_seconds_count"
    six = f"sum by (agent_id, outcome) (sum_over_time({counted('ended', TILE)}[{ranges(6 * HOUR)}:{ranges(TILE)}]))"
    return [
        _record("started", TILE, summed_increase(_AGENT, "atoms_calls_started_total", ranges(TILE))),
        _record("errors", TILE, summed_increase(_AGENT, ERRORS, ranges(TILE))),
        _record("spoken", TILE, summed_increase(_AGENT, "atoms_user_turns_total", ranges(TILE))),
        _record("answered", TILE, summed_increase(_AGENT, answered, ranges(TILE))),
        _record("ended", TILE, summed_increase("agent_id, outcome", ended, ranges(TILE))),
        _record("ended", 1 * HOUR, summed_increase("agent_id, outcome", ended, ranges(1 * HOUR))),
        _record("ended", 30 * MINUTE, summed_increase("agent_id, outcome", ended, ranges(30 * MINUTE))),
        _record("ended", 6 * HOUR, six),
    ]


def call_alerts(limits: AlertThresholds, ranges: Ranges) -> list[Alert]:
    """Alerts about the calls, by agent and node."""
    return [
        _call_failures(limits.call_failure_critical, "critical", limits),
        _call_failures(limits.call_failure_warning, "warning", limits),
        _calls_lost(limits),
        _agent_errors(limits, ranges),
        _tool_failures(limits, ranges),
        _tts_slow(limits, ranges),
        _node_loops(limits, ranges),
        _interruptions(limits, ranges),
        _tokens_rising(limits, ranges),
    ]


def _record(metric: str, window: float, expr: str) -> dict[str, Any]:
    return {"record": f"atoms_calls:{metric}", "expr": expr, "labels": {"window": duration(window)}}


def counted(metric: str, window: float, *matchers: str) -> str:
    return selector(f"atoms_calls:{metric}", (*matchers, f"window={quoted(duration(window))}"))


def _ended(outcomes: str, window: float) -> str:
    return f"sum by (agent_id) ({counted('ended', window, outcomes)})"


def _call_failures(ratio: float, severity: str, limits: AlertThresholds) -> Alert:
    """One alert for both pairs of windows: an outage that is in both is one outage."""
    pairs: list[tuple[float, ...]] = [(6 * HOUR, 30 * MINUTE, 1 * HOUR)]
    if severity == "critical":
        pairs = [(30 * MINUTE, TILE), (1 * HOUR, TILE, 30 * MINUTE), *pairs]
    spans = " or ".join(duration(long) for long, *_ in pairs)
    return Alert(
        name="AtomsCallFailuresBurning",
        expr=lasting(
            lambda window: _ended(_FAILED, window), lambda window: _ended(_ANSWERED, window), ratio, limits, pairs
        ),
        for_seconds=2 * MINUTE if severity == "critical" else 15 * MINUTE,
        keep_seconds=30 * MINUTE,
        severity=severity,
        summary="{{ $value | humanizePercentage }} of the calls of <agent> fail",
        description=(
            f"Of the calls that were answered, clearly more than {number(ratio * 100)}% failed over the last {spans}, "
            "and the latest calls do not show that it is over. Unanswered, busy and cancelled calls are left out."
        ),
        dashboard="atoms-overview",
        variables=_AGENT_VARIABLES,
    )


def _calls_lost(limits: AlertThresholds) -> Alert:
    lost, ended = _ended('outcome="lost"', 1 * HOUR), _ended('outcome=~".+"', 1 * HOUR)
    return Alert(
        name="AtomsCallsLost",
        expr=proven(lost, ended, limits.calls_lost_ratio, limits),
        for_seconds=5 * MINUTE,
        keep_seconds=30 * MINUTE,
        severity="warning",
        summary="{{ $value | humanizePercentage }} of the calls of <agent> end unseen",
        description=(
            f"More than {number(limits.calls_lost_ratio * 100)}% of the calls that ended in the last hour are `lost`: "
            "neither their stream nor their call log said how. Whether they failed, nobody knows."
        ),
        dashboard="atoms-overview",
        variables=_AGENT_VARIABLES,
    )


def _agent_errors(limits: AlertThresholds, ranges: Ranges) -> Alert:
    tile, spread = counted("errors", TILE), f"[{ranges(1 * HOUR)}:{ranges(TILE)}]"
    errors = summed_increase(_AGENT, ERRORS, ranges(30 * MINUTE))
    ended = _ended('outcome=~".+"', 30 * MINUTE)
    return Alert(
        name="AtomsAgentErrors",
        expr=(
            f"{errors} / {ended} > {number(limits.errors_per_call)}\n"
            f"and on (agent_id) ({errors} >= {limits.minimum_errors})\n"
            f"and on (agent_id) ({ended} >= {limits.minimum_calls})\n"
            # One bad call can bring many errors, but not all over the hour.
            f"and on (agent_id) (sum by (agent_id) (count_over_time(({tile} > 0){spread})) >= 3)"
        ),
        for_seconds=5 * MINUTE,
        keep_seconds=15 * MINUTE,
        severity="critical",
        summary="<agent> reports {{ $value | humanize }} errors per call",
        description=(
            f"More than {number(limits.errors_per_call)} errors for every call that ended in the last 30m, and "
            "not in one call alone: its calls do not do what they are for, even where they count as completed."
        ),
        dashboard="atoms-node",
        variables=_AGENT_VARIABLES,
    )


def _tool_failures(limits: AlertThresholds, ranges: Ranges) -> Alert:
    by, window = f"{_NODE}, function", ranges(30 * MINUTE)
    calls = summed_increase(by, "atoms_tool_calls_total", window)
    failures = summed_increase(by, "atoms_tool_call_failures_total", window)
    return Alert(
        name="AtomsToolFailureRatioHigh",
        expr=(
            f"{failures}\n  /\n{calls}\n> {number(limits.tool_failure_ratio)}\n"
            f"and\n{calls} >= {limits.minimum_tool_calls}"
        ),
        for_seconds=5 * MINUTE,
        severity="warning",
        summary="{{ $value | humanizePercentage }} of the calls of tool {{ $labels.function }} fail",
        description=(
            "Tool {{ $labels.function }} on node {{ $labels.node_name }} of <agent> failed in more "
            f"than {number(limits.tool_failure_ratio * 100)}% of its calls over 30m."
        ),
        dashboard="atoms-node",
        variables=_NODE_VARIABLES,
    )


def _tts_slow(limits: AlertThresholds, ranges: Ranges) -> Alert:
    window = ranges(15 * MINUTE)
    p95 = f"histogram_quantile(0.95, {summed_increase(f'{_NODE}, le', 'atoms_tts_latency_seconds_bucket', window)})"
    return Alert(
        name="AtomsTTSSlow",
        expr=(
            f"{p95}\n> {number(limits.tts_p95_seconds)}\n"
            f"and\n{summed_increase(_NODE, 'atoms_tts_latency_seconds_count', window)} >= {limits.minimum_utterances}"
        ),
        for_seconds=10 * MINUTE,
        severity="warning",
        summary="Speech takes {{ $value | humanizeDuration }} (p95) on {{ $labels.node_name }}",
        description=(
            "One in twenty utterances of node {{ $labels.node_name }} of <agent> took longer than "
            f"{number(limits.tts_p95_seconds)}s to synthesise over 15m."
        ),
        dashboard="atoms-node",
        variables=_NODE_VARIABLES,
    )


def _node_loops(limits: AlertThresholds, ranges: Ranges) -> Alert:
    window = ranges(1 * HOUR)
    loops = summed_increase(_NODE, "atoms_node_loops_total", window)
    visits = summed_increase(_NODE, "atoms_node_visits_total", window)
    return Alert(
        name="AtomsNodeLoops",
        expr=f"{loops}\n  /\n{visits}\n> {number(limits.loops_per_visit)}\nand\n{loops} >= {limits.minimum_loops}",
        for_seconds=10 * MINUTE,
        severity="warning",
        summary="Calls go in circles at {{ $labels.node_name }}",
        description=(
            "{{ $value | humanizePercentage }} of the visits to node {{ $labels.node_name }} of "
            "<agent> in the last hour came straight back from the node it had just handed over to."
        ),
        dashboard="atoms-flow",
        variables=_NODE_VARIABLES,
    )


def _interruptions(limits: AlertThresholds, ranges: Ranges) -> Alert:
    window = ranges(30 * MINUTE)
    cut = summed_increase(_AGENT, 'atoms_turn_latency_seconds_count{interrupted="true"}', window)
    turns = summed_increase(_AGENT, "atoms_turn_latency_seconds_count", window)
    return Alert(
        name="AtomsInterruptionRatioHigh",
        expr=(f"{cut}\n  /\n{turns}\n> {number(limits.interruption_ratio)}\nand\n{turns} >= {limits.minimum_turns}"),
        for_seconds=10 * MINUTE,
        severity="warning",
        summary="Callers interrupt {{ $value | humanizePercentage }} of the turns of <agent>",
        description=(
            f"More than {number(limits.interruption_ratio * 100)}% of the turns of <agent> were "
            "interrupted over 30m: answers come too late, are too long, or the turn detection cuts in too early."
        ),
        dashboard="atoms-overview",
        variables=_AGENT_VARIABLES,
    )


def _tokens_rising(limits: AlertThresholds, ranges: Ranges) -> Alert:
    def per_turn(window: str, offset: str = "") -> str:
        tokens = f"sum by ({_AGENT}) (increase(atoms_llm_tokens_total[{window}]{offset}))"
        return f"{tokens} / {turns(window, offset)}"

    def turns(window: str, offset: str = "") -> str:
        return f"sum by ({_AGENT}) (increase(atoms_turn_latency_seconds_count[{window}]{offset}))"

    now, before = ranges(1 * HOUR), ranges(1 * DAY)
    offset = f" offset {now}"
    return Alert(
        name="AtomsTokensPerTurnRising",
        expr=(
            f"(\n  {per_turn(now)}\n)\n  /\n(\n  {per_turn(before, offset)}\n)\n> {number(limits.tokens_rise_factor)}\n"
            f"and\n{turns(now)} >= {limits.minimum_turns}\nand\n{turns(before, offset)} >= {limits.minimum_turns}"
        ),
        for_seconds=30 * MINUTE,
        severity="warning",
        summary="<agent> uses {{ $value | humanize }} times the tokens per turn of the day before",
        description=(
            "Tokens per turn over the last hour, against the day before it. Long contexts cost money and latency: "
            "look for calls that do not end, for tool answers that grew, and for a changed prompt."
        ),
        dashboard="atoms-cost",
        variables=_AGENT_VARIABLES,
    )
