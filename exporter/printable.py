"""Text from outside, made fit for a terminal and a log: nothing in it moves a cursor, rings, or writes backwards."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 (but tab and line feed), DEL and C1: ESC, BEL, CR, CSI …
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"  # what turns the direction of writing, breaks lines or hides
    "\ud800-\udfff]"  # halves of characters, which no encoding takes
)


def printable(text: str) -> str:
    r"""The text with what cannot be printed written out (``\x1b``, ``\u202e``). Line feeds and tabs stay."""
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
