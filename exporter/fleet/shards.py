"""Who follows a call, by its id alone: rendezvous hashing.

Everybody who knows the same names gives the same answer without asking anybody. A name that comes or goes moves only
the calls it gets or had. Pure, and the same on every machine, in every process and version of Python: the weights are
part of what a fleet agrees on, and must not change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import xxhash


def weight(name: str, call_id: str) -> int:
    """How much a call belongs to a name: 64 bits, XXH3 over both."""
    return xxhash.xxh3_64_intdigest(f"{name}\n{call_id}".encode("utf-8", "surrogatepass"))


def ranked(names: Iterable[str], call_id: str) -> list[str]:
    """The names in the order in which they should follow a call; the first is who does, the second who is next."""
    return sorted(names, key=lambda name: (-weight(name, call_id), name))


def first(names: Iterable[str], call_id: str) -> str | None:
    """Who should follow a call; ``None`` where there is nobody."""
    return min(names, key=lambda name: (-weight(name, call_id), name), default=None)


@dataclass(frozen=True)
class Shard:
    """One of several processes that divide an account's calls among themselves and never talk to each other.

    ``number`` counts from 0; one of one has every call.
    """

    number: int = 0
    of: int = 1

    def has(self, call_id: str) -> bool:
        """The call is this shard's, and no other's."""
        return self.of == 1 or first(map(str, range(self.of)), call_id) == str(self.number)

    @property
    def speaks_for_account(self) -> bool:
        """What belongs to the account and to no call (its limits, its queue) is asked for and shown by one of them."""
        return self.number == 0

    def __str__(self) -> str:
        return f"{self.number} of {self.of}"
