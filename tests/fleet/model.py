"""The fleet as a state machine small enough to be explored: two replicas, two calls of one event each, one Redis.

``Shared`` is what Redis holds, and its methods are the scripts, written a second time from what docs/fleet.md says of
them; ``test_model.py`` holds them against the real ones. ``moves`` are all that can happen next. Nobody is ever in a
hurry: a replica that sleeps is one whose moves do not come for a while, a cut network is a message that does not
arrive, and a lease may be over at any time. So every pause and every partition is among the interleavings.

A set of calls, or of their events, is two bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

NOBODY = -1
NAMES = (0, 1)
CALLS = (1, 2)
NO_SEAT, SEATED, LATE = 0, 1, 2
"""A seat; one whose lease is over is still one, until somebody takes it away."""


class Broken(Exception):
    """Something happened that must not."""


class Shared(NamedTuple):
    """What Redis holds. By name: the seat and what was counted under it. By call: who owns it. ``ids``: whose event was
    counted, ``ended``: which are over (their ids are gone)."""

    seats: tuple[int, int] = (NO_SEAT, NO_SEAT)
    owners: tuple[int, int] = (NOBODY, NOBODY)
    ids: int = 0
    ended: int = 0
    counts: tuple[int, int] = (0, 0)

    refuses = True
    """Who has no seat is refused whatever it sends, and so is a commit that was overtaken."""

    # -- the scripts: each gives its answer and what Redis holds then; ``member`` says whether the epoch is the seat's

    def join(self, name: int) -> tuple[str, Shared]:
        if self.seats[name] == SEATED:
            return "taken", self
        return "joined", self.with_seat(name, SEATED)

    def renew(self, name: int, member: bool) -> tuple[str, Shared]:
        if not member:
            return "fenced", self
        return "renewed", self.with_seat(name, SEATED)

    def bury(self, name: int, member: bool) -> tuple[str, Shared]:
        """``name`` takes away the other's seat, if it may."""
        other = 1 - name
        if not member:
            return "fenced", self
        if self.seats[other] != LATE:
            return "buried", self
        return "buried other", self.with_seat(other, NO_SEAT)

    def leave(self, name: int, member: bool) -> tuple[str, Shared]:
        if not member:
            return "fenced", self
        return "left", self.with_seat(name, NO_SEAT)

    def claim(self, name: int, member: bool, call: int) -> tuple[str, Shared]:
        owner = self.owners[call - 1]
        if not member:
            return "fenced", self
        if owner == name:
            return "yours", self
        if owner != NOBODY and self.seats[owner] != NO_SEAT:
            return "theirs", self
        if self.ended & call:
            return "ended", self
        return "claimed", self.with_owner(call, name)

    def commit(self, name: int, member: bool, message: Message) -> tuple[str, Shared]:
        if not member:
            return "fenced", self
        if message.overtaken:
            return "stale", self
        for call in CALLS:
            owner = self.owners[call - 1]
            if not (message.calls | message.over) & call or owner == name:
                continue
            if owner != NOBODY and self.seats[owner] != NO_SEAT:
                return "fenced", self
            if owner == NOBODY and self.ended & call:
                if message.calls & call:
                    return "fenced", self
            else:
                return "behind", self
        after = self
        for call in CALLS:
            if message.over & call:
                after = after.with_owner(call, NOBODY)
        ids = (self.ids | message.events) & ~message.over
        counts = _put(self.counts, name, message.counts)
        return "kept", after._replace(ids=ids, ended=self.ended | message.over, counts=counts)

    # -- and what they are made of

    def with_seat(self, name: int, seat: int) -> Shared:
        return self._replace(seats=_put(self.seats, name, seat))

    def with_owner(self, call: int, name: int) -> Shared:
        return self._replace(owners=_put(self.owners, call - 1, name))

    @property
    def done(self) -> bool:
        return self.ended == 3


class Message(NamedTuple):
    """A commit on its way. ``calls`` are those in it, ``events`` of them are news; ``counts`` all that was ever counted
    under the name. ``overtaken``: a later one was kept."""

    calls: int
    events: int
    over: int
    counts: int
    overtaken: bool = False


class Replica(NamedTuple):
    """A process, or none. ``member``: the seat of its name is its own, not that of a life before or after.

    ``owns``: the calls it follows; ``seen``: whose event is counted; ``acknowledged``: and known to be kept; ``over``:
    those that have ended; ``counts``: the numbers of its series. ``sent``: a commit it waits for, ``answer``: what came
    of it, if it has arrived there. ``late``: one that nobody waits for any more, and ``late_member``: of the life that
    has the seat.
    """

    lives: bool = False
    member: bool = False
    owns: int = 0
    seen: int = 0
    acknowledged: int = 0
    over: int = 0
    counts: int = 0
    sent: Message | None = None
    answer: str = ""
    late: Message | None = None
    late_member: bool = False


class State(NamedTuple):
    """Everything."""

    shared: Shared = Shared()
    replicas: tuple[Replica, Replica] = (Replica(), Replica())

    def put(self, name: int, replica: Replica, shared: Shared | None = None) -> State:
        replica = _plain(replica) if self.shared.refuses else replica
        replicas = (replica, self.replicas[1]) if name == 0 else (self.replicas[0], replica)
        return State(self.shared if shared is None else shared, replicas)


def check(state: State) -> None:
    """No event counts twice, none that is known to be counted was lost. Raises Broken."""
    shared = state.shared
    one, other = shared.counts
    if one & other:
        raise Broken(f"an event was counted twice: {state}")
    if one | other != shared.ids | shared.ended:
        raise Broken(f"an event was taken for counted and was not, or the other way round: {state}")


def moves(state: State) -> Iterator[tuple[str, State]]:
    """All that can happen next, and what is then. Raises Broken where something must not be."""
    for name in NAMES:
        yield from _moves_of(state, name)


def _moves_of(state: State, name: int) -> Iterator[tuple[str, State]]:
    shared, replica = state.shared, state.replicas[name]
    if shared.seats[name] == SEATED:
        yield f"lease over {name}", state.put(name, replica, shared.with_seat(name, LATE))
    if replica.late is not None:
        yield f"lost {name}", state.put(name, replica._replace(late=None, late_member=False))
        _, then = shared.commit(name, replica.late_member, replica.late)
        yield (
            f"late commit {name}",
            state.put(name, replica._replace(late=None, late_member=False), _grown(shared, then)),
        )
    if not replica.lives:
        answer, then = shared.join(name)
        if answer == "joined":
            yield f"join {name}", state.put(name, _begun(then, name, replica), then)
        return
    yield f"kill {name}", state.put(name, _ended(replica))
    if not replica.member:  # whatever it asks, it is told that it was taken for dead
        yield f"fenced {name}", state.put(name, _ended(replica))
    else:
        yield from _as_member(state, name)
    yield from _counting(state, name)
    yield from _committing(state, name)


def _as_member(state: State, name: int) -> Iterator[tuple[str, State]]:
    shared, replica = state.shared, state.replicas[name]
    if shared.seats[name] == LATE:
        yield f"renew {name}", state.put(name, replica, shared.renew(name, True)[1])
    answer, then = shared.bury(name, True)
    if answer == "buried other":
        other = state.replicas[1 - name]._replace(member=False, late_member=False)
        yield f"bury {1 - name}", state.put(name, replica, then).put(1 - name, other)
    for call in CALLS:
        answer, then = shared.claim(name, True, call)
        if answer == "claimed":
            counted = shared.ids & call
            taken = replica._replace(
                owns=replica.owns | call,
                seen=replica.seen & ~call | counted,
                acknowledged=replica.acknowledged & ~call | counted,
                over=replica.over & ~call,
            )
            yield f"claim {call} {name}", state.put(name, taken, then)
    if replica.sent is None and replica.seen == replica.acknowledged and not replica.over:
        yield f"leave {name}", state.put(name, _ended(replica), shared.leave(name, True)[1])


def _counting(state: State, name: int) -> Iterator[tuple[str, State]]:
    replica = state.replicas[name]
    for call in CALLS:
        if not replica.owns & call or replica.over & call:
            continue
        if replica.seen & call:
            yield f"end {call} {name}", state.put(name, replica._replace(over=replica.over | call))
        else:
            if replica.counts & call:
                raise Broken(f"{name} counts {call} a second time: {state}")
            counted = replica._replace(seen=replica.seen | call, counts=replica.counts | call)
            yield f"count {call} {name}", state.put(name, counted)


def _committing(state: State, name: int) -> Iterator[tuple[str, State]]:
    shared, replica = state.shared, state.replicas[name]
    message = replica.sent
    if message is None:
        news = replica.owns & replica.seen & ~replica.acknowledged
        if news or replica.over:
            sent = Message(news & ~replica.over, news, replica.over, replica.counts)
            yield f"send {name}", state.put(name, replica._replace(sent=sent))
    elif not replica.answer:
        answer, then = shared.commit(name, replica.member, message)
        if answer == "behind":
            raise Broken(f"Redis seems to have lost something: {state}")
        late = replica.late
        if answer == "kept" and late is not None:
            late = late._replace(overtaken=True)
        arrived = replica._replace(answer=answer, late=late)
        yield f"commit {name}", state.put(name, arrived, _grown(shared, then))
        if replica.late is None:  # it is not waited for any longer, and may arrive yet
            waiting = replica._replace(sent=None, late=message, late_member=replica.member)
            yield f"time out {name}", state.put(name, waiting)
    else:
        yield f"no answer {name}", state.put(name, replica._replace(sent=None, answer=""))
        yield f"answer {name}", state.put(name, _told(replica, message))


def _plain(replica: Replica) -> Replica:
    """The same replica without what makes no difference any more, so that there is less to explore.

    Whatever a life without a seat sends is refused then and for ever, and so is a commit that was overtaken: nothing
    that they hold can be seen by anybody.
    """
    if replica.late is not None and (not replica.late_member or replica.late.overtaken):
        replica = replica._replace(late=None, late_member=False)
    if replica.lives and not replica.member:
        replica = Replica(lives=True, late=replica.late, late_member=replica.late_member)
    return replica


def _told(replica: Replica, message: Message) -> Replica:
    """It hears what became of its commit."""
    if replica.answer == "fenced":
        return _ended(replica)
    heard = replica._replace(sent=None, answer="")
    if replica.answer == "stale":
        return heard
    gone = message.over
    return heard._replace(
        owns=heard.owns & ~gone,
        over=heard.over & ~gone,
        seen=heard.seen & ~gone,
        acknowledged=(heard.acknowledged | message.events) & ~gone,
    )


def _ended(replica: Replica) -> Replica:
    """The process is gone; what it has sent may arrive yet."""
    if replica.sent is not None and not replica.answer and replica.late is None:
        return Replica(late=replica.sent, late_member=replica.member)
    return Replica(late=replica.late, late_member=replica.late_member)


def _begun(shared: Shared, name: int, before: Replica) -> Replica:
    """A new life goes on from what is kept; what the one before has sent is refused from now on."""
    owns = sum(call for call in CALLS if shared.owners[call - 1] == name)
    seen = shared.ids & owns
    return Replica(True, True, owns, seen, seen, 0, shared.counts[name], late=before.late, late_member=False)


def _grown(before: Shared, after: Shared) -> Shared:
    """What was kept, and so may have been shown, never becomes less."""
    for name in NAMES:
        if before.counts[name] & ~after.counts[name]:
            raise Broken(f"a counter fell from {before} to {after}")
    return after


def _put(pair: tuple[int, int], place: int, value: int) -> tuple[int, int]:
    return (value, pair[1]) if place == 0 else (pair[0], value)
