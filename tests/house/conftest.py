"""What stands beside Python: our own command, promtool."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.peers import need_program


@pytest.fixture(scope="session")
def atoms_exporter() -> str:
    """The console script of the environment the tests run in."""
    script = Path(sys.executable).parent / "atoms-exporter"
    assert script.exists(), "install the package: make test does"
    return str(script)


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own judge."""
    return need_program("promtool")
