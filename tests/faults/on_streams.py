"""The faults of streams, requests, frames and deliveries."""

from __future__ import annotations

from tests.faults.suite import Case, at_most_connections, counted, every, exactly, said, streams, struck

_SOON = {"api.idle_timeout": "1s"}
RECONNECTS = "atoms_exporter_stream_reconnects_total"
FAILURES = "atoms_exporter_stream_failures_total"
RECOVERED = "atoms_exporter_events_recovered_total"
DUPLICATE = "atoms_exporter_events_duplicate_total"
REJECTED = "atoms_exporter_events_rejected_total"

EVERY_FAULT = (
    "drop=0.15,replay=0.15,gap=0.15,silence=0.1:seconds=60,half_open=0.1,mute=0.1,no_close=0.2,server_error=0.1,"
    "rate_limited=0.1:seconds=1:on=any,html=0.05,duplicate=0.1,reorder=0.1,noise=0.1,malformed=0.01,nan=0.01,"
    "over_before_connect=0.1,no_call_end=0.2,clock_skew=0.2,unknown_event=0.1,negative_latency=0.1,"
    "never_opens=0.03,refused=0.05:seconds=4,late=0.03:seconds=2,error_frames=0.05:seconds=2,heartbeats=0.05,"
    "log_away=0.05:seconds=4,strict_filter=1,webhook_premature=0.1,"
    "webhook_duplicate=0.2,webhook_reorder=0.2,webhook_bad_signature=0.2"
)
"""Everything that leaves the attribution to nodes as it is."""

CASES: tuple[Case, ...] = (
    streams("nothing", "no fault", ""),
    streams(
        "drop",
        "connection cut in the middle of a frame",
        "drop=0.6",
        check=every(struck("drop", least=5), counted(RECONNECTS, reason="cut"), counted(RECOVERED)),
    ),
    streams(
        "replay",
        "everything replayed from the start after a reconnect",
        "replay=0.6",
        check=every(struck("replay", least=5), counted(DUPLICATE, 100)),
    ),
    streams(
        "gap",
        "gap: what happens until the client is back is lost to the stream",
        "gap=0.7",
        check=every(struck("gap", least=5), counted(RECOVERED, 10)),
    ),
    streams(
        "server_error",
        "bursts of 500, on every endpoint",
        "server_error=0.15:burst=3:on=any",
        check=every(struck("server_error", least=5), counted(FAILURES, status="5xx")),
    ),
    streams(
        "rate_limited",
        "429 with Retry-After, on every endpoint",
        "rate_limited=0.25:seconds=1:on=any",
        check=every(struck("rate_limited", least=5), counted(FAILURES, status="429")),
    ),
    streams(
        "refusals",
        "401, 404 and HTML pages where streams should be",
        "unauthorized=0.15,not_found=0.15,html=0.2",
        check=every(struck("unauthorized", "not_found", "html"), counted(FAILURES, status="content_type")),
    ),
    streams(
        "silence",
        "silence beyond the idle timeout",
        "silence=0.6:seconds=60",
        settings=_SOON,
        check=every(struck("silence", least=5), counted(RECONNECTS, reason="idle")),
    ),
    streams(
        "half_open",
        "half-open TCP: nothing comes any more, no close either",
        "half_open=0.6",
        settings=_SOON,
        check=every(struck("half_open", least=5), counted(RECONNECTS, reason="idle")),
    ),
    streams(
        "mute",
        "connections accepted and never answered",
        "mute=0.4",
        settings=_SOON,
        check=every(struck("mute", least=3), counted(FAILURES, status="timeout")),
    ),
    streams(
        "no_call_end",
        "sse_close without call_end",
        "no_call_end=1",
        check=every(counted("atoms_calls_ended_total", 20)),
    ),
    streams(
        "no_close",
        "never any close: neither sse_close nor the end of the connection",
        "no_close=1,no_call_end=0.5",
        settings=_SOON,
        check=every(struck("no_close", least=20)),
    ),
    streams(
        "never_ends",
        "calls that never end",
        "never_ends=0.3",
        settings={"api.idle_timeout": "1s", "api.call_idle_timeout": "4s", "history.attempts": "2"},
        check=every(counted("atoms_calls_ended_total", outcome="lost")),
    ),
    streams(
        "over_before_connect",
        "listed as active, over before the first connection",
        "over_before_connect=0.6",
        busy=False,
        check=every(struck("over_before_connect", least=5), counted(RECOVERED, 100)),
    ),
    streams(
        "duplicates_and_reorder",
        "duplicate and reordered frames",
        "duplicate=0.2,reorder=0.2",
        check=every(struck("duplicate", "reorder", least=100), counted(DUPLICATE, 100)),
    ),
    streams(
        "reorder_hops",
        "frames reordered across hops (sums over nodes)",
        "reorder_hops=0.3",
        places=False,
        check=struck("reorder_hops", least=100),
    ),
    streams(
        "garbage",
        "cut JSON, NaN, 2 MB events, unknown types, negative latencies, every form of SSE",
        "malformed=0.02,nan=0.1,oversize=0.002,noise=0.2,unknown_event=0.2,negative_latency=0.2",
        check=every(
            struck("malformed", "nan", "oversize", "noise", "unknown_event", "negative_latency"),
            exactly(REJECTED, lambda ledger: ledger["garbage"]["malformed"], reason="malformed_json"),
            exactly(REJECTED, lambda ledger: ledger["garbage"]["oversize"], reason="oversize"),
        ),
    ),
    streams(
        "racing",
        "webhooks (duplicate, late, forged) and polling race",
        "webhook_duplicate=0.5,webhook_reorder=0.3,webhook_bad_signature=0.3",
        check=every(
            struck("webhook_duplicate", "webhook_reorder", "webhook_bad_signature"),
            exactly(
                "atoms_exporter_webhooks_total", lambda ledger: ledger["webhooks"]["forged"], outcome="bad_signature"
            ),
            exactly(
                "atoms_exporter_webhooks_total",
                lambda ledger: ledger["faults"]["webhook_duplicate"],
                outcome="duplicate",
            ),
            lambda outcome, page, here: outcome.expect(
                all(call["connections"] <= 1 for call in here.ledger["calls"].values()), "a call was followed twice"
            ),
        ),
    ),
    streams(
        "clock_ahead",
        "clock skew: five hours ahead, createdAt, too",
        "clock_skew=0.7:hours=5,gap=0.3",
        check=struck("clock_skew"),
    ),
    streams(
        "clock_behind",
        "clock skew: five hours behind, createdAt, too",
        "clock_skew=0.7:hours=-5,gap=0.3",
        check=struck("clock_skew"),
    ),
    streams(
        "never_opens",
        "streams that never open: 204, 301, 500, JSON, HTML; room for two at a time",
        "never_opens=0.5,no_call_end=0.5",
        settings={"api.max_streams": "2"},
        busy=False,
        check=struck("never_opens", least=4),
        speed=8.0,
    ),
    streams(
        "refused",
        "cut in the middle, then refused for 15 s by 400, 403, 404, 410, while the log says that the call goes on",
        "refused=0.9:after=20:seconds=15",
        check=every(
            struck("refused", least=5), counted(RECONNECTS, reason="refused"), said("a call is followed again")
        ),
        speed=2.5,
        calls=8,
        total_calls=8,
    ),
    streams(
        "guide",
        "the 2025 guide: sse_close is the only end, and the call is played again at each reconnect",
        "no_call_end=1",
        settles_within=20,
        check=every(at_most_connections(4)),
        dialect="2025",
        reconnect="replay",
        linger_seconds=1e6,
    ),
    streams(
        "heartbeats",
        "heartbeats without end on a call that is over: comments, frames, frames with a changing field",
        "heartbeats=1,no_call_end=1",
        settles_within=30,
        webhooks=False,
        busy=False,
        check=every(struck("heartbeats", least=10)),
    ),
    streams(
        "late",
        "neither log nor stream for the first seven seconds (404), then both",
        "late=0.7:seconds=8",
        check=every(struck("late", least=3), counted(FAILURES, status="404")),
        speed=4.0,
        calls=8,
        total_calls=8,
    ),
    streams(
        "premature",
        "post-conversation webhooks while the call goes on",
        "webhook_premature=0.8",
        check=every(struck("webhook_premature", least=5)),
        speed=4.0,
        calls=8,
        total_calls=8,
    ),
    streams(
        "error_frames",
        "200 with one frame that is no event, and the end, again and again",
        "error_frames=0.7",
        check=every(struck("error_frames", least=5), at_most_connections(8)),
        speed=4.0,
        calls=8,
        total_calls=8,
    ),
    streams(
        "strange_status",
        "a final status nobody knows",
        "strange_status=0.6,gap=0.3",
        webhooks=False,
        busy=False,
        speed=6.0,
        calls=8,
        total_calls=8,
        check=every(
            struck("strange_status", least=3),
            counted("atoms_exporter_unknown_values_total", 3, field="status"),
            said("a call has a status nobody knows", times=1),
        ),
    ),
    streams(
        "log_away",
        "no call log (503) for the first 25 s after a call's end",
        "log_away=0.7:seconds=25,gap=0.3",
        check=every(struck("log_away", least=5)),
    ),
    streams(
        "slow_log",
        "the call log takes 8 s to answer now and then, and the call ends while what a gap has lost is on its way",
        "gap=1,slow=0.5:seconds=8:on=conversation",
        speed=5.0,
        calls=20,
        total_calls=20,
        ramp_seconds=3.0,
        check=every(struck("gap", "slow", least=5)),
    ),
    streams(
        "ids",
        "gaps where frames carry ids, and no history at all: Last-Event-ID",
        "ids=1,gap=1:after=8:times=4,no_history=1",
        check=every(struck("ids", "gap", least=4)),
        speed=4.0,
        calls=4,
        total_calls=4,
        ramp_seconds=2.0,
    ),
    streams(
        "suffering",
        "slow tools, mute agents, dead air, the customer's own events, recordings that fail, a new version; gaps, "
        "reordered and duplicate frames",
        "slow_tool=1:word=*:factor=12,silent_agent=0.1,no_greeting=0.2,dead_air=0.1,broken_end=0.2,dear=0.3,"
        "custom_event=0.3,recording_failure=0.4,"
        "new_version=0.4,agent_error=0.1,gap=0.4,reorder=0.1,duplicate=0.1",
        settings={"metrics.agent_log_names": "escalated,consent"},
        log_names=("escalated", "consent"),
        check=every(
            struck("gap", "reorder", "duplicate"),
            counted("atoms_unanswered_turns_total"),
            counted("atoms_dead_air_seconds_count", 5),
            counted("atoms_agent_logs_total", name="escalated"),
            counted("atoms_recordings_total", status="failed"),
            counted("atoms_turn_stage_latency_seconds_sum", 10, stage="tool"),
            counted("atoms_turn_stage_latency_seconds_count", stage="knowledgebase"),
            counted("atoms_turn_stage_latency_seconds_count", stage="variable_extraction"),
            counted("atoms_turn_stage_latency_seconds_count", stage="api_call"),
        ),
    ),
)

EVERYTHING = streams(
    "everything",
    "all of these at once",
    EVERY_FAULT,
    settings=_SOON,
    busy=False,
    calls=16,
    total_calls=48,
    check=struck("drop", "replay", "gap", "half_open", "duplicate", "over_before_connect"),
)
