"""How single values are read: durations, addresses, YAML scalars."""

from __future__ import annotations

import json
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter.address import ListenAddress, listening_socket
from exporter.durations import format_duration, parse_duration
from exporter.errors import ConfigError
from exporter.strict_yaml import read_yaml


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("1h30m", 5_400),
        ("500ms", 0.5),
        ("30d", 2_592_000),
        ("1.5h", 5_400),
        (".5s", 0.5),
        ("250us", 0.00025),
        ("2w", 1_209_600),
        ("1y", 31_536_000),
        ("0", 0),
        ("0s", 0),
        ("10", 10),
        ("0.25", 0.25),
        (" 7s ", 7),
        (3, 3),
        (0.1, 0.1),
    ],
)
def test_a_duration_is_read(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "5 s",
        "-5s",
        "5x",
        "1m1h",
        "1s1s",
        "1e3s",
        "nan",
        "inf",
        "5s!",
        "1..5s",
        "٣s",
        "101y",
        "9" * 400,
        True,
        math.nan,
        math.inf,
        -1,
        1e300,
    ],
)
def test_what_is_no_duration_is_refused(text: str | float) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        parse_duration(text)


@given(st.integers(0, 100 * 365 * 86_400 * 1_000 // 2))
def test_a_duration_survives_being_written_and_read(milliseconds: int) -> None:
    seconds = milliseconds / 1_000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-15)


@given(st.floats(0, 3e9))
def test_any_duration_survives_within_a_microsecond(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6, rel=1e-9)


@given(st.text(max_size=50))
def test_no_text_makes_a_duration_of_something_else(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert math.isfinite(seconds)
    assert seconds >= 0


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":9464", "", 9464),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:9464", "::1", 9464),
        ("[2001:DB8::1]:1", "2001:db8::1", 1),
        ("localhost:9464", "localhost", 9464),
        ("host-1.example.:65535", "host-1.example.", 65_535),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int) -> None:
    assert ListenAddress.parse(text) == ListenAddress(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "9464",
        "host",
        "host:",
        "::1",
        "::1:9464",
        "[::1]",
        "[::1",
        "[x]:1",
        ":65536",
        ":-1",
        ":+1",
        ":9 4",
        "a b:1",
        "http://x:1",
        "-x:1",
        "x/y:1",
        ":٣",
        "[127.0.0.1]:1",
        "x" * 300 + ":1",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        ListenAddress.parse(text)


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_an_address_survives_being_written_and_read(host: object, port: int) -> None:
    address = ListenAddress(str(host), port)
    assert ListenAddress.parse(str(address)) == address


def test_urls_are_what_to_open_on_this_machine() -> None:
    assert ListenAddress.parse(":9464").url(tls=False) == "http://localhost:9464"
    assert ListenAddress.parse("[::]:1").url(tls=True) == "https://localhost:1"
    assert ListenAddress.parse("[::1]:1").url(tls=False) == "http://[::1]:1"


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with listening_socket(ListenAddress("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}: another process") as error:
            listening_socket(ListenAddress("127.0.0.1", port))
    assert error.value.key == "web.listen_address"


@pytest.mark.parametrize(
    ("address", "says"), [("192.0.2.1:0", "no such address"), ("no-such-host.invalid:0", "does not resolve")]
)
def test_an_address_that_cannot_be_had_is_an_error_that_says_why(address: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        listening_socket(ListenAddress.parse(address))


def test_every_interface_means_ipv4_too() -> None:
    import socket

    with listening_socket(ListenAddress("", 0)) as sock:
        socket.create_connection(("127.0.0.1", sock.getsockname()[1]), timeout=5).close()


PLAIN = st.recursive(
    st.text("abcXYZ019 _-", min_size=1).filter(lambda text: text.strip() not in ("", "null", "~")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcdef", min_size=1), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abcdef", min_size=1), PLAIN, max_size=5))
def test_yaml_gives_back_what_was_written(tree: dict[str, object]) -> None:
    for text in (yaml.safe_dump(tree), json.dumps(tree)):
        assert read_yaml(text.encode(), "x").value == tree


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_make_the_reader_raise_anything_but_a_config_error(content: bytes) -> None:
    problem = None
    try:
        read_yaml(content, "x")
    except ConfigError as error:
        problem = error
    assert problem is None or problem.key == "x"


def test_a_value_deep_in_the_file_knows_its_line() -> None:
    document = read_yaml(b"a:\n  b:\n  - c: 1\n  - d: 2\n", "f")
    assert document.where(("a", "b", 1, "d")) == "f line 4"
    assert document.where(("a", "b", 0, "nothing")) == "f line 3"
    assert document.where(("nothing",)) == "f"
