"""What a machine's environment does to commands: what it should, one line where it cannot, and nothing to the demo."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.command import command

NOWHERE = "http://127.0.0.1:1"


def test_the_demo_is_touched_by_nothing_of_it(tmp_path: Path) -> None:
    """Behind a proxy it once talked to its own simulator through it: no calls, exit code 0."""
    (tmp_path / ".netrc").write_text("default login somebody password something\n")
    env = {
        **dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"), NOWHERE),
        "NO_PROXY": "fd00::/8",
        "SSL_CERT_FILE": "/nonexistent",
        "SSL_CERT_DIR": "/nonexistent",
        "HOME": str(tmp_path),
        "ATOMS_API_KEY": "not this one",
        "ATOMS_BASE_URL": "nonsense",
        "ATOMS_EXPORTER_CONFIG_FILE": "/nonexistent",
        "ATOMS_EXPORTER_NONSENSE": "1",
        "ATOMS_WEBHOOK_SECRET_FILE": "/nonexistent",
        "STATE_DIRECTORY": "/nonexistent",
    }
    words = ("demo", "--calls", "6", "--speed", "20", "--duration", "3.5", "--web.listen-address", "127.0.0.1:0")
    said = command(*words, env=env)
    assert (said.code, said.err) == (0, "")
    assert re.search(r"[1-9]\d* turns answered", said.out), said.out


RUN = ("run", "--log.level", "error", "--web.listen-address", "127.0.0.1:0")
BACKFILL = ("backfill", "CALL-1")


@pytest.mark.parametrize(
    ("words", "env", "named"),
    [
        (RUN, {"SSL_CERT_FILE": "/nonexistent"}, "SSL_CERT_FILE"),
        (BACKFILL, {"SSL_CERT_FILE": "/dev/null"}, "SSL_CERT_FILE"),
        (RUN, {"HTTPS_PROXY": "http://u:pa55@ho st:1"}, "HTTPS_PROXY"),
        (("explain", "CALL-1"), {"ALL_PROXY": "socks9://u:pa55@proxy:1"}, "ALL_PROXY"),
        (
            RUN,
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "u:pa55@h:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line_from_every_command_that_would(
    words: tuple[str, ...], env: dict[str, str], named: str
) -> None:
    said = command(*words, env={"ATOMS_API_KEY": "x", "OTEL_EXPORTER_OTLP_ENDPOINT": NOWHERE, **env})
    assert (said.code, said.out) == (2, ""), said
    assert said.err.count("\n") == 1, said.err
    assert named in said.err
    assert "pa55" not in said.err
