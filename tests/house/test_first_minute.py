"""What a stranger types first, as a process: the demo, then `run` against `simulate` as docs/development.md has it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PATIENCE_SECONDS = 90.0
_TURNS_OF_A_NODE = re.compile(
    r'^atoms_turn_latency_seconds_count\{.*node_name="(?!none|unknown)[^"]+"\} [1-9]', re.MULTILINE
)


@contextmanager
def _running(log: Path, *words: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            words, stdout=output, stderr=output, env={"PATH": os.environ["PATH"], **environment}, cwd=log.parent
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _said(log: Path, pattern: str) -> str:
    """What a process has written that matches, once it has."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (found := re.search(pattern, log.read_text())) is None:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return found[1]


def _scraped_until(url: str, pattern: re.Pattern[str]) -> str:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        with urllib.request.urlopen(url, timeout=10) as answer:
            page: str = answer.read().decode()
        if pattern.search(page):
            return page
        assert time.monotonic() < deadline, page[-2000:]
        time.sleep(0.5)


def test_the_demo_shows_turn_latency_by_node_and_ends_cleanly(tmp_path: Path, atoms_exporter: str) -> None:
    log = tmp_path / "demo.log"
    with _running(log, atoms_exporter, "demo", "--speed", "5", "--web.listen-address", "127.0.0.1:0") as demo:
        page = _scraped_until(_said(log, r"(http://\S+/metrics)"), _TURNS_OF_A_NODE)
        assert "atoms_exporter_up 1.0" in page
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(_PATIENCE_SECONDS) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def test_run_follows_what_simulate_plays(tmp_path: Path, atoms_exporter: str) -> None:
    simulated, followed = tmp_path / "simulate.log", tmp_path / "run.log"
    free_port = ("--web.listen-address", "127.0.0.1:0")
    with _running(simulated, atoms_exporter, "simulate", "--calls", "8", "--speed", "5", *free_port):
        base_url = _said(simulated, r"(http://\S+)")
        options = ("--api.base-url", base_url, *free_port, "--set", "discovery.poll.interval=1s")
        with _running(followed, atoms_exporter, "run", *options, ATOMS_API_KEY="simulated-key") as run:
            _scraped_until(_said(followed, r'url="?(http://[^\s"]+)').rstrip("/") + "/metrics", _TURNS_OF_A_NODE)
            run.send_signal(signal.SIGTERM)
            assert run.wait(_PATIENCE_SECONDS) == 0, followed.read_text()
    assert "Traceback" not in followed.read_text()


@pytest.mark.parametrize("words", [["run"], ["run", "--nonsense"], ["nonsense"], ["demo", "--calls", "many"]])
def test_what_cannot_be_used_is_a_sentence_and_exit_code_2(
    words: list[str], tmp_path: Path, atoms_exporter: str
) -> None:
    done = subprocess.run(
        [atoms_exporter, *words],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
