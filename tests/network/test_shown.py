"""What is shown of a URL, and of what others say, holds no secret and nothing a terminal obeys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.network.shown import shown_host, shown_text, shown_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.test/v1/x?key=secret#secret", "https://api.test/v1/x"),
        ("https://user:secret@api.test:8443/v1", "https://api.test:8443/v1"),
        ("http://[::1]:4318/v1/traces", "http://[::1]:4318/v1/traces"),
        ("http://api.test:port/secret", "(not a URL)"),
        ("user:secret@api.test", "(not a URL)"),
        ("http://[secret", "(not a URL)"),
        ("", "(not a URL)"),
        ("https://api.test/\x1b[31mred", "https://api.test/?[31mred"),
    ],
)
def test_a_url_is_shown_without_what_is_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    assert "secret" not in shown_host(url)


@given(st.text(max_size=2_000))
def test_words_from_outside_are_short_and_printable(text: str) -> None:
    shown = shown_text(text)
    assert len(shown) <= 200
    assert shown.isprintable()
