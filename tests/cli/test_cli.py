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
import typer.main
import yaml

from exporter import __version__
from exporter.cli.app import app
from exporter.cli.app import run as main
from exporter.cli.options import FLAGS, configured
from exporter.errors import ConfigError
from tests.certificates import Certificates
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
        (["simulate", "--speed", "nan"], "--speed"),
        (["simulate", "--speed", "inf"], "--speed"),
        (["simulate", "--duration", "-1"], "--duration"),
        (["simulate", "--duration", "nan"], "--duration"),
        (["simulate", "--total-calls", "-5"], "--total-calls"),
        (["simulate", "--events-rate", "nan"], "--events-rate"),
        (["simulate", "--calls", "99999999"], "--calls"),
        (["simulate", "--webhook-url", "nonsense"], "--webhook-url"),
        (["simulate", "--token", ""], "--token"),
        (["simulate", "--fault", "drop=0.1:after=-3"], "after"),
        (["simulate", "--fault", "slow=1:seconds=nan"], "seconds"),
        (["demo", "--duration", "nan"], "--duration"),
        (["simulate", "--web.listen-address", "nowhere"], "--web.listen-address"),
        (["rules", "--format", "yaml"], "--format"),
        (["rules", "--output", "/nonexistent/rules.yml"], "--output"),
        (["rules", "--set", "slo=[{name: a, objective: 2}]"], "slo"),
        (["check-config"], "ATOMS_API_KEY"),
        (["check-config", "--set", "log.level=loud"], "log.level"),
        (["replay", "/nonexistent/file"], "/nonexistent/file"),
        (["replay", "-", "--channel", "smoke signals"], "--channel"),
        (["explain", "/nonexistent/file.jsonl"], "/nonexistent/file.jsonl"),
        (["explain", ""], "CALL_ID"),
        (["explain", ".."], "FILE"),
        (["explain", "x" * 5000], "CALL_ID"),
        (["backfill", ".."], "CALL_ID"),
        (["backfill", ""], "CALL_ID"),
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


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Certificates(tmp_path_factory.mktemp("certificates")).directory


def test_check_config_refuses_what_run_would(
    tmp_path: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = tmp_path / "foreign.db"
    foreign.write_text("something else")
    otlp = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    for words, env, named in (
        (["--set", "state.path=/nonexistent/dir/state.db"], {}, "state.path"),
        (["--set", f"state.path={foreign}"], {}, "belongs to something else"),
        (["--set", f"state.path={tmp_path}"], {}, "state.path"),
        (["--web.config.file", str(tmp_path / "none.yml")], {}, "none.yml"),
        ([], otlp | {"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ([], otlp | {"OTEL_EXPORTER_OTLP_CLIENT_KEY": str(certificates / "client.key")}, "CLIENT_KEY"),
        ([], otlp | {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificates)}, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        ([], otlp | {"OTEL_EXPORTER_OTLP_HEADERS": "a=%C3%BC"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ([], otlp | {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "-1"}, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
        ([], {"SSL_CERT_FILE": "/nonexistent"}, "SSL_CERT_FILE"),
        ([], {"SSL_CERT_FILE": "/dev/null"}, "SSL_CERT_FILE"),
        ([], {"HTTPS_PROXY": "http://u:pa55@:3128"}, "HTTPS_PROXY"),
        (["--set", "metrics.latency_buckets=5,1"], {}, "--set metrics.latency_buckets"),
    ):
        said = inside(monkeypatch, capsys, "check-config", *words, ATOMS_API_KEY="x", **env)
        assert said.code == 2, (words, env)
        assert said.err.count("\n") == 1
        assert named in said.err
        assert "pa55" not in said.err
        for name in env:
            monkeypatch.delenv(name)


def test_an_exception_to_proxies_without_a_proxy_is_fine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside(monkeypatch, capsys, "check-config", ATOMS_API_KEY="x", NO_PROXY="fd00::/8").code == 0


def test_check_config_without_secrets_checks_the_rest_and_says_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    web = tmp_path / "web.yml"
    web.write_text("tls_server_config: {cert_file: /run/secrets/tls.crt, key_file: /run/secrets/tls.key}\n")
    env = {
        "ATOMS_API_KEY_FILE": "/run/secrets/key",
        "ATOMS_WEBHOOK_SECRET_FILE": "/run/secrets/hook",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:1",
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/run/secrets/client.key",
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": "/run/secrets/client.crt",
    }
    words = ("check-config", "--web.config.file", str(web))
    assert inside(monkeypatch, capsys, *words, **env).code == 2
    said = inside(monkeypatch, capsys, *words, "--no-secrets", **env)
    assert said.code == 0, said.err
    last = said.out.splitlines()[-1]
    for left_out in ("API key", "webhook", "OTEL_EXPORTER_OTLP_CLIENT_KEY", "web.config_file"):
        assert left_out in last
    assert yaml.safe_load(said.out)["api"]["api_key_file"] == "/run/secrets/key"
    assert inside(monkeypatch, capsys, *words, "--no-secrets", "--set", "log.level=loud", **env).code == 2


def test_check_config_talks_to_nobody(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nobody.settimeout(0.2)
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        for protocol in ("grpc", "http/protobuf"):
            env = {"ATOMS_BASE_URL": url, "OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
            assert inside(monkeypatch, capsys, "check-config", ATOMS_API_KEY="x", **env).code == 0
        with pytest.raises(TimeoutError):
            nobody.accept()


def test_an_empty_flag_says_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    env = {"ATOMS_API_KEY": "x", "ATOMS_EXPORTER_WEB__CONFIG_FILE": "/nonexistent"}
    assert inside(monkeypatch, capsys, "check-config", "--web.config.file", "", **env).code == 0
    assert configured(None, None, {"ATOMS_EXPORTER_STATE__PATH": "/x"}, state__path="").state.path is None


def test_errors_name_flags_as_they_are_typed() -> None:
    """Every key that has a flag of its own, by the name that flag has in some command's help."""
    group = typer.main.get_command(app)
    options = {option for command in group.commands.values() for each in command.params for option in each.opts}
    assert set(FLAGS.values()) <= options
    for key in FLAGS:
        with pytest.raises(ConfigError) as raised:
            configured(None, None, {}, **{key.replace(".", "__"): "\0"})
        assert f"({FLAGS[key]})" in str(raised.value), key


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


_CANARY = "sk-CaNaRy-7f3a9c"
_VARIABLES = (
    *(f"OTEL_EXPORTER_OTLP_{part}{what}" for part in ("", "TRACES_", "METRICS_") for what in ("ENDPOINT", "PROTOCOL")),
    *(f"OTEL_EXPORTER_OTLP_{what}" for what in ("HEADERS", "TIMEOUT", "COMPRESSION", "INSECURE", "CLIENT_KEY")),
    *("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"),
    *(
        "OTEL_BSP_SCHEDULE_DELAY",
        "OTEL_METRIC_EXPORT_INTERVAL",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_SPAN_LINK_COUNT_LIMIT",
    ),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "ATOMS_BASE_URL", "ATOMS_API_KEY", "ATOMS_WEBHOOK_SECRET"),
    *("ATOMS_EXPORTER_LOG__LEVEL", "ATOMS_EXPORTER_SLO", "ATOMS_EXPORTER_API__MAX_STREAMS"),
)


@pytest.mark.parametrize("variable", _VARIABLES)
def test_a_secret_in_any_variable_is_in_no_output(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether it is refused there or used: as a header, or as the password of a URL."""
    env = {"ATOMS_API_KEY": "x", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    if variable.endswith(("ENDPOINT", "HEADERS")):
        env["OTEL_EXPORTER_OTLP_PROTOCOL"] = "grpc"
    for shape in (f"authorization={_CANARY} ü", f"http://user:{_CANARY}@127.0.0.1:1"):
        said = inside(monkeypatch, capsys, "check-config", **env | {variable: shape})
        assert said.code in (0, 2)
        if variable != "OTEL_RESOURCE_ATTRIBUTES":  # they are sent to be seen
            assert _CANARY not in said.out
        assert _CANARY not in said.err, (shape, said.err)
        for name in env | {variable: shape}:
            monkeypatch.delenv(name)
