"""Metrics that no panel shows, with the reason; a test compares this list with the catalogue."""

from __future__ import annotations

NOT_SHOWN: dict[str, str] = {}
"""By metric name. Empty: every metric is on a panel."""
