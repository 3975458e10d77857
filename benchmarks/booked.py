"""The simulator with its books, for a run that must prove that nothing was lost. In a process of its own.

Prints its base URL; at the first line on stdin it stops, lets every stream drain, and prints what it published.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import Any

from exporter.simulator import Simulator, SimulatorOptions


async def _serve(given: argparse.Namespace) -> None:
    simulator = Simulator(SimulatorOptions(calls=given.calls, events_rate=given.events_rate))
    _say({"base_url": await simulator.start()})
    loop = asyncio.get_running_loop()
    while (await loop.run_in_executor(None, sys.stdin.readline)).strip() == "so far":
        _say({"published": simulator.switchboard.published, "cpu_seconds": time.process_time()})
    await simulator.stop()
    events = simulator.control.totals(so_far=True).counts("events_total")
    _say(
        {
            "published": simulator.switchboard.published,
            "frames": simulator.wire.frames,
            "connections": simulator.wire.connections,
            "ended": dict(simulator.wire.ended),
            "events": {labels[0]: count for labels, count in events.items()},
            "cpu_seconds": time.process_time(),
        }
    )


def _say(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--events-rate", type=float, default=3.0)
    given = parser.parse_args()
    from benchmarks.measuring import in_loop, many_files

    many_files()
    in_loop(_serve(given))


if __name__ == "__main__":
    main()
