"""How open files are divided."""

from __future__ import annotations

import pytest

from exporter.descriptors import RESERVE, divide


@pytest.mark.parametrize(
    ("allowed", "wanted", "streams", "clients"),
    [
        (None, 4000, 4000, 512),
        (1_048_576, 4000, 4000, 512),
        (4096, 4000, 3520, 512),
        (1024, 4000, 704, 256),
        (256, 4000, 128, 64),
        (256, 20, 20, 64),
        (64, 4000, 8, 16),
    ],
)
def test_streams_get_what_clients_and_the_reserve_leave(
    allowed: int | None, wanted: int, streams: int, clients: int
) -> None:
    division = divide(allowed, wanted)
    assert (division.streams, division.clients) == (streams, clients)
    assert allowed is None or allowed < 128 or streams + clients + RESERVE <= allowed
