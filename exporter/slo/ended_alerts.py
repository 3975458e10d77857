"""Alerts on what is known of a call once it is over: why it ended, how long it took to the first word, what it cost.

atoms_calls:end_reasons           {agent_id, reason, window}
atoms_calls:first_word_seconds    {agent_id, window}    median; only of enough calls
atoms_calls:cost_per_call         {agent_id, window}    of answered calls; only of enough calls
"""

from __future__ import annotations

from typing import Any

from exporter.calls.account import FAILING_REASONS

from .annotations import AGENT, Alert
from .call_alerts import TILE, counted
from .promql import DAY, HOUR, MINUTE, Ranges, duration, number, summed_increase
from .shares import lasting
from .thresholds import AlertThresholds

_NOT_ANSWERED = ("unknown", "dial_no_answer", "busy", "voicemail")
_LEAST_HOURS = 3
"""Hours with calls enough that a rise is told against: the first ones of an agent are no yardstick."""
_HALF = 30 * MINUTE


def ended_records(limits: AlertThresholds, ranges: Ranges) -> list[dict[str, Any]]:
    """What these alerts are counted from."""
    by, reasons = "agent_id, reason", "atoms_call_end_reasons_total"
    six = f"sum by ({by}) (sum_over_time({counted('end_reasons', TILE)}[{ranges(6 * HOUR)}:{ranges(TILE)}]))"
    spans = (TILE, _HALF, 1 * HOUR)
    return [
        *(_record("end_reasons", span, summed_increase(by, reasons, ranges(span))) for span in spans),
        _record("end_reasons", 6 * HOUR, six),
        *(_record("first_word_seconds", span, _first_word(span, limits, ranges)) for span in (_HALF, 1 * HOUR)),
        _record("cost_per_call", _HALF, _cost(_HALF, limits.minimum_costed_calls / 2, ranges)),
        _record("cost_per_call", 1 * HOUR, _cost(1 * HOUR, limits.minimum_costed_calls, ranges)),
    ]


def ended_alerts(limits: AlertThresholds, ranges: Ranges) -> list[Alert]:
    """Alerts by agent on calls that are over."""
    return [_end_reasons(limits), _first_word_slow(limits, ranges), _cost_per_call(limits, ranges)]


def _record(metric: str, window: float, expr: str) -> dict[str, Any]:
    return {"record": f"atoms_calls:{metric}", "expr": expr, "labels": {"window": duration(window)}}


def _first_word(window: float, limits: AlertThresholds, ranges: Ranges) -> str:
    calls = summed_increase("agent_id", "atoms_first_word_seconds_count", ranges(window))
    buckets = summed_increase("agent_id, le", "atoms_first_word_seconds_bucket", ranges(window))
    return f"histogram_quantile(0.5, {buckets})\nand on (agent_id) ({calls} >= {limits.minimum_first_words})"


def _cost(window: float, least: float, ranges: Ranges) -> str:
    calls = summed_increase("agent_id", 'atoms_calls_ended_total{outcome=~"completed|failed"}', ranges(window))
    spent = summed_increase("agent_id", "atoms_call_cost_total", ranges(window))
    return f"{spent}\n/ ({calls} >= {number(least)})"


def _usual(metric: str, ranges: Ranges) -> tuple[str, str]:
    """What an hour of the day before was like, and that there were enough of them. A median: outages do not move it."""
    hours = f"{counted(metric, 1 * HOUR)}[{ranges(DAY)}:{ranges(HOUR)}] offset {ranges(HOUR)}"
    return (
        f"(sum by (agent_id) (quantile_over_time(0.5, {hours})) > 0)",
        f"(sum by (agent_id) (count_over_time({hours})) >= {_LEAST_HOURS})",
    )


def _end_reasons(limits: AlertThresholds) -> Alert:
    failing = "|".join(FAILING_REASONS)
    by_nobody, answered = f'reason=~"{failing}"', f'reason!~"{"|".join(_NOT_ANSWERED)}"'
    windows = [(1 * HOUR, TILE, _HALF), (6 * HOUR, _HALF, 1 * HOUR)]
    ratio = limits.failing_end_reason_ratio
    most = f"topk(1, {counted('end_reasons', 1 * HOUR, 'agent_id=%q', by_nobody)})".replace('"', '\\"')
    return Alert(
        name="AtomsEndReasonsFailing",
        expr=lasting(
            lambda window: f"sum by (agent_id) ({counted('end_reasons', window, by_nobody)})",
            lambda window: f"sum by (agent_id) ({counted('end_reasons', window, answered)})",
            ratio,
            limits,
            windows,
        ),
        for_seconds=5 * MINUTE,
        keep_seconds=30 * MINUTE,
        severity="warning",
        summary=f"{{{{ $value | humanizePercentage }}}} of the calls of {AGENT} are ended by errors or timeouts",
        description=(
            f"Of the calls that were answered, clearly more than {number(ratio * 100)}% were ended by neither side "
            "over the last 1h or 6h, and the latest calls do not show that it is over. Most often in the last hour: "
            f'{{{{ range query (printf "{most}" $labels.agent_id) }}}}{{{{ . | label "reason" }}}}{{{{ end }}}}.'
        ),
        dashboard="atoms-flow",
        variables={"agent": AGENT},
    )


def _first_word_slow(limits: AlertThresholds, ranges: Ranges) -> Alert:
    now = (
        f"(sum by (agent_id) ({counted('first_word_seconds', _HALF)})\n"
        f"or on (agent_id)\nsum by (agent_id) ({counted('first_word_seconds', 1 * HOUR)}))"
    )
    before, known = _usual("first_word_seconds", ranges)
    factor = number(limits.first_word_rise_factor)
    return Alert(
        name="AtomsFirstWordSlow",
        expr=(
            f"{now} > {number(limits.first_word_seconds)}\n"
            # An agent that lets the caller speak first has its first word late as a rule.
            f"unless on (agent_id) ({now} <= {factor} * {before} and on (agent_id) {known})"
        ),
        for_seconds=10 * MINUTE,
        keep_seconds=30 * MINUTE,
        severity="warning",
        summary=f"Callers wait {{{{ $value | humanizeDuration }}}} for the first word of {AGENT}",
        description=(
            f"In half of its calls more than {number(limits.first_word_seconds)}s pass between the connection and the "
            f"first word, and more than {factor} times what is usual where that is known. Callers hang up on silence."
        ),
        dashboard="atoms-node",
        variables={"agent": AGENT},
    )


def _cost_per_call(limits: AlertThresholds, ranges: Ranges) -> Alert:
    before, known = _usual("cost_per_call", ranges)
    factor, half = number(limits.cost_rise_factor), counted("cost_per_call", _HALF)

    def dear(cost: str) -> str:
        return f"and on (agent_id) ({cost} / on (agent_id) {before} > {factor})"

    return Alert(
        name="AtomsCostPerCallJumped",
        expr=(
            f"sum by (agent_id) ({counted('cost_per_call', 1 * HOUR)}) / {before} > {factor}\n"
            # One call that did not end is dear, but not in both halves of the hour.
            f"{dear(half)}\n{dear(f'{half} offset {ranges(_HALF)}')}\n"
            f"and on (agent_id) {known}"
        ),
        for_seconds=5 * MINUTE,
        keep_seconds=2 * HOUR,  # at twenty calls an hour, many an hour has nineteen
        severity="warning",
        summary=f"A call of {AGENT} costs {{{{ $value | humanize }}}} times what is usual",
        description=(
            "What the API bills per answered call over the last hour, against the hours of the day before, in both "
            "halves of the hour. Agents that go in circles, calls that do not end and a new version show here first."
        ),
        dashboard="atoms-cost",
        variables={"agent": AGENT},
    )
