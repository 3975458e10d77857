"""The fault suite: after every fault the numbers equal the simulator's ledger and the traces are whole.

The cases that were selected are played together, a few at a time, before the first of them is judged; most of a case
is waiting. ``python -m tests.faults`` plays them and prints the table.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.cases import CASES
from tests.faults.suite import Case, Outcome, play_all
from tests.system.books import report

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """What came of the selected cases, by name."""
    wanted = [
        item.callspec.params["case"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module
    ]
    folder: Path = tmp_path_factory.mktemp("faults")
    return asyncio.run(play_all(wanted, folder))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_numbers_are_exact_after(case: Case, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[case.name]
    assert not outcome.problems, report(outcome.problems)
