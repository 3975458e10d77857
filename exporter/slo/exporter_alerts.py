"""Alerts on the exporter itself: when it measures nothing, or not everything."""

from __future__ import annotations

from .annotations import Alert
from .promql import HOUR, MINUTE, Ranges, number, quoted, summed_increase
from .thresholds import AlertThresholds

_AGENT = "agent_id, agent_name"


def exporter_alerts(limits: AlertThresholds, ranges: Ranges, job: str) -> list[Alert]:
    """Alerts about the exporter itself, by instance; ``job`` is its scrape job's name."""
    return [
        _down(job),
        _api_refusing(),
        _streams_stale(ranges),
        _streams_not_open(limits),
        _events_rejected(limits, ranges),
        _coverage_low(limits, ranges),
        _series_overflow(ranges),
        _spans_dropped(ranges),
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


def _api_refusing() -> Alert:
    return Alert(
        name="AtomsAPIRefusing",
        expr="atoms_exporter_up == 0",
        for_seconds=5 * MINUTE,
        severity="critical",
        summary="The Atoms API refuses {{ $labels.instance }}",
        description="The last answers of the Atoms API were errors: no new calls are found and no streams opened.",
        dashboard="atoms-exporter",
        variables={"instance": "instance"},
    )


def _streams_stale(ranges: Ranges) -> Alert:
    return Alert(
        name="AtomsStreamsStale",
        expr=(
            "sum by (instance) (atoms_exporter_streams) > 0\n"
            f"and\nsum by (instance) (increase(atoms_exporter_events_total[{ranges(5 * MINUTE)}])) == 0"
        ),
        for_seconds=5 * MINUTE,
        severity="critical",
        summary="{{ $labels.instance }} follows {{ $value }} calls and hears nothing",
        description="Calls are being followed, yet not one event arrived in 5m. A live call sends several a second.",
        dashboard="atoms-exporter",
        variables={"instance": "instance"},
    )


def _streams_not_open(limits: AlertThresholds) -> Alert:
    waiting = 'sum by (instance) (atoms_exporter_streams{state=~"waiting|connecting"})'
    return Alert(
        name="AtomsStreamsNotOpen",
        expr=(f"{waiting}\n  /\nsum by (instance) (atoms_exporter_streams)\n> {number(limits.streams_not_open_ratio)}"),
        for_seconds=10 * MINUTE,
        severity="warning",
        summary="{{ $value | humanizePercentage }} of the streams of {{ $labels.instance }} are not open",
        description=(
            "Most followed calls wait for a connection to the API; what they "
            "say meanwhile is only recovered at their end."
        ),
        dashboard="atoms-exporter",
        variables={"instance": "instance"},
    )


def _events_rejected(limits: AlertThresholds, ranges: Ranges) -> Alert:
    window = ranges(15 * MINUTE)
    rejected = summed_increase("instance", "atoms_exporter_events_rejected_total", window)
    taken = summed_increase("instance", "atoms_exporter_events_total", window)
    return Alert(
        name="AtomsEventsRejected",
        expr=(
            f"{rejected}\n  /\n({taken} + {rejected})\n> {number(limits.rejected_event_ratio)}\n"
            f"and\n{rejected} >= {limits.minimum_rejected}"
        ),
        for_seconds=10 * MINUTE,
        severity="warning",
        summary="{{ $labels.instance }} cannot read {{ $value | humanizePercentage }} of the events",
        description="Events are malformed or too large and are skipped, so numbers and traces have holes.",
        dashboard="atoms-exporter",
        variables={"instance": "instance"},
    )


def _coverage_low(limits: AlertThresholds, ranges: Ranges) -> Alert:
    window = ranges(1 * HOUR)
    measured = summed_increase(_AGENT, "atoms_turn_latency_seconds_count", window)
    spoken = summed_increase(_AGENT, "atoms_user_turns_total", window)
    return Alert(
        name="AtomsCoverageLow",
        expr=(
            f"(\n  {measured}\n    or\n  0 * {spoken}\n)\n  /\n{spoken}\n< {number(limits.coverage)}\n"
            f"and\n{spoken} >= {limits.minimum_turns}"
        ),
        for_seconds=15 * MINUTE,
        severity="warning",
        summary="Only {{ $value | humanizePercentage }} of the turns of {{ $labels.agent_name }} have a latency",
        description=(
            "Users spoke more often than turn latencies arrived over the last hour: "
            "latency numbers and SLOs rest on a part of the turns."
        ),
        dashboard="atoms-exporter",
        variables={"agent": "agent_name"},
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
        variables={"instance": "instance"},
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
        variables={"instance": "instance"},
    )
