"""What stands in the logs, and what never does."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from exporter.logs import Redaction, set_up_logs

SECRET = "sk-canary-7f3a9"


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Logs go here, and afterwards where they went before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_logfmt_is_one_line_with_time_level_and_message_first(lines: io.StringIO) -> None:
    set_up_logs("info", "logfmt", stream=lines)
    structlog.get_logger("x").info("stream open", call="CALL-1", streams=3, good=True, nothing=None, text='a "b"\nc')
    line = lines.getvalue()
    assert line.count("\n") == 1
    assert line.startswith("ts=20")
    assert 'level=info msg="stream open" ' in line
    assert "call=CALL-1 streams=3 good=true" in line
    assert r'text="a \"b\"\nc"' in line
    assert "nothing" not in line


def test_json_is_one_object_per_line(lines: io.StringIO) -> None:
    set_up_logs("info", "json", stream=lines)
    structlog.get_logger("x").warning("reconnect", seconds=1.5, error=ValueError("no\nway"))
    entry = json.loads(lines.getvalue())
    assert list(entry)[:3] == ["ts", "level", "msg"]
    assert (entry["level"], entry["msg"], entry["seconds"], entry["error"]) == ("warning", "reconnect", 1.5, "no\nway")


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_a_traceback_is_one_field(lines: io.StringIO, style: str) -> None:
    set_up_logs("info", style, stream=lines)
    try:
        raise ValueError(SECRET)
    except ValueError:
        structlog.get_logger("x").exception("failed")
    assert lines.getvalue().count("\n") == 1
    assert "Traceback (most recent call last)" in lines.getvalue()
    assert "traceback" in lines.getvalue()


def test_the_level_holds_for_everybody(lines: io.StringIO) -> None:
    set_up_logs("error", stream=lines)
    structlog.get_logger("x").warning("no")
    logging.getLogger("y").warning("no")
    structlog.get_logger("x").error("yes")
    logging.getLogger("y").error("yes")
    assert lines.getvalue().count("yes") == 2
    assert "no" not in lines.getvalue()


def test_dependencies_speak_through_the_same_format(lines: io.StringIO) -> None:
    set_up_logs("info", "json", stream=lines)
    logging.getLogger("some.library").warning("odd %s", "thing", extra={"count": 3})
    entry = json.loads(lines.getvalue())
    assert (entry["msg"], entry["logger"], entry["count"]) == ("odd thing", "some.library", 3)


def test_dependencies_that_log_every_url_or_every_attempt_are_quiet(lines: io.StringIO) -> None:
    set_up_logs("info", stream=lines)
    logging.getLogger("httpx").info("HTTP Request: GET https://api/events?callId=x")
    logging.getLogger("httpcore.connection").debug("connect")
    logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter").warning("Transient error")
    logging.getLogger("urllib3.connectionpool").warning("Retrying")
    assert lines.getvalue() == ""
    logging.getLogger("httpx").warning("something real")
    assert "something real" in lines.getvalue()


def test_python_warnings_are_logged_like_the_rest(lines: io.StringIO) -> None:
    set_up_logs("info", stream=lines)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "level=warning" in lines.getvalue()


def test_setting_up_again_replaces_what_was(lines: io.StringIO) -> None:
    set_up_logs("info", stream=io.StringIO())
    set_up_logs("info", stream=lines)
    structlog.get_logger("x").info("once")
    assert lines.getvalue().count("once") == 1


def test_the_default_is_stderr() -> None:
    code = "from exporter.logs import set_up_logs; set_up_logs(); import structlog; structlog.get_logger().info('here')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, "msg=here" in done.stderr) == ("", True)


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_a_known_secret_is_masked_wherever_it_turns_up(lines: io.StringIO, style: str) -> None:
    set_up_logs("debug", style, secrets=[SECRET], stream=lines)
    log = structlog.get_logger("x")
    log.info(f"in the message {SECRET}", field=f"x{SECRET}x", deep={"a": [{"b": SECRET}]}, error=ValueError(SECRET))
    logging.getLogger("y").warning("in %s", f"arguments {SECRET}", extra={"more": SECRET})
    try:
        raise RuntimeError(f"in the traceback: {SECRET}")
    except RuntimeError:
        log.exception("failed")
        logging.getLogger("y").exception("failed")
    assert SECRET not in lines.getvalue()
    assert lines.getvalue().count("<secret>") >= 8


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("Authorization: Bearer abc123def456", "abc123def456"),
        ("'authorization': 'Basic dXNlcjpwYXNz'", "dXNlcjpwYXNz"),
        ("connecting to https://user:pass1234@host/path", "pass1234"),
        ("from +1 (415) 555-0100 to x", "555-0100"),
        ("to +4915112345678.", "15112345678"),
        ("call from +91-98765-43210", "98765"),
    ],
)
def test_what_looks_like_a_token_or_a_phone_number_is_masked(text: str, gone: str) -> None:
    assert gone not in Redaction().text(text)


@pytest.mark.parametrize(
    "text",
    [
        "CALL-1758124225863-80752e",
        "2026-03-02T10:00:01.123+00:00",
        "took 1.5e+10 s",
        "https://api.smallest.ai/atoms/v1",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736",
        "1758124305.194836",
        "8671288e-654e-4a79-adde-5f4dc714e6ca",
    ],
)
def test_what_an_operator_needs_stays_readable(text: str) -> None:
    assert Redaction([SECRET]).text(text) == text


@pytest.mark.parametrize("field", ["to_phone", "from_number", "transcript", "Authorization", "api_key", "password"])
def test_some_fields_are_never_written(lines: io.StringIO, field: str) -> None:
    set_up_logs("info", stream=lines)
    structlog.get_logger("x").info("odd", **{field: "plain words"}, inner={field: "plain words"})
    assert "plain words" not in lines.getvalue()


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_what_comes_from_outside_rings_no_bell_and_moves_no_cursor(lines: io.StringIO, style: str) -> None:
    set_up_logs("info", style, stream=lines)
    name = "An\x1b[2Jna\x07\r\x9b\u202e\nlevel=error msg=forged"
    structlog.get_logger("x").info(f"agent {name}", agent_name=name, inner={"list": [name]})
    (line,) = lines.getvalue().splitlines()
    assert "2Jna" in line
    assert not set(line) & set("\x1b\x07\r\x9b\u202e")


def test_a_short_secret_does_not_mask_ordinary_words() -> None:
    assert Redaction(["a", ""]).text("a banana") == "a banana"


def test_an_endless_value_is_cut() -> None:
    assert len(Redaction().text("x" * 10_000_000)) < 10_000


@given(st.text(), st.text("abc \n\"'\\=,{}", min_size=6))
def test_a_secret_does_not_survive_any_surroundings(around: str, secret: str) -> None:
    masked = Redaction([secret]).text(f"{around[:3000]}{secret}{around[:3000]}")
    assert secret not in masked.replace("<secret>", "")
