"""A replica's place in the fleet: what it shows to be let in, and to be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from exporter.state.kept import Fenced


@dataclass
class Seat:
    """Taken by joining, held by renewing.

    ``epoch`` only grows, whoever joins, even over a Redis that lost its data. ``fleet_id`` changes when Redis lost
    everything; ``acknowledged`` is the number of the last commit that Redis said it kept.
    """

    name: str
    epoch: str
    fleet_id: str
    acknowledged: int = 0
    founded: bool = False
    """Nobody was there before."""
    losses: int = 0
    """How often Redis was found to have lost something."""

    @classmethod
    def given(cls, name: str, answer: Sequence[Any]) -> Seat | None:
        """What the script ``join`` has answered to this name; ``None``: somebody else has it."""
        if answer[0] != b"joined":
            return None
        _, epoch, fleet_id, version, founded = answer
        return cls(name, epoch.decode(), fleet_id.decode(), version, founded == 1)

    def taken_again(self, answer: Sequence[Any]) -> None:
        """What ``rejoin`` has answered.

        :raises Fenced: a later process has the name.
        """
        if answer[0] == b"fenced":
            raise Fenced("another process has this replica's name")
        self.fleet_id = answer[1].decode()
