"""A bearer token that is rotated while we run."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from upstream import Exchange, Upstream, api_for

from exporter.errors import ConfigError, Refused
from exporter.receivers.token import Token


class TokenFile:
    """A file of a token that counts how often it is read; ``None`` cannot be read now."""

    def __init__(self, holds: str | None) -> None:
        self.holds = holds
        self.read = 0

    def __call__(self) -> str:
        self.read += 1
        if self.holds is None:
            raise ConfigError("api.api_key_file", "is empty")
        return self.holds


def accepting(token: str) -> Upstream:
    async def play(exchange: Exchange) -> None:
        good = exchange.headers.get("authorization") == f"Bearer {token}"
        if exchange.target.startswith("/api/v1/events") and good:
            await exchange.stream(b'data: {"event_type": "sse_init"}\n\n', finish=True)
        else:
            await exchange.answer(200 if good else 401, b"{}")

    return Upstream(play)


async def test_a_rotated_token_is_read_again_when_the_old_one_is_refused() -> None:
    file = TokenFile("new-token")
    upstream = accepting("new-token")
    async with upstream.serving(), api_for(upstream.url, token=Token("old-token", file)) as (api, heard):
        assert await api.get("conversation", source="poll", read=bytes) == b"{}"
        await (await api.open_stream("CALL-1")).aclose()
    assert file.read == 1
    assert heard.up is True
    assert [request.headers["authorization"] for request in upstream.requests] == [
        "Bearer old-token",
        "Bearer new-token",
        "Bearer new-token",
    ]


async def test_a_thousand_refusals_at_once_read_the_file_once() -> None:
    file = TokenFile("new-token")
    upstream = accepting("new-token")
    with structlog.testing.capture_logs() as lines:
        async with upstream.serving(), api_for(upstream.url, token=Token("old-token", file)) as (api, _):
            await asyncio.gather(*(api.get("conversation", source="poll", read=bytes) for _ in range(50)))
    assert (file.read, len(lines)) == (1, 1)


@pytest.mark.parametrize("holds", ["old-token", None])
async def test_a_file_with_nothing_new_leaves_it_refused_and_says_so_once(holds: str | None) -> None:
    file = TokenFile(holds)
    upstream = accepting("new-token")
    with structlog.testing.capture_logs() as lines:
        async with upstream.serving(), api_for(upstream.url, token=Token("old-token", file)) as (api, heard):
            for _ in range(3):
                with pytest.raises(Refused):
                    await api.get("conversation", source="poll", read=bytes)
            assert heard.up is False
            file.holds = "new-token"
            await api.get("conversation", source="poll", read=bytes)
            assert heard.up is True
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["the API refuses the token"]


async def test_a_token_from_no_file_is_asked_for_nowhere() -> None:
    upstream = accepting("new-token")
    async with upstream.serving(), api_for(upstream.url, token="old-token") as (api, _):
        with pytest.raises(Refused):
            await api.get("conversation", source="poll", read=bytes)
    assert len(upstream.requests) == 1
