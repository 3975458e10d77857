"""``python -m dashboards`` writes dashboards/grafana and dashboards/rules; ``--check`` only compares."""

from __future__ import annotations

import sys

from .generate import HERE, generated, write


def main(arguments: list[str]) -> int:
    """0 when everything is (or was brought) up to date, 1 when ``--check`` found a difference."""
    if arguments == ["--check"]:
        stale = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
        for path in stale:
            sys.stderr.write(f"{path.relative_to(HERE.parent)} differs from its generator: run python -m dashboards\n")
        return 1 if stale else 0
    for path in write():
        sys.stdout.write(f"{path.relative_to(HERE.parent)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
