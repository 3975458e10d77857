"""Objectives as Pyrra's ``ServiceLevelObjective`` resources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .objectives import DEFAULT_OBJECTIVES, Objective, check_objectives
from .promql import duration, number, selector, to_yaml
from .recording import bad_series, selection, total_series


def render_pyrra(objectives: Sequence[Objective] = DEFAULT_OBJECTIVES, *, namespace: str = "monitoring") -> str:
    """One YAML document per objective, for the Pyrra operator or its file mode."""
    check_objectives(objectives)
    header = "Pyrra definition of atoms-exporter's objectives. Generated: `atoms-exporter rules --format pyrra`."
    documents = [to_yaml(_resource(slo, namespace)) for slo in objectives]
    return f"# {header}\n" + "---\n".join(documents)


def _resource(slo: Objective, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "pyrra.dev/v1alpha1",
        "kind": "ServiceLevelObjective",
        "metadata": {"name": slo.name, "namespace": namespace, "labels": {"prometheus": "k8s", "role": "alert-rules"}},
        "spec": {
            "target": number(slo.objective * 100),
            "window": duration(slo.window_seconds),
            "description": slo.describe(),
            "indicator": _indicator(slo),
            "alerting": {"name": "AtomsSLOBudgetBurn"},
        },
    }


def _indicator(slo: Objective) -> dict[str, Any]:
    total = {"metric": total_series(slo)}
    bad = bad_series(slo)
    if bad is not None:
        return {"ratio": {"errors": {"metric": bad}, "total": total, "grouping": list(slo.by)}}
    return {"latency": {"success": {"metric": _success(slo)}, "total": total, "grouping": list(slo.by)}}


def _success(slo: Objective) -> str:
    """Pyrra reads the bound out of the matcher, so it has to be one number and not a pattern."""
    indicator = slo.indicator
    bound = f'le="{float(slo.threshold_seconds or 0)!r}"'
    return selector(indicator.buckets or "", (bound, *indicator.total_matchers, *selection(slo)))
