"""The benchmarks measure what they say, and their results are what the report shows."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import keeping_beside
from benchmarks.live import Died, Rig, certificates
from benchmarks.measuring import quantile
from benchmarks.pages import change, fill, lines_of
from benchmarks.report import machine, markdown, plot
from benchmarks.source import Frames
from benchmarks.targets import TARGETS, table
from exporter.outputs.prometheus.catalogue import CATALOGUE
from exporter.outputs.prometheus.series import Store
from exporter.simulator import AGENTS

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "results"


def _live(name: str, streams: int, cost: float) -> dict[str, float]:
    return {
        "streams": streams,
        "microseconds_per_event": cost,
        "pace": 3.0,
        "connects_per_second": 1000.0,
        "connect_milliseconds": 0.3,
        "kib_per_call": 21.0,
        "spread": 0.0,
    }


FIGURES = {
    "machine": {
        "when": "now",
        "commit": "",
        "cpu": "one",
        "cores": 2,
        "virtual": True,
        "memory_gib": 1,
        "kernel": "Linux",
        "python": "CPython",
        "packages": {},
    },
    "mode": "quick",
    "live": {
        f"{name}/{streams}": _live(name, streams, cost)
        for name, streams, cost in (("ours", 1000, 20.0), ("ours", 10_000, 22.0), ("handwritten", 1000, 80.0))
    },
}


def test_every_frame_of_the_source_is_an_event_of_its_call_with_an_id_of_its_own() -> None:
    frames = Frames(0)
    seen = set()
    for number in range(frames.prefix + 2 * frames.cycle):
        chunk = frames.render(number, b"evt_%d" % number, b"2026-01-01T00:00:00.000Z", b"CALL-1")
        length, rest = chunk.split(b"\r\n", 1)
        assert len(rest) == int(length, 16) + 2
        assert rest.startswith(b"data: ")
        assert rest.endswith(b"\n\n\r\n")
        event = json.loads(rest[len(b"data: ") :])
        assert event["call_id"] == "CALL-1"
        assert event["timestamp"].startswith("2026")
        seen.add(event["event_id"])
    assert len(seen) == frames.prefix + 2 * frames.cycle


def test_tools_of_another_round_are_other_tools() -> None:
    found = 0
    for frames in (Frames(number) for number in range(len(AGENTS) - 1)):
        for place, (template, _) in enumerate(frames.templates):
            if place >= frames.prefix and b'"tool_call_start"' in template:
                chunks = [frames.render(place + n * frames.cycle, b"e", b"t", b"c") for n in (0, 1)]
                ids = {json.loads(chunk.split(b"data: ")[1])["tool_call_id"] for chunk in chunks}
                found += len(ids)
                assert len(ids) == 2
    assert found, "typical traffic has tools"


@pytest.mark.parametrize("tls", [False, True])
def test_the_exporter_counts_each_event_that_the_source_sent_once(tls: bool) -> None:
    with (
        certificates() as directory,
        _rig(directory).source(20, tls=tls) as load,
        _rig(directory).candidate("ours", load, 20, patience=60) as reader,
    ):
        before = load.counts()["sent"]
        found = reader.window(20.0, 1.0, settle=0.5)
        load.pace(0)
        rest = reader.child.order("measure 0.5", 60)
    assert before == 0
    assert 0 < found["events"] <= found["sent"] * 2
    assert rest["duplicates"] == 0
    assert found["skipped"] == 0


def _rig(directory: Path) -> Rig:
    return Rig(None, None, directory)


def test_a_process_that_fails_says_why() -> None:
    with (
        certificates() as directory,
        _rig(directory).source(1, tls=False) as load,
        pytest.raises(Died, match="No module named"),
        _rig(directory).candidate("nobody", load, 1, patience=30),
    ):
        pytest.fail("there is no such candidate")


def test_a_page_has_as_many_series_as_were_asked_for() -> None:
    store = Store(CATALOGUE, budget=10**9)
    fill(store, 5_000)
    assert 5_000 <= lines_of(store) < 5_050
    page = store.render(True)
    lines = [line for line in page.splitlines() if not line.startswith("#")]
    assert len(lines) == lines_of(store)
    change(store, 0.1)
    assert store.render(True) != page


def test_the_table_says_what_is_met_and_leaves_out_what_was_not_measured() -> None:
    rows = {row["what"]: row for row in table(FIGURES)}
    assert rows["CPU per event, of handwritten httpx"]["met"]
    assert rows["cost per event at 10,000 streams, of that at 1,000"]["measured"] == "1.1 ×"
    assert "replay" not in rows
    assert len(rows) < len(TARGETS)


def test_a_missed_target_is_shown_as_missed() -> None:
    live = {**FIGURES["live"], "ours/1000": _live("ours", 1000, 50.0)}
    report = markdown({**FIGURES, "live": live})
    assert "| CPU per event, of handwritten httpx | ≤ 0.45 × | 0.625 × | **no** |" in report


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    assert plot(FIGURES, tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_text().startswith("<?xml")


def test_quantiles_are_of_what_was_measured() -> None:
    assert quantile([float(n) for n in range(100)], 0.99) == 99.0
    assert quantile([], 0.5) == 0.0


def test_results_describe_a_machine_and_name_none() -> None:
    about = machine()
    assert set(about) == {"cpu", "cores", "memory_gib", "kernel", "virtual", "python", "packages", "commit", "when"}
    assert len(platform.node()) < 4 or platform.node() not in json.dumps(about)


def test_help_says_how_to_run_it_quickly() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks", "--help"], capture_output=True, text=True, check=True)
    assert "--quick" in done.stdout


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_committed_tables_say_what_the_committed_figures_say(file: Path) -> None:
    assert file.with_suffix(".md").read_text() == markdown(json.loads(file.read_text()))


def test_what_keeping_costs_is_shown_beside_the_version_before_and_has_a_place() -> None:
    before = {key: 1.0 for _, key, *_ in keeping_beside._ROWS}
    runs = {"before": [before, dict.fromkeys(before, 3.0)], "now": [dict.fromkeys(before, 2.0)]}
    text = keeping_beside.table(runs, keeping_beside.Size(), "somewhere")
    rows = [line for line in text.splitlines() if " ms |" in line or " s |" in line]
    assert len(rows) >= 6
    assert all("| 2.00 |" in row for row in rows), "of several runs the best"
    assert keeping_beside.BEGIN in keeping_beside.DOCUMENT.read_text("utf-8")
