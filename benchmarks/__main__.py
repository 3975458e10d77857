"""The exporter's cost, beside what else one could run, in one go.

Ratios hold on any machine of this kind; the absolute figures are this machine's. Run it on one with nothing else to
do: two cores are enough, one for the source and one for the reader. Writes JSON, a Markdown table and a plot.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.endurance import endurance
from benchmarks.live import CANDIDATES, OPENMETRICS, Died, Load, Reader, Rig, certificates
from benchmarks.offline import PARTS
from benchmarks.report import machine, markdown, plot
from benchmarks.targets import table

RESULTS = Path(__file__).parent / "results"
SECTIONS = ("offline", "live", "saturation", "stalls", "endurance")
PACE = 3.0
_GUESS = {"floor": 17, "ours": 27, "aiohttp_reading": 27, "handwritten": 80, "sdk": 350}
"""Microseconds per event, roughly."""
_SHARE = 0.4
"""Of a core: a slower candidate gets a slower pace, or it would read several events at once and look cheaper."""
_ALWAYS = ("floor", "ours", "aiohttp_reading")
"""They keep the pace at every size."""
_MOST_STREAMS = {"handwritten": 4_000, "sdk": 2_000}
_NOT_RUN = (
    "handwritten above 4,000 streams and the SDK above 2,000: httpcore's pool looks through all its connections for "
    "each new one, so that opening 10,000 takes minutes of CPU before the first event",
    "the floor, handwritten and the SDK have no lag figure: they do not look at an event's time",
)


def main() -> int:
    """Exit code 0 when everything ran, met or not; 1 when a part of it could not."""
    given = _parser().parse_args()
    sections = given.only.split(",") if given.only else list(SECTIONS)
    if unknown := set(sections) - set(SECTIONS):
        _parser().error(f"--only: {', '.join(sorted(unknown))}: there is only {', '.join(SECTIONS)}")
    file = Path(given.output) / f"{given.name or ('quick' if given.quick else 'full')}.json"
    figures: dict[str, Any] = json.loads(file.read_text()) if given.only and file.exists() else {}
    figures |= {"machine": machine(), "mode": "quick" if given.quick else "full"}
    figures.setdefault("live", {})
    figures["not_run"] = list(_NOT_RUN)
    failed = False
    with certificates() as directory:
        cores = sorted(os.sched_getaffinity(0))
        pinned = len(cores) > 1 and not given.no_pin
        rig = Rig(cores[0] if pinned else None, cores[1] if pinned else None, directory, given.streams)
        for section in sections:
            began = time.monotonic()
            try:
                _RUN[section](rig, figures, given.quick, file)
            except Died as problem:
                failed = True
                figures["not_run"].append(f"{section} failed: {str(problem).strip().splitlines()[-1]}")
                _say(f"{section}: {problem}")
            _say(f"{section}: {time.monotonic() - began:.0f} s")
            figures["load_average_after"] = {**figures.get("load_average_after", {}), section: os.getloadavg()[0]}
            _write(figures, file)
    for row in table(figures):
        print(f"{'met' if row['met'] else 'MISSED':7}{row['what']:62}{row['target']:>20}{row['measured']:>20}")
    print(f"\n{file.with_suffix('.md')}")
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="under three minutes: 100 and 1,000 streams, short windows"
    )
    parser.add_argument("--only", default="", help=f"some of {','.join(SECTIONS)}; the rest is kept from the last run")
    parser.add_argument("--streams", type=int, default=0, help="of the live part only this size, the others are kept")
    parser.add_argument("--no-pin", action="store_true", help="let the kernel choose the cores")
    parser.add_argument("--output", default=str(RESULTS), metavar="DIRECTORY")
    parser.add_argument("--name", default="", help="of the files; quick or full unless given")
    return parser


def _write(figures: dict[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(figures, indent=1) + "\n")
    if figures["live"]:
        plot(figures, file.with_suffix(".svg"))
    file.with_suffix(".md").write_text(markdown(figures))


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


# -- sections


def _live(rig: Rig, figures: dict[str, Any], quick: bool, file: Path) -> None:
    seconds = 4.0 if quick else 7.0
    everyone = tuple(CANDIDATES)
    plan: list[tuple[int, str, tuple[str, ...], int]] = (
        [(100, "", ("ours", "floor"), 1), (1_000, "", everyone, 1), (1_000, "tls", ("ours",), 1)]
        if quick
        else [
            (100, "", everyone, 1),
            (1_000, "", everyone, 2),
            (2_000, "", everyone, 3),
            (2_000, "singly", ("floor", "ours", "aiohttp_reading"), 3),
            (4_000, "", everyone, 1),
            (10_000, "", everyone, 1),
            (100, "tls", ("floor", "ours"), 1),
            (1_000, "tls", ("floor", "ours", "aiohttp_reading", "handwritten"), 1),
            (4_000, "tls", ("floor", "ours", "aiohttp_reading"), 1),
            (10_000, "tls", ("floor", "ours"), 1),
        ]
    )
    for streams, how, names, repeat in plan:
        if rig.only_streams not in (0, streams):
            continue
        names = tuple(name for name in names if streams <= _MOST_STREAMS.get(name, streams))
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        with rig.source(streams, tls=how == "tls", singly=how == "singly") as load:
            for _ in range(repeat):
                for name in names:  # in turn, so that a busy minute of the machine falls on all
                    if (found := _point(rig, load, name, streams, seconds, figures)) is not None:
                        runs[name].append(found)
        for name, found_runs in runs.items():
            if found_runs:
                figures["live"][f"{name}/{streams}{f'/{how}' if how else ''}"] = _of_several(found_runs)
        _write(figures, file)


def _point(
    rig: Rig, load: Load, name: str, streams: int, seconds: float, figures: dict[str, Any]
) -> dict[str, Any] | None:
    pace = PACE if name in _ALWAYS else min(PACE, round(_SHARE * 1e6 / _GUESS[name] / streams, 1))
    try:
        with rig.candidate(name, load, streams, patience=60 + streams / 10) as reader:
            found = reader.window(pace, seconds)
    except Died as problem:
        figures["not_run"].append(f"{name} at {streams}: {str(problem).strip().splitlines()[-1]}")
        return None
    connected = reader.connected
    found |= {
        "streams": streams,
        "behind": abs(found["events"] - found["sent"]) > 0.03 * found["sent"],
        "pace": pace,
        "connects_per_second": streams / connected["connect_seconds"],
        "connect_milliseconds": connected["connect_cpu_seconds"] / streams * 1e3,
        "kib_per_call": (found["rss_kib"] - connected["rss_before_kib"]) / streams,
    }
    _say(
        f"{streams:6}{' TLS' if load.ca else '    '} {name:16}{found['microseconds_per_event']:8.1f} µs per event, "
        f"{found['events'] / found['seconds']:7,.0f}/s, {found['kib_per_call']:6.1f} KiB, load {found['load']:.1f}"
        + (" BEHIND" if found["behind"] else "")
    )
    return found


def _of_several(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median run, and how far they lay apart."""
    runs = [run for run in runs if not run["behind"]] or runs  # who catches up reads many events at once
    runs.sort(key=lambda run: float(run["microseconds_per_event"]))
    costs = [run["microseconds_per_event"] for run in runs]
    spread = (costs[-1] - costs[0]) / statistics.median(costs)
    best = {key: max(run[key] for run in runs) for key in ("connects_per_second",)}
    return {**runs[(len(runs) - 1) // 2], **best, "runs": costs, "spread": spread}


def _saturation(rig: Rig, figures: dict[str, Any], quick: bool, file: Path) -> None:
    """The pace goes up until the reader falls behind, or until its lag does."""
    streams, seconds = 1_000, 2.0 if quick else 4.0
    found: dict[str, Any] = {}
    with rig.source(streams, tls=False) as load:
        for name in ("ours", "handwritten") if quick else tuple(CANDIDATES):
            with rig.candidate(name, load, streams, patience=200) as reader:
                found[name] = _climb(reader, streams, 0.4e6 / _GUESS[name] / streams, seconds, name)
    figures["saturation"] = found


def _climb(reader: Reader, streams: int, each: float, seconds: float, name: str) -> dict[str, Any]:
    kept_up, flat_out, cost, steps = 0.0, 0.0, 0.0, []
    for _ in range(14):
        try:
            window = reader.window(each, seconds, settle=1.5, scrape=False)
        except Died:  # so far behind that it does not get to its orders
            break
        rate, sent = window["events"] / window["seconds"], window["sent"] / window["seconds"]
        if rate > flat_out:
            flat_out, cost = rate, window["microseconds_per_event"]
        steps.append({"sent": sent, "counted": rate, "cpu": window["cpu_seconds"] / window["seconds"]})
        _say(
            f"       {name:16} {sent:9,.0f}/s sent, {rate:9,.0f}/s counted, lag {window.get('lag_p50', 0) * 1e3:.0f} ms"
        )
        behind = rate < 0.97 * sent or window["skipped"] or window["saturated"] or window.get("lag_p50", 0) > 0.1
        if not behind:
            kept_up = max(kept_up, rate)
        elif flat_out > rate * 1.02 or window["skipped"]:
            break
        if sent < 0.9 * each * streams:  # the source is the slower one
            break
        each *= 1.25
    return {"streams": streams, "kept_up": kept_up, "flat_out": flat_out, "flat_out_microseconds": cost, "steps": steps}


def _stalls(rig: Rig, figures: dict[str, Any], quick: bool, file: Path) -> None:
    series, seconds = (10_000 if quick else 50_000), 5.0 if quick else 20.0
    with (
        rig.source(1_000, tls=False) as load,
        rig.candidate("ours", load, 1_000, "--series", str(series), patience=120) as reader,
    ):
        reader.window(PACE, 1.0)  # the first page is rendered here
        figures["quiet_stalls"] = reader.child.order(f"stalls {seconds / 2}", seconds + 30)
        figures["cold_stalls"] = reader.stalls(PACE, seconds, (OPENMETRICS, "text/plain"))
        figures["stalls"] = reader.stalls(PACE, seconds, (OPENMETRICS,))
    figures["stalls"]["series"] = series


def _endurance(rig: Rig, figures: dict[str, Any], quick: bool, file: Path) -> None:
    if not quick:
        figures["endurance"] = endurance(rig, 10_000, 300.0)


def _offline(rig: Rig, figures: dict[str, Any], quick: bool, file: Path) -> None:
    figures["offline"] = {}
    for part in PARTS:
        command = [sys.executable, "-m", "benchmarks.offline", part, *(["--quick"] if quick else [])]
        done = subprocess.run(command, capture_output=True, text=True, cwd=RESULTS.parent.parent, check=False)
        if done.returncode:
            raise Died(done.stderr)
        figures["offline"][part] = json.loads(done.stdout)
        _say(f"       {part}")


_RUN = {"offline": _offline, "live": _live, "saturation": _saturation, "stalls": _stalls, "endurance": _endurance}

if __name__ == "__main__":
    sys.exit(main())
