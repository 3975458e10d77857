"""Worlds for the dashboards: hours of traffic as counters somebody scraped, and what real PromQL answers to a panel.

Every metric of the catalogue is there for every node, so that no question is without an answer because a world forgot
it. ``promtool test rules`` evaluates the shipped rules over the hours, then every expression: no server, no waiting.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import yaml

from dashboards.generate import HERE
from exporter.outputs.prometheus.catalogue import CALL_METRICS, CATALOGUE, Kind, MetricSpec
from tests.support.peers import needs

needs_promtool = needs("promtool")
RULES = tuple(sorted((HERE / "rules").glob("*.yml")))
EVERY_METRIC = frozenset(spec.name for spec in CATALOGUE)

_PLACES = {"agent_id", "agent_name", "node_id", "node_name"}
_VALUES: Mapping[str, tuple[str, ...]] = {
    "interrupted": ("false", "true"),
    "stage": ("llm_api", "tts_api"),
    "type": ("prompt", "completion", "other"),
    "detail": ("cache_read", "reasoning"),
    "channel": ("webcall",),
    "outcome": ("completed", "failed"),
    "from_node_id": ("elsewhere",),
    "from_node_name": ("Elsewhere",),
}
"""What labels hold beyond the place; a label not named here holds its own name."""


@dataclass(frozen=True)
class Place:
    """A node of an agent, as one exporter's series say it. ``turns`` and ``calls`` are per minute."""

    agent_id: str
    agent_name: str
    node_id: str
    node_name: str
    instance: str = "a:9464"
    turns: float = 4.0
    calls: float = 1.0
    seconds: Callable[[int], float] = lambda minute: 0.7
    """How long a turn takes (and whatever else takes time), by minute."""
    failing: Callable[[int], float] = lambda minute: 0.02
    """The share of calls that fail."""

    def labels(self) -> dict[str, str]:
        own = {name: getattr(self, name) for name in _PLACES}
        return own | {"job": "atoms-exporter", "instance": self.instance}


Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Sample:
    """One series of an answer."""

    labels: dict[str, str]
    value: float


@dataclass
class World:
    """What was scraped in ``minutes`` minutes, once a minute."""

    minutes: int
    scraped: dict[str, list[float]] = field(default_factory=dict)

    def traffic(self, *places: Place, metrics: Collection[str] = EVERY_METRIC) -> World:
        """Calls and turns at places: the metrics of the catalogue, growing with them."""
        for place in places:
            for spec in CATALOGUE:
                if spec.name in metrics:
                    own = place if spec in CALL_METRICS else replace(place, agent_id="", turns=0.5)
                    self._measured(spec, own)
        for instance in {place.instance for place in places}:
            labels = {"job": "atoms-exporter", "instance": instance}
            self.constant("up", labels, 1.0)
            self.constant("process_start_time_seconds", labels, 1.0)
            self.constant("process_resident_memory_bytes", labels, 1e8)
            self.counter("process_cpu_seconds_total", labels, lambda minute: 3.0)
        return self

    def constant(self, name: str, labels: Mapping[str, str], value: float) -> None:
        self.scraped[_series(name, labels)] = [value] * (self.minutes + 1)

    def counter(self, name: str, labels: Mapping[str, str], per_minute: Callable[[int], float]) -> None:
        """A counter; what is less than one a minute comes every few minutes. Twice the same series: added up."""
        total, values = 0.0, [0.0]
        for minute in range(self.minutes):
            total += per_minute(minute)
            values.append(float(int(total + 1e-9)))
        known = self.scraped.get(_series(name, labels))
        self.scraped[_series(name, labels)] = [a + b for a, b in zip(known, values, strict=True)] if known else values

    def _measured(self, spec: MetricSpec, place: Place) -> None:
        given = {name: value for name, value in place.labels().items() if name in {*spec.labels, "job", "instance"}}
        others = [name for name in spec.labels if name not in given]
        choices = (spec.closed.get(name, _VALUES.get(name, (name,))) for name in others)
        for values in product(*choices):
            labels = given | dict(zip(others, values, strict=True)) | self._target(spec, place)
            self._grow(spec, labels, place)

    @staticmethod
    def _target(spec: MetricSpec, place: Place) -> dict[str, str]:
        """Hops lead from elsewhere to the place."""
        if "to_node_id" not in spec.labels:
            return {}
        return {"to_node_id": place.node_id, "to_node_name": place.node_name}

    def _grow(self, spec: MetricSpec, labels: Mapping[str, str], place: Place) -> None:
        if spec.kind is Kind.GAUGE:
            self.constant(spec.name, labels, 100.0 if spec.name == "atoms_concurrency_limit" else 1.0)
            return

        def much(minute: int) -> float:
            if spec.name == "atoms_calls_ended_total":
                bad = place.failing(minute)
                shares = {"completed": 1 - bad, "failed": bad}
                return place.calls * shares.get(labels["outcome"], 0.0)
            if spec.name == "atoms_dead_air_seconds":
                return place.calls * 0.1  # a part of what the calls last
            if "call" in spec.name.split("_")[1]:
                return place.calls
            if spec.name == "atoms_user_turns_total":
                return place.turns * 1.1  # those that were interrupted as well
            return place.turns * (0.1 if labels.get("interrupted") == "true" else 1.0)

        if spec.kind is Kind.COUNTER:
            self.counter(spec.name, labels, much)
            return
        for bound in (*spec.buckets, float("inf")):
            le = "+Inf" if bound == float("inf") else repr(bound)
            self.counter(
                f"{spec.name}_bucket",
                {**labels, "le": le},
                lambda minute, bound=bound: much(minute) if place.seconds(minute) <= bound else 0.0,  # type: ignore[misc] # a default binds the loop's value
            )
        self.counter(f"{spec.name}_count", labels, much)
        self.counter(f"{spec.name}_sum", labels, lambda minute: much(minute) * place.seconds(minute))

    def answers(
        self, folder: Path, expressions: Iterable[str], *, rules: Iterable[Path] = RULES, at: int | None = None
    ) -> dict[str, list[Sample]]:
        """What each expression finds at a minute, the last unless said; ``ValueError`` where one is refused."""
        asked = list(dict.fromkeys(expressions))
        minute = f"{self.minutes if at is None else at}m"
        document = {
            "evaluation_interval": "1m",
            "rule_files": [str(path) for path in rules],
            "tests": [
                {
                    "interval": "1m",
                    "input_series": [
                        {"series": name, "values": " ".join(f"{value:.10g}" for value in values)}
                        for name, values in self.scraped.items()
                    ],
                    "promql_expr_test": [{"expr": expr, "eval_time": minute} for expr in asked],
                }
            ],
        }
        path = folder / "world.yml"
        path.write_text(yaml.dump(document, Dumper=yaml.CSafeDumper, width=1_000_000, allow_unicode=True))
        made = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
        return _read(made.stdout + made.stderr, asked)


_ANSWER = re.compile(
    r'^    expr: ("(?:[^"\\]|\\.)*"), time: \w+,(?: err: (.*)|\n        exp: .*\n        got: (.*))$', re.M
)
_SERIES = re.compile(r'\{((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\} (\S+?)(?:, |$)')
_LABEL = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*")')


def _read(printed: str, asked: list[str]) -> dict[str, list[Sample]]:
    """promtool says of each expression what it got where nothing was expected."""
    found: dict[str, list[Sample]] = {expr: [] for expr in asked}
    for text, error, got in _ANSWER.findall(printed):
        expr = json.loads(text)
        if error or expr not in found:
            raise ValueError(f"{error}: {expr}")
        for labels, value in _SERIES.findall(got):
            own = {name: json.loads(quoted) for name, quoted in _LABEL.findall(labels)}
            found[expr].append(Sample(own, float(value)))
    if not any(found.values()) and asked:
        raise ValueError(printed[-2000:])
    return found


def _series(name: str, labels: Mapping[str, str]) -> str:
    inner = ",".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in sorted(labels.items()))
    return f"{name}{{{inner}}}"


def twice_evaluated(recorded: Iterable[Sample], world: World) -> World:
    """The world after two Prometheis have evaluated the rules and both wrote into one store."""
    for sample in recorded:
        labels = {key: value for key, value in sample.labels.items() if key != "__name__"}
        for prometheus in ("one", "two"):
            world.constant(sample.labels["__name__"], {**labels, "prometheus": prometheus}, sample.value)
    return world
