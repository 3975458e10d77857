"""What the pages and the calls API show, gathered from the parts: calls being followed, the last hour, the metrics."""

from __future__ import annotations

from exporter.overview.overview import Overview, spans_of_log

__all__ = ["Overview", "spans_of_log"]
