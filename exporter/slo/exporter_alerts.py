"""Alerts on what the exporter gets from the API: nothing, too late, or not all of it."""

from __future__ import annotations

from .annotations import AGENT, Alert
from .promql import HOUR, MINUTE, Ranges, number, summed_increase
from .thresholds import AlertThresholds

_INSTANCE = {"instance": "instance"}
_LAG = "atoms_exporter_event_lag_seconds"


def exporter_alerts(limits: AlertThresholds, ranges: Ranges) -> list[Alert]:
    """Alerts about what is measured, and what is missed, by instance."""
    return [
        _list_not_readable(limits, ranges),
        _streams_refused(limits, ranges),
        _streams_not_open(limits, ranges),
        _streams_stale(limits, ranges),
        _events_recovered(limits, ranges),
        _events_rejected(limits, ranges),
        _coverage_low(limits, ranges),
        _samples_skipped(limits, ranges),
        _bad_signatures(limits, ranges),
        _clock_ahead(limits, ranges),
    ]


def _list_not_readable(limits: AlertThresholds, ranges: Ranges) -> Alert:
    window = ranges(10 * MINUTE)
    polls = summed_increase("instance", 'atoms_exporter_discovery_requests_total{source="poll"}', window)
    failed = summed_increase("instance", 'atoms_exporter_discovery_requests_total{source="poll",outcome!="ok"}', window)
    return Alert(
        name="AtomsListNotReadable",
        expr=(
            f"({failed} / {polls} > {number(limits.polls_failed_ratio)} and on (instance) ({failed} >= 3))\n"
            f"or on (instance)\n"
            f"(1 - max by (instance) (max_over_time(atoms_exporter_up[{window}])) > 0)"
        ),
        for_seconds=3 * MINUTE,
        keep_seconds=10 * MINUTE,
        severity="critical",
        summary="{{ $labels.instance }} cannot read the list of calls",
        description=(
            "{{ $value | humanizePercentage }} of the requests for the list of calls failed in the last 10m: new calls "
            "are found late or not at all. Calls that are being followed go on, if their streams do."
        ),
        dashboard="atoms-exporter",
        variables=_INSTANCE,
    )


def _refused(limits: AlertThresholds, ranges: Ranges) -> str:
    window = ranges(10 * MINUTE)
    failed = summed_increase("instance", "atoms_exporter_stream_failures_total", window)
    begun = summed_increase("instance", "atoms_calls_started_total", window)
    return (
        f"{failed} / ({failed} + ({begun} or 0 * {failed})) > {number(limits.openings_failed_ratio)}\n"
        f"and on (instance) ({failed} >= 10)"
    )


def _streams_refused(limits: AlertThresholds, ranges: Ranges) -> Alert:
    return Alert(
        name="AtomsStreamsRefused",
        expr=_refused(limits, ranges),
        for_seconds=3 * MINUTE,
        keep_seconds=10 * MINUTE,
        severity="critical",
        summary="{{ $value | humanizePercentage }} of the attempts of {{ $labels.instance }} to open a stream fail",
        description=(
            "Calls are found, but their event streams are refused or break off at once: what calls say is only counted "
            "when they are over, from their history, if at all."
        ),
        dashboard="atoms-exporter",
        variables=_INSTANCE,
    )


def _streams_not_open(limits: AlertThresholds, ranges: Ranges) -> Alert:
    window = ranges(10 * MINUTE)
    waiting = f'sum by (instance) (avg_over_time(atoms_exporter_streams{{state!="open"}}[{window}]))'
    every = f"sum by (instance) (avg_over_time(atoms_exporter_streams[{window}]))"
    return Alert(
        name="AtomsStreamsNotOpen",
        expr=(
            f"{waiting}\n  /\n{every}\n> {number(limits.streams_not_open_ratio)}\n"
            # Streams that are refused are not open either: one alert says why.
            f"unless on (instance) ({_refused(limits, ranges)})"
        ),
        for_seconds=5 * MINUTE,
        keep_seconds=10 * MINUTE,
        severity="warning",
        summary="{{ $value | humanizePercentage }} of the streams of {{ $labels.instance }} are not open",
        description=(
            "Most followed calls wait for a connection to the API; what they "
            "say meanwhile is only recovered at their end."
        ),
        dashboard="atoms-exporter",
        variables=_INSTANCE,
    )


def _streams_stale(limits: AlertThresholds, ranges: Ranges) -> Alert:
    window = ranges(5 * MINUTE)
    counted = summed_increase("instance", "atoms_exporter_events_total", window)
    recovered = summed_increase("instance", "atoms_exporter_events_recovered_total", window)
    return Alert(
        name="AtomsStreamsStale",
        expr=(
            "sum by (instance) (atoms_exporter_streams) > 0\n"
            f"and on (instance)\n({counted} - ({recovered} or 0 * {counted}) < 1)\n"
            f"unless on (instance) ({_refused(limits, ranges)})"
        ),
        for_seconds=5 * MINUTE,
        keep_seconds=5 * MINUTE,
        severity="critical",
        summary="{{ $labels.instance }} follows {{ $value }} calls and hears nothing",
        description=(
            "Calls are being followed, yet not one event came from a stream in 5m. A live call sends several a second. "
            "Events from the history of calls that are over do not count."
        ),
        dashboard="atoms-exporter",
        variables=_INSTANCE,
    )


def _events_recovered(limits: AlertThresholds, ranges: Ranges) -> Alert:
    window = ranges(5 * MINUTE)
    counted = summed_increase("instance", "atoms_exporter_events_total", window)
    recovered = summed_increase("instance", "atoms_exporter_events_recovered_total", window)
    young = f"time() - process_start_time_seconds < {ranges.seconds(15 * MINUTE)}"
    return Alert(
        name="AtomsEventsRecovered",
        expr=(
            f"{recovered}\n  /\n{counted}\n> {number(limits.recovered_ratio)}\n"
            f"and on (instance) ({recovered} >= {limits.minimum_recovered})\n"
            # What was missed while it was away is recovered first; that is as it should be.
            f"unless on (instance) ({young})"
        ),
        for_seconds=2 * MINUTE,
        keep_seconds=10 * MINUTE,
        severity="warning",
        summary="{{ $value | humanizePercentage }} of the events of {{ $labels.instance }} come from histories",
        description=(
            "Streams are open and silent, or break off unseen: most events of the last 5m were not heard live but "
            "fetched when their calls were over. Numbers come late, and calls in progress look idle."
        ),
        dashboard="atoms-exporter",
        variables=_INSTANCE,
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
        variables=_INSTANCE,
    )


def _coverage_low(limits: AlertThresholds, ranges: Ranges) -> Alert:
    window = ranges(1 * HOUR)
    measured = summed_increase("agent_id", "atoms_turn_latency_seconds_count", window)
    spoken = summed_increase("agent_id", "atoms_user_turns_total", window)
    return Alert(
        name="AtomsCoverageLow",
        expr=(
            f"(\n  {measured}\n    or\n  0 * {spoken}\n)\n  /\n{spoken}\n< {number(limits.coverage)}\n"
            f"and\n{spoken} >= {limits.minimum_turns}"
        ),
        for_seconds=15 * MINUTE,
        severity="warning",
        summary=f"Only {{{{ $value | humanizePercentage }}}} of the turns of {AGENT} have a latency",
        description=(
            "Users spoke more often than turn latencies arrived over the last hour: "
            "latency numbers and SLOs rest on a part of the turns."
        ),
        dashboard="atoms-exporter",
        variables={"agent": AGENT},
    )


def _samples_skipped(limits: AlertThresholds, ranges: Ranges) -> Alert:
    window = ranges(1 * HOUR)
    measuring = 'event_type=~"turn_latency|tts_completed|metrics|knowledgebase|variable_extraction"'
    skipped = summed_increase("instance", 'atoms_exporter_samples_skipped_total{reason!="initial_zero"}', window)
    events = summed_increase("instance", f"atoms_exporter_events_total{{{measuring}}}", window)
    return Alert(
        name="AtomsSamplesSkipped",
        expr=(
            f"{skipped}\n  /\n{events}\n> {number(limits.skipped_sample_ratio)}\n"
            f"and\n{skipped} >= {limits.minimum_skipped}"
        ),
        for_seconds=15 * MINUTE,
        severity="warning",
        summary="{{ $labels.instance }} skips values of {{ $value | humanizePercentage }} of the measuring events",
        description=(
            "Values in events were no credible measurements (their unit, sign, size or type) and were not counted, so "
            "latencies rest on the rest."
        ),
        dashboard="atoms-exporter",
        variables=_INSTANCE,
    )


def _bad_signatures(limits: AlertThresholds, ranges: Ranges) -> Alert:
    window = ranges(1 * HOUR)
    bad = summed_increase("instance", 'atoms_exporter_webhooks_total{outcome="bad_signature"}', window)
    every = summed_increase("instance", "atoms_exporter_webhooks_total", window)
    return Alert(
        name="AtomsWebhookSignatures",
        expr=(
            f"{bad}\n  /\n{every}\n> {number(limits.bad_signature_ratio)}\n"
            f"and\n{bad} >= {limits.minimum_bad_signatures}"
        ),
        for_seconds=5 * MINUTE,
        severity="warning",
        summary="{{ $labels.instance }} refuses {{ $value | humanizePercentage }} of the webhooks: bad signatures",
        description=(
            "Deliveries whose signature does not fit any secret, or forged ones. Refused deliveries do not come again: "
            "calls are found by polling only, and dispositions are lost."
        ),
        dashboard="atoms-exporter",
        variables=_INSTANCE,
    )


def _clock_ahead(limits: AlertThresholds, ranges: Ranges) -> Alert:
    window = ranges(15 * MINUTE)
    ahead = summed_increase("instance", f'{_LAG}_bucket{{le=~"0|0[.]0"}}', window)
    every = summed_increase("instance", f"{_LAG}_count", window)
    return Alert(
        name="AtomsClockAhead",
        expr=f"{ahead}\n  /\n{every}\n> {number(limits.clock_ahead_ratio)}\nand\n{every} >= 20",
        for_seconds=10 * MINUTE,
        severity="warning",
        summary="Events reach {{ $labels.instance }} before they happen",
        description=(
            "{{ $value | humanizePercentage }} of the live events of the last 15m bear a time later than their "
            "arrival: the API's clock runs ahead, or this machine's behind. Latencies do not suffer, the times of "
            "traces do."
        ),
        dashboard="atoms-exporter",
        variables=_INSTANCE,
    )
