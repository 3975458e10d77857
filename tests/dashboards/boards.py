"""The dashboards as they are committed, and their panels: what the tests here read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dashboards.expressions import every_panel
from dashboards.generate import HERE

Document = dict[str, Any]
DOCUMENTS: dict[str, Document] = {
    path.stem: json.loads(path.read_text()) for path in sorted((HERE / "grafana").glob("*.json"))
}
every_dashboard = pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())


def panels(document: Document) -> list[Document]:
    """Every panel, those in closed rows as well; no rows."""
    return [panel for panel in every_panel(document) if panel["type"] != "row"]


def overrides(panel: Document, name: str) -> dict[str, Any]:
    """A property of a table's columns, by the column's title."""
    rules = panel.get("fieldConfig", {}).get("overrides", ())
    items = [(rule["matcher"]["options"], item) for rule in rules for item in rule["properties"]]
    return {column: item["value"] for column, item in items if item["id"] == name}
