"""Writes what is generated: dashboards as JSON, rules as YAML, both committed and compared by a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from exporter.slo import PARTS, render_prometheus_rule, render_rules

from .cost import cost
from .exporter import exporter
from .flow import flow
from .node import node
from .objectives import slo
from .overview import overview

HERE = Path(__file__).parent
KUBERNETES = HERE.parent / "deploy" / "kubernetes" / "monitoring"


def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard by its uid."""
    return {made["uid"]: made for made in (overview(), node(), flow(), cost(), slo(), exporter())}


def generated() -> dict[Path, str]:
    """Every generated file with its text."""
    files = {
        HERE / "grafana" / f"{uid}.json": json.dumps(made, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        for uid, made in dashboards().items()
    }
    files |= {HERE / "rules" / f"{part}.yml": render_rules(only=(part,)) for part in PARTS}
    files[KUBERNETES / "prometheusrule.yaml"] = render_prometheus_rule()
    return files


def write() -> list[Path]:
    """Bring the files up to date; those that changed."""
    changed = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
    for path in changed:
        path.parent.mkdir(exist_ok=True)
        path.write_text(generated()[path])
    return changed
