"""Recordings that are packed, damaged, or hold no call."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pytest

from exporter.config import load
from exporter.errors import ConfigError
from exporter.offline.replay import spans_of_file

CALL = Path(__file__).parents[2] / "docs" / "example" / "call.json"
CONFIG = load({}, {}, None)


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    packed = tmp_path / "call.json.gz"
    packed.write_bytes(gzip.compress(CALL.read_bytes()))
    assert spans_of_file(str(packed), CONFIG) == spans_of_file(str(CALL), CONFIG)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (gzip.compress(CALL.read_bytes())[:300], "gzip that is damaged or cut off"),
        (gzip.compress(CALL.read_bytes())[:-1] + b"x", "gzip that is damaged or cut off"),
        (b"\x1f\x8b" + b"no gzip at all", "gzip that is damaged or cut off"),
        (bz2.compress(b"{}"), "packed with bzip2"),
        (b"PK\x03\x04...", "packed with zip"),
        (b"\x28\xb5\x2f\xfd...", "packed with zstd"),
        (b"\xfd7zXZ\x00...", "packed with xz"),
    ],
)
def test_what_cannot_be_unpacked_says_so(given: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "recording"
    file.write_bytes(given)
    with pytest.raises(ConfigError, match=says):
        spans_of_file(str(file), CONFIG)


@pytest.mark.parametrize("given", [b"{}", b"[]", b"[{}]", b'{"a": 1}', b'{"data": {}}', b"", b"\n\n"])
def test_a_document_in_which_nothing_happened_is_no_call_of_1970(given: bytes, tmp_path: Path) -> None:
    file = tmp_path / "recording"
    file.write_bytes(given)
    assert spans_of_file(str(file), CONFIG) == {}
