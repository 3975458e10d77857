"""All cases of the fault suite, in the order of its table."""

from __future__ import annotations

from tests.faults import on_process, on_streams
from tests.faults.suite import Case

CASES: tuple[Case, ...] = (*on_streams.CASES, *on_process.CASES)
