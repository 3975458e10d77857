"""What one replica counts, kept in the fleet's Redis: a ``StateStore`` whose commits are refused to whoever is fenced.

A commit is one script. It is numbered, and sent again under the same number where its answer did not come: taken twice
it is kept once, and one that was overtaken is left out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import msgspec

from exporter.errors import Interrupted
from exporter.fleet import facts
from exporter.fleet.connecting import Redis, meaning
from exporter.fleet.seat import Seat
from exporter.outputs.prometheus.kept import KeptSeries
from exporter.outputs.prometheus.scrapers import SeenPages
from exporter.state.kept import Commit, Fenced, LostData, PagesSeen, SavedCall, SavedState

_SAID = ("webhook:", "result:")
"""What these begin with is over, but no call: see the service."""
_AT_ONCE = 500
_MOST_ENDED = 100_000
"""The latest of the calls that are over. To know them saves questions; whether one is over is asked of Redis."""


class RedisStore:
    """A ``StateStore`` under a replica's name.

    :param seat: this replica's; ``epoch`` and ``fleet_id`` go with every commit.
    :param lease_seconds: for a seat that must be taken again.
    """

    def __init__(self, redis: Redis, seat: Seat, *, lease_seconds: float) -> None:
        self._redis = redis
        self._seat = seat
        self._lease = lease_seconds
        self._number = seat.acknowledged
        self._facts: dict[str, bytes] = {}
        self._layouts: Mapping[str, str] | None = None
        self._lost = False
        self._released: set[str] = set()
        self._lock = threading.Lock()
        self.refused = 0
        """Lives of this name that were refused, all in all; known once loaded."""

    # -- reading

    def load(self) -> SavedState:
        """What the earlier life of this name left, and the calls it owned. Raises Interrupted."""
        return replace(self.load_numbers(), calls=self.calls_of(self._seat.name))

    def load_numbers(self) -> SavedState:
        """The same without the calls."""
        client, p, name = self._redis.client, self._redis.prefix, self._seat.name
        with meaning():
            kept: dict[bytes, bytes] = client.hgetall(f"{p}kept:{name}")
            layouts: dict[bytes, bytes] = client.hgetall(f"{p}layouts:{name}")
            rows: dict[bytes, bytes] = client.hgetall(f"{p}series:{name}")
            ended: list[bytes] = client.zrevrange(f"{p}ended", 0, _MOST_ENDED - 1)
            said: list[bytes] = client.zrevrange(f"{p}said", 0, _MOST_ENDED - 1)
            since: bytes | None = client.hget(f"{p}fleet", "counts_since")
        self.refused = int(_number(kept.get(b"refused")) or 0)
        self._layouts = {family.decode(): layout.decode() for family, layout in layouts.items()}
        return SavedState(
            finished=[each.decode() for each in (*reversed(ended), *reversed(said))],
            existed=not self._seat.founded,
            series=list(_series(rows)),
            layouts=dict(self._layouts),
            pages=_pages(kept.get(b"pages", b"")),
            instance_id=kept.get(b"instance_id", b"").decode(),
            counts_since=_number(since),
            committed_at=_number(kept.get(b"committed_at")),
            ahead=b"ahead" in kept,
        )

    def calls_of(self, name: str) -> list[SavedCall]:
        """The calls a replica owns of which there was a commit. Raises Interrupted."""
        client, p = self._redis.client, self._redis.prefix
        found: list[SavedCall] = []
        with meaning():
            owned: set[bytes] = client.smembers(f"{p}calls:{name}")
            for some in _in_parts(sorted(owned)):
                known: list[bytes | None] = client.hmget(f"{p}facts", some)
                keys = [f"{p}ids:{call_id.decode()}" for call_id in some]
                identities: list[bytes | None] = client.mget(keys)
                for call_id, told, seen in zip(some, known, identities, strict=True):
                    saved = facts.saved_call(call_id.decode(), told or b"", seen or b"")
                    if saved is not None:
                        found.append(saved)
        return found

    # -- writing

    def release(self, call_id: str) -> None:
        """With the next commit the call is nobody's. Any thread."""
        with self._lock:
            self._released.add(call_id)

    def releasing(self, call_id: str) -> bool:
        """It is this one's still, but not for long."""
        return call_id in self._released

    def save(self, commit: Commit) -> None:
        """One script.

        :raises Fenced: another replica owns a call in it, or this one's seat is gone.
        :raises LostData: Redis went back to before what it had kept.
        :raises Interrupted: it is away, or cannot write.
        """
        if commit.in_full:
            self._facts, self._layouts = {}, None
            self._sit_again()
        elif self._lost:
            raise LostData("Redis has lost what it had kept", reason="lost_data")
        with self._lock:
            released = tuple(self._released)
        self._number += 1
        news = {call.call_id: facts.counted(call) for call in commit.calls}
        answer = self._redis.run("commit", *self._arguments(commit, news, released))
        self._judge(answer)
        self._seat.acknowledged = self._number
        self._lost = False
        self._layouts = commit.layouts
        self._facts |= news
        for call_id in (*commit.over, *released):
            self._facts.pop(call_id, None)
        with self._lock:
            self._released.difference_update(released)

    def _judge(self, answer: Sequence[Any]) -> None:
        match answer[0]:
            case b"kept":
                return
            case b"fenced":
                raise Fenced(_why(answer))
            case b"lost" | b"behind":
                self.lose()
                raise LostData("Redis has lost what it had kept", reason="lost_data")
            case _:
                raise Interrupted("Redis: a commit was overtaken by a later one", reason="stale")

    def lose(self) -> None:
        """Redis was found to have lost what it had: only a commit in full is taken now. Any thread."""
        self._lost = True
        self._seat.losses += 1

    def _sit_again(self) -> None:
        seat = self._seat
        answer = self._redis.run("rejoin", seat.name, seat.epoch, uuid4().hex, int(self._lease * 1000), b"")
        seat.taken_again(answer)

    def _arguments(
        self, commit: Commit, news: Mapping[str, bytes], released: Sequence[str]
    ) -> Iterator[str | bytes | int]:
        seat = self._seat
        yield from (seat.name, seat.epoch, seat.fleet_id, seat.acknowledged, self._number)
        yield ("a" if commit.anew or commit.in_full else "") + ("r" if commit.in_full else "")
        yield repr(commit.at)
        yield "" if commit.counts_since is None else repr(commit.counts_since)
        yield 3 * len(commit.calls)
        for call in commit.calls:
            told = news[call.call_id]
            yield call.call_id
            yield b"" if self._facts.get(call.call_id) == told else told
            yield facts.identities_in(call.counted)
        said = [each for each in commit.over if each.startswith(_SAID)]
        over = [each for each in commit.over if not each.startswith(_SAID)] if said else commit.over
        yield from _section(over)
        yield from _section(released)
        yield from _section(said)
        yield 2 * len(commit.series)
        for row in commit.series:
            yield _field(row.family, row.labels)
            yield facts.packed(row[2:])
        yield from _section([_field(*key) for key in commit.forgotten])
        layouts = {} if commit.layouts == self._layouts else commit.layouts
        yield from _section([part for pair in layouts.items() for part in pair])
        pages = facts.packed((commit.pages.edition, commit.pages.shown, list(commit.pages.seen)))
        yield from _section(["pages", pages, "committed_at", repr(commit.at), "instance_id", commit.instance_id])

    def go_ahead(self) -> bool:
        """Set the flag in Redis, where that can be written, and this replica still has its seat."""
        return self._say_ahead("1")

    def caught_up(self) -> None:
        """Take it back. Where that fails it stays: the next life begins at 0, which is safe."""
        self._say_ahead("0")

    def _say_ahead(self, ahead: str) -> bool:
        try:
            answer = self._redis.run("ahead", self._seat.name, self._seat.epoch, ahead)
        except Interrupted:
            return False
        return bool(answer[0] == b"said")

    def tidy(self) -> None:
        """Redis needs none."""

    def expire(self, before: float) -> None:
        """Forget what is older than ``before`` (Unix time). Raises Interrupted."""
        self._redis.run("expire", repr(before))

    def close(self) -> None:
        """Let go of Redis."""
        self._redis.close()


def _in_parts(items: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (items[place : place + _AT_ONCE] for place in range(0, len(items), _AT_ONCE))


def _why(answer: Sequence[Any]) -> str:
    call, owner = (part.decode("utf-8", "replace") for part in answer[1:3])
    if not call:
        return "its lease was over, and it was taken for dead"
    return f"call {call} is followed by {owner or 'nobody'} now"


def _section(parts: Sequence[str | bytes]) -> Iterator[str | bytes | int]:
    yield len(parts)
    yield from parts


def _field(family: str, labels: Sequence[str]) -> bytes:
    return facts.packed((family, *labels))


class _SeriesRow(msgspec.Struct, array_like=True):
    numbers: bytes
    born: int
    created_at: float
    base: bytes | None
    resting: bool


_field_from = msgspec.msgpack.Decoder(list[str]).decode
_row_from = msgspec.msgpack.Decoder(_SeriesRow).decode
_pages_from = msgspec.msgpack.Decoder(tuple[int, int, list[tuple[str, int, int, float]]])


def _series(rows: Mapping[bytes, bytes]) -> Iterable[KeptSeries]:
    for field, content in rows.items():
        try:
            (family, *labels), row = _field_from(field), _row_from(content)
        except (msgspec.DecodeError, ValueError):
            continue
        yield KeptSeries(family, tuple(labels), row.numbers, row.born, row.created_at, row.base, row.resting)


def _pages(content: bytes) -> PagesSeen:
    try:
        edition, shown, seen = _pages_from.decode(content)
    except msgspec.DecodeError:
        return PagesSeen()
    return PagesSeen(edition, shown, [SeenPages(*each) for each in seen])


def _number(text: bytes | None) -> float | None:
    try:
        return float(text or 0) or None
    except ValueError:
        return None
