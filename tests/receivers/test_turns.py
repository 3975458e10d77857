"""What is read too late in a turn of the loop waits for the next: in order, and not for long."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.receivers.connection import Connection
from exporter.receivers.shares import Shares
from exporter.receivers.turns import MOST_LATE_BYTES, SLICE_SECONDS, TURN_SECONDS, Late

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _late(late: Late, clock: Clock) -> None:
    """A turn has begun, and is over."""
    late.turn_begins()
    clock.now += 2 * TURN_SECONDS


async def test_a_usual_turn_reads_at_once() -> None:
    clock = Clock()
    late = Late(clock)
    assert clock() <= late.ends_at, "nobody tells of turns"
    late.turn_begins()
    clock.now += TURN_SECONDS
    assert clock() <= late.ends_at
    clock.now += 0.001
    assert clock() > late.ends_at
    late.nobody_tells()
    assert clock() <= late.ends_at


async def test_everybody_else_is_served_between_two_slices() -> None:
    clock, order = Clock(), list[str]()
    late = Late(clock)
    _late(late, clock)

    def take(what: str) -> None:
        order.append(what)
        clock.now += SLICE_SECONDS / 8

    for number in range(40):
        late.wait(take, f"event {number}")

    async def asks() -> None:
        for _ in range(3):
            order.append("page")
            await asyncio.sleep(0)

    await asks()
    while late.waiting:  # noqa: ASYNC110  # every turn of the loop is what the test is about
        await asyncio.sleep(0)
    assert [each for each in order if each != "page"] == [f"event {number}" for number in range(40)]
    assert order.index("page", 1) < 20, "between the first events and the last"


async def test_what_is_too_much_is_worked_off_at_once_so_that_the_sockets_wait() -> None:
    clock, taken = Clock(), list[int]()
    late = Late(clock)
    _late(late, clock)
    for number in range(9):
        late.wait(taken.append, number, MOST_LATE_BYTES // 8)
    assert taken == list(range(9))
    assert not late.waiting


async def test_one_that_fails_keeps_nobody_behind_it_waiting() -> None:
    clock, taken = Clock(), list[int]()
    late = Late(clock)
    _late(late, clock)
    said = list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(repr(context.get("exception"))))

    def fails(what: int) -> None:
        raise RuntimeError(what)

    late.wait(fails, 1)
    late.wait(taken.append, 2)
    while late.waiting:  # noqa: ASYNC110  # every turn of the loop is what the test is about
        await asyncio.sleep(0)
    assert taken == [2]
    assert said == ["RuntimeError(1)"]


class Socket:
    def get_extra_info(self, name: str) -> None: ...
    def abort(self) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.binary(min_size=1, max_size=40), st.sampled_from(("", "late", "turn"))),
        max_size=40,
    ),
    st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_every_connection_gets_what_came_in_order_and_its_end_last(
    reads: list[tuple[int, bytes, str]], ends: list[bool]
) -> None:
    asyncio.run(_every_connection(reads, ends))


async def _every_connection(reads: list[tuple[int, bytes, str]], ends: list[bool]) -> None:
    clock, shares = Clock(), Shares()
    shares.late = Late(clock)
    got: list[list[bytes]] = [[], [], []]
    connections = []
    readers = []
    for number in range(3):
        connection = Connection(asyncio.get_running_loop(), set(), shares)
        connection.connection_made(cast(Any, Socket()))
        connection.data_received(HEAD)
        readers.append(asyncio.ensure_future(connection.drain_into(got[number].append)))
        connections.append(connection)
    await asyncio.sleep(0)
    sent: list[list[bytes]] = [[], [], []]
    for number, piece, how in reads:
        if how == "late":
            _late(shares.late, clock)
        elif how == "turn":
            shares.late.turn_begins()
            await asyncio.sleep(0)
        connections[number].data_received(b"%x\r\n%s\r\n" % (len(piece), piece))
        sent[number].append(piece)
    for number, whole in enumerate(ends):
        if whole:
            connections[number].data_received(b"0\r\n\r\n")
        connections[number].connection_lost(None)
    for number, reader in enumerate(readers):
        if ends[number]:
            await reader
        else:
            with pytest.raises(Exception, match="inside the body"):
                await reader
    assert [b"".join(pieces) for pieces in got] == [b"".join(pieces) for pieces in sent]
