"""The configuration tree: every key, its kind, its default, and what it means to an operator.

Durations are float seconds once read. The tree is frozen; secrets are masked in ``repr``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr

from exporter.address import ListenAddress
from exporter.config.alerts import Alerts
from exporter.config.fleet import Fleet
from exporter.config.places import AUTO, File, Listen, UpstreamUrl, WebPath
from exporter.config.prices import PricesByModel
from exporter.config.section import Section
from exporter.config.types import (
    Amount,
    Bounds,
    Choice,
    Duration,
    LabelsByName,
    Secrets,
    Switch,
    Text,
    Texts,
    TextsByName,
)
from exporter.outputs.prometheus.groups import GROUPS

__all__ = ["Alerts", "Api", "Config", "Discovery", "Fleet", "History", "Log", "Metrics", "Poll", "Section", "SloEntry"]
__all__ += ["State", "Traces", "Units", "Web", "Webhook"]

_CALL_ID = Text(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", "must be a call id such as CALL-1758124225863-80752e")
_ID = Text(r"[^\s,/?#&%\x00-\x1f\x7f]{1,200}", "must be an id without spaces, commas or slashes")
_CALL_TYPES = ("telephony_inbound", "telephony_outbound", "webcall", "chat")
_STATUSES = ("pending", "in_progress", "in_queue", "processing", "active", "completed", "failed", "no_answer")
_LATENCY_BUCKETS = (0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15)

Timeout = Annotated[float, BeforeValidator(Duration(0.001, 86_400))]
Span = Annotated[float, BeforeValidator(Duration(0, 10 * 365 * 86_400))]
OnOff = Annotated[bool, BeforeValidator(Switch())]
Ids = Annotated[tuple[str, ...], BeforeValidator(Texts(_ID))]
Names = Annotated[tuple[str, ...], BeforeValidator(Texts(Text()))]
OptionalFile = Annotated[Path | None, BeforeValidator(File())]
Secret = Annotated[SecretStr | None, BeforeValidator(Secrets())]
SecretList = Annotated[SecretStr | None, BeforeValidator(Secrets(several=True))]
UnitWord = Annotated[Literal["auto", "s", "ms"], BeforeValidator(Choice(("auto", "s", "ms")))]


def Count(at_least: int, at_most: int) -> Any:
    """A whole number between two bounds, both included."""
    return BeforeValidator(Amount(at_least, at_most))


class Api(Section):
    """The Atoms API and the streams held open to it."""

    base_url: Annotated[str, BeforeValidator(UpstreamUrl())] = Field(
        "https://api.smallest.ai/atoms/v1", description="root of the Atoms API"
    )
    api_key: Secret = Field(None, description="bearer token")
    api_key_file: OptionalFile = Field(None, description="file that holds the bearer token")
    connect_timeout: Timeout = Field(5.0, description="longest wait for a connection")
    request_timeout: Timeout = Field(30.0, description="longest wait for an answer that is not a stream")
    idle_timeout: Timeout = Field(60.0, description="silence on a stream after which it is opened again")
    call_idle_timeout: Timeout = Field(
        900.0, description="time without any event after which a call counts as over, its end unseen"
    )
    max_streams: Annotated[int, Count(1, 100_000)] = Field(4_000, description="streams open at once")
    connect_concurrency: Annotated[int, Count(1, 10_000)] = Field(50, description="streams being opened at once")


class Poll(Section):
    """Finding calls by asking ``GET /conversation``."""

    enabled: OnOff = Field(True, description="ask the API which calls are live")
    interval: Annotated[float, BeforeValidator(Duration(1, 3_600))] = Field(10.0, description="time between two polls")
    limit: Annotated[int, Count(1, 500)] = Field(100, description="calls per page; the API allows 500")
    statuses: Annotated[tuple[str, ...], BeforeValidator(Texts(Choice((*_STATUSES, "cancelled")), at_least=1))] = Field(
        ("active", "in_progress"), description="only calls in these states"
    )
    ended: OnOff = Field(
        True, description="look at calls that are over, too: one that begins and ends between two polls is not missed"
    )
    agent_ids: Ids = Field((), description="only calls of these agents; empty means all")
    call_types: Annotated[tuple[str, ...], BeforeValidator(Texts(Choice(_CALL_TYPES)))] = Field(
        (), description="only calls of these types; empty means all"
    )


class Webhook(Section):
    """Finding calls by being told: the webhook endpoint."""

    path: Annotated[str, BeforeValidator(WebPath())] = Field("/webhooks/atoms", description="path of the endpoint")
    secret: SecretList = Field(None, description="signing secret; several, comma-separated, while rotating")
    secret_file: OptionalFile = Field(None, description="file that holds the signing secret")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret a signature may be made with; empty when the webhook is off."""
        written = self.secret.get_secret_value() if self.secret else ""
        return tuple(piece.strip() for piece in written.split(",") if piece.strip())


class Discovery(Section):
    """Which calls are followed."""

    calls: Annotated[tuple[str, ...], BeforeValidator(Texts(_CALL_ID))] = Field(
        (), description="calls to follow from the start"
    )
    test_calls: OnOff = Field(
        True,
        description="follow calls that the API marks as tests; `false` leaves them alone, at the cost of a look "
        "at the log of each call that no list has told of",
    )
    poll: Poll = Poll()
    webhook: Webhook = Webhook()


class Capacity(Section):
    """How close the account is to its limit of calls at once."""

    enabled: OnOff = Field(True, description="ask the API for the limit and the length of the queue")
    interval: Annotated[float, BeforeValidator(Duration(10, 3_600))] = Field(60.0, description="time between two looks")


class History(Section):
    """Fetching a finished call again, for what its stream missed."""

    enabled: OnOff = Field(True, description="compare every ended call with the vendor's event list")
    concurrency: Annotated[int, Count(1, 100)] = Field(
        8, description="calls fetched at once; one fewer while the API answers one of them 429"
    )
    attempts: Annotated[int, Count(1, 100)] = Field(
        6, description="looks at the log of an ended call that is not final yet, before the call is taken as it is"
    )
    patience: Annotated[float, BeforeValidator(Duration(0, 86_400))] = Field(
        300.0, description="how long an ended call waits for a log that cannot be had"
    )
    delay: Annotated[float, BeforeValidator(Duration(0, 3_600))] = Field(
        2.0, description="wait after a call's end before the first try"
    )
    analytics_delay: Annotated[float, BeforeValidator(Duration(0, 3_600))] = Field(
        60.0,
        description="when the log of an ended call is looked at once more, for post-call analytics that come late: of "
        "agents that have such; 0: never",
    )
    max_pending: Annotated[int, Count(1, 1_000_000)] = Field(10_000, description="ended calls waiting to be fetched")


class Units(Section):
    """What the API's numbers mean where it does not say."""

    turn_latency: UnitWord = Field("auto", description="unit of `turn_latency`")
    tts_latency: UnitWord = Field("auto", description="unit of `tts_latency`")
    processor: UnitWord = Field("auto", description="unit of every number of a processor in `metrics` events")


class Metrics(Section):
    """What is counted, and how finely."""

    latency_buckets: Annotated[tuple[float, ...], BeforeValidator(Bounds())] = Field(
        _LATENCY_BUCKETS, description="bucket bounds of the latency histograms, in seconds, ascending"
    )
    max_series_per_metric: Annotated[int, Count(10, 1_000_000)] = Field(
        2_000, description="label sets per metric; what comes after folds into `__other__`"
    )
    series_ttl: Span = Field(
        0.0, description="label sets not touched for so long leave the page until they go on; 0s keeps them there"
    )
    created_timestamps: OnOff = Field(
        False, description="write `_created` in OpenMetrics: when each counter and histogram began"
    )
    units: Units = Units()
    disposition_values: Annotated[Mapping[str, tuple[str, ...]], BeforeValidator(TextsByName())] = Field(
        default_factory=dict, description="text dispositions that may become labels: identifier to its values"
    )
    unanswered_after: Annotated[float, BeforeValidator(Duration(1, 600))] = Field(
        10.0, description="a caller who waits so long for an answer counts as not answered"
    )
    dead_air_after: Annotated[float, BeforeValidator(Duration(1, 600))] = Field(
        5.0, description="a silence of both sides longer than this counts as dead air"
    )
    agent_log_names: Annotated[tuple[str, ...], BeforeValidator(Texts())] = Field(
        (), description="names of your own `agent_log` events that may become labels; every other is `other`"
    )
    version_label: OnOff = Field(
        False, description="label `version` on turns, calls and errors: the agent's, by the API's own number"
    )
    disable: Annotated[tuple[str, ...], BeforeValidator(Texts(Choice(tuple(GROUPS))))] = Field(
        (), description="groups of metrics that are switched off, such as `stages, processors, words`; docs/metrics.md"
    )


class Traces(Section):
    """What goes into spans, and how long it is kept for a backend that is away."""

    capture_content: OnOff = Field(False, description="put transcripts, arguments and variables into spans")
    max_queue_spans: Annotated[int, Count(100, 10_000_000)] = Field(
        20_000, description="spans kept while the backend is away; the oldest go first"
    )
    max_retry_age: Annotated[float, BeforeValidator(Duration(1, 7 * 86_400))] = Field(
        3_600.0, description="spans older than this are given up"
    )


class State(Section):
    """What survives a restart."""

    path: OptionalFile = Field(
        AUTO,
        description="file (SQLite) in which counters survive; `auto`: one for each account in `$STATE_DIRECTORY`, else "
        "`$XDG_STATE_HOME/atoms-exporter`, else `~/.local/state/atoms-exporter`; empty keeps nothing",
    )
    checkpoint_interval: Annotated[float, BeforeValidator(Duration(0.1, 3_600))] = Field(
        5.0, description="how often what is counted is kept while nobody scrapes"
    )
    max_stale: Annotated[float, BeforeValidator(Duration(0, 86_400))] = Field(
        300.0, description="how long pages show what was last kept while nothing can be; then they go ahead of it"
    )
    retention: Annotated[float, BeforeValidator(Duration(60, 365 * 86_400))] = Field(
        7 * 86_400.0, description="how long ended calls are remembered"
    )


class SloEntry(Section):
    """One service level objective, as `rules` and the dashboards know it."""

    name: Annotated[str, BeforeValidator(Text(at_most=63))]
    metric: Annotated[str, BeforeValidator(Text(at_most=63))] = "turn_latency"
    threshold: Annotated[float | None, BeforeValidator(Duration())] = None
    objective: Annotated[float, BeforeValidator(Amount(0, 1, fractions=True, open_ends=True))]
    window: Annotated[float, BeforeValidator(Duration(60, 365 * 86_400))] = 30 * 86_400.0
    agent_ids: Ids = ()
    agent_names: Names = ()
    node_ids: Ids = ()
    node_names: Names = ()
    by: Annotated[tuple[str, ...], BeforeValidator(Texts(Text()))] = ("agent_id", "agent_name")
    minimum_events: Annotated[int, Count(1, 1_000_000)] = 10
    minimum_calls: Annotated[int, Count(1, 1_000_000)] = 3
    labels: Annotated[Mapping[str, str], BeforeValidator(LabelsByName())] = Field(default_factory=dict)


class Web(Section):
    """Our own web server."""

    listen_address: Annotated[ListenAddress, BeforeValidator(Listen())] = Field(
        ListenAddress("", 9464), description="where to listen, host:port; no host means every interface"
    )
    config_file: OptionalFile = Field(
        None, description="Prometheus web configuration file: TLS, basic authentication, headers"
    )
    allow_unauthenticated_api: OnOff = Field(
        False, description="let anyone who reaches the port make the exporter follow a call"
    )
    enable_lifecycle: OnOff = Field(
        False, description="let anyone who reaches the port have the configuration read again (`POST /-/reload`)"
    )


class Log(Section):
    """What is written to stderr."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(Choice(("debug", "info", "warning", "error")))
    ] = Field("info", description="least severity that is written")
    format: Annotated[Literal["logfmt", "json"], BeforeValidator(Choice(("logfmt", "json")))] = Field(
        "logfmt", description="one line per entry, as logfmt or JSON"
    )


class Config(Section):
    """Everything an operator can decide, read and checked."""

    api: Api = Api()
    discovery: Discovery = Discovery()
    capacity: Capacity = Capacity()
    history: History = History()
    metrics: Metrics = Metrics()
    traces: Traces = Traces()
    state: State = State()
    fleet: Fleet = Fleet()
    slo: tuple[SloEntry, ...] = Field(
        (
            SloEntry(name="turn-latency-2s", threshold=2.0, objective=0.95),
            SloEntry(name="turn-latency-4s", threshold=4.0, objective=0.99),
        ),
        description="service level objectives",
    )
    alerts: Alerts = Alerts()
    prices: Annotated[Mapping[str, Mapping[str, float]], BeforeValidator(PricesByModel())] = Field(
        default_factory=dict,
        description="dollars per million tokens for the estimate of cost, written by `rules`: "
        "`{gpt-4.1: {prompt: 2, cached: 0.5, completion: 8}}`; others cost what is typed on the dashboard",
    )
    web: Web = Web()
    log: Log = Log()
    shutdown_timeout: Annotated[float, BeforeValidator(Duration(0, 3_600))] = Field(
        25.0, description="longest time from SIGTERM to the end, flushing included"
    )
