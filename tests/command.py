"""The command line as a process, for tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from tests.system.world import clean_environment


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def command(*words: str, given: bytes = b"", env: Mapping[str, str] | None = None, seconds: float = 60) -> Said:
    """Run ``atoms-exporter`` with these words, ``given`` on stdin, and nothing of this machine's configuration."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *words],
        input=given,
        capture_output=True,
        env=clean_environment(**(env or {})),
        timeout=seconds,
        check=False,
    )
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())
