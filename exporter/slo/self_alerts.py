"""Alerts on the exporter's own process: away, restarting, slow, unable to keep or to send."""

from __future__ import annotations

from .annotations import Alert
from .promql import MINUTE, Ranges, number, quoted, summed_increase
from .thresholds import AlertThresholds

_INSTANCE = {"instance": "instance"}


def self_alerts(limits: AlertThresholds, ranges: Ranges, job: str) -> list[Alert]:
    """Alerts about the process, by instance; ``job`` is its scrape job's name."""
    return [
        _down(job),
        _crash_loop(limits, ranges, job),
        _loop_lag(limits, ranges),
        _state_not_kept(ranges),
        _series_overflow(ranges),
        _spans_dropped(ranges),
        _takeovers(limits, ranges),
        *([_fleet_too_small(limits, ranges)] if limits.fleet_members else []),
    ]


def _down(job: str) -> Alert:
    series = f"up{{job={quoted(job)}}}"
    return Alert(
        name="AtomsExporterDown",
        expr=f"{series} == 0\nor\nabsent({series})",
        for_seconds=5 * MINUTE,
        severity="critical",
        summary="The Atoms exporter is down",
        description=(
            "Prometheus cannot scrape atoms-exporter {{ $labels.instance }}, or has no such target. "
            "Calls go on, but nobody measures them, and no other alert about them can fire."
        ),
        dashboard="atoms-exporter",
    )


def _crash_loop(limits: AlertThresholds, ranges: Ranges, job: str) -> Alert:
    starts = f"changes(process_start_time_seconds{{job={quoted(job)}}}[{ranges(30 * MINUTE)}])"
    return Alert(
        name="AtomsExporterCrashLoop",
        expr=f"max by (instance) ({starts}) >= {limits.starts_in_half_an_hour}",
        for_seconds=0.0,
        keep_seconds=15 * MINUTE,
        severity="warning",
        summary="{{ $labels.instance }} started {{ $value }} times in half an hour",
        description=(
            "The exporter ends and is started again, too briefly for AtomsExporterDown. What it missed is recovered, "
            "but every start asks the API for everything again."
        ),
        dashboard="atoms-exporter",
        variables=_INSTANCE,
    )


def _loop_lag(limits: AlertThresholds, ranges: Ranges) -> Alert:
    buckets = summed_increase("instance, le", "atoms_exporter_event_loop_lag_seconds_bucket", ranges(10 * MINUTE))
    return Alert(
        name="AtomsEventLoopLag",
        expr=f"histogram_quantile(0.99, {buckets}) > {number(limits.loop_lag_seconds)}",
        for_seconds=10 * MINUTE,
        severity="warning",
        summary="{{ $labels.instance }} is {{ $value | humanizeDuration }} late (p99)",
        description=(
            "The event loop has more to do than it can: streams are read late, webhooks and scrapes are answered late, "
            "and connections begin to time out."
        ),
        dashboard="atoms-exporter",
        variables=_INSTANCE,
    )


def _state_not_kept(ranges: Ranges) -> Alert:
    failures = summed_increase("instance", "atoms_exporter_checkpoint_failures_total", ranges(15 * MINUTE))
    kept = f"max by (instance) (max_over_time(atoms_exporter_state_up[{ranges(5 * MINUTE)}]))"
    return Alert(
        name="AtomsStateNotKept",
        expr=f"{failures} >= 3\nor on (instance)\n{kept} == 0",
        for_seconds=5 * MINUTE,
        keep_seconds=10 * MINUTE,
        severity="warning",
        summary="{{ $labels.instance }} cannot keep its state",
        description=(
            "What is counted could not be kept, again and again. Numbers are right as long as the process lives; a "
            "restart now forgets what was counted since the last good commit, or begins its counters at 0."
        ),
        dashboard="atoms-exporter",
        variables=_INSTANCE,
    )


def _series_overflow(ranges: Ranges) -> Alert:
    return Alert(
        name="AtomsSeriesOverflow",
        expr=f"sum by (instance, metric) (increase(atoms_exporter_series_overflow_total[{ranges(15 * MINUTE)}])) > 0",
        for_seconds=5 * MINUTE,
        severity="warning",
        summary="{{ $labels.metric }} has more label sets than its budget",
        description=(
            "New label sets are folded into __other__: nodes, tools or "
            "models share one series and cannot be told apart."
        ),
        dashboard="atoms-exporter",
        variables=_INSTANCE,
    )


def _spans_dropped(ranges: Ranges) -> Alert:
    return Alert(
        name="AtomsSpansDropped",
        expr=f"sum by (instance, reason) (increase(atoms_exporter_spans_dropped_total[{ranges(15 * MINUTE)}])) > 0",
        for_seconds=5 * MINUTE,
        severity="warning",
        summary="{{ $labels.instance }} drops spans ({{ $labels.reason }})",
        description=(
            "About {{ $value | humanize }} spans were lost in 15m: some traces have holes. Metrics are not affected."
        ),
        dashboard="atoms-exporter",
        variables=_INSTANCE,
    )


def _takeovers(limits: AlertThresholds, ranges: Ranges) -> Alert:
    taken = f'changes(atoms_exporter_fleet_takeovers_total{{reason="dead"}}[{ranges(60 * MINUTE)}])'
    return Alert(
        name="AtomsFleetTakeovers",
        expr=f"max({taken}) >= {limits.takeovers_in_an_hour}",
        for_seconds=0.0,
        keep_seconds=15 * MINUTE,
        severity="warning",
        summary="Replicas are taken for dead again and again",
        description=(
            "Calls were taken over {{ $value }} times within an hour from replicas whose lease was over. Nothing is "
            "lost, but each time calls go unfollowed for a lease, and their histories are fetched again."
        ),
        dashboard="atoms-exporter",
    )


def _fleet_too_small(limits: AlertThresholds, ranges: Ranges) -> Alert:
    members = f"max(max_over_time(atoms_exporter_fleet_members[{ranges(5 * MINUTE)}]))"
    return Alert(
        name="AtomsFleetTooSmall",
        expr=f"{members} < {limits.fleet_members}",
        for_seconds=10 * MINUTE,
        severity="warning",
        summary=f"{{{{ $value }}}} of {limits.fleet_members} replicas are in the fleet",
        description=(
            "Fewer replicas hold a seat than fleet.expect says. The others follow their calls, as long as they have "
            "room; one more that goes may be one too many."
        ),
        dashboard="atoms-exporter",
    )
