"""A replica's place in the fleet: what it shows to be let in, and to be believed."""

from __future__ import annotations

from dataclasses import dataclass


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
