"""Every metric, declared once, as data.

The registry, the exposition, the OTLP push, the table in the docs, the dashboards' tests: all read this list, and
nothing else defines a metric. Names and labels are public API: users' alerts hang on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import product

AGENT = ("agent_id", "agent_name")
NODE = (*AGENT, "node_id", "node_name")
PROCESSOR = (*NODE, "processor", "model")

LATENCY_BUCKETS = (0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0)
"""Seconds. 0.9 s and 2 s are where the vendor's "good" and "acceptable" end."""
PROCESSOR_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 4.0, 10.0)
DURATION_BUCKETS = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
TOKEN_BUCKETS = (16.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0, 131072.0)
VALUE_BUCKETS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 50.0, 100.0, 1000.0)
LAG_BUCKETS = (0.0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
STALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

CHANNELS = ("telephony_inbound", "telephony_outbound", "webcall", "chat", "unknown")
OUTCOMES = ("completed", "failed", "no_answer", "busy", "blocked", "cancelled", "lost")
EVENT_TYPES = (
    "sse_init", "sse_close", "call_start", "call_end", "call_cancelled", "user_interim_transcription",
    "user_transcription", "agent_node_state", "hopping", "llm_full_response_end", "tts_completed", "turn_latency",
    "metrics", "tool_call_start", "tool_call_end", "tool_call_error", "knowledgebase", "variable_extraction",
    "pre_call_api", "post_call_api", "agent_error", "agent_log", "call_recording", "other",
)  # fmt: skip
STREAM_STATES = ("pending", "connecting", "open", "waiting", "failing")
RECONNECT_REASONS = (
    "cut", "idle", "server_error", "rate_limited", "connect", "timeout", "unauthorized", "not_found", "content_type",
    "content_coding", "sse_close", "refused", "other",
)  # fmt: skip
FAILURE_STATUSES = (
    "400",
    "401",
    "403",
    "404",
    "429",
    "4xx",
    "5xx",
    "3xx",
    "connect",
    "timeout",
    "content_type",
    "content_coding",
    "other",
)
REJECT_REASONS = ("malformed_json", "not_an_object", "oversize", "wrong_call", "after_end", "other_ids")
SKIP_REASONS = (
    "initial_zero", "ambiguous_unit", "negative", "non_finite", "implausible", "missing", "wrong_type", "unreadable",
)  # fmt: skip
DISCOVERY_SOURCES = ("static", "poll", "ended", "webhook", "history", "agents", "api", "capacity")
DISCOVERY_OUTCOMES = ("ok", "error", "rate_limited", "unauthorized", "timeout", "not_found", "unreadable")
WEBHOOK_EVENTS = ("pre-conversation", "post-conversation", "analytics-completed", "other")
WEBHOOK_OUTCOMES = ("accepted", "duplicate", "elsewhere", "bad_signature", "malformed", "too_large", "unavailable")
DROP_REASONS = ("queue_full", "too_old", "permanent", "rejected", "shutdown")
SIGNALS = ("traces", "metrics")
EXPORT_REASONS = (
    "refused", "timeout", "rate_limited", "unavailable", "http_3xx", "http_4xx", "http_5xx", "not_otlp",
    "rejected", "other",
)  # fmt: skip

BOUNDS_HIT = (
    "stream_share", "stream_held", "stream_coding", "answer_bytes", "streams", "calls", "listed",
    "connections", "page_readers", "bodies", "passwords", "webhook_age", "webhook_answers",
)  # fmt: skip
"""What of the outside went beyond its bound; SECURITY.md says of each what the bound is and what happens then."""


GONE_REASONS = ("dead", "left")
"""Why a replica's calls went to others: its lease was over, or it said farewell."""

UNKNOWN_FIELDS = ("status",)
"""Fields in which a word may come that nobody knows; what it means is then told from what else is known."""


class Kind(StrEnum):
    """The Prometheus metric types in use."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class MetricSpec:
    """One metric.

    ``name`` is the full name of its samples without ``_bucket``/``_sum``/``_count``, for counters with ``_total``.
    ``closed`` gives, by label, every value the label can have: those series exist from the start, at 0.
    ``learnt`` marks what is there only when it is known: of what the API tells, before and long after it has; of a
    fleet, in a fleet.
    ``adjustable`` marks the histograms whose buckets follow ``metrics.latency_buckets``.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    unit: str = ""
    adjustable: bool = False
    learnt: bool = False
    closed: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """The Prometheus type's name."""
        return self.kind.value

    def initial(self) -> Iterator[tuple[str, ...]]:
        """The label values that exist from the start."""
        if set(self.closed) == set(self.labels) and not self.learnt:
            yield from product(*(self.closed[name] for name in self.labels))


def _latency(name: str, text: str, labels: tuple[str, ...]) -> MetricSpec:
    return MetricSpec(name, Kind.HISTOGRAM, text, labels, LATENCY_BUCKETS, "seconds", adjustable=True)


def _processor(name: str, text: str) -> MetricSpec:
    return MetricSpec(name, Kind.HISTOGRAM, text, PROCESSOR, PROCESSOR_BUCKETS, "seconds")


def _counter(name: str, text: str, labels: tuple[str, ...], unit: str = "", **closed: tuple[str, ...]) -> MetricSpec:
    return MetricSpec(name, Kind.COUNTER, text, labels, unit=unit, closed=closed)


def _duration(name: str, text: str, labels: tuple[str, ...]) -> MetricSpec:
    return MetricSpec(name, Kind.HISTOGRAM, text, labels, DURATION_BUCKETS, "seconds")


CALL_METRICS: tuple[MetricSpec, ...] = (
    _latency(
        "atoms_turn_latency_seconds",
        "From the caller's last word to the agent's first, by the node that answered.",
        (*NODE, "interrupted"),
    ),
    _latency(
        "atoms_turn_stage_latency_seconds",
        "What the stages of a turn took, what ran in it beside them, and the rest, which is unattributed.",
        (*NODE, "stage"),
    ),
    _latency("atoms_tts_latency_seconds", "Until text had become speech.", NODE),
    _processor("atoms_processor_latency_seconds", "Time to first byte or processing time of a pipeline processor."),
    _counter(
        "atoms_llm_tokens_total",
        "Tokens of language model requests; prompt (cached included), completion (reasoning included) and other, "
        "which a total has beyond them, sum to the usage.",
        (*PROCESSOR, "type"),
    ),
    _counter(
        "atoms_llm_token_details_total",
        "Parts of the token counts: cached, reasoning, audio. Never to be added to atoms_llm_tokens_total.",
        (*PROCESSOR, "detail"),
    ),
    MetricSpec(
        "atoms_llm_request_tokens",
        Kind.HISTOGRAM,
        "Tokens of one language model request.",
        (*PROCESSOR, "type"),
        TOKEN_BUCKETS,
    ),
    _counter("atoms_tts_characters_total", "Characters sent to a speech synthesiser.", PROCESSOR),
    _counter("atoms_stt_audio_seconds_total", "Audio sent to a transcriber.", PROCESSOR, unit="seconds"),
    _processor("atoms_tts_first_audio_seconds", "From a synthesis request to the first audible sample."),
    _processor("atoms_llm_first_answer_seconds", "From a model request to the first token of its answer."),
    _processor("atoms_end_of_turn_prediction_seconds", "How long it took to predict that the caller had finished."),
    _counter("atoms_user_turns_total", "Final transcriptions of what callers said.", NODE),
    _counter(
        "atoms_unanswered_turns_total",
        "Turns of callers that nobody answered within metrics.unanswered_after, or before the call ended.",
        NODE,
    ),
    _duration("atoms_dead_air_seconds", "Silences of both sides longer than metrics.dead_air_after.", NODE),
    _counter("atoms_words_total", "Words said; which, nobody keeps.", (*NODE, "speaker")),
    _counter("atoms_node_visits_total", "Visits to a workflow node.", NODE),
    _duration("atoms_node_duration_seconds", "How long one visit to a node lasted.", NODE),
    _counter(
        "atoms_node_hops_total",
        "Moves from one node to another.",
        (*AGENT, "from_node_id", "from_node_name", "to_node_id", "to_node_name"),
    ),
    _latency("atoms_hop_response_seconds", "From a hop to the first answer heard after it.", NODE),
    _counter("atoms_node_loops_total", "Hops back to the node that was left in the hop before.", NODE),
    _counter("atoms_tool_calls_total", "Tool calls.", (*NODE, "function")),
    _counter("atoms_tool_call_failures_total", "Tool calls that failed.", (*NODE, "function")),
    _latency("atoms_tool_call_latency_seconds", "How long a tool call took.", (*NODE, "function")),
    _counter("atoms_knowledgebase_queries_total", "Searches of a knowledge base.", NODE),
    _counter("atoms_knowledgebase_failures_total", "Searches of a knowledge base that failed.", NODE),
    _latency("atoms_knowledgebase_latency_seconds", "How long a search of a knowledge base took.", NODE),
    _counter("atoms_variable_extractions_total", "Extractions of variables from the conversation.", NODE),
    _counter("atoms_variable_extraction_failures_total", "Extractions of variables that failed.", NODE),
    _latency("atoms_variable_extraction_latency_seconds", "How long an extraction of variables took.", NODE),
    _counter("atoms_api_calls_total", "Calls of the customer's own API by the workflow.", (*NODE, "phase", "method")),
    _counter("atoms_api_call_failures_total", "Calls of the customer's API that failed.", (*NODE, "phase", "method")),
    _counter("atoms_agent_errors_total", "Errors an agent reported.", (*NODE, "code", "severity")),
    _counter(
        "atoms_agent_logs_total",
        "The customer's own events, by the names in metrics.agent_log_names.",
        (*NODE, "name", "severity"),
    ),
    _counter("atoms_node_exits_total", "Calls that ended in this node, by who or what ended them.", (*NODE, "reason")),
    _counter("atoms_calls_started_total", "Calls of which a first sign was seen.", (*AGENT, "channel")),
    _counter("atoms_calls_ended_total", "Calls that are over, by how they ended.", (*AGENT, "channel", "outcome")),
    _counter(
        "atoms_call_end_reasons_total",
        "Calls that are over, by who or what ended them.",
        (*AGENT, "channel", "reason"),
    ),
    _counter(
        "atoms_call_attempts_total", "Calls that are over, first attempts and retries.", (*AGENT, "channel", "attempt")
    ),
    _counter("atoms_call_cost_total", "What calls cost, in the API's own unit.", (*AGENT, "channel")),
    _duration(
        "atoms_call_setup_seconds",
        "From a call's creation to its connection: queueing and ringing.",
        (*AGENT, "channel"),
    ),
    _counter("atoms_test_calls_total", "Calls that the API marks as tests.", AGENT),
    MetricSpec(
        "atoms_agent_version_info",
        Kind.GAUGE,
        "The version of the agent's latest call.",
        (*AGENT, "version"),
    ),
    _counter("atoms_recordings_total", "What became of calls' recordings.", (*AGENT, "status")),
    _latency(
        "atoms_first_word_seconds",
        "From the connection to the first thing the agent said.",
        (*AGENT, "channel"),
    ),
    MetricSpec("atoms_calls_active", Kind.GAUGE, "Calls in progress.", AGENT),
    MetricSpec("atoms_calls_queued", Kind.GAUGE, "Calls that wait for a free place under the limit.", learnt=True),
    MetricSpec(
        "atoms_concurrency_limit",
        Kind.GAUGE,
        "Calls the account may have at once; beyond it callers are dropped without any event.",
        learnt=True,
    ),
    MetricSpec(
        "atoms_concurrency_reserved",
        Kind.GAUGE,
        "Calls at once that an agent has for itself.",
        (*AGENT, "channel"),
        learnt=True,
    ),
    MetricSpec(
        "atoms_concurrency_unreserved",
        Kind.GAUGE,
        "Calls at once that no agent has for itself: what all others share.",
        learnt=True,
    ),
    _duration("atoms_call_duration_seconds", "How long a call lasted.", (*AGENT, "channel")),
    _counter(
        "atoms_disposition_results_total",
        "Post-call analytics with a yes/no or listed value.",
        (*AGENT, "identifier", "value"),
    ),
    MetricSpec(
        "atoms_disposition_value",
        Kind.HISTOGRAM,
        "Post-call analytics with a number.",
        (*AGENT, "identifier"),
        VALUE_BUCKETS,
    ),
)
"""What callers experience."""

FLEET_METRICS: tuple[MetricSpec, ...] = (
    MetricSpec("atoms_exporter_fleet_members", Kind.GAUGE, "Replicas that hold a seat in the fleet.", learnt=True),
    MetricSpec("atoms_exporter_fleet_calls_owned", Kind.GAUGE, "Calls that are this replica's to follow.", learnt=True),
    MetricSpec(
        "atoms_exporter_fleet_calls_unowned",
        Kind.GAUGE,
        "Calls that nobody follows: found and not claimed yet, or left by a replica that is gone. The whole fleet's.",
        learnt=True,
    ),
    MetricSpec("atoms_exporter_fleet_poller", Kind.GAUGE, "1 for the replica that reads the API's lists.", learnt=True),
    MetricSpec(
        "atoms_exporter_fleet_takeovers_total",
        Kind.COUNTER,
        "Calls taken over from another replica, by why.",
        ("reason",),
        learnt=True,
        closed={"reason": GONE_REASONS},
    ),
    MetricSpec(
        "atoms_exporter_fleet_commits_refused_total",
        Kind.COUNTER,
        "Lives of this replica that ended because it was taken for dead, and what it counted was refused.",
        learnt=True,
    ),
    MetricSpec(
        "atoms_exporter_fleet_renewals_late_total",
        Kind.COUNTER,
        "Renewals of the lease that came later than two thirds of it after the one before.",
        learnt=True,
    ),
    MetricSpec(
        "atoms_exporter_fleet_renewal_seconds",
        Kind.HISTOGRAM,
        "How long Redis took to renew the lease.",
        (),
        STALL_BUCKETS,
        "seconds",
        learnt=True,
    ),
)
"""What a replica says about its fleet."""

SELF_METRICS: tuple[MetricSpec, ...] = (
    MetricSpec("atoms_exporter_build_info", Kind.GAUGE, "Version of the exporter; always 1.", ("version", "python")),
    MetricSpec("atoms_exporter_up", Kind.GAUGE, "1 when the list of calls could be read at its last look."),
    _counter("atoms_exporter_events_total", "Events counted, each once.", ("event_type",), event_type=EVENT_TYPES),
    _counter(
        "atoms_exporter_events_rejected_total",
        "Payloads that could not become an event of their call.",
        ("reason",),
        reason=REJECT_REASONS,
    ),
    _counter("atoms_exporter_events_duplicate_total", "Events that came again and were not counted again.", ()),
    _counter("atoms_exporter_events_recovered_total", "Events a stream missed, counted from the call's history.", ()),
    _counter(
        "atoms_exporter_samples_skipped_total",
        "Values that were not measurements, or not credible.",
        ("reason",),
        reason=SKIP_REASONS,
    ),
    MetricSpec(
        "atoms_exporter_event_lag_seconds",
        Kind.HISTOGRAM,
        "From an event's own timestamp to its arrival here; 0 where it arrived before it happened.",
        (),
        LAG_BUCKETS,
        "seconds",
    ),
    MetricSpec("atoms_exporter_streams", Kind.GAUGE, "Streams by state.", ("state",), closed={"state": STREAM_STATES}),
    _counter(
        "atoms_exporter_stream_reconnects_total",
        "Streams opened again, by why.",
        ("reason",),
        reason=RECONNECT_REASONS,
    ),
    _counter(
        "atoms_exporter_stream_failures_total",
        "Attempts to open a stream that failed, by answer.",
        ("status",),
        status=FAILURE_STATUSES,
    ),
    _counter(
        "atoms_exporter_discovery_requests_total",
        "Requests that look for calls and names.",
        ("source", "outcome"),
        source=DISCOVERY_SOURCES,
        outcome=DISCOVERY_OUTCOMES,
    ),
    _counter(
        "atoms_exporter_webhooks_total",
        "Webhook deliveries.",
        ("event", "outcome"),
        event=WEBHOOK_EVENTS,
        outcome=WEBHOOK_OUTCOMES,
    ),
    _counter(
        "atoms_exporter_bounds_hit_total",
        "Times that something from outside went beyond its bound and was cut, held back or turned away.",
        ("what",),
        what=BOUNDS_HIT,
    ),
    _counter(
        "atoms_exporter_unknown_values_total",
        "Words nobody knows where the API chooses from a list; the log names each once.",
        ("field",),
        field=UNKNOWN_FIELDS,
    ),
    _counter("atoms_exporter_checkpoint_failures_total", "Commits to the state file that failed.", ()),
    MetricSpec(
        "atoms_exporter_state_up",
        Kind.GAUGE,
        "1 when what is counted could be kept at the last try; absent where nothing is kept.",
        learnt=True,
    ),
    MetricSpec(
        "atoms_exporter_state_age_seconds",
        Kind.GAUGE,
        "Since what is counted was last kept; absent where nothing is kept.",
        unit="seconds",
        learnt=True,
    ),
    MetricSpec(
        "atoms_exporter_state_commit_seconds",
        Kind.HISTOGRAM,
        "How long it took to keep what was counted.",
        (),
        STALL_BUCKETS,
        "seconds",
    ),
    *FLEET_METRICS,
    MetricSpec("atoms_exporter_series", Kind.GAUGE, "Label sets a metric holds.", ("metric",)),
    _counter("atoms_exporter_series_overflow_total", "Label sets over budget, folded into __other__.", ("metric",)),
    _counter("atoms_exporter_spans_exported_total", "Spans a backend accepted.", ()),
    _counter("atoms_exporter_spans_dropped_total", "Spans given up, by why.", ("reason",), reason=DROP_REASONS),
    MetricSpec("atoms_exporter_span_queue", Kind.GAUGE, "Spans waiting to be exported."),
    _counter(
        "atoms_exporter_export_failures_total",
        "OTLP requests that failed.",
        ("signal", "reason"),
        signal=SIGNALS,
        reason=EXPORT_REASONS,
    ),
    MetricSpec(
        "atoms_exporter_event_loop_lag_seconds",
        Kind.HISTOGRAM,
        "How late the event loop woke up.",
        (),
        STALL_BUCKETS,
        "seconds",
    ),
    MetricSpec(
        "atoms_exporter_scrape_duration_seconds",
        Kind.HISTOGRAM,
        "How long it took to render /metrics.",
        (),
        STALL_BUCKETS,
        "seconds",
    ),
)
"""What the exporter says about itself."""

NOT_KEPT = frozenset({"atoms_exporter_checkpoint_failures_total"})
"""Counters that begin at 0 in each life: what says that nothing can be kept must be seen meanwhile."""

CATALOGUE: tuple[MetricSpec, ...] = CALL_METRICS + SELF_METRICS

VERSIONED = frozenset(
    (
        "atoms_turn_latency_seconds",
        "atoms_calls_started_total",
        "atoms_calls_ended_total",
        "atoms_agent_errors_total",
    )
)
"""Metrics that ``metrics.version_label`` gives the label ``version``, the last of all."""


def catalogue(*, version_label: bool = False) -> tuple[MetricSpec, ...]:
    """All metrics as this process has them."""
    if not version_label:
        return CATALOGUE
    return tuple(
        replace(spec, labels=(*spec.labels, "version")) if spec.name in VERSIONED else spec for spec in CATALOGUE
    )
