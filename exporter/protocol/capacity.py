"""How many calls the account may have at once: ``GET /concurrency``, and the total of a list."""

from __future__ import annotations

from typing import Final

import msgspec

from exporter.errors import Malformed
from exporter.protocol.fields import Fields, answer_data

_MOST: Final = 1_000_000_000
_RESERVED: Final = {
    "inbound": "telephony_inbound",
    "outbound": "telephony_outbound",
    "webcall": "webcall",
    "chat": "chat",
}
"""What an agent has reserved, by the API's word for the channel."""


class Reserved(msgspec.Struct, frozen=True):
    """Calls at once that an agent has for itself, on one channel."""

    agent_id: str
    agent_name: str | None
    channel: str
    calls: int


class Concurrency(msgspec.Struct, frozen=True):
    """Calls at once: the account's ``limit``, the part no agent has reserved, and what each has."""

    limit: int | None
    unreserved: int | None
    reserved: tuple[Reserved, ...] = ()


def decode_concurrency(body: bytes) -> Concurrency:
    """The answer of ``GET /concurrency``. Raises Malformed where it tells nothing of a limit."""
    data = answer_data(body)
    limit, unreserved = _calls(data, "orgLimit"), _calls(data, "unreservedPool")
    reserved = tuple(each for agent in data.objects("agents") for each in _reserved(agent))
    if limit is None and unreserved is None and not reserved:
        raise Malformed("an answer about concurrency without a limit", reason="no_limit")
    if unreserved is None and limit is not None:
        total = _calls(data, "totalReserved")
        unreserved = max(0, limit - total) if total is not None else None
    return Concurrency(limit, unreserved, reserved)


def decode_total(body: bytes) -> int:
    """How many calls a list has on all its pages. Raises Malformed where it does not say."""
    total = _calls(answer_data(body).inside("pagination"), "total")
    if total is None:
        raise Malformed("a list of conversations without a total", reason="no_total")
    return total


def _reserved(agent: Fields) -> list[Reserved]:
    agent_id = agent.text("agentId") or agent.text("_id")
    if not agent_id:
        return []
    given = [(channel, _calls(agent, word)) for word, channel in _RESERVED.items()]
    name = agent.text("agentName") or agent.text("name")
    return [Reserved(agent_id, name, channel, calls) for channel, calls in given if calls is not None]


def _calls(fields: Fields, name: str) -> int | None:
    """A plausible number of calls."""
    number = fields.field(name, float)
    if number is None or not 0 <= number <= _MOST:
        return None
    return int(number)
