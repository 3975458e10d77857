"""Where the CPU time goes, seen by py-spy: ``python -m benchmarks.profiles LABEL`` (needs the ``bench`` extra).

Writes ``results/profile-LABEL-<candidate>.txt``, a table of self and inclusive shares by function, and for the exporter
a flame graph beside it. The candidate ``replay`` is the command of that name over a recording of a million events; its
table begins with the shares by file.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.live import Rig, certificates
from benchmarks.offline import RECORDED_CALLS, recording
from benchmarks.report import machine

RESULTS = Path(__file__).parent / "results"
STREAMS = 2_000
REPLAYED_COPIES = 40
_LINE = re.compile(r":\d+\)$")


def profile(rig: Rig, name: str, label: str, seconds: int) -> str:
    """One candidate's table."""
    with (
        tempfile.TemporaryDirectory() as directory,
        rig.source(STREAMS, tls=False) as load,
        rig.candidate(name, load, STREAMS, patience=300) as reader,
    ):
        load.pace(3 if name in ("floor", "ours", "aiohttp_reading") else 1)
        raw = Path(directory) / "raw"
        spy = [
            str(Path(sys.executable).with_name("py-spy")),
            "record",
            "--pid",
            str(reader.child.process.pid),
            "--rate",
            "200",
            "--duration",
            str(seconds),
        ]
        subprocess.run([*spy, "--format", "raw", "--output", str(raw), "--threads"], check=True, capture_output=True)
        stacks = [line.rpartition(" ") for line in raw.read_text().splitlines() if not _waits(line)]
        if name == "ours":
            drawn = RESULTS / f"profile-{label}-ours.svg"
            subprocess.run([*spy, "--output", str(drawn), "--function", "--threads"], check=True, capture_output=True)
            drawn.write_text(drawn.read_text().replace(f"{RESULTS}/", ""))
    return _table([(stack.split(";"), int(count)) for stack, _, count in stacks])


def replayed() -> str:
    """The table of ``replay``, without the start of the process."""
    text, _ = recording(RECORDED_CALLS, REPLAYED_COPIES)
    with tempfile.TemporaryDirectory() as directory:
        events, raw = Path(directory) / "events.jsonl", Path(directory) / "raw"
        events.write_bytes(text)
        spy = [str(Path(sys.executable).with_name("py-spy")), "record", "--rate", "500", "--format", "raw"]
        command = [*spy, "--output", str(raw), "--", sys.executable, "-m", "exporter", "replay", str(events)]
        subprocess.run(command, check=True, capture_output=True)
        lines = [line.rpartition(" ") for line in raw.read_text().splitlines()]
    stacks = [(stack.split(";"), int(count)) for stack, _, count in lines if "(exporter/offline/replay.py" in stack]
    files: Counter[str] = Counter()
    for frames, count in stacks:
        files[_name(frames[-1]).rpartition(" (")[2].rstrip(")")] += count
    total = sum(files.values())
    shares = [f"{count / total:7.1%}  {file}" for file, count in files.most_common() if count >= total / 100]
    return "\n".join(["   self  file", *shares, "", _table(stacks)])


def _table(stacks: list[tuple[list[str], int]]) -> str:
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    for frames, count in stacks:
        shown = [_name(frame) for frame in frames]
        own[shown[-1]] += count
        for frame in set(shown):
            inclusive[frame] += count
    total = sum(own.values())
    lines = [f"{'self':>7} {'with callees':>13}  function ({total} samples; waiting threads are not sampled)"]
    wanted = {name for name, _ in own.most_common(40)} | {name for name, _ in inclusive.most_common(40)}
    lines += [
        f"{own[name] / total:7.1%} {inclusive[name] / total:13.1%}  {name}"
        for name in sorted(wanted, key=lambda each: (-own[each], -inclusive[each]))
    ]
    return "\n".join(lines) + "\n"


def _waits(line: str) -> bool:
    """A thread between two jobs: py-spy takes some of them for busy."""
    last = line.rpartition(" ")[0].rpartition(";")[2]
    return last.startswith(("wait (threading", "Condition.wait (threading", "_worker (concurrent", "_WorkItem.run"))


def _name(frame: str) -> str:
    """Function and file, without the line and without where Python is installed."""
    frame = _LINE.sub(")", frame)
    if frame.startswith("thread ("):
        return re.sub(r"0x[0-9A-Fa-f]+", "", frame)
    return re.sub(r"\((?:.*/)?(?:site-packages/|lib/python[\d.]+/)", "(", frame)


def main() -> None:
    """Profile the exporter and what runs beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("label", help="part of the files' names, such as before or after")
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--candidates", default="ours,handwritten,replay")
    given = parser.parse_args()
    about = machine()
    RESULTS.mkdir(exist_ok=True)
    with certificates() as directory:
        rig = Rig(0, 1, directory)
        for name in given.candidates.split(","):
            table = replayed() if name == "replay" else profile(rig, name, given.label, given.seconds)
            what = name if name == "replay" else f"{name}, {STREAMS} streams"
            head = f"{what}, {about['when']}, {about['cpu']}, {about['python']}\n\n"
            (RESULTS / f"profile-{given.label}-{name}.txt").write_text(head + table)


if __name__ == "__main__":
    main()
