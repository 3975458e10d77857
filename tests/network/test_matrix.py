"""The table of the world outside in docs/operations.md is what the four ways out do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.network.clients import CLIENTS
from tests.network.matrix import ROWS, Row, Stage, markdown, written


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    return Stage(tmp_path_factory.mktemp("outside"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_each_way_out_does_what_the_table_says(row: Row, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "grpc_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)  # gRPC's core would look at them, too
        monkeypatch.delenv(name.upper(), raising=False)
    cells = [row.cell(client, stage) for client in CLIENTS]
    line = markdown({row.title: cells}).splitlines()[-1]
    assert line in written().splitlines(), "python -m tests.network.matrix --write, and look at the difference"


def test_the_table_has_no_other_rows() -> None:
    assert len(written().splitlines()) == len(ROWS) + 2
