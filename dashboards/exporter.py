"""Can the other dashboards be believed: the exporter about itself."""

from __future__ import annotations

from typing import Any

from .colours import ANY_IS_BAD_STEPS, SLOWEST_STEPS
from .frame import Board, agents, datasources, scraped
from .panels import graph, number, ranking, rows
from .queries import AGENT, BY_AGENT, EVERY, INSTANCE, LATELY, WHOLE, Query, increase, known, quantile, rate

OWN = "atoms_exporter_"
_OF_EXPORTERS = f"and on (job, instance) atoms_exporter_build_info{{{INSTANCE}}}"
"""With all jobs chosen, other processes have CPU and memory as well."""
UP_STEPS = ((None, "red"), (1.0, "green"))
COVERAGE_STEPS = ((None, "red"), (0.5, "#EAB839"), (0.8, "green"))


def exporter() -> dict[str, Any]:
    """Streams, lag, what was rejected, coverage, series, spans, the event loop."""
    board = Board(
        "atoms-exporter",
        "Atoms / Exporter",
        "Whether the exporter hears everything, keeps up, and hands everything on.",
        variables=[*datasources(), *scraped(), agents()],
    )
    board.row("Now: the last 15 minutes, whatever the time range", *_now()).row("Streams", *_streams()).row(
        "Events", *_events()
    ).row("Finding calls", *_finding())
    board.row("Handing on", *_handing_on()).row("Keeping up", *_keeping_up())
    return board.row("Fleet: replicas that share an account over Redis", *_fleet()).document()


def _fleet() -> list[Any]:
    fleet = f"{OWN}fleet_"
    return [
        graph(
            "Replicas",
            "Those that hold a seat, as each of them sees it. They differ while Redis cannot be reached by one.",
            "none",
            Query(f"{fleet}members{{{INSTANCE}}}", "members {{instance}}"),
            Query(f"sum({fleet}poller{{{INSTANCE}}})", "of which read the lists"),
            width=12,
        ),
        graph(
            "Calls by replica",
            "Each call is one replica's. What nobody follows waits for one with room, or for the end of a lease.",
            "short",
            Query(f"{fleet}calls_owned{{{INSTANCE}}}", "{{instance}}"),
            Query(f"max({fleet}calls_unowned{{{INSTANCE}}})", "nobody's"),
            width=12,
        ),
        graph(
            "Calls taken over, commits refused",
            "dead: a replica's lease was over. left: it said farewell. A refused commit ends its replica, which goes "
            "on from what was kept.",
            "short",
            Query(increase(f"{fleet}takeovers_total", INSTANCE, "reason", window=EVERY), "{{reason}}"),
            Query(
                increase(f"{fleet}commits_refused_total", INSTANCE, "instance", window=EVERY),
                "refused {{instance}}",
            ),
            width=12,
        ),
        graph(
            "Leases",
            "How long Redis takes to renew one, and renewals that came late: a little more, and the replica is taken "
            "for dead.",
            "s",
            Query(quantile(0.99, f"{fleet}renewal_seconds", INSTANCE), "renewal, p99"),
            Query(
                increase(f"{fleet}renewals_late_total", INSTANCE, "instance", window=EVERY),
                "late {{instance}}",
            ),
            width=12,
        ),
    ]


def _now() -> list[Any]:
    measured = increase("atoms_turn_latency_seconds_count", AGENT, window=LATELY)
    spoken = increase("atoms_user_turns_total", AGENT, window=LATELY)
    return [
        number(
            "API answers",
            "1 when the last answer of the Atoms API was good. 0: token, address or the API itself; "
            "the log says which.",
            "none",
            Query(f"min(atoms_exporter_up{{{INSTANCE}}})"),
            width=3,
            steps=UP_STEPS,
        ),
        number(
            "Streams open",
            "Calls being listened to.",
            "short",
            Query(f'sum(atoms_exporter_streams{{{INSTANCE},state="open"}})'),
            width=3,
        ),
        number(
            "Events per second",
            "Of the last 15 minutes, counted once each.",
            "short",
            Query(f"{increase(f'{OWN}events_total', INSTANCE, window=LATELY)} / {15 * 60}"),
            width=3,
            decimals=1,
        ),
        number(
            "Event lag p99",
            "From an event's own time to its arrival. Minutes: a clock is wrong. Seconds: the network or this process.",
            "s",
            Query(known(quantile(0.99, f"{OWN}event_lag_seconds", INSTANCE, window=LATELY))),
            width=3,
        ),
        number(
            "Coverage",
            "Turns with a latency against turns spoken. Below half an alert fires: latency then "
            "rests on a part of the turns.",
            "percentunit",
            Query(f"{measured} / ({spoken} > 0)"),
            width=4,
            steps=COVERAGE_STEPS,
        ),
        number(
            "Span queue",
            "Spans that wait for the trace backend. Growing: it is down or too slow.",
            "short",
            Query(f"sum(atoms_exporter_span_queue{{{INSTANCE}}})"),
            width=4,
        ),
        rows(
            "Version",
            "What runs where.",
            Query(f"max by (instance, version, python) (atoms_exporter_build_info{{{INSTANCE}}})"),
            columns={"instance": "Instance", "version": "Version", "python": "Python"},
            width=4,
            height=4,
        ),
    ]


def _streams() -> list[Any]:
    return [
        graph(
            "Streams by state",
            "pending: more calls than api.max_streams, they wait for their first stream; waiting: backing off after a "
            "failure; failing: several tries have failed in a row. Many of those: see the failures on the right.",
            "short",
            Query(f"sum by (state) (atoms_exporter_streams{{{INSTANCE}}})", "{{state}}"),
            stacked=True,
        ),
        graph(
            "Reconnects per minute",
            "By reason. cut and idle now and then are normal; all calls at once is the API or a proxy restarting.",
            "short",
            Query(f"60 * {rate(f'{OWN}stream_reconnects_total', INSTANCE, 'reason')} > 0", "{{reason}}"),
            bars=True,
        ),
        graph(
            "Failures to open a stream per minute",
            "By answer. 400 right after a call's end is normal; 401 is the token; 429 is too many calls at once.",
            "short",
            Query(f"60 * {rate(f'{OWN}stream_failures_total', INSTANCE, 'status')} > 0", "{{status}}"),
            bars=True,
        ),
    ]


def _events() -> list[Any]:
    measured = increase("atoms_turn_latency_seconds_count", AGENT, *BY_AGENT, window="[1h]")
    spoken = increase("atoms_user_turns_total", AGENT, *BY_AGENT, window="[1h]")
    return [
        graph(
            "Events per second by type",
            "About five a second and call; other is a type this version does not know.",
            "short",
            Query(f"{rate(f'{OWN}events_total', INSTANCE, 'event_type')} > 0", "{{event_type}}"),
            stacked=True,
        ),
        graph(
            "Rejected, duplicate and recovered events per minute",
            "Duplicates after reconnects are normal and not counted twice; recovered ones came from a call's history. "
            "Rejected ones are lost: the log names a sample.",
            "short",
            Query(f"60 * {rate(f'{OWN}events_rejected_total', INSTANCE, 'reason')} > 0", "rejected {{reason}}"),
            Query(f"60 * {rate(f'{OWN}events_duplicate_total', INSTANCE)}", "duplicate"),
            Query(f"60 * {rate(f'{OWN}events_recovered_total', INSTANCE)}", "recovered"),
        ),
        graph(
            "Values skipped per minute",
            "initial_zero is the pipeline starting and normal. Others are values that cannot be "
            "right: check metrics.units.",
            "short",
            Query(f"60 * {rate(f'{OWN}samples_skipped_total', INSTANCE, 'reason')} > 0", "{{reason}}"),
        ),
        graph(
            "Coverage by agent over the last hour",
            "Turns with a latency against turns spoken.",
            "percentunit",
            Query(f"{measured} / ({spoken} > 0)", "{{agent_name}}"),
            width=12,
            steps=COVERAGE_STEPS,
        ),
        graph(
            "Event lag",
            "From an event's own time to its arrival here.",
            "s",
            Query(quantile(0.99, f"{OWN}event_lag_seconds", INSTANCE, "instance"), "p99 {{instance}}"),
            Query(quantile(0.5, f"{OWN}event_lag_seconds", INSTANCE, "instance"), "p50 {{instance}}"),
            width=12,
            steps=SLOWEST_STEPS,
        ),
    ]


def _finding() -> list[Any]:
    return [
        graph(
            "Requests that look for calls and names, per minute",
            "By source and outcome. Anything but ok: the token, the rate limit or the API.",
            "short",
            Query(
                f"60 * {rate(f'{OWN}discovery_requests_total', INSTANCE, 'source', 'outcome')} > 0",
                "{{source}} {{outcome}}",
            ),
            width=6,
        ),
        graph(
            "Webhooks per minute",
            "bad_signature: the secret differs between here and the vendor. duplicate is harmless.",
            "short",
            Query(f"60 * {rate(f'{OWN}webhooks_total', INSTANCE, 'event', 'outcome')} > 0", "{{event}} {{outcome}}"),
            width=6,
        ),
        graph(
            "Bounds hit per minute",
            "Something from outside went beyond its bound and was cut, held back or turned away; SECURITY.md says "
            "what each is. Now and then is normal; without end it is a mistake upstream, or an attack.",
            "short",
            Query(f"60 * {rate(f'{OWN}bounds_hit_total', INSTANCE, 'what')} > 0", "{{what}}"),
            bars=True,
            width=6,
        ),
        graph(
            "Unknown words per minute",
            "The API used a word nobody knows where it chooses from a list; the log names each once. What it means is "
            "told from what else is known of the call.",
            "short",
            Query(f"60 * {rate(f'{OWN}unknown_values_total', INSTANCE, 'field')} > 0", "{{field}}"),
            bars=True,
            width=6,
        ),
    ]


def _handing_on() -> list[Any]:
    return [
        graph(
            "Spans per second",
            "Accepted by the backend, and given up by reason. queue_full or too_old: the backend was "
            "away for too long.",
            "short",
            Query(rate(f"{OWN}spans_exported_total", INSTANCE), "exported"),
            Query(rate(f"{OWN}spans_dropped_total", INSTANCE, "reason"), "dropped {{reason}}"),
        ),
        graph(
            "Spans waiting",
            "The queue for the trace backend.",
            "short",
            Query(f"atoms_exporter_span_queue{{{INSTANCE}}}", "{{instance}}"),
        ),
        graph(
            "Failed OTLP requests per minute",
            "By signal and reason. They are retried; only what is dropped is lost.",
            "short",
            Query(f"60 * {rate(f'{OWN}export_failures_total', INSTANCE, 'signal', 'reason')}", "{{signal}} {{reason}}"),
            steps=ANY_IS_BAD_STEPS,
        ),
    ]


def _keeping_up() -> list[Any]:
    lag, scrape = f"{OWN}event_loop_lag_seconds", f"{OWN}scrape_duration_seconds"
    return [
        graph(
            "Event loop lag and scrapes, p99",
            "How late the process wakes up, and how long /metrics takes. Above 100 ms: too many calls for one core.",
            "s",
            Query(quantile(0.99, lag, INSTANCE), "loop lag"),
            Query(quantile(0.99, scrape, INSTANCE), "scrape"),
        ),
        ranking(
            "Label sets by metric",
            "Against metrics.max_series_per_metric (2000 unless set). The largest are the first to overflow.",
            "short",
            Query(f"topk(12, sum by (metric) (atoms_exporter_series{{{INSTANCE}}}))", "{{metric}}"),
        ),
        ranking(
            "Label sets over budget",
            "New ones in the time range: they share one series named __other__. Raise "
            "metrics.max_series_per_metric, or find the "
            "label that grows.",
            "short",
            Query(
                f"topk(12, {increase(f'{OWN}series_overflow_total', INSTANCE, 'metric', window=WHOLE)} > 0)",
                "{{metric}}",
            ),
            steps=ANY_IS_BAD_STEPS,
        ),
        graph(
            "Commits that failed per minute",
            "What is counted could not be kept: a full disk, or wrong permissions. Pages show what was last kept, for "
            "state.max_stale at most.",
            "short",
            Query(f"60 * {rate(f'{OWN}checkpoint_failures_total', INSTANCE, 'instance')}", "failed {{instance}}"),
            Query(f"1 - {OWN}state_up{{{INSTANCE}}}", "nothing is kept {{instance}}"),
            height=6,
            steps=ANY_IS_BAD_STEPS,
        ),
        graph(
            "CPU",
            "Cores in use. One process uses at most a little more than one.",
            "none",
            Query(f"rate(process_cpu_seconds_total{{{INSTANCE}}}[$__rate_interval]) {_OF_EXPORTERS}", "{{instance}}"),
            height=6,
        ),
        graph(
            "Memory",
            "Resident memory.",
            "bytes",
            Query(f"process_resident_memory_bytes{{{INSTANCE}}} {_OF_EXPORTERS}", "{{instance}}"),
            height=6,
        ),
        graph(
            "Keeping what is counted",
            "How long a commit takes, and how old what was last kept is. A scrape waits for one commit.",
            "s",
            Query(quantile(0.99, f"{OWN}state_commit_seconds", INSTANCE), "commit, p99"),
            Query(f"max by (instance) ({OWN}state_age_seconds{{{INSTANCE}}})", "age {{instance}}"),
            width=24,
            height=6,
        ),
    ]
