"""The fault suite: after every fault the numbers equal the simulator's ledger and the traces are whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.cases import CASES
from tests.faults.suite import Case, suffer
from tests.system.books import report


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_numbers_are_exact_after(case: Case, tmp_path: Path) -> None:
    outcome = await suffer(case, tmp_path)
    assert not outcome.problems, report(outcome.problems)
