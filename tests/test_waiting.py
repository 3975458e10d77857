"""Several wait for one answer: each gets it, and who leaves takes nothing from the others."""

from __future__ import annotations

import asyncio

import pytest

from exporter.waiting import Waiting


async def test_all_who_wait_are_answered_and_nobody_who_comes_later() -> None:
    waiting: Waiting[int] = Waiting()
    assert not waiting
    one, other = waiting.join(), waiting.join()
    assert waiting
    one.cancel()
    waiting.answer(7)
    assert not waiting
    later = waiting.join()
    assert await other == 7
    assert not later.done()


async def test_a_failure_comes_out_where_it_is_waited_for() -> None:
    waiting: Waiting[int] = Waiting()
    assert not waiting.fail(ValueError()), "nobody was told"
    one = waiting.join()
    assert waiting.fail(ValueError("why"))
    with pytest.raises(ValueError, match="why"):
        await one
    other = waiting.join()
    assert waiting.fail(asyncio.CancelledError())
    assert other.cancelled()
