"""Metrics that no panel shows, with the reason; a test compares this list with the catalogue."""

from __future__ import annotations

NOT_SHOWN: dict[str, str] = {
    "atoms_recordings_total": "nothing to watch day by day; whoever must record alerts on status=failed",
}
"""By metric name."""
