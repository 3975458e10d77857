"""The real promtool for the tests of rules."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.peers import need_program

Promtool = Callable[..., None]


@pytest.fixture
def promtool() -> Promtool:
    """Runs promtool, which has to accept what it is given."""
    binary = need_program("promtool")

    def run(*arguments: str | Path) -> None:
        command = [binary, *map(str, arguments)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
        assert answer.returncode == 0, answer.stdout + answer.stderr

    return run
