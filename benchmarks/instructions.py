"""Instructions per event of the pipeline, counted by callgrind: a figure that does not depend on how busy a machine is.

    python -m benchmarks.instructions                    # this tree
    python -m benchmarks.instructions ../another-tree    # that tree, then this one, over the same bytes

One child takes a recording of N events, another one of 2 N whose second half is the same calls under other ids; the
difference is what N events cost, and neither start-up nor imports nor the first of each series are in it. The recording
is written by this tree's simulator, once. Needs valgrind; two minutes a tree.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CALLS = 24
_COUNTED = re.compile(r"Collected : (\d+)")
_CHILD = """
import gc, sys
from exporter.calls.observations import Agent
from exporter.calls.tracker import Tracker
from exporter.outputs.recorder import Outputs
try:
    from exporter.outputs.prometheus.metrics import Metrics
except ImportError:  # where it was before the folders
    from exporter.outputs.metrics import Metrics
gc.disable()
metrics = Metrics(version="0")
tracker = Tracker(Outputs(metrics, lambda fact: None), remember=0)
agent = Agent("65f0c0ffee00000000000001", "Agent")
if sys.argv[2] == "live":
    for line in open(sys.argv[1], "rb"):
        call_id, _, payload = line.partition(b"\\t")
        tracked = tracker.open(call_id.decode(), agent=agent)
        tracker.feed(tracked, payload.strip(), 1767225600.0)
    metrics.refresh()
else:
    for line in open(sys.argv[1], "rb"):
        tracker.replay(line.partition(b"\\t")[2].strip(), agent=agent)
"""


def recordings(folder: Path) -> tuple[Path, Path, int]:
    """A recording; one with as many calls again, of the same agents and nodes under other ids; how many events each."""
    from exporter.simulator import recorded

    first = [
        f"{event['call_id']}\t".encode() + json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
        for number in range(CALLS)
        for event in recorded(1, number)
    ]
    second = [line.replace(b"CALL-1", b"CALL-2").replace(b'"evt_', b'"evt_2') for line in first]
    once, twice = folder / "once", folder / "twice"
    once.write_bytes(b"\n".join(first))
    twice.write_bytes(b"\n".join([*first, *second]))
    return once, twice, len(second)


def counted(tree: Path, recording: Path, way: str) -> int:
    """Instructions of a process of ``tree`` that takes this recording."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise SystemExit("valgrind is needed: apt-get install valgrind")
    command = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-c", _CHILD]
    done = subprocess.run(
        [*command, str(recording), way],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    found = _COUNTED.search(done.stderr)
    if done.returncode or found is None:
        raise SystemExit(done.stderr)
    return int(found.group(1))


def main(trees: list[Path]) -> None:
    """Count each tree's instructions for an event, live and from a recording."""
    with tempfile.TemporaryDirectory() as name:
        once, twice, events = recordings(Path(name))
        for tree in trees:
            figures = {
                way: round((counted(tree, twice, way) - counted(tree, once, way)) / events)
                for way in ("live", "recording")
            }
            print(json.dumps({"tree": tree.name, "events": events, "instructions_per_event": figures}), flush=True)


if __name__ == "__main__":
    main([*(Path(tree).resolve() for tree in sys.argv[1:]), Path(__file__).resolve().parents[1]])
