"""Alerts on what goes wrong in calls, by agent and node."""

from __future__ import annotations

from .annotations import Alert
from .promql import DAY, HOUR, MINUTE, Ranges, duration, number, summed_increase
from .thresholds import AlertThresholds

_AGENT = "agent_id, agent_name"
_NODE = f"{_AGENT}, node_id, node_name"
_AGENT_VARIABLES = {"agent": "agent_name"}
_NODE_VARIABLES = {"agent": "agent_name", "node": "node_name"}


def call_alerts(limits: AlertThresholds, ranges: Ranges) -> list[Alert]:
    """Alerts about the calls, by agent and node."""
    return [
        _call_failures(limits.call_failure_critical, "critical", 1 * HOUR, 5 * MINUTE, limits, ranges),
        _call_failures(limits.call_failure_warning, "warning", 6 * HOUR, 30 * MINUTE, limits, ranges),
        _tool_failures(limits, ranges),
        _tts_slow(limits, ranges),
        _node_loops(limits, ranges),
        _interruptions(limits, ranges),
        _tokens_rising(limits, ranges),
    ]


def _call_failures(
    ratio: float, severity: str, long: float, short: float, limits: AlertThresholds, ranges: Ranges
) -> Alert:
    def failed_share(window: str) -> str:
        failed = summed_increase(_AGENT, 'atoms_calls_ended_total{outcome="failed"}', window)
        return f"(\n  {failed}\n  /\n  {ended(window)}\n) > {number(ratio)}"

    def ended(window: str) -> str:
        return summed_increase(_AGENT, 'atoms_calls_ended_total{outcome=~"completed|failed"}', window)

    return Alert(
        name="AtomsCallFailuresBurning",
        expr=(
            f"{failed_share(ranges(long))}\nand\n{failed_share(ranges(short))}\n"
            f"and\n{ended(ranges(long))} >= {limits.minimum_calls}\n"
            f"and\n{ended(ranges(short))} >= {limits.minimum_recent_calls}"
        ),
        for_seconds=2 * MINUTE if severity == "critical" else 15 * MINUTE,
        severity=severity,
        summary="{{ $value | humanizePercentage }} of the calls of {{ $labels.agent_name }} fail",
        description=(
            f"Of the calls that were answered, more than {number(ratio * 100)}% failed over the last "
            f"{duration(long)} and still do in the last {duration(short)}. "
            "Unanswered, busy and cancelled calls are left out."
        ),
        dashboard="atoms-overview",
        variables=_AGENT_VARIABLES,
        labels={"window": duration(long)},
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
            "Tool {{ $labels.function }} on node {{ $labels.node_name }} of {{ $labels.agent_name }} failed in more "
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
            "One in twenty utterances of node {{ $labels.node_name }} of {{ $labels.agent_name }} took longer than "
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
            "{{ $labels.agent_name }} in the last hour came straight back from the node it had just handed over to."
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
        summary="Callers interrupt {{ $value | humanizePercentage }} of the turns of {{ $labels.agent_name }}",
        description=(
            f"More than {number(limits.interruption_ratio * 100)}% of the turns of {{{{ $labels.agent_name }}}} were "
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
        summary="{{ $labels.agent_name }} uses {{ $value | humanize }} times the tokens per turn of the day before",
        description=(
            "Tokens per turn over the last hour, against the day before it. Long contexts cost money and latency: "
            "look for calls that do not end, for tool answers that grew, and for a changed prompt."
        ),
        dashboard="atoms-cost",
        variables=_AGENT_VARIABLES,
    )
