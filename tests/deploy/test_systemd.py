"""The unit for a machine with systemd: what systemd itself says of it, and what it must hold for us."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "atoms-exporter.service"


def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of directives keep their capitals
    parser.read(UNIT)
    return parser["Service"]


def test_systemd_accepts_it(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/atoms-exporter/bin/atoms-exporter", "/bin/true"))
    done = subprocess.run([program, "verify", copy], capture_output=True, text=True, check=False, timeout=60)
    about_it = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert not about_it, about_it


def test_it_reloads_by_the_signal_and_has_the_time_to_drain() -> None:
    assert service()["ExecReload"].endswith("kill -HUP $MAINPID")
    assert int(service()["TimeoutStopSec"]) > 25
    assert service()["RestartPreventExitStatus"] == "2"
    assert service()["StateDirectory"] == "atoms-exporter"
