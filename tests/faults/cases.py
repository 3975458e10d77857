"""All cases of the fault suite, in the order of its table."""

from __future__ import annotations

from tests.faults import on_lists, on_process, on_streams
from tests.faults.suite import Case

CASES: tuple[Case, ...] = (*on_streams.CASES, *on_lists.CASES, on_streams.EVERYTHING, *on_process.CASES)
