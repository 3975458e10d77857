"""What commands say: results on stdout, everything else on stderr."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """One result."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def remark(text: str) -> None:
    """Something for the person, not for the pipe."""
    sys.stderr.write(text if text.endswith("\n") else f"{text}\n")


def fail(text: str) -> None:
    """Why the command ends here."""
    remark(f"atoms-exporter: {text}")
