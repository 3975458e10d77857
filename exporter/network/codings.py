"""Content codings, undone within bounds. We ask for ``identity`` (or gzip); what comes all the same is read or named.

A compressed body is untrusted: a kilobyte may stand for a megabyte, a hundred times over. Nothing here ever holds more
than one piece of what it makes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, Protocol

from exporter.network.shown import shown_text

PIECE_BYTES: Final = 64 * 1024
_MOST_CODINGS: Final = 3
_GZIP, _ZLIB, _RAW = 31, 15, -15


class UnknownCoding(ValueError):
    """A coding that cannot be undone here; ``str()`` is fit for a log."""


class BrokenCoding(ValueError):
    """The body is not what its coding says, or ends too early."""


class Decoder(Protocol):
    """Takes the body as it arrives."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What can be undone now, in pieces of at most ``PIECE_BYTES``. Raises BrokenCoding. Consume it all."""

    def end(self) -> None:
        """The body is over. Raises BrokenCoding when something is missing."""


def codings_of(header: str) -> tuple[str, ...]:
    """The names in a ``Content-Encoding``, as applied, without those that do nothing. Raises UnknownCoding."""
    names = tuple(name for part in header.lower().split(",") if (name := part.strip()) not in ("", "identity"))
    for name in names:
        if name not in ("gzip", "x-gzip", "deflate"):
            raise UnknownCoding(f"content coding {shown_text(name, 40)}, which was not asked for and cannot be read")
    if len(names) > _MOST_CODINGS:
        raise UnknownCoding(f"{len(names)} content codings one over the other")
    return names


def decoder_for(header: str) -> Decoder | None:
    """What undoes a ``Content-Encoding``; None when there is nothing to undo. Raises UnknownCoding."""
    found: Decoder | None = None
    for name in reversed(codings_of(header)):  # the last one applied comes off first
        one = _Inflate(gzip=name != "deflate")
        found = one if found is None else _Chain(found, one)
    return found


class _Chain:
    def __init__(self, outer: Decoder, inner: Decoder) -> None:
        self._outer = outer
        self._inner = inner

    def feed(self, data: bytes) -> Iterator[bytes]:
        for piece in self._outer.feed(data):
            yield from self._inner.feed(piece)

    def end(self) -> None:
        self._outer.end()
        self._inner.end()


class _Inflate:
    """gzip with any number of members, or deflate: zlib's format as the standard wants it, raw as some send it."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._start = b""
        self._inflater = zlib.decompressobj(_GZIP) if gzip else None
        self._fed = False
        self._begun = False  # this member has had a byte
        self._over = False  # the body is complete: a first member has come to its end

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._fed = self._fed or bool(data)
        while data:
            if not self._begun:
                if self._gzip and self._over:
                    data = data.lstrip(b"\0")  # padding between members
                data = self._begin(data)
                if not data:
                    return
            assert self._inflater is not None
            try:
                piece = self._inflater.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise BrokenCoding(f"a compressed body that is broken ({str(error)[:80]})") from None
            if piece:
                yield piece
            data = self._inflater.unconsumed_tail
            if self._inflater.eof:
                data = self._inflater.unused_data
                self._begun, self._over = False, True
                if not self._gzip:
                    if data:
                        raise BrokenCoding("something behind the end of a compressed body")
                    return
                self._inflater = zlib.decompressobj(_GZIP)
            elif not data and len(piece) == PIECE_BYTES:
                yield from self._rest()

    def _rest(self) -> Iterator[bytes]:
        """What the inflater still holds although it has taken all its input."""
        assert self._inflater is not None
        while not self._inflater.eof:
            try:
                piece = self._inflater.decompress(b"", PIECE_BYTES)
            except zlib.error as error:
                raise BrokenCoding(f"a compressed body that is broken ({str(error)[:80]})") from None
            if not piece:
                return
            yield piece
        self._begun, self._over = False, True
        if self._gzip:
            self._inflater = zlib.decompressobj(_GZIP)

    def _begin(self, data: bytes) -> bytes:
        if self._inflater is None:
            self._start += data
            if len(self._start) < 2:
                return b""
            data, self._start = self._start, b""
            wrapped = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._inflater = zlib.decompressobj(_ZLIB if wrapped else _RAW)
        elif not self._gzip and self._over:
            raise BrokenCoding("something behind the end of a compressed body")
        self._begun = bool(data)
        return data

    def end(self) -> None:
        if self._fed and (self._begun or not self._over):  # no body at all is none that was cut
            raise BrokenCoding("a compressed body that ends too early")
