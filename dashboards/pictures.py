"""``python -m dashboards.pictures``: the dashboards as pictures, from a real Prometheus and the built-in simulator.

Honest, not authentic: drawn with matplotlib from the dashboards' own JSON and queries. Grafana itself looks better.
Needs the ``pictures`` extra, prometheus and prometheus-alertmanager.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from .answers import Source
from .drawing import draw
from .expressions import FILLED
from .generate import HERE
from .rehearsal import Rehearsal, missing_servers

SLOW = {"node_id": "40003", "agent_id": "66f0a1c2d3e4f5a6b7c8d904", "factor": 3}
NOTE = "drawn from the same queries against a real Prometheus and simulated calls (dashboards/pictures.py); no Grafana"


def main(arguments: list[str]) -> int:
    """0 when the pictures are written, 1 when this machine lacks a server."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.pictures", description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE / "pictures")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long the rehearsal lasts")
    parser.add_argument("--calls", type=int, default=40)
    given = parser.parse_args(arguments)
    if missing_servers():
        sys.stderr.write(f"needs {', '.join(missing_servers())}\n")
        return 1
    given.folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Rehearsal(Path(folder), calls=given.calls).running() as stage,
    ):
        _perform(stage, given.seconds)
        end = time.time()
        variables = {**FILLED, "__rate_interval": "20s", "__range": f"{int(given.seconds) - 20}s", "slo": "turn.*"}
        source = Source(stage.prometheus, end - given.seconds + 20, end, 2.0, variables)
        for path in sorted((HERE / "grafana").glob("*.json")):
            picture = given.folder / f"{path.stem.removeprefix('atoms-')}.png"
            draw(json.loads(path.read_text()), source, NOTE).savefig(picture, dpi=75)
            with Image.open(picture) as full:
                few_colours = full.convert("RGB").quantize(255)
            few_colours.save(picture, optimize=True)
            sys.stdout.write(f"{picture}\n")
    return 0


def _perform(stage: Rehearsal, seconds: float) -> None:
    """Good traffic, then a slow node and some trouble, which last: what somebody sees who was just woken."""
    time.sleep(seconds * 0.6)
    stage.misbehave({"slow_node": SLOW, "drop": 0.1, "malformed": 0.002, "call_failure": 0.15, "new_version": 1.0})
    time.sleep(seconds * 0.4)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
