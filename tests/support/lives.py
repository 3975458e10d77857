"""The pipeline from payloads to metrics and spans, wired as the service wires it, and what came out of it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from exporter.calls.identity import SeenEvents
from exporter.calls.observations import Agent
from exporter.calls.signs import STOCK_LIMITS, Limits
from exporter.calls.tracker import Progress, TrackedCall, Tracker
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recorder import Outputs, built
from exporter.outputs.spans import SpanRecord
from exporter.protocol.units import UnitRules
from tests.support.wire import CALL_ID

AGENT = Agent("a1", "Agent")

Sample = tuple[str, tuple[tuple[str, str], ...]]
Samples = dict[Sample, float]
"""Values by sample name and sorted labels."""

ABOUT_ARRIVAL = (
    "atoms_exporter_events_duplicate",
    "atoms_exporter_events_recovered",
    "atoms_exporter_event_lag",
    "atoms_exporter_build_info",
    "atoms_exporter_series",
)
"""What may differ when the same events arrive otherwise."""


class Life:
    """One life of the exporter, from its start to its end (or its sudden death)."""

    def __init__(
        self,
        *,
        agent: Agent = AGENT,
        channel: str = "webcall",
        call_id: str = CALL_ID,
        units: UnitRules | None = None,
        capture_content: bool = False,
        budget: int = 2000,
        limits: Limits = STOCK_LIMITS,
        without: Collection[str] = (),
    ) -> None:
        self.spans: list[SpanRecord] = []
        self.metrics = Metrics(version="0", max_series_per_metric=budget, without=without)
        self.tracker = Tracker(
            Outputs(self.metrics, built(self.spans.append)), units=units, capture_content=capture_content, limits=limits
        )
        self.call_id = call_id
        self.agent = agent
        self.channel = channel
        self.now = 0.0

    @property
    def tracked(self) -> TrackedCall:
        """The call, opened when it is not yet."""
        return self.tracker.open(self.call_id, agent=self.agent, channel=self.channel, durable=True)

    def feed(self, payloads: Iterable[bytes]) -> Progress:
        """Payloads from the live stream."""
        progress = Progress.GOING_ON
        tracked = self.tracked
        for payload in payloads:
            progress = self.tracker.feed(tracked, payload, self.now)
        return progress

    def recover(self, history: Iterable[bytes]) -> int:
        """The call's history."""
        return self.tracker.recover(self.tracked, [msgspec.Raw(payload) for payload in history], self.now)

    def checkpoint(self) -> Checkpoint:
        """What survives a sudden death."""
        tracked = self.tracked
        return Checkpoint(tuple(tracked.uncommitted or ()), tracked.waiting_facts())

    def resume(self, checkpoint: Checkpoint, history: Iterable[bytes] | None) -> None:
        """Begin where an earlier life died. ``history`` is ``None`` where it cannot be had."""
        self.tracker.resume(self.tracked, checkpoint.counted, checkpoint.waiting)
        if history is not None:
            self.recover(history)

    def end(self, outcome: str = "completed", at: float | None = None) -> Life:
        """The call is over."""
        self.tracker.end(self.call_id, outcome, at=at)
        return self

    # -- what came out

    def samples(self, prefix: str = "atoms_", *, leave_out: tuple[str, ...] = ()) -> Samples:
        """Every sample that is not 0."""
        found: Samples = {}
        self.metrics.count_lags()
        for name, family in self.metrics.store.families.items():
            if name.startswith(prefix) and not name.startswith(leave_out) and family.children:
                for sample in family.metric().samples:
                    if sample.value:
                        found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
        return found

    def counted(self) -> Samples:
        """What was counted, whatever way it arrived: everything but the few series about that way."""
        return self.samples(leave_out=ABOUT_ARRIVAL)

    def by(self, name: str, *labels: str) -> dict[Any, float]:
        """One sample name's values by some of its labels: a tuple of their values, or the value of the only one."""
        found: defaultdict[Any, float] = defaultdict(float)
        for (sample, pairs), value in self.samples(_metric(name)).items():
            if sample == name:
                values = tuple(dict(pairs)[label] for label in labels)
                found[values[0] if len(values) == 1 else values] += value
        return dict(found)

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of one sample name with these labels."""
        return sum(
            value
            for (sample, pairs), value in self.samples(_metric(name)).items()
            if sample == name and labels.items() <= dict(pairs).items()
        )

    def text(self, openmetrics: bool = True) -> str:
        """The exposition of the call metrics, exemplars included."""
        names = [name for name in self.metrics.store.families if not name.startswith("atoms_exporter_")]
        return self.metrics.store.render(openmetrics, names)

    def trace(self) -> dict[int, SpanRecord]:
        """The spans by id. Asserts that no id occurs twice."""
        trace = {span.span_id: span for span in self.spans}
        assert len(trace) == len(self.spans), "two spans with one id"
        return trace


def _metric(sample: str) -> str:
    """What the name of a sample's metric begins with."""
    return re.sub(r"_(bucket|count|sum)$", "", sample)


class Checkpoint:
    """What an earlier life wrote down about a call."""

    def __init__(self, identities: tuple[int, ...], waiting: Mapping[int, frozenset[str]]) -> None:
        self.identities = identities
        self.waiting = waiting

    @property
    def counted(self) -> SeenEvents:
        """The events it had counted."""
        seen = SeenEvents()
        for identity in self.identities:
            seen.add(identity)
        return seen


def lived(payloads: Iterable[bytes], outcome: str = "completed", **how: Any) -> Life:
    """A whole call, uninterrupted."""
    life = Life(**how)
    life.feed(payloads)
    return life.end(outcome)


def summed(*lives: Life) -> Samples:
    """What several lives counted together, rounded to what floats can hold."""
    both: defaultdict[Sample, float] = defaultdict(float)
    for life in lives:
        for sample, value in life.counted().items():
            both[sample] += value
    return rounded(both)


def rounded(samples: Mapping[Sample, float]) -> Samples:
    """Sums of floats depend on their order in the last digit."""
    return {sample: round(value, 6) for sample, value in samples.items()}


def over_nodes(samples: Mapping[Sample, float], *more: str) -> Samples:
    """The same without the labels that say where (and ``more``): sums over all nodes."""
    found: defaultdict[Sample, float] = defaultdict(float)
    for (name, pairs), value in samples.items():
        labels = tuple(pair for pair in pairs if pair[0] not in _WHERE and pair[0] not in more)
        found[name, labels] += value
    return rounded(found)


_WHERE = frozenset({"node_id", "node_name", "from_node_id", "from_node_name", "to_node_id", "to_node_name"})
