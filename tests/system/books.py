"""The simulator's ledger against the exporter's metrics: two countings of the same calls that share no code.

The metrics are read with prometheus_client's own parser, from one page or from the pages of several lives of the
process, whose counters add up. ``differences`` returns one readable line for whatever is not equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from exporter.simulator import AGENTS, LABELS, NOTES, QUIET

Rows = dict[tuple[str, ...], float]
Totals = dict[str, Rows]

_NAMES = frozenset({"agent_name", "node_name", "from_node_name", "to_node_name"})
_WHERE = frozenset({"node_id", "from_node_id", "to_node_id"})
_TOLERANCE = 1e-6
_KNOWN_TYPES = frozenset(
    ("call_start", "call_end", "call_cancelled", "user_interim_transcription", "user_transcription",
     "agent_node_state", "hopping", "llm_full_response_end", "tts_completed", "turn_latency", "metrics",
     "tool_call_start", "tool_call_end", "tool_call_error", "knowledgebase", "variable_extraction", "pre_call_api",
     "post_call_api", "agent_error", "agent_log", "call_recording")
)  # fmt: skip
_LOGS = "atoms_agent_logs_total"
_TOLD_BY_LOGS = (
    "atoms_call_end_reasons", "atoms_node_exits", "atoms_call_attempts", "atoms_call_cost", "atoms_call_setup",
    "atoms_test_calls",
)  # fmt: skip
_RENAMED = {
    "events_total": "atoms_exporter_events_total",
    "samples_skipped_total": "atoms_exporter_samples_skipped_total",
}
_SAME_COUNT = (
    ("atoms_knowledgebase_queries_total", "atoms_knowledgebase_latency_seconds_count"),
    ("atoms_variable_extractions_total", "atoms_variable_extraction_latency_seconds_count"),
    ("atoms_node_visits_total", "atoms_node_duration_seconds_count"),
    ("atoms_calls_started_total", "atoms_calls_ended_total"),
)
"""What the ledger does not keep apart: families whose counts must be equal inside the exporter."""
_ROOMS = {agent.id: {node.id: node.name for node in agent.nodes} for agent in (*AGENTS, *QUIET)}
_AGENT_NAMES = {agent.id: agent.name for agent in (*AGENTS, *QUIET)}


class Page:
    """The samples of one scrape, or the sum of several."""

    def __init__(self, *texts: str) -> None:
        self.samples: defaultdict[str, defaultdict[frozenset[tuple[str, str]], float]] = defaultdict(
            lambda: defaultdict(float)
        )
        self.types: dict[str, str] = {}
        for text in texts:
            families = openmetrics_families(text) if text.rstrip().endswith("# EOF") else text_families(text)
            for family in families:
                self.types[family.name] = family.type
                for sample in family.samples:
                    self.samples[sample.name][frozenset(sample.labels.items())] += sample.value

    @classmethod
    def sum(cls, *pages: Page) -> Page:
        """What several lives of the process counted together; gauges are those of the last one."""
        both = cls()
        for page in pages:
            both.types |= page.types
            for name, series in page.samples.items():
                if page.types.get(name) == "gauge":
                    both.samples[name].clear()
                for pairs, value in series.items():
                    both.samples[name][pairs] += value
        return both

    def rows(self, name: str, labels: Sequence[str]) -> Rows:
        """One sample name's values other than 0, by these labels, summed over all others."""
        found: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for pairs, value in self.samples.get(name, {}).items():
            have = dict(pairs)
            if value:
                found[tuple(have.get(label, "") for label in labels)] += value
        return dict(found)

    def total(self, name: str, /, **labels: str) -> float:
        """The sum over all series of one sample name that have these labels."""
        wanted = labels.items()
        return sum(value for pairs, value in self.samples.get(name, {}).items() if wanted <= dict(pairs).items())

    @property
    def events(self) -> float:
        """Events counted; the frames that only open and close streams left out."""
        about_streams = sum(
            self.total("atoms_exporter_events_total", event_type=kind) for kind in ("sse_init", "sse_close")
        )
        return self.total("atoms_exporter_events_total") - about_streams


def ledger_totals(ledger: Mapping[str, Any]) -> Totals:
    """The ledger's totals as the exporter names them; types nobody knows are ``other``."""
    totals: Totals = dict(ledger.get("dispositions", {}))
    for family, entries in ledger["totals"].items():
        if family in NOTES:
            continue
        rows: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for entry in entries:
            labels = tuple(entry[label] for label in LABELS[family])
            if family == "events_total" and labels[0] not in _KNOWN_TYPES:
                labels = ("other",)
            if entry["value"]:
                rows[labels] += entry["value"]
        totals[_RENAMED.get(family, family)] = dict(rows)
    return totals


def differences(
    ledger: Mapping[str, Any],
    page: Page,
    *,
    places: bool = True,
    busy: bool = True,
    nan: int = 0,
    log_names: Collection[str] = (),
    logs: bool = True,
) -> list[str]:
    """Whatever is not equal, one line each; empty when the books agree.

    :param places: compare by node; ``False``: only sums over all nodes (events came in an order that hides them).
    :param busy: tell ``busy`` from ``failed``, which only webhooks that come in time can.
    :param logs: the call logs could be read; ``False``: leave out what only they tell.
    :param log_names: names of the customer's own events that the exporter was told of.
    :param nan: turns whose latency was the literal NaN, outside the ledger and with timestamps of long ago: events
        that count, values that do not.
    """
    counted = ledger_totals(ledger)
    counted[_LOGS] = _renamed(counted.get(_LOGS, {}), log_names)
    if nan:
        counted["atoms_exporter_events_total"]["turn_latency",] += nan
        skipped = counted.setdefault("atoms_exporter_samples_skipped_total", {})
        skipped["non_finite",] = skipped.get(("non_finite",), 0) + nan
    ended = counted.get("atoms_calls_ended_total", {})
    # Calls that never end: the ledger leaves them open, the exporter must give up each of them.
    for call in ledger["calls"].values():
        if call["status"] != "ended":
            key = (call["agent_id"], call["channel"], "lost")
            ended[key] = ended.get(key, 0) + 1
    found: list[str] = []
    for family, labels in LABELS.items():
        if not logs and family.startswith(_TOLD_BY_LOGS):
            continue
        name = _RENAMED.get(family, family)
        wanted = labels if places else tuple(label for label in labels if label not in _WHERE)
        theirs = _folded(counted.get(name, {}), LABELS[family], wanted)
        ours = page.rows(name, wanted)
        if not busy and family == "atoms_calls_ended_total":
            theirs, ours = _busy_as_failed(theirs), _busy_as_failed(ours)
        if nan and family == "samples_skipped_total":
            theirs, ours = ({k: v for k, v in rows.items() if k != ("negative",)} for rows in (theirs, ours))
        if family == "events_total":
            ours = {key: value for key, value in ours.items() if key[0] not in ("sse_init", "sse_close")}
        found += _unequal(name, wanted, theirs, ours)
    found += _inside(page, _nameless(ledger))
    return found


def _renamed(rows: Rows, names: Collection[str]) -> Rows:
    """Events of names that nobody told the exporter of are ``other``."""
    folded: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for (*where, name, severity), value in rows.items():
        folded[*where, name if name in names else "other", severity] += value
    return dict(folded)


def _busy_as_failed(rows: Rows) -> Rows:
    folded: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for (*who, outcome), value in rows.items():
        folded[*who, "failed" if outcome == "busy" else outcome] += value
    return dict(folded)


def _folded(rows: Mapping[tuple[str, ...], float], labels: Sequence[str], wanted: Sequence[str]) -> Rows:
    folded: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for key, value in rows.items():
        have = dict(zip(labels, key, strict=True))
        folded[tuple(have[label] for label in wanted)] += value
    return dict(folded)


def _unequal(name: str, labels: Sequence[str], theirs: Rows, ours: Rows) -> list[str]:
    lines = []
    for key in sorted({*theirs, *ours}):
        ledger, exporter = theirs.get(key, 0.0), ours.get(key, 0.0)
        if abs(ledger - exporter) > _TOLERANCE * max(1.0, abs(ledger)):
            where = ", ".join(f"{label}={value}" for label, value in zip(labels, key, strict=True))
            lines.append(f"{name}{{{where}}}: sent {ledger:g}, counted {exporter:g} ({exporter - ledger:+g})")
    return lines


def _nameless(ledger: Mapping[str, Any]) -> Mapping[tuple[str, str], float]:
    """Visits that their own call does not name, by agent and node."""
    noted = ledger["totals"].get("nameless_visits_total", ())
    return {(entry["agent_id"], entry["node_id"]): entry["value"] for entry in noted}


def _inside(page: Page, nameless: Mapping[tuple[str, str], float]) -> list[str]:
    """What must hold within the page itself, whatever was sent."""
    lines = []
    for one, other in _SAME_COUNT:
        labels = ("agent_id", "channel") if "calls" in one and "visits" not in one else ("agent_id", "node_id")
        if one == "atoms_calls_started_total":
            labels = ("agent_id", "channel")
        for key, value in page.rows(one, labels).items():
            if (same := page.rows(other, labels).get(key, 0.0)) != value:
                lines.append(f"{one} and {other} differ in {key}: {value:g} and {same:g}")
    if active := {key: value for key, value in page.rows("atoms_calls_active", ("agent_id",)).items() if value}:
        lines.append(f"atoms_calls_active is not 0 after the last call: {active}")
    lines += _histograms(page)
    lines += _names(page, nameless)
    return lines


def _histograms(page: Page) -> list[str]:
    lines = []
    for name, series in page.samples.items():
        if not name.endswith("_bucket"):
            continue
        buckets: defaultdict[frozenset[tuple[str, str]], list[tuple[float, float]]] = defaultdict(list)
        for pairs, value in series.items():
            le = float(dict(pairs)["le"])
            buckets[frozenset(pair for pair in pairs if pair[0] != "le")].append((le, value))
        counts = page.samples[f"{name.removesuffix('_bucket')}_count"]
        for labels, found in buckets.items():
            values = [value for _, value in sorted(found)]
            if values != sorted(values) or values[-1] != counts[labels]:
                lines.append(f"{name}{dict(labels)}: buckets {values} do not add up to {counts[labels]}")
    return lines


def _names(page: Page, nameless: Mapping[tuple[str, str], float]) -> list[str]:
    """Ids carry the names the simulated account gives them; ``unknown`` are at most those that the call itself leaves
    nameless: the first to visit a node, before any other call has named it."""
    wrong = set()
    for name, series in page.samples.items():
        for pairs in series:
            labels = dict(pairs)
            agent = labels.get("agent_id")
            if agent not in _AGENT_NAMES:
                continue
            if labels["agent_name"] != _AGENT_NAMES[agent]:
                wrong.add(f"{name}: agent {agent} is called {labels['agent_name']!r}")
            for prefix in ("", "from_", "to_"):
                node, called = labels.get(f"{prefix}node_id"), labels.get(f"{prefix}node_name")
                if node is None or node in ("none", "__other__"):
                    continue
                if called == "unknown" and (agent, node) in nameless:
                    continue
                if called != _ROOMS[agent].get(node):
                    wrong.add(f"{name}: node {node} of {agent} is called {called!r}")
    for (agent, node, called), visits in page.rows(
        "atoms_node_visits_total", ("agent_id", "node_id", "node_name")
    ).items():
        if called == "unknown" and visits > nameless.get((agent, node), 0.0):
            wrong.add(f"{visits:g} visits to node {node} of {agent} have no name")
    return sorted(wrong)


def report(lines: Iterable[str], most: int = 40) -> str:
    """Differences as a test failure shows them."""
    lines = list(lines)
    rest = f"\n  … and {len(lines) - most} more" if len(lines) > most else ""
    return f"{len(lines)} differences:\n  " + "\n  ".join(lines[:most]) + rest
