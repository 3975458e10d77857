"""What a service level objective is, which indicators exist, and which definitions are refused."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from exporter.errors import ConfigError

from .promql import DAY, HOUR, MINUTE, duration, number

BY_AGENT = ("agent_id", "agent_name")
BY_NODE = (*BY_AGENT, "node_id", "node_name")

SHORTEST_WINDOW_SECONDS = 6 * DAY
LONGEST_WINDOW_SECONDS = 90 * DAY
_STANDARD_WINDOW_SECONDS = 30 * DAY
_LONGEST_LATENCY_SECONDS = 120.0
"""Longer latencies are implausible and never observed, so nothing could be slower than such a threshold."""

SHORTEST_RATE_SECONDS = 5 * MINUTE
"""A rate over less hangs on single scrapes."""

_BAD_EVENTS_THAT_MEAN_SOMETHING = 3
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OUR_LABELS = frozenset({*BY_NODE, "slo", "window", "range", "short_window", "indicator", "loosest", "severity"})
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Indicator:
    """What an objective counts: all events, and which of them were good (a bucket) or bad (a counter)."""

    events: str
    """What one event is called, in the plural."""
    total: str
    total_matchers: tuple[str, ...] = ()
    buckets: str | None = None
    failures: str | None = None
    failure_matchers: tuple[str, ...] = ()
    labels: tuple[str, ...] = BY_NODE
    fixed_bounds: tuple[float, ...] = ()
    """The buckets there are, for histograms that take no others; empty where a threshold becomes a bucket."""

    @property
    def has_nodes(self) -> bool:
        return "node_id" in self.labels


_PROCESSOR_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 4.0, 10.0)


def _latency(metric: str, events: str, *matchers: str, bounds: tuple[float, ...] = ()) -> Indicator:
    return Indicator(events, f"{metric}_count", matchers, buckets=f"{metric}_bucket", fixed_bounds=bounds)


INDICATORS: Mapping[str, Indicator] = MappingProxyType(
    {
        "turn_latency": _latency("atoms_turn_latency_seconds", "turns", 'interrupted="false"'),
        "tts_latency": _latency("atoms_tts_latency_seconds", "utterances"),
        "tts_first_audio": _latency("atoms_tts_first_audio_seconds", "utterances", bounds=_PROCESSOR_BOUNDS),
        "llm_first_answer": _latency("atoms_llm_first_answer_seconds", "answers", bounds=_PROCESSOR_BOUNDS),
        "hop_response": _latency("atoms_hop_response_seconds", "hops"),
        "tool_call_latency": _latency("atoms_tool_call_latency_seconds", "tool calls"),
        "tool_call_success": Indicator(
            "tool calls", "atoms_tool_calls_total", failures="atoms_tool_call_failures_total"
        ),
        "call_success": Indicator(
            "calls",
            "atoms_calls_ended_total",
            ('outcome=~"completed|failed"',),
            failures="atoms_calls_ended_total",
            failure_matchers=('outcome="failed"',),
            labels=BY_AGENT,
        ),
    }
)
"""Indicators by the name the configuration uses.

An interrupted turn has no latency the caller waited for; a call that nobody answered did not fail.
"""


@dataclass(frozen=True, slots=True)
class BurnRate:
    """One pair of windows: alert when the budget burns ``factor`` times too fast over the long one.

    The short one takes the alert back as soon as it has seen enough good events; what is too thin to say that the
    trouble is over cannot end it. Windows are those of a 30 day objective; for others they scale with it, so the
    share of the budget that is gone when the alert fires stays the same. ``keep_seconds`` is how long it goes on
    after its condition: an alert that comes and goes wakes people again and again.
    """

    factor: float
    long_seconds: float
    short_seconds: float
    for_seconds: float
    severity: str
    keep_seconds: float = 15 * MINUTE


STANDARD_BURN_RATES = (
    BurnRate(14.4, 1 * HOUR, 5 * MINUTE, 2 * MINUTE, "critical", 15 * MINUTE),
    BurnRate(6, 6 * HOUR, 30 * MINUTE, 15 * MINUTE, "critical", 30 * MINUTE),
    BurnRate(3, 1 * DAY, 2 * HOUR, 1 * HOUR, "warning", 1 * HOUR),
    BurnRate(1, 3 * DAY, 6 * HOUR, 3 * HOUR, "warning", 1 * HOUR),
)


@dataclass(frozen=True, slots=True)
class Objective:
    """``objective`` of the events of ``metric`` are good (faster than ``threshold_seconds``) over ``window_seconds``.

    Selectors narrow it to agents or nodes (exact values, empty means all). ``by`` are the labels that get a budget
    and alerts of their own; an agent's name goes along and may change. Below ``minimum_events`` or ``minimum_calls``
    in the long window of a pair that pair stays silent: one long call is not an outage. ``labels`` go on what is
    recorded and on the alerts. No window is shorter than ``shortest_seconds``, of which a rate needs four scrapes.
    Raises ``ConfigError`` for a definition that could not work.
    """

    name: str
    objective: float
    metric: str = "turn_latency"
    threshold_seconds: float | None = None
    window_seconds: float = 30 * DAY
    agent_ids: tuple[str, ...] = ()
    agent_names: tuple[str, ...] = ()
    node_ids: tuple[str, ...] = ()
    node_names: tuple[str, ...] = ()
    by: tuple[str, ...] = BY_AGENT
    minimum_events: int = 10
    minimum_calls: int = 3
    labels: tuple[tuple[str, str], ...] = ()
    burn_rates: tuple[BurnRate, ...] = STANDARD_BURN_RATES
    shortest_seconds: float = SHORTEST_RATE_SECONDS

    def __post_init__(self) -> None:
        _check(self)

    @property
    def indicator(self) -> Indicator:
        return INDICATORS[self.metric]

    @property
    def budget(self) -> float:
        """The share of events that may be bad."""
        return round(1 - self.objective, 10)

    @property
    def windows_scale(self) -> float:
        return self.window_seconds / _STANDARD_WINDOW_SECONDS

    def scaled(self, seconds: float) -> float:
        """A delay of the standard 30 days, for this objective's window, in whole minutes."""
        return max(1.0, round(seconds * self.windows_scale / MINUTE)) * MINUTE

    def range_seconds(self, window_seconds: float) -> float:
        """What a window of the standard 30 days really spans, in whole tiles of the shortest that can be measured."""
        if window_seconds == self.window_seconds:
            return window_seconds
        tiles = max(1, round(window_seconds * self.windows_scale / self.shortest_seconds))
        return tiles * self.shortest_seconds

    @property
    def identity(self) -> tuple[str, ...]:
        """The labels that tell one budget from another: a name is none where there is an id."""
        return tuple(label for label in self.by if label != "agent_name" or "agent_id" not in self.by)

    @property
    def agent_labels(self) -> tuple[str, ...]:
        """Those of its identity by which calls are counted, too."""
        return tuple(label for label in self.identity if label in BY_AGENT)

    def minimum_long_events(self, burn: BurnRate) -> int:
        """Events the long window needs before its ratio means something.

        Fewer, and the alert would hang on one or two bad events.
        """
        needed = math.ceil(round(_BAD_EVENTS_THAT_MEAN_SOMETHING / (burn.factor * self.budget), 6))
        return max(self.minimum_events, needed)

    def describe(self) -> str:
        """The objective in a sentence's half: ``95% of turns under 2s over 30d``."""
        goal = "without failure" if self.threshold_seconds is None else f"under {duration(self.threshold_seconds)}"
        share = number(self.objective * 100)
        return f"{share}% of {self.indicator.events} {goal} over {duration(self.window_seconds)}"


def check_objectives(objectives: Iterable[Objective]) -> None:
    """Refuse two objectives of one name: their recorded series would be the same."""
    seen: set[str] = set()
    for objective in objectives:
        if objective.name in seen:
            raise ConfigError(f"slo[{objective.name}].name", "used twice; every objective needs a name of its own")
        seen.add(objective.name)


def bucket_thresholds(objectives: Sequence[Objective]) -> dict[str, tuple[float, ...]]:
    """Bucket bounds in seconds that the objectives need, by the histogram's metric name."""
    needed: dict[str, set[float]] = {}
    for objective in objectives:
        buckets = objective.indicator.buckets
        if buckets is not None and objective.threshold_seconds is not None and not objective.indicator.fixed_bounds:
            needed.setdefault(buckets.removesuffix("_bucket"), set()).add(objective.threshold_seconds)
    return {metric: tuple(sorted(bounds)) for metric, bounds in needed.items()}


def _check(slo: Objective) -> None:
    key = f"slo[{slo.name}]"
    if not _NAME.fullmatch(slo.name):
        raise ConfigError(f"{key}.name", "use lower-case letters, digits and dashes, at most 63")
    if slo.metric not in INDICATORS:
        raise ConfigError(f"{key}.metric", f"{slo.metric!r} is not one of {', '.join(INDICATORS)}")
    if not 0 < slo.objective < 1:
        raise ConfigError(f"{key}.objective", f"{number(slo.objective)} is not between 0 and 1 (95% is written 0.95)")
    if slo.minimum_events < 1:
        raise ConfigError(f"{key}.minimum_events", "at least 1")
    if slo.minimum_calls < 1:
        raise ConfigError(f"{key}.minimum_calls", "at least 1")
    check_labels(slo.labels, f"{key}.labels")
    _check_threshold(slo, key)
    _check_labels(slo, key)
    _check_window(slo, key)
    for burn in slo.burn_rates:
        _check_can_fire(slo, burn, key)


def check_labels(labels: Iterable[tuple[str, str]], key: str) -> None:
    """Refuse what Prometheus does not take as a label, or what our own labels are called."""
    for name, _ in labels:
        if not _LABEL.fullmatch(name) or name.startswith("__"):
            raise ConfigError(key, f"{name!r} is not a label name: letters, digits, underscores")
        if name in _OUR_LABELS:
            raise ConfigError(key, f"{name} is a label of the rules themselves; take another name")


def _check_threshold(slo: Objective, key: str) -> None:
    if slo.indicator.buckets is None:
        if slo.threshold_seconds is not None:
            raise ConfigError(f"{key}.threshold", f"{slo.metric} counts failures and has no threshold; remove it")
        return
    if slo.threshold_seconds is None:
        raise ConfigError(f"{key}.threshold", f"{slo.metric} needs one, such as 2s")
    if not 0.001 <= slo.threshold_seconds < _LONGEST_LATENCY_SECONDS:
        limit = duration(_LONGEST_LATENCY_SECONDS)
        raise ConfigError(
            f"{key}.threshold",
            f"{number(slo.threshold_seconds)}s is not between 1ms and {limit}; latencies over {limit} are "
            "never observed",
        )

    bounds = slo.indicator.fixed_bounds
    if bounds and slo.threshold_seconds not in bounds:
        raise ConfigError(
            f"{key}.threshold",
            f"{duration(slo.threshold_seconds)} is not a bucket of {slo.metric}; take one of "
            f"{', '.join(duration(bound) if bound >= 0.01 else f'{number(bound)}s' for bound in bounds)}",
        )


def _check_labels(slo: Objective, key: str) -> None:
    allowed = slo.indicator.labels
    if not slo.by or not set(slo.by) <= set(allowed):
        raise ConfigError(f"{key}.by", f"labels of {slo.metric} are {', '.join(allowed)}")
    if not slo.indicator.has_nodes and (slo.node_ids or slo.node_names):
        raise ConfigError(
            f"{key}.node_ids", f"{slo.metric} is counted by agent, not by node; remove the node selectors"
        )
    for field in ("agent_ids", "agent_names", "node_ids", "node_names"):
        if "" in getattr(slo, field):
            raise ConfigError(f"{key}.{field}", "an empty value selects nothing; remove it")


def _check_window(slo: Objective, key: str) -> None:
    if not SHORTEST_WINDOW_SECONDS <= slo.window_seconds <= LONGEST_WINDOW_SECONDS:
        window = duration(slo.window_seconds)
        first = min((burn.long_seconds for burn in slo.burn_rates), default=1 * HOUR)
        raise ConfigError(
            f"{key}.window",
            f"{window} is not between {duration(SHORTEST_WINDOW_SECONDS)} and {duration(LONGEST_WINDOW_SECONDS)}: "
            f"the alert over {duration(first)} would look at {duration(first)} × {window} / 30d = "
            f"{duration(first * slo.windows_scale)}, and a pair of windows needs 5m and more than that",
        )


def _check_can_fire(slo: Objective, burn: BurnRate, key: str) -> None:
    """A ratio of errors never exceeds 1: an alert that asks for more would be a lie."""
    needed = round(burn.factor * slo.budget, 10)
    if needed >= 1:
        raise ConfigError(
            f"{key}.objective",
            f"the {duration(slo.scaled(burn.long_seconds))} alert needs an error ratio over {number(burn.factor)} × "
            f"(1 − {number(slo.objective)}) = {number(needed)}, and a ratio stays below 1: it could never fire; "
            f"take an objective above {number(round(1 - 1 / burn.factor, 6))} or a burn rate below "
            f"{number(round(1 / slo.budget, 6))}",
        )


DEFAULT_OBJECTIVES = (
    Objective("turn-latency-2s", 0.95, threshold_seconds=2.0),
    Objective("turn-latency-4s", 0.99, threshold_seconds=4.0),
)
"""The vendor's numbers: a turn above 2 s needs work, one above 4 s is bad."""
