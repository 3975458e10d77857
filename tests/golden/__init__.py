"""Calls whose metrics and traces are written down: ``python -m tests.golden --write`` writes them again.

``<scenario>/events.jsonl`` is the call in the 2025 dialect, ``events-2026.jsonl`` the same call in the other one;
both give ``metrics.om`` and ``trace.json``. The guide's events are the vendor's own and are never written here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from exporter.outputs.prometheus.catalogue import CALL_METRICS
from exporter.outputs.spans import SpanRecord
from tests.golden.scenarios import SCENARIOS, Scenario
from tests.support.lives import Life
from tests.support.wire import DIALECTS, encoded, rendered

FOLDER = Path(__file__).parent
EVENTS = {"2025": "events.jsonl", "2026": "events-2026.jsonl"}


def events_of(name: str, dialect: str = "2025") -> list[bytes]:
    """The payloads of a scenario, as its file has them."""
    return (FOLDER / name / EVENTS[dialect]).read_bytes().splitlines()


def played(scenario: Scenario, payloads: list[bytes]) -> Life:
    """The whole call."""
    life = Life(agent=scenario.agent)
    life.feed(payloads)
    return life.end(scenario.outcome)


def metrics_of(life: Life) -> str:
    """The metrics the call has touched and what was not counted, as OpenMetrics."""
    families = life.metrics.store.families
    touched = [spec.name for spec in CALL_METRICS if families[spec.name].children]
    return life.metrics.store.render(True, [*touched, "atoms_exporter_samples_skipped_total"]) + "# EOF\n"


def trace_of(life: Life) -> str:
    """The trace, parents before their children."""
    spans = sorted(life.spans, key=lambda span: (span.start_ns, -span.end_ns, span.name, span.span_id))
    return json.dumps([_readable(span) for span in spans], indent=1, ensure_ascii=False) + "\n"


def _readable(span: SpanRecord) -> dict[str, Any]:
    return {
        "trace_id": f"{span.trace_id:032x}",
        "span_id": f"{span.span_id:016x}",
        "parent_id": None if span.parent_id is None else f"{span.parent_id:016x}",
        "name": span.name,
        "kind": span.kind,
        "start_ns": span.start_ns,
        "end_ns": span.end_ns,
        "error": span.error,
        "attributes": dict(sorted(span.attributes.items())),
    }


def write() -> None:
    """Everything that follows from the scenarios and the code."""
    for name, scenario in SCENARIOS.items():
        folder = FOLDER / name
        folder.mkdir(exist_ok=True)
        for dialect in DIALECTS if scenario.steps else ():
            lines = [encoded(event) + b"\n" for event in rendered(scenario.steps, dialect)]
            (folder / EVENTS[dialect]).write_bytes(b"".join(lines))
        life = played(scenario, events_of(name))
        (folder / "metrics.om").write_text(metrics_of(life))
        (folder / "trace.json").write_text(trace_of(life))
