"""What the fleet keeps beside a call: who found it and how, then what its owner knows of it. As bytes, and back.

The first byte tells which: ``F`` a call as it was found, ``C`` one of which there was a commit.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import msgspec

from exporter.calls.identity import SeenEvents
from exporter.calls.observations import Agent
from exporter.state.kept import CALL_FORM, CallNews, SavedCall


class Row(msgspec.Struct, array_like=True, frozen=True):
    """A call as somebody found it, or what somebody said of it.

    ``kind``: ``listed`` and ``again`` by the list, ``told`` by a webhook that says it is over, ``named`` by anybody who
    wants it followed, ``analysed`` by a webhook with results (``payload``). Times are Unix time.
    """

    kind: str
    call_id: str
    agent_id: str | None = None
    channel: str = "unknown"
    status: str | None = None
    created_at: float | None = None
    source: str = "poll"
    under_way: bool = False
    outcome: str | None = None
    ended_at: float | None = None
    lasted_seconds: float | None = None
    payload: bytes = b""


class _Counted(msgspec.Struct, array_like=True, frozen=True):
    agent_id: str
    agent_name: str
    single_prompt: bool
    channel: str
    opened_at: float
    waiting: dict[int, list[str]]
    form: int


_FOUND, _COUNTED = b"F", b"C"
_row_from = msgspec.msgpack.Decoder(Row).decode
_counted_from = msgspec.msgpack.Decoder(_Counted).decode
_packed = msgspec.msgpack.Encoder().encode


def found(row: Row) -> bytes:
    """A call as it was found."""
    return _FOUND + _packed(row)


def counted(call: CallNews) -> bytes:
    """What its owner knows of it."""
    agent = call.agent
    waiting = {identity: sorted(kinds) for identity, kinds in call.waiting.items()}
    facts = _Counted(agent.agent_id, agent.name, agent.single_prompt, call.channel, call.opened_at, waiting, CALL_FORM)
    return _COUNTED + _packed(facts)


def row_of(facts: bytes) -> Row | None:
    """The row, where there was no commit yet; ``None`` for anything else, what cannot be read included."""
    if facts[:1] != _FOUND:
        return None
    try:
        return _row_from(facts[1:])
    except msgspec.DecodeError:
        return None


def saved_call(call_id: str, facts: bytes, identities: bytes) -> SavedCall | None:
    """A call of which there was a commit; ``None`` where there was none, or it cannot be read."""
    if facts[:1] != _COUNTED:
        return None
    try:
        known = _counted_from(facts[1:])
    except msgspec.DecodeError:
        return None
    return SavedCall(
        call_id,
        Agent(known.agent_id, known.agent_name, known.single_prompt),
        known.channel,
        known.opened_at,
        SeenEvents.of(identities),
        {identity: frozenset(kinds) for identity, kinds in known.waiting.items()},
        known.form,
    )


def identities_in(counted: Iterable[int]) -> bytes:
    """Identities as they are kept, 8 bytes each."""
    return array("Q", counted).tobytes()


def packed(value: Any) -> bytes:
    """Anything else that is kept."""
    return _packed(value)
