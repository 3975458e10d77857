"""Text from outside on a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.printable import printable


@pytest.mark.parametrize("text", ["Zoë — 東京\n\tüber …", "100 %", "👩‍👩‍👧", ""])
def test_what_a_person_reads_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_what_moves_a_cursor_is_written_out() -> None:
    assert printable("a\x1b[2J\x07\rb\u202e\x9b") == "a\\x1b[2J\\x07\\x0db\\u202e\\x9b"


@given(st.text(st.characters(), max_size=50))
def test_no_control_character_survives_and_every_encoding_takes_it(text: str) -> None:
    shown = printable(text)
    shown.encode("utf-8")
    assert not [letter for letter in shown if unicodedata.category(letter) == "Cc" and letter not in "\n\t"]
    assert printable(shown) == shown
