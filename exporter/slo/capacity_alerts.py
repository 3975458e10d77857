"""Alerts on the account's limit of calls at once, beyond which callers are dropped without any event; by scrape job.

atoms_calls:limit_used_ratio    {job, of}    of the account's limit, and of what no agent has reserved (`shared`)
atoms_calls:queued              {job}
"""

from __future__ import annotations

from typing import Any

from .annotations import Alert
from .promql import MINUTE, Ranges, number
from .thresholds import AlertThresholds

_USED, _QUEUED = "atoms_calls:limit_used_ratio", "atoms_calls:queued"
_JOB = {"job": "job"}
_LEAST_LIMIT = 3
"""Of two calls at once, one is half and two are all: there is no near."""
_SHARE_OF_GROWTH = 0.05
"""By which share of its length a queue has to grow in half an hour: a long one is never quite still."""


def capacity_records() -> list[dict[str, Any]]:
    """How much is in use, by job: an account has one limit, however many exporters follow its calls."""
    active = "sum by (job, agent_id) (atoms_calls_active)"
    reserved = "max by (job, agent_id) (sum by (job, instance, agent_id) (atoms_concurrency_reserved))"
    # Who has more calls than he has reserved takes from what is shared.
    shared = f"sum by (job) (clamp_min({active} - {reserved} or {active}, 0))"
    least = f">= {_LEAST_LIMIT}"
    return [
        _used("limit", f"sum by (job) (atoms_calls_active)\n/ (max by (job) (atoms_concurrency_limit) {least})"),
        _used("shared", f"{shared}\n/ (max by (job) (atoms_concurrency_unreserved) {least})"),
        {"record": _QUEUED, "expr": "max by (job) (atoms_calls_queued)"},
    ]


def capacity_alerts(limits: AlertThresholds, ranges: Ranges) -> list[Alert]:
    """Alerts by job on the account's limit."""
    return [
        _near_limit(limits.near_limit_critical, "critical", 10 * MINUTE, ranges),
        _near_limit(limits.near_limit_warning, "warning", 30 * MINUTE, ranges),
        _queue_growing(limits, ranges),
    ]


def _used(of: str, expr: str) -> dict[str, Any]:
    return {"record": _USED, "expr": expr, "labels": {"of": of}}


def _near_limit(ratio: float, severity: str, window: float, ranges: Ranges) -> Alert:
    """Half of the window's time: calls come and go, and a peak of a minute is none."""
    minutes = number(window / MINUTE)
    return Alert(
        name="AtomsNearConcurrencyLimit",
        expr=f"quantile_over_time(0.5, {_USED}[{ranges(window)}]) >= {number(ratio)}",
        for_seconds=2 * MINUTE if severity == "critical" else 5 * MINUTE,
        keep_seconds=15 * MINUTE if severity == "critical" else 30 * MINUTE,
        severity=severity,
        summary="{{ $value | humanizePercentage }} of the calls the account may have at once are in use",
        description=(
            f"For half of the last {minutes}m at least {number(ratio * 100)}% of the "
            '{{ if eq $labels.of "shared" }}calls that no agent has reserved for itself{{ else }}account\'s limit'
            "{{ end }} were in use. At the limit inbound callers ring and are dropped, and outbound calls wait: "
            "nothing else shows it."
        ),
        dashboard="atoms-cost",
        variables=_JOB,
    )


def _queue_growing(limits: AlertThresholds, ranges: Ranges) -> Alert:
    span = ranges(30 * MINUTE)
    grown = f"deriv({_QUEUED}[{span}]) * {ranges.seconds(30 * MINUTE)}"
    return Alert(
        name="AtomsQueueGrowing",
        expr=(
            f"{grown} >= {limits.minimum_queued}\n"
            f"and on (job) ({grown} > {number(_SHARE_OF_GROWTH)} * avg_over_time({_QUEUED}[{span}]))\n"
            # A campaign that has just been handed in is no queue that is not worked off.
            f"and on (job) (min_over_time({_QUEUED}[{span}]) > 0)"
        ),
        for_seconds=10 * MINUTE,
        keep_seconds=30 * MINUTE,
        severity="warning",
        summary="The queue has grown by {{ $value | humanize }} calls in half an hour",
        description=(
            "More outbound calls are handed in than begin: whoever is called last waits longest. "
            '{{ with query (printf "max(atoms_calls:queued{job=%q})" $labels.job) }}'
            "{{ . | first | value | humanize }} wait now.{{ end }}"
        ),
        dashboard="atoms-cost",
        variables=_JOB,
    )
