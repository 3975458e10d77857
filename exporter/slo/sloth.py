"""Objectives as a Sloth definition (``prometheus/v1``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .annotations import DEFAULT_DASHBOARDS_URL, DEFAULT_RUNBOOK_URL, Links
from .objectives import DEFAULT_OBJECTIVES, Objective, check_objectives
from .promql import duration, to_yaml
from .recording import bad_series, good_series, total_series

_WINDOW = "[{{.window}}]"


def render_sloth(
    objectives: Sequence[Objective] = DEFAULT_OBJECTIVES,
    *,
    dashboards_url: str = DEFAULT_DASHBOARDS_URL,
    runbook_url: str = DEFAULT_RUNBOOK_URL,
) -> str:
    """What ``sloth generate`` reads.

    Sloth knows neither groups nor a window per SLO: one budget over all selected agents, and the window is its
    ``--default-slo-period`` flag.
    """
    check_objectives(objectives)
    links = Links(dashboards_url, runbook_url)
    periods = sorted({duration(slo.window_seconds) for slo in objectives})
    header = "Sloth definition of atoms-exporter's objectives. Generated: `atoms-exporter rules --format sloth`.\n"
    header += f"Generate with --default-slo-period={' or '.join(periods)}."
    document = {
        "version": "prometheus/v1",
        "service": "atoms",
        "labels": {"team": "voice"},
        "slos": [_slo(slo, links) for slo in objectives],
    }
    return to_yaml(document, header=header)


def _slo(slo: Objective, links: Links) -> dict[str, Any]:
    total = f"sum(rate({total_series(slo)}{_WINDOW}))"
    bad, good = bad_series(slo), good_series(slo)
    errors = f"sum(rate({bad}{_WINDOW}))" if bad else f"{total}\n-\nsum(rate({good}{_WINDOW}))"
    return {
        "name": slo.name,
        "objective": round(slo.objective * 100, 8),
        "description": slo.describe(),
        "sli": {"events": {"error_query": errors, "total_query": total}},
        "alerting": {
            "name": "AtomsSLOBudgetBurn",
            "annotations": {
                "summary": f"{slo.name}: the error budget burns too fast ({slo.describe()})",
                "runbook_url": links.runbook("AtomsSLOBudgetBurn"),
                "dashboard_url": links.dashboard("atoms-slo", {}, {"slo": slo.name}),
            },
            "page_alert": {"labels": {"severity": "critical"}},
            "ticket_alert": {"labels": {"severity": "warning"}},
        },
    }
