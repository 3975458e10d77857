"""What evaluating the rules costs Prometheus: samples and seconds, by group and by minute.

``python -m benchmarks.rules [DIRECTORY…]`` makes a store with the series of 100 agents of 20 nodes and of two
objectives, starts a real Prometheus on it, and asks every expression of the rule files as the server would; without a
directory those that ship. Samples are the same on any machine; seconds need a quiet one.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "dashboards" / "rules"
_OBJECTIVES = ("turn-latency-2s", "turn-latency-4s")
_UNITS = {"s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class Size:
    """How much is measured, and how often it is scraped."""

    agents: int = 100
    nodes: int = 20
    scrape_seconds: int = 60
    hours: float = 1.5
    """Of raw samples; what the recording rules have made spans thirty days, laid out as they read it."""


def series(size: Size, end: int) -> Iterator[str]:
    """OpenMetrics text with timestamps, one metric after the other."""
    times = range(int(end - size.hours * 3600), end + 1, size.scrape_seconds)
    agents = [(f"a{n}", f"Agent {n}") for n in range(size.agents)]
    for metric, labels in _RAW:
        yield f"# TYPE {metric.removesuffix('_total').removesuffix('_count').removesuffix('_bucket')} unknown\n"
        for agent, name in agents:
            for node in range(size.nodes if "node" in labels else 1):
                where = f'agent_id="{agent}",agent_name="{name}"'
                where += f',node_id="{node}",node_name="Node {node}"' if "node" in labels else ""
                where += f",{labels['more']}" if "more" in labels else ""
                for count, at in enumerate(times):
                    yield f'{metric}{{{where},instance="x:9464",job="atoms-exporter"}} {count} {at}\n'
    tiles = (("5m", range(end - 3 * 86_400, end + 1, 300)), ("1h", range(end - 30 * 86_400, end + 1, 3600)))
    for metric in ("atoms_slo:events", "atoms_slo:errors", "atoms_slo:error_ratio"):
        for objective in _OBJECTIVES:
            for window, steps in tiles:
                for agent, name in agents:
                    where = f'agent_id="{agent}",agent_name="{name}",slo="{objective}",window="{window}"'
                    for at in steps:
                        yield f"{metric}{{{where}}} 7 {at}\n"
    for metric, window, days, step in _CALLS:
        for agent, _ in agents:
            where = f'agent_id="{agent}",window="{window}"'
            where += {"ended": ',outcome="completed"', "end_reasons": ',reason="user_hangup"'}.get(metric, "")
            for at in range(end - days * 86_400, end + 1, step):
                yield f"atoms_calls:{metric}{{{where}}} 7 {at}\n"
    for agent, name in agents:
        yield f'atoms_slo:agent_name{{agent_id="{agent}",agent_name="{name}"}} 1 {end}\n'
    yield "# EOF\n"


_TURN = 'interrupted="false"'
_RAW: tuple[tuple[str, dict[str, str]], ...] = (
    ("atoms_calls_started_total", {"more": 'channel="webcall"'}),
    ("atoms_calls_ended_total", {"more": 'channel="webcall",outcome="completed"'}),
    ("atoms_node_visits_total", {"node": ""}),
    ("atoms_user_turns_total", {"node": ""}),
    ("atoms_turn_latency_seconds_count", {"node": "", "more": _TURN}),
    ("atoms_turn_latency_seconds_bucket", {"node": "", "more": f'{_TURN},le="2.0"'}),
    ("atoms_turn_latency_seconds_bucket", {"node": "", "more": f'{_TURN},le="4.0"'}),
    ("atoms_unanswered_turns_total", {"node": ""}),
    ("atoms_call_end_reasons_total", {"more": 'channel="webcall",reason="user_hangup"'}),
    ("atoms_call_end_reasons_total", {"more": 'channel="webcall",reason="error"'}),
    ("atoms_call_cost_total", {"more": 'channel="webcall"'}),
    ("atoms_first_word_seconds_count", {"more": 'channel="webcall"'}),
    ("atoms_first_word_seconds_bucket", {"more": 'channel="webcall",le="2.0"'}),
    ("atoms_first_word_seconds_bucket", {"more": 'channel="webcall",le="4.0"'}),
)
_CALLS = (
    *((metric, "5m", 7, 300) for metric in ("started", "ended", "spoken", "answered")),
    *((metric, "5m", 1, 300) for metric in ("errors", "unanswered", "end_reasons")),
    *((metric, "1h", 1, 300) for metric in ("ended", "first_words", "first_word_seconds", "cost_per_call")),
)
"""What rules record by agent: its name, its window, for how many days it is looked at, and every how many seconds."""


@contextlib.contextmanager
def prometheus(folder: Path, size: Size, end: int) -> Iterator[str]:
    """A server on a store that holds the series; its address."""
    promtool, server = shutil.which("promtool"), shutil.which("prometheus")
    if promtool is None or server is None:
        raise SystemExit("needs prometheus and promtool")
    text = folder / "series.txt"
    with text.open("w") as written:
        written.writelines(series(size, end))
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "data")]
    subprocess.run([*command, "--max-block-duration=744h"], check=True, stdout=subprocess.DEVNULL)
    (folder / "prometheus.yml").write_text("{}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    options = (f"--storage.tsdb.path={folder / 'data'}", "--storage.tsdb.retention.time=90d")
    options += (f"--config.file={folder / 'prometheus.yml'}", f"--web.listen-address={address}")
    running = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_ready(f"http://{address}/-/ready")
        yield f"http://{address}"
    finally:
        running.terminate()
        running.wait(60)


def _await_ready(url: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).is_success:
                return
        time.sleep(0.2)
    raise SystemExit("Prometheus did not become ready")


def measured(address: str, directory: Path, end: int) -> None:
    """One line for each group, and what all of them take in a minute."""
    every_minute = [0.0, 0.0]
    for path in sorted(directory.glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            samples, seconds = 0, 0.0
            for rule in group["rules"]:
                asked = {"query": rule["expr"], "time": str(end), "stats": "all"}
                answer = httpx.post(f"{address}/api/v1/query", data=asked, timeout=300).json()
                if answer["status"] != "success":
                    sys.stdout.write(f"  {rule.get('record', rule.get('alert'))}: {answer['error']}\n")
                    continue
                samples += answer["data"]["stats"]["samples"]["totalQueryableSamples"]
                seconds += answer["data"]["stats"]["timings"]["execTotalTime"]
            interval = float(group["interval"][:-1]) * _UNITS[group["interval"][-1]]
            every_minute[0] += samples * 60 / interval
            every_minute[1] += seconds * 60 / interval
            name, rules = group["name"], len(group["rules"])
            sys.stdout.write(f"  {name:36} {rules:3} rules every {interval:4.0f} s {samples:12,} {seconds:8.3f} s\n")
    sys.stdout.write(f"  {'in a minute':59} {every_minute[0]:12,.0f} {every_minute[1]:8.3f} s\n")


def main(arguments: list[str]) -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directories", nargs="*", type=Path, default=[SHIPPED])
    parser.add_argument("--agents", type=int, default=100)
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--scrape", type=int, default=60, help="seconds between two scrapes")
    given = parser.parse_args(arguments)
    size, end = Size(given.agents, given.nodes, given.scrape), int(time.time()) // 3600 * 3600
    with tempfile.TemporaryDirectory() as folder, prometheus(Path(folder), size, end) as address:
        for directory in given.directories:
            sys.stdout.write(
                f"{directory}: {size.agents} agents, {size.nodes} nodes, scraped every {size.scrape_seconds} s\n"
            )
            measured(address, directory, end)


if __name__ == "__main__":
    main(sys.argv[1:])
