"""Fencing, proven: every interleaving of two replicas and two calls is played, and the scripts do what the model says.

Whatever order claims, commits, renewals, lost and late messages, leases that are over, burials, deaths and returns come
in: no event is counted twice, none that was counted is lost, and everything can still be counted. The model is no more
than a second reading of the scripts, so each of its steps is also put to the real ones: every state of Redis that it
can reach, every script, every message that can be sent there.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

from exporter.fleet.connecting import Redis
from exporter.fleet.scripts import NAMES as SCRIPTS
from exporter.fleet.scripts import script
from tests.fleet.model import CALLS, LATE, NAMES, NO_SEAT, NOBODY, SEATED, Broken, Message, Shared, State, check, moves

_NAMES = ("one", "two")
_CALLS = {1: "CALL-1758124225863-000001", 2: "CALL-1758124225863-000002"}
_IDENTITIES = {1: b"\1" * 8, 2: b"\2" * 8}
_SERIES = {1: b"event of the first", 2: b"event of the second"}
_LEASE_MS = 60_000
_EPOCHS = ("1000001", "1000002")
_EARLIER = "1000000"
"""The epoch of a life before."""
_VERSION = 5
"""Of the last commit that was kept under each name."""


@dataclass
class Explored:
    """All that can happen."""

    states: set[State] = field(default_factory=set)
    before: defaultdict[State, list[State]] = field(default_factory=lambda: defaultdict(list))
    shared: set[Shared] = field(default_factory=set)
    sent: set[tuple[Shared, int, Message]] = field(default_factory=set)
    """Commits that may arrive, where, from whom."""
    labels: set[str] = field(default_factory=set)


def explore(start: State) -> Explored:
    """Every state that can be reached, each checked. Raises Broken."""
    found, todo = Explored({start}), deque([start])
    while todo:
        state = todo.popleft()  # the shortest way to what must not be is found first
        check(state)
        found.shared.add(state.shared)
        for name, replica in enumerate(state.replicas):
            if replica.sent is not None and not replica.answer:
                found.sent.add((state.shared, name, replica.sent))
            if replica.late is not None:
                found.sent.add((state.shared, name, replica.late))
        for label, after in moves(state):
            found.labels.add(label.rstrip("012 "))
            found.before[after].append(state)
            if after not in found.states:
                found.states.add(after)
                todo.append(after)
    return found


@pytest.fixture(scope="module")
def explored() -> Explored:
    return explore(State())


def test_no_interleaving_counts_an_event_twice_or_loses_one_that_was_counted(explored: Explored) -> None:
    assert len(explored.states) > 50_000, "explore() has checked each of them"
    assert explored.labels == {
        *("join", "renew", "fenced", "bury", "claim", "count", "end", "send", "commit", "answer", "no answer"),
        *("time out", "late commit", "lost", "lease over", "leave", "kill"),
    }


def test_from_wherever_things_have_got_to_every_event_can_still_be_counted(explored: Explored) -> None:
    todo = [state for state in explored.states if state.shared.done]
    can = set(todo)
    while todo:
        for earlier in explored.before[todo.pop()]:
            if earlier not in can:
                can.add(earlier)
                todo.append(earlier)
    assert can == explored.states


class Unfenced(Shared):
    """A commit is taken from whoever sends it."""

    __slots__ = ()
    refuses = False

    def commit(self, name: int, member: bool, message: Message) -> tuple[str, Shared]:
        alone = self._replace(owners=(name, name), seats=(SEATED, SEATED))
        _, after = Shared.commit(alone, name, True, message)
        owners = tuple(NOBODY if message.over & call else self.owners[call - 1] for call in CALLS)
        return "kept", after._replace(owners=owners, seats=self.seats)


class Greedy(Shared):
    """A call may be claimed while its owner has a seat."""

    __slots__ = ()

    def claim(self, name: int, member: bool, call: int) -> tuple[str, Shared]:
        if member and not self.ended & call and self.owners[call - 1] != name:
            return "claimed", self.with_owner(call, name)
        return Shared.claim(self, name, member, call)


class Forgetful(Shared):
    """What is over is claimed again."""

    __slots__ = ()

    def claim(self, name: int, member: bool, call: int) -> tuple[str, Shared]:
        if member and self.owners[call - 1] == NOBODY:
            return "claimed", self.with_owner(call, name)
        return Shared.claim(self, name, member, call)


@pytest.mark.parametrize("scripts", [Unfenced, Greedy, Forgetful])
def test_scripts_that_are_less_strict_are_found_out(scripts: type[Shared]) -> None:
    with pytest.raises(Broken):
        explore(State(scripts()))


# -- the real scripts


class Asked(NamedTuple):
    """A script in a state of Redis, and what the model says comes of it."""

    shared: Shared
    script: str
    arguments: tuple[Any, ...]
    answer: str
    after: Shared


def _asked(explored: Explored) -> Iterator[Asked]:
    """Every script that a replica may run in every state, as one that has the seat and as one that had it.

    Of states that differ only in which replica is which, or which call, one stands for all: scripts cannot tell.
    """
    states = {shared for shared in explored.shared if shared == min(_alike(shared))}
    for shared in states:
        for name in NAMES:
            yield Asked(shared, "join", (_NAMES[name], _LEASE_MS, b"", "id"), *shared.join(name))
            for member in {False, shared.seats[name] != NO_SEAT}:
                who = (_NAMES[name], _EPOCHS[name] if member else _EARLIER)
                yield Asked(shared, "renew", (*who, "id", _LEASE_MS, b""), *shared.renew(name, member))
                other = (_NAMES[1 - name], _EPOCHS[1 - name])
                yield Asked(shared, "bury", (*who, _LEASE_MS, *other), *shared.bury(name, member))
                yield Asked(shared, "leave", who, *shared.leave(name, member))
                for call in CALLS:
                    claim = (*who, _LEASE_MS, _CALLS[call])
                    yield Asked(shared, "claim", claim, *shared.claim(name, member, call))
    for shared, name, message in explored.sent:
        if shared not in states:
            continue
        for member in {False, shared.seats[name] != NO_SEAT}:
            for overtaken in (False, True):
                sent = message._replace(overtaken=overtaken)
                arguments = _commit_arguments(name, member, sent)
                yield Asked(shared, "commit", arguments, *shared.commit(name, member, sent))


def _alike(shared: Shared) -> Iterator[Shared]:
    """The same with the replicas the other way round, the calls, and both."""
    for seats, counts, other in ((shared.seats, shared.counts, False), (shared.seats[::-1], shared.counts[::-1], True)):
        owners = tuple(1 - owner if other and owner != NOBODY else owner for owner in shared.owners)
        yield Shared(seats, owners, shared.ids, shared.ended, counts)
        swapped = tuple(_SWAPPED[each] for each in counts)
        yield Shared(seats, owners[::-1], _SWAPPED[shared.ids], _SWAPPED[shared.ended], swapped)


_SWAPPED = (0, 2, 1, 3)


def _commit_arguments(name: int, member: bool, message: Message) -> tuple[Any, ...]:
    calls = [call for call in CALLS if message.calls & call]
    news = [part for call in calls for part in (_CALLS[call], b"C", _events(message.events & call))]
    over = [_CALLS[call] for call in CALLS if message.over & call]
    series = [part for call in CALLS if message.counts & call for part in (_SERIES[call], b"1")]
    number = _VERSION - 1 if message.overtaken else _VERSION + 1
    who = (_NAMES[name], _EPOCHS[name] if member else _EARLIER, "id")
    sections = (news, over, [], [], series, [], [], [])
    return (*who, _VERSION, number, "", "1.0", "", *(part for each in sections for part in (len(each), *each)))


def _events(mask: int) -> bytes:
    return b"".join(_IDENTITIES[call] for call in CALLS if mask & call)


def _put(pipe: Any, p: str, shared: Shared, run_id: str) -> None:
    """Redis as it is in this state; leases that are over have been so for long, the others are not soon."""
    pipe.flushdb()
    pipe.hset(f"{p}fleet", mapping={"id": "id", "epoch": "2000000", "back_at": "1", "run_id": run_id})
    for name, called in enumerate(_NAMES):
        seat = shared.seats[name]
        if seat != NO_SEAT:
            pipe.hset(f"{p}epochs", called, _EPOCHS[name])
            pipe.hset(f"{p}about", called, b"")
            pipe.zadd(f"{p}leases", {called: 1 if seat == LATE else 1e15})
        pipe.zadd(f"{p}names", {called: 1})
        pipe.hset(f"{p}kept:{called}", "version", _VERSION)
        for call in CALLS:
            if shared.counts[name] & call:
                pipe.hset(f"{p}series:{called}", _SERIES[call], b"1")
    for call, call_id in _CALLS.items():
        owner = shared.owners[call - 1]
        if shared.ended & call:
            pipe.zadd(f"{p}ended", {call_id: 1})
            continue
        pipe.hset(f"{p}facts", call_id, b"F")
        if owner == NOBODY:
            pipe.zadd(f"{p}waiting", {call_id: 1})
        else:
            pipe.hset(f"{p}owners", call_id, _NAMES[owner])
            pipe.sadd(f"{p}calls:{_NAMES[owner]}", call_id)
        if shared.ids & call:
            pipe.append(f"{p}ids:{call_id}", _IDENTITIES[call])


def _ask(pipe: Any, p: str) -> None:
    """What Redis holds now, one answer after the other, as ``_found`` reads them."""
    for called in _NAMES:
        pipe.hexists(f"{p}epochs", called)
        pipe.zscore(f"{p}leases", called)
        pipe.hkeys(f"{p}series:{called}")
        pipe.smembers(f"{p}calls:{called}")
    for call_id in _CALLS.values():
        pipe.hget(f"{p}owners", call_id)
        pipe.get(f"{p}ids:{call_id}")
        pipe.zscore(f"{p}ended", call_id)


_ANSWERS = 2 * 4 + 2 * 3


def _found(answers: list[Any]) -> Shared:
    seats, counts, owned = [], [], []
    for has, lease, series, calls in _in_fours(answers[:8]):
        seats.append(NO_SEAT if not has else LATE if lease == 1 else SEATED)
        counts.append(sum(call for call in CALLS if _SERIES[call] in series))
        owned.append(sum(call for call in CALLS if _CALLS[call].encode() in calls))
    owners, ids, ended = [], 0, 0
    for call in CALLS:
        owner, events, over = answers[8 + 3 * (call - 1) : 11 + 3 * (call - 1)]
        owners.append(NOBODY if owner is None else _NAMES.index(owner.decode()))
        ids |= call if events else 0
        ended |= call if over is not None else 0
        assert events is None or set(_in_eights(events)) == {_IDENTITIES[call]}
    for name in NAMES:
        assert owned[name] == sum(call for call in CALLS if owners[call - 1] == name), "both ways round"
    return Shared((seats[0], seats[1]), (owners[0], owners[1]), ids, ended, (counts[0], counts[1]))


def _in_fours(parts: list[Any]) -> Iterator[list[Any]]:
    return (parts[place : place + 4] for place in range(0, len(parts), 4))


def _in_eights(raw: bytes) -> Iterator[bytes]:
    return (raw[place : place + 8] for place in range(0, len(raw), 8))


def _answer(script: str, raw: list[Any]) -> str:
    """In the model's words."""
    word = str(raw[0].decode())
    if script == "bury" and raw[1:]:
        return "buried other"
    return str(raw[1].decode()) if script == "claim" and word == "claimed" else word


def _differences(redis: Redis, asked: Iterable[Asked]) -> list[str]:
    wrong = []
    p, run_id = redis.prefix, str(redis.client.info("server")["run_id"])
    batch = list(asked)
    for place in range(0, len(batch), 200):
        some = batch[place : place + 200]
        pipe = redis.client.pipeline(transaction=False)
        lengths = []
        for one in some:
            before = len(pipe.command_stack)
            _put(pipe, p, one.shared, run_id)
            pipe.evalsha(script(one.script).sha, 1, f"{p}fleet", *one.arguments)
            _ask(pipe, p)
            lengths.append(len(pipe.command_stack) - before)
        answers = pipe.execute()
        for one, length in zip(some, lengths, strict=True):
            mine, answers = answers[:length], answers[length:]
            said, holds = _answer(one.script, mine[-_ANSWERS - 1]), _found(mine[-_ANSWERS:])
            if (said, holds) != (one.answer, Shared(*one.after)):
                wrong.append(
                    f"{one.script}{one.arguments} in {one.shared}: {said}, {holds}; not {one.answer}, {one.after}"
                )
    return wrong


def test_the_real_scripts_do_in_every_state_what_the_model_says(explored: Explored, redis_port: int) -> None:
    redis = Redis(f"redis://127.0.0.1:{redis_port}/9", "model")  # a database of its own: emptied for each state
    for name in SCRIPTS:
        redis.client.script_load(script(name).text)
    asked = list(_asked(explored))
    assert {one.answer for one in asked if one.script == "commit"} == {"kept", "stale", "fenced"}
    assert {one.answer for one in asked if one.script == "claim"} == {"claimed", "yours", "theirs", "ended", "fenced"}
    assert not (wrong := _differences(redis, asked)), f"{len(wrong)} of {len(asked)}:\n" + "\n".join(wrong[:10])
