"""What the pages and the calls API show, gathered from the parts: calls being followed, the last hour, the metrics."""

from __future__ import annotations

from exporter.overview.overview import SPANS_ON_A_PAGE, Overview, first_spans

__all__ = ["SPANS_ON_A_PAGE", "Overview", "first_spans"]
