"""The command line. Importing this costs nothing: signals and streams are set up before the rest is loaded."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """The console script: first what must hold from the first moment on, then everything else."""
    from exporter.cli.signals import before_anything_runs

    before_anything_runs(sys.argv[1:])
    from exporter.cli.printing import prepare_streams

    prepare_streams()
    from exporter.cli.app import run  # takes a third of a second

    run()
