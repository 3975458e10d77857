"""The command line: what every command says, its exit codes, where its output goes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from exporter import __version__
from exporter.cli.app import run as main
from exporter.cli.options import configured
from exporter.errors import ConfigError
from tests.command import Said, command
from tests.system.world import clean_environment, free_port

COMMANDS = ("run", "demo", "simulate", "replay", "explain", "backfill", "rules", "check-config", "trace-id")
CALL = "CALL-1758124225863-80752e"


def inside(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str, **env: str) -> Said:
    """The command in this process: quick, for those that set up no logs."""
    monkeypatch.setattr(sys, "argv", ["atoms-exporter", *words])
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return Said(int(ended.value.code or 0), said.out, said.err)


@pytest.mark.parametrize("name", [None, *COMMANDS])
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_explains_itself(
    name: str | None, flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = inside(monkeypatch, capsys, *([name] if name else []), flag, COLUMNS="80")
    assert said.code == 0
    assert "Usage" in said.out
    assert max(map(len, said.out.splitlines())) <= 80
    cut = re.findall(r"\S*(?:…|\.\.\.)", said.out)
    assert set(cut) <= {"[ARGS]...", "[CALL_ID]...", "{FILE}...", "NAME=P[:KEY=VALUE…"}, "nothing is cut off"
    for each in COMMANDS if name is None else ():
        assert each in said.out


def test_the_version_is_the_packages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert inside(monkeypatch, capsys, "--version").out == f"atoms-exporter {__version__}\n"


def test_without_a_command_it_shows_what_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = inside(monkeypatch, capsys)
    assert "demo" in said.out + said.err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["nonsense"], "nonsense"),
        (["run", "--nonsense"], "--nonsense"),
        (["trace-id"], "CALL_ID"),
        (["trace-id", " "], "CALL_ID"),
        (["demo", "--calls", "0"], "--calls"),
        (["demo", "--dialect", "1999"], "--dialect"),
        (["simulate", "--fault", "nonsense"], "--fault"),
        (["simulate", "--reconnect", "never"], "--reconnect"),
        (["simulate", "--web.listen-address", "nowhere"], "--web.listen-address"),
        (["rules", "--format", "yaml"], "--format"),
        (["rules", "--output", "/nonexistent/rules.yml"], "--output"),
        (["rules", "--set", "slo=[{name: a, objective: 2}]"], "slo"),
        (["check-config"], "ATOMS_API_KEY"),
        (["check-config", "--set", "log.level=loud"], "log.level"),
        (["replay", "/nonexistent/file"], "/nonexistent/file"),
        (["replay", "-", "--channel", "smoke signals"], "--channel"),
        (["explain", "/nonexistent/file.jsonl"], "/nonexistent/file.jsonl"),
        (["backfill"], "--last"),
        (["backfill", "--last", "0"], "--last"),
    ],
)
def test_a_usage_error_names_what_is_wrong_and_ends_with_2(
    words: list[str], named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sets_up_logs = words[0] in ("replay", "explain", "backfill")
    said = command(*words) if sets_up_logs else inside(monkeypatch, capsys, *words)
    assert said.code == 2, said
    assert named in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


def test_the_trace_id_of_a_call_is_what_the_documentation_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import hashlib

    for call in (CALL, "a/b?c=d#e", "ü"):
        wanted = hashlib.sha256(f"atoms:{call}".encode()).hexdigest()[:32]
        assert inside(monkeypatch, capsys, "trace-id", call).out == f"{wanted}\n"


def test_check_config_shows_everything_but_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yml"
    file.write_text("api: {idle_timeout: 30s}\ndiscovery: {webhook: {secret: hush-hush}}\n")
    words = ("check-config", "--config.file", str(file), "--web.listen-address", ":1234")
    said = inside(monkeypatch, capsys, *words, ATOMS_API_KEY="sk-very-secret", ATOMS_EXPORTER_LOG__LEVEL="debug")
    assert said.code == 0
    shown = yaml.safe_load(said.out)
    assert shown["api"]["idle_timeout"] == "30s"
    assert shown["log"]["level"] == "debug"
    assert shown["web"]["listen_address"] == ":1234"
    assert "sk-very-secret" not in said.out + said.err
    assert "hush-hush" not in said.out + said.err


def test_check_config_refuses_what_run_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, env in (
        (["--set", "state.path=/nonexistent/dir/state.db"], {}),
        (["--web.config.file", str(tmp_path / "none.yml")], {}),
        ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}),
        (["--set", "metrics.latency_buckets=5,1"], {}),
    ):
        said = inside(monkeypatch, capsys, "check-config", *words, ATOMS_API_KEY="x", **env)
        assert said.code == 2, (words, env)
        for name in env:
            monkeypatch.delenv(name)


def test_rules_go_to_a_file_or_to_the_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rules.yml"
    said = inside(monkeypatch, capsys, "rules", "--output", str(file))
    assert (said.code, said.out) == (0, "")
    assert str(file) in said.err
    assert inside(monkeypatch, capsys, "rules").out == file.read_text()
    assert yaml.safe_load(file.read_text())["groups"]
    for style in ("sloth", "pyrra"):
        assert list(yaml.safe_load_all(inside(monkeypatch, capsys, "rules", "--format", style).out))


def test_simulate_names_its_faults(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = inside(monkeypatch, capsys, "simulate", "--fault", "list")
    assert said.code == 0
    assert "half_open" in said.out


def test_settings_of_the_command_line_are_checked_like_the_file() -> None:
    assert configured(None, ["api.idle-timeout=5s"], {}).api.idle_timeout == 5
    for wrong in ("api.idle_timeout", "=5s", "nonsense=1"):
        with pytest.raises(ConfigError):
            configured(None, [wrong], {})


def _started(*words: str) -> tuple[subprocess.Popen[bytes], str]:
    """A process that serves, and the URL it named first."""
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", *words],
        env=clean_environment(ATOMS_API_KEY="x"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if b"http://" in line:
            return process, line.decode()
    raise AssertionError("it said nothing")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_demo_and_simulate_end_with_0_when_told(number: int) -> None:
    for words in (("demo", "--calls", "2"), ("simulate", "--calls", "2")):
        process, line = _started(*words, "--web.listen-address", "127.0.0.1:0")
        try:
            assert "127.0.0.1" in line
            process.send_signal(number)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.communicate()


def test_demo_takes_another_port_when_its_own_is_taken() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 9464))
            taken.listen()
        except OSError:
            pass  # somebody else has it: as good
        process, line = _started("demo", "--calls", "1")
        process.kill()
        process.communicate()
    assert ":9464" not in line


def test_a_second_signal_ends_at_once() -> None:
    """A backend that takes connections and never answers holds the first one up to the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = clean_environment(
            ATOMS_API_KEY="x",
            ATOMS_BASE_URL=f"http://127.0.0.1:{free_port()}",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}",
        )
        words = ("run", "--web.listen-address", "127.0.0.1:0", "--set", "shutdown_timeout=20s")
        process = subprocess.Popen([sys.executable, "-m", "exporter", *words], env=env, stderr=subprocess.PIPE)
        try:
            assert process.stderr is not None
            while b"listening" not in process.stderr.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            while b"draining" not in process.stderr.readline():
                assert process.poll() is None
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) != 0
            assert time.monotonic() - began < 5
        finally:
            process.kill()
            process.communicate()


def test_a_backend_that_never_answers_does_not_hold_the_end_beyond_its_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        env = clean_environment(
            ATOMS_API_KEY="x",
            ATOMS_BASE_URL=f"http://127.0.0.1:{free_port()}",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}",
        )
        words = ("run", "--web.listen-address", "127.0.0.1:0", "--set", "shutdown_timeout=3s")
        process = subprocess.Popen([sys.executable, "-m", "exporter", *words], env=env, stderr=subprocess.PIPE)
        try:
            assert process.stderr is not None
            while b"listening" not in process.stderr.readline():
                assert process.poll() is None
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            assert time.monotonic() - began < 4.5  # the deadline, and a busy machine
        finally:
            process.kill()
            process.communicate()


def test_output_into_a_closed_pipe_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", "rules"],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait(30)
    process.stderr.close()
