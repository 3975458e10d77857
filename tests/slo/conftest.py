"""The real promtool for the tests of rules."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Promtool = Callable[..., None]


@pytest.fixture
def promtool() -> Promtool:
    """Runs promtool, which has to accept what it is given; skips on a machine without it."""
    binary = shutil.which("promtool")
    if binary is None:
        pytest.skip("promtool is not installed")

    def run(*arguments: str | Path) -> None:
        command = [binary, *map(str, arguments)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
        assert answer.returncode == 0, answer.stdout + answer.stderr

    return run
