"""Compressed bodies are undone whatever the cuts, within bounds; what cannot be undone is named."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.network.codings import PIECE_BYTES, BrokenCoding, Decoder, UnknownCoding, decoder_for


def _raw(body: bytes) -> bytes:
    return zlib.compress(body)[2:-4]


_ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-Gzip", gzip.compress),
    "deflate as the standard wants it": ("deflate", zlib.compress),
    "deflate as some send it": ("deflate", _raw),
    "two over each other": ("deflate, gzip", lambda body: gzip.compress(zlib.compress(body))),
    "identity beside one": ("identity, gzip", gzip.compress),
}


def decoded(header: str, *parts: bytes) -> bytes:
    decoder = decoder_for(header)
    assert decoder is not None
    found = bytearray()
    for part in parts:
        for piece in decoder.feed(part):
            assert 0 < len(piece) <= PIECE_BYTES
            found += piece
    decoder.end()
    return bytes(found)


def cut(body: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(body) + 1) for place in places})
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]


@pytest.mark.parametrize("how", _ENCODERS)
@given(body=st.binary(min_size=1, max_size=2_000), places=st.lists(st.integers(0, 10_000), max_size=6))
def test_any_cut_of_a_compressed_body_says_the_same(how: str, body: bytes, places: list[int]) -> None:
    header, encode = _ENCODERS[how]
    assert decoded(header, *cut(encode(body), places)) == body


@given(members=st.lists(st.binary(max_size=300), min_size=1, max_size=5), places=st.lists(st.integers(0, 10_000)))
def test_members_of_gzip_are_one_body_with_or_without_padding(members: list[bytes], places: list[int]) -> None:
    body = b"".join(gzip.compress(member) for member in members)
    assert decoded("gzip", *cut(body, places)) == b"".join(members)
    assert decoded("gzip", *cut(body + b"\0" * 5, places)) == b"".join(members)


@pytest.mark.parametrize("header", ["", "identity", "Identity, identity"])
def test_nothing_is_undone_where_nothing_was_done(header: str) -> None:
    assert decoder_for(header) is None


@pytest.mark.parametrize("header", ["br", "zstd", "gzip, br", "compress", "x\x1b[2J"])
def test_a_coding_that_cannot_be_read_is_named(header: str) -> None:
    with pytest.raises(UnknownCoding, match="not asked for") as told:
        decoder_for(header)
    assert "\x1b" not in str(told.value)


def test_a_tower_of_codings_is_refused() -> None:
    with pytest.raises(UnknownCoding, match="one over the other"):
        decoder_for(", ".join(["gzip"] * 4))


@pytest.mark.parametrize("how", ["gzip", "deflate as the standard wants it", "two over each other"])
@given(place=st.integers(0, 10_000))
def test_a_body_that_ends_too_early_is_broken(how: str, place: int) -> None:
    header, encode = _ENCODERS[how]
    body = encode(b"what was meant to be said" * 3)
    part = body[: place % (len(body) - 1) + 1]
    with pytest.raises(BrokenCoding):
        decoded(header, part)


@pytest.mark.parametrize("garbage", [b"<html>", b"\x1f\x8b\x08not gzip", b"\x78\x9cno zlib"])
@pytest.mark.parametrize("header", ["gzip", "deflate"])
def test_garbage_is_broken(header: str, garbage: bytes) -> None:
    with pytest.raises(BrokenCoding):
        decoded(header, garbage * 10)


def test_no_body_at_all_is_none_that_was_cut() -> None:
    assert decoded("gzip") == b""


@pytest.mark.parametrize("times", [1, 2])
def test_a_bomb_is_undone_piece_by_piece(times: int) -> None:
    """128 MB out of 125 kB (and out of some hundred bytes, where it was packed twice): never more than a piece of it
    is held."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(128)) + packer.flush()
    for _ in range(times - 1):
        bomb = gzip.compress(bomb)
    decoder: Decoder | None = decoder_for(", ".join(["gzip"] * times))
    assert decoder is not None
    tracemalloc.start()
    made = sum(len(piece) for piece in decoder.feed(bomb))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made == 128 << 20
    assert peak < 1 << 20
