"""Events in, scraped counters out, and which alerts fired when: whole hours of rules within a second or two.

A :class:`World` is told what happens and when. What Prometheus would have scraped becomes the input of promtool,
which evaluates the rules as a server does; every minute it is asked which alerts fire.
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from exporter.slo.promql import duration

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
Labels = tuple[tuple[str, str], ...]
_ANSWERED = re.compile(r"time: (?P<at>\w+),\s+exp: *(?:\S.*)?\s+got: *(?P<got>.*)")
_FIRING = re.compile(r'\{(?P<labels>(?:[^"}]|"(?:[^"\\]|\\.)*")*)\} ')
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_UNITS = {"w": 7 * DAY, "d": DAY, "h": HOUR, "m": MINUTE, "s": 1.0}


def promtool() -> str | None:
    """Where promtool is, if it is."""
    return shutil.which("promtool")


@dataclass(frozen=True, slots=True)
class Firing:
    """One alert, from its first minute to its last, in seconds since the world began."""

    labels: dict[str, str]
    begun: float
    ended: float

    @property
    def name(self) -> str:
        return self.labels["alertname"]

    def __str__(self) -> str:
        told = (f"{label}={value}" for label, value in self.labels.items() if label != "alertname")
        return f"{self.name}{{{','.join(told)}}} {duration(self.begun)}–{duration(self.ended)}"


@dataclass
class World:
    """What happens over some hours, and how often it is scraped.

    A series that appears is shown at 0 first and at its value from the next scrape on, as the exporter does it.
    ``away`` are spans in which no scrape succeeds, ``gone`` those in which there is no such target; counters outlive
    both. ``beside`` are other processes of the same world, each told what happens to it.
    """

    seconds: float
    scrape_seconds: float = MINUTE
    job: str = "atoms-exporter"
    instance: str = "x:9464"
    away: list[tuple[float, float]] = field(default_factory=list)
    gone: list[tuple[float, float]] = field(default_factory=list)
    beside: list[World] = field(default_factory=list)
    _counts: dict[tuple[str, Labels], list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    _gauges: dict[tuple[str, Labels], list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    _known: set[tuple[str, Labels]] = field(default_factory=set)

    def count(self, at: float, metric: str, amount: float = 1.0, **labels: str) -> None:
        """A counter grew."""
        self._counts[metric, tuple(sorted(labels.items()))].append((at, amount))

    def known(self, metric: str, **labels: str) -> None:
        """A counter that exists from the start, at 0."""
        self._known.add((metric, tuple(sorted(labels.items()))))

    def gauge(self, at: float, metric: str, value: float, **labels: str) -> None:
        """A gauge has a value from now on."""
        self._gauges[metric, tuple(sorted(labels.items()))].append((at, value))

    def series(self) -> list[dict[str, str]]:
        """What promtool takes as ``input_series``."""
        up = [math.nan if _within(self.gone, at) else float(not self._missing(at)) for at in self._scrapes()]
        made = {("up", ()): up}
        for key in sorted(self._known | set(self._counts)):
            made[key] = self._scraped(self._growth(key))
        for key, changes in self._gauges.items():
            made[key] = self._scraped(_held(sorted(changes), self._scrapes()))
        own = [{"series": self._selector(*key), "values": _written(values)} for key, values in made.items()]
        return own + [series for other in self.beside for series in other.series()]

    def _scrapes(self) -> list[float]:
        return [n * self.scrape_seconds for n in range(int(self.seconds / self.scrape_seconds) + 1)]

    def _missing(self, at: float) -> bool:
        return _within(self.away, at) or _within(self.gone, at)

    def _growth(self, key: tuple[str, Labels]) -> list[float]:
        values, total, events, shown = [], 0.0, sorted(self._counts.get(key, ())), key in self._known
        position = 0
        for at in self._scrapes():
            while position < len(events) and events[position][0] <= at:
                total += events[position][1]
                position += 1
            if shown:
                values.append(total)
            elif position and not self._missing(at):
                values.append(0.0)
                shown = True
            else:
                values.append(math.nan)
        return values

    def _scraped(self, values: list[float]) -> list[float]:
        return [math.nan if self._missing(at) else value for at, value in zip(self._scrapes(), values, strict=True)]

    def _selector(self, metric: str, labels: Labels) -> str:
        every = (*labels, ("job", self.job), ("instance", self.instance))
        told = ",".join(f'{name}="{value}"' for name, value in every if name != "le" or metric.endswith("_bucket"))
        return f"{metric}{{{told}}}"


def _within(spans: Iterable[tuple[float, float]], at: float) -> bool:
    return any(begin <= at < end for begin, end in spans)


def _held(changes: list[tuple[float, float]], scrapes: list[float]) -> list[float]:
    values, position, value = [], 0, math.nan
    for at in scrapes:
        while position < len(changes) and changes[position][0] <= at:
            value = changes[position][1]
            position += 1
        values.append(value)
    return values


def _written(values: Iterable[float]) -> str:
    """Values as promtool reads them; equal ones in one word."""
    words: list[str] = []
    run: list[float] = []

    def close() -> None:
        if run and math.isnan(run[0]):
            # A target that goes away leaves the marker Prometheus puts there; what has not begun leaves nothing.
            words.extend(["stale", *_times("_", len(run) - 1)] if words else _times("_", len(run)))
        elif run:
            words.extend(_times(f"{run[0]:.12g}", len(run)))

    for value in values:
        if run and not (value == run[0] or (math.isnan(value) and math.isnan(run[0]))):
            close()
            run = []
        run.append(value)
    close()
    return " ".join(words)


def _times(word: str, times: int) -> list[str]:
    """A word so many times; promtool's own count is of those after the first, except for gaps."""
    if times <= 1:
        return [word] * times
    return [f"_x{times}"] if word == "_" else [f"{word}x{times - 1}"]


def asked(
    world: World, rules: Sequence[Path], expr: str, times: Sequence[float], every: float
) -> dict[float, list[str]]:
    """What ``expr`` answers at each of ``times``, as promtool writes it.

    promtool only says what it found where that is not what it was told to expect; so it is told nonsense.
    """
    with tempfile.TemporaryDirectory() as folder:
        nonsense = [{"labels": '{no="such"}', "value": -1}]
        tests = [{"expr": expr, "eval_time": duration(at), "exp_samples": nonsense} for at in times if at > 0]
        document = {
            "rule_files": [str(path.resolve()) for path in rules],
            "evaluation_interval": duration(every),
            "tests": [
                {
                    "interval": duration(world.scrape_seconds),
                    "input_series": world.series(),
                    "promql_expr_test": tests,
                }
            ],
        }
        path = Path(folder) / "world.yml"
        path.write_text(yaml.safe_dump(document, width=10_000_000))
        command = [str(promtool()), "test", "rules", str(path)]
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1200)
    said = told.stdout + told.stderr
    found = {told_seconds(match["at"]): match["got"].strip() for match in _ANSWERED.finditer(said)}
    missing = [at for at in times if at > 0 and at not in found]
    if missing:
        raise RuntimeError(f"promtool did not answer for {missing[0]:g} s: {said[:2000]}")
    return {at: [] if got == "nil" else [got] for at, got in found.items()}


def firings(world: World, rules: Sequence[Path], every: float = MINUTE, look: float | None = None) -> list[Firing]:
    """Every alert that fired, in order of its begin; evaluated and looked at ``every`` so many seconds."""
    times = [n * (look or every) for n in range(1, int(world.seconds / (look or every)) + 1)]
    answers = asked(world, rules, 'ALERTS{alertstate="firing"}', times, every)
    going: dict[Labels, float] = {}
    found: list[Firing] = []
    last: dict[Labels, float] = {}
    for at in times:
        now = {_labels(match["labels"]) for got in answers[at] for match in _FIRING.finditer(got)}
        found += [Firing(_told(one), going.pop(one), last[one]) for one in list(going) if one not in now]
        for one in now:
            going.setdefault(one, at)
            last[one] = at
    found += [Firing(_told(one), begun, last[one]) for one, begun in going.items()]
    return sorted(found, key=lambda firing: (firing.begun, firing.name))


def _labels(text: str) -> Labels:
    return tuple(sorted(_LABEL.findall(text)))


def _told(labels: Labels) -> dict[str, str]:
    return {name: value for name, value in labels if name not in {"__name__", "alertstate"}}


def told_seconds(text: str) -> float:
    """A time as promtool writes it: seven days are a week."""
    return sum(float(amount) * _UNITS[unit] for amount, unit in re.findall(r"(\d+)([wdhms])", text))
