"""``python -m exporter.simulator``: the simulated API on a port, for benchmarks and for trying things out."""

from __future__ import annotations

import argparse
import sys

from .faults import FAULTS, parse_faults
from .options import SimulatorOptions
from .server import Simulator
from .serving import run_forever


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when it ended as asked, 1 when the port is taken, 2 for a wrong argument."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        faults = tuple(fault for text in given.fault for fault in parse_faults(text))
    except ValueError as error:
        parser.error(f"--fault: {error}")
    host, _, port = given.listen_address.rpartition(":")
    options = SimulatorOptions(
        calls=given.calls,
        speed=given.speed,
        seed=given.seed,
        dialect=given.dialect,
        token=given.token,
        faults=faults,
        webhook_url=given.webhook_url,
        webhook_secret=given.webhook_secret,
        duration=given.duration,
        total_calls=given.total_calls,
        starts_at=given.starts_at,
        ramp_seconds=given.ramp,
        reconnect=given.reconnect,
        events_rate=given.events_rate,
        canary=given.canary,
        tls_certificate=given.tls_certificate,
        tls_key=given.tls_key,
    )
    try:
        run_forever(options, host.strip("[]") or "127.0.0.1", int(port), _say)
    except OSError as error:
        sys.stderr.write(f"cannot listen on {given.listen_address}: {error.strerror or error}\n")
        return 1
    return 0


def _say(simulator: Simulator) -> None:
    sys.stdout.write(f"{simulator.base_url}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    known = "; ".join(f"{name} ({meaning})" for name, meaning in FAULTS.items()).replace("%", "%%")
    parser = argparse.ArgumentParser(prog="python -m exporter.simulator", description=__doc__)
    parser.add_argument("--listen-address", default="127.0.0.1:9465", help="host:port; port 0 takes a free one")
    parser.add_argument("--calls", type=int, default=50, help="concurrent calls")
    parser.add_argument("--speed", type=float, default=1.0, help="times real time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dialect", choices=("2025", "2026"), default="2026")
    parser.add_argument("--token", default="simulated-key")
    parser.add_argument("--fault", action="append", default=[], help=f"name=probability[:parameter=value], … {known}")
    parser.add_argument("--webhook-url", default="")
    parser.add_argument("--webhook-secret", default="simulated-secret")
    parser.add_argument("--duration", type=float, help="seconds, then exit")
    parser.add_argument("--total-calls", type=int, help="begin no more than these")
    parser.add_argument("--starts-at", type=float, help="Unix seconds at which the simulated clock begins")
    parser.add_argument("--ramp", type=float, default=10.0, help="seconds over which the first calls begin")
    parser.add_argument("--reconnect", choices=("live", "replay"), default="live")
    parser.add_argument("--events-rate", type=float, help="endless calls of so many events per second")
    parser.add_argument("--canary", default="", help="appended to every free text")
    parser.add_argument("--tls-certificate", default="")
    parser.add_argument("--tls-key", default="")
    return parser


if __name__ == "__main__":
    sys.exit(main())
