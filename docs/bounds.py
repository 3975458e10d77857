"""Everything that comes from outside, and its bound: the table in SECURITY.md, and what its test walks.

A row names the modules that read the input, so that a module which begins to read something has to say how much.
"""

from __future__ import annotations

from typing import NamedTuple

from exporter import descriptors, strict_yaml
from exporter.config import loading as configuration
from exporter.fleet import sharing
from exporter.network import codings, trust
from exporter.outputs.otlp import http as otlp
from exporter.outputs.otlp import settings as otlp_settings
from exporter.protocol import api, events, fields, labels
from exporter.receivers import (
    acknowledging,
    around,
    client,
    connection,
    deliveries,
    discovery,
    following,
    late,
    places,
    room,
    shares,
    turns,
    webhook,
)
from exporter.state import receipts
from exporter.web import app, passwords, sending, serving, tls

MOST_MEMORY_MIB = 512
"""Of the whole process under any one attack; tests/attack holds it to that."""


class Bound(NamedTuple):
    """One input. ``where``: paths of our port, of the API, or a word; ``read_in``: modules below ``exporter``;
    ``counted``: the word in atoms_exporter_bounds_hit_total, or another metric."""

    what: str
    where: tuple[str, ...]
    read_in: tuple[str, ...]
    size: str
    count: str
    time: str
    beyond: str
    counted: str


def _bytes(number: int) -> str:
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number % size == 0:
            return f"{number // size:,} {unit}"
    return f"{number:,} bytes"


def _seconds(number: float) -> str:
    return f"{number:g} s"


_WEB = serving.Limits()

BOUNDS: tuple[Bound, ...] = (
    Bound(
        "an event stream, as it comes",
        ("GET /events",),
        ("receivers/connection.py", "receivers/portable.py", "network/codings.py"),
        f"head {_bytes(connection.LONGEST_HEAD_BYTES)}; {_bytes(connection.SOCKET_BYTES)} in the system; "
        f"{_bytes(shares.SHARE_BYTES)} at once, the rest waits; all that wait {_bytes(shares.MOST_HELD_BYTES)}, of "
        f"those that only came late in a turn {_bytes(turns.MOST_LATE_BYTES)}",
        "`api.max_streams`, less what descriptors are reserved",
        f"{_seconds(shares.SLICE_SECONDS)} of a turn of the loop for one stream that has more, "
        f"{_seconds(turns.TURN_SECONDS)} of a turn for all that it reads; `api.idle_timeout`",
        f"it is read more slowly than it comes, and named in the log after {_seconds(shares.FLOOD_SECONDS)} of the "
        "loop's time; cut when too much waits",
        "`stream_share`, `stream_held`",
    ),
    Bound(
        "more calls than streams",
        ("GET /conversation",),
        (),
        "some hundred bytes a call",
        f"`api.max_streams`; {following.WITHOUT_A_STREAM} more are followed by their log; {places.LONGEST_LINE:,} wait "
        f"in line; of those that are over by then {following.LOOKED_UP:,} are looked up at once",
        "until a stream is free, or the call is over",
        'they are shown (`atoms_exporter_streams{state="pending"}`, the page, the log); what is behind the line is '
        "found again by a later look",
        "`streams`, `calls`",
    ),
    Bound(
        "calls found while a fleet's Redis is away",
        ("Redis",),
        (),
        "some hundred bytes a call",
        f"{sharing.MOST_WAITING:,}; results of analytics in the logs of {late.MOST_UNASKED:,}",
        "until Redis is back",
        "the oldest is forgotten, and the lists are read again from their beginning when Redis is back; the oldest "
        "results count as if no other replica had them",
        "`calls`",
    ),
    Bound(
        "the list of calls",
        ("GET /conversation",),
        (),
        "as its pages",
        f"{discovery.MOST_CALLS:,} calls or {discovery.MOST_PAGES:,} pages a look",
        f"{discovery.AT_ONCE} calls a turn of the loop",
        "what is behind them is not seen, and the log says so",
        "`listed`",
    ),
    Bound(
        "a stream or answer that comes compressed",
        ("Content-Encoding",),
        ("network/codings.py", "network/transport.py"),
        f"undone {_bytes(codings.PIECE_BYTES)} at a time, on the terms of what it becomes",
        "three codings one over the other",
        "as the stream or answer itself",
        "a coding other than gzip and deflate is refused",
        "`stream_coding`",
    ),
    Bound(
        "one event",
        ("data:",),
        (),
        f"1 MiB; names and ids {events.LONGEST_NAME} characters, as labels {labels.LONGEST_LABEL}",
        f"{events.MOST_RECORDS:,} records of `metrics`",
        "–",
        "dropped when too long; names cut; further records left out",
        "`atoms_exporter_events_rejected_total`, `atoms_exporter_samples_skipped_total`",
    ),
    Bound(
        "the identities of a call's events",
        ("event_id",),
        (),
        "8 bytes each, and half as much free",
        "what a stream of 1 MiB/s can bring until the call is over",
        "a look takes a few reads, whatever ids are chosen",
        "an event that came before counts once",
        "`atoms_exporter_events_duplicate_total`",
    ),
    Bound(
        "label sets",
        ("names",),
        (),
        f"{labels.LONGEST_LABEL} characters a label",
        "`metrics.max_series_per_metric`",
        "`metrics.series_ttl`",
        "folded into `__other__`",
        "`atoms_exporter_series_overflow_total`",
    ),
    Bound(
        "a page of a list, an agent, capacity",
        ("GET /conversation", "GET /agent", "GET /concurrency"),
        ("receivers/client.py", "network/transport.py"),
        f"{_bytes(client.MOST_OF_A_PAGE.body_bytes)} unpacked; texts 512 characters, call ids {api.LONGEST_CALL_ID}",
        f"{client.MOST_OF_A_PAGE.commas:,} items",
        "`api.request_timeout`",
        "the answer is none; asked again at pauses that grow",
        "`answer_bytes`",
    ),
    Bound(
        "a call's history",
        ("GET /conversation/{id}",),
        ("receivers/client.py", "network/transport.py"),
        f"{_bytes(client.MOST_OF_A_HISTORY.body_bytes)} unpacked; beyond {_bytes(room.LARGE_BYTES)} one at a time, "
        f"until it is counted; {_bytes(around.KEPT_LOG_BYTES)} of all that wait for the end of their calls",
        f"{client.MOST_OF_A_HISTORY.commas:,} items, {fields.MOST_FORGIVEN:,} where it is no JSON; "
        "`history.concurrency` at once until they are counted, "
        "`history.max_pending` waiting",
        f"`api.request_timeout` to read; taken {_seconds(shares.SLICE_SECONDS)} of a turn of the loop at a time",
        "not asked for again; the call is not reconciled: `lost`, unless one unbroken stream showed its end",
        "`answer_bytes`",
    ),
    Bound(
        "a webhook",
        ("POST /webhooks/atoms",),
        ("web/sending.py",),
        f"{_bytes(webhook.MAX_BODY_BYTES)}; all beyond {_bytes(sending.SMALL_BODY_BYTES)} together "
        f"{_bytes(sending.MOST_BODY_BYTES)}",
        f"{deliveries.LONGEST_QUEUE:,} waiting; {webhook.REMEMBERED:,} known again; results of "
        f"{acknowledging.MOST_UNKEPT:,} not kept yet, {acknowledging.MOST_ANSWERS} answers waiting for that; between "
        f"two commits made for answers {receipts.TIMES_AS_LONG} times as long as one takes, up to "
        f"{_seconds(receipts.LONGEST_PAUSE_SECONDS)}",
        f"{_seconds(app.SLOW_BODY_SECONDS)} to read, {_seconds(acknowledging.ANSWER_SECONDS)} to keep",
        "413, 408 or 503 (after results were taken: they count all the same, once); of a call older than "
        "`state.retention`: acknowledged, not counted",
        "`bodies`, `webhook_age`, `webhook_answers`, `atoms_exporter_webhooks_total`",
    ),
    Bound(
        "a wish to follow a call, to read the configuration again",
        ("POST /api/v1/calls", "POST /-/reload"),
        ("web/sending.py",),
        _bytes(app.MAX_API_BYTES),
        "one call a request, 128 characters",
        _seconds(app.SLOW_BODY_SECONDS),
        "413, 408 or 400",
        "–",
    ),
    Bound(
        "a client of our port",
        ("GET /", "GET /metrics", "GET /-/healthy", "GET /-/ready", "GET /api/v1/calls", "GET /calls/{call}"),
        ("web/door.py",),
        f"{serving.MOST_HEADERS} headers, {_bytes(serving.LONGEST_LINE_BYTES)} each",
        f"{descriptors.MOST_CLIENTS} connections, a quarter of the open files at most",
        f"handshake {_seconds(_WEB.handshake_seconds)}, first request {_seconds(_WEB.first_request_seconds)}, "
        f"idle {_seconds(_WEB.idle_seconds)}, a request {_seconds(_WEB.request_seconds)}",
        "the oldest idle connection makes room; what scraped stays longest",
        "`connections`",
    ),
    Bound(
        "a reader of a large page",
        ("GET /metrics",),
        (),
        f"{_bytes(sending.PIECE_BYTES)} in its socket; different pages {_bytes(sending.MOST_PAGE_BYTES)} together",
        f"{sending.MOST_READERS} readers; two forms of the page whatever `Accept` says; one selection of names at once",
        _seconds(_WEB.request_seconds),
        "who has been reading for the longest is let go",
        "`page_readers`",
    ),
    Bound(
        "a password",
        ("Authorization",),
        (),
        "72 bytes of it",
        f"{passwords.PLACES_PER_NETWORK} checks waiting for each network, together as many as are done in "
        f"{_seconds(passwords.LONGEST_WAIT_SECONDS)}, {passwords.MOST_PLACES} at most",
        f"{_seconds(passwords.LONGEST_WAIT_SECONDS)} of waiting",
        "503; who has guessed wrong comes after who has not",
        "`passwords`",
    ),
    Bound(
        "an answer of a trace or metrics backend",
        ("OTLP",),
        (),
        f"{_bytes(otlp.MOST_ANSWER_BYTES)} (gRPC: 4 MiB)",
        f"`traces.max_queue_spans` waiting ({otlp_settings.DEFAULT_MAX_QUEUE_SPANS:,})",
        "`traces.max_retry_age`",
        "newest kept",
        "`atoms_exporter_spans_dropped_total`, `atoms_exporter_export_failures_total`",
    ),
    Bound(
        "configuration and its secrets",
        ("files",),
        ("strict_yaml.py", "config/loading.py", "cli/checking.py"),
        f"{_bytes(strict_yaml.MAX_BYTES)}; a secret {_bytes(configuration.MAX_SECRET_BYTES)}",
        f"{strict_yaml.MAX_VALUES:,} values, aliases counted; {strict_yaml.MAX_DEPTH} levels",
        "at start, and when asked to read again",
        "exit code 2; while running what was before stays",
        "–",
    ),
    Bound(
        "certificates",
        ("files",),
        ("network/trust.py", "web/tls.py"),
        f"{_bytes(trust.MOST_BYTES)} for connections that go out, {_bytes(tls.MAX_PEM_BYTES)} for our port",
        "–",
        "when they change",
        "what was before stays, and the log says so",
        "–",
    ),
    Bound(
        "the state",
        ("files",),
        ("state/ahead.py", "state/holder.py", "state/opening.py", "state/sqlite.py"),
        "its own: what was counted, within the bounds above",
        "one writer",
        "`state.retention`",
        "a file that is not ours is refused; a damaged one is set aside",
        "`atoms_exporter_checkpoint_failures_total`",
    ),
    Bound(
        "recordings for `replay` and `explain`",
        ("files", "stdin"),
        ("offline/replay.py", "receivers/recordings.py", "cli/printing.py", "overview/overview.py"),
        "1 GiB as one document, any number of lines of 1 MiB",
        "–",
        "a command, not the running exporter",
        "what is no event is counted and skipped",
        "`atoms_exporter_events_rejected_total`",
    ),
    Bound(
        "the list of calls that `explain` asks the running exporter for",
        ("an answer to a command",),
        ("offline/traces.py",),
        "64 MiB a page",
        "1,000 pages of 5,000 calls, one after the other",
        "10 s a page",
        "exit code 1, with what to do",
        "–",
    ),
    Bound(
        "the environment",
        ("environment",),
        ("config/environment.py", "healthcheck.py", "outputs/otlp/signals.py"),
        "what the system allows",
        "open files divided at start: clients, reserve, streams",
        "read once",
        "exit code 2 with the variable's name; fewer streams than configured are said at start",
        "–",
    ),
    Bound(
        "names of hosts",
        ("DNS",),
        ("address.py", "network/addresses.py"),
        "what the system allows",
        "addresses tried one after another",
        "`api.connect_timeout`",
        "counted as a failure to connect",
        "`atoms_exporter_stream_failures_total`",
    ),
)
