"""What stands beside Python: our own command, promtool."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def atoms_exporter() -> str:
    """The console script of the environment the tests run in."""
    script = Path(sys.executable).parent / "atoms-exporter"
    assert script.exists(), "install the package: make test does"
    return str(script)


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own judge."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return found
