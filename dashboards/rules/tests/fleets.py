"""What happens to a fleet of three replicas over some hours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .harness import HOUR, MINUTE, World

REPLICAS = ("exporter-0", "exporter-1", "exporter-2")
BEGIN = 1 * HOUR
"""When what goes wrong in a fleet begins."""
AWAY_SECONDS = 40 * MINUTE
Spans = Sequence[tuple[float, float]]


def one_gone() -> World:
    """A replica whose pod finds no machine for forty minutes: it is no target, and nobody but the fleet misses it."""
    return _fleet(3 * HOUR, {2: [(BEGIN, BEGIN + AWAY_SECONDS)]}, reason="left")


def rolling_restart() -> World:
    """Replicas that are restarted as an update does it: each is away for four minutes, and the next one goes as soon as
    it is back, so that for twelve minutes there are never three."""
    spans = [(BEGIN + number * 4 * MINUTE, BEGIN + (number + 1) * 4 * MINUTE) for number in range(3)]
    return _fleet(3 * HOUR, {number: [span] for number, span in enumerate(spans)}, reason="left")


def one_killed_again_and_again() -> World:
    """A replica that is killed four times an hour, for three hours, and is back within the minute."""
    kills = [BEGIN + number * 15 * MINUTE for number in range(13)]
    return _fleet(6 * HOUR, {1: [(at, at + MINUTE) for at in kills]}, reason="dead")


def redis_away() -> World:
    """No replica can keep what it counts, nor see the others, for half an hour; all of them live on."""
    world = _fleet(3 * HOUR, {}, reason="left")
    for replica in (world, *world.beside):
        replica.gauge(0, "atoms_exporter_state_up", 1.0)
        replica.gauge(BEGIN, "atoms_exporter_state_up", 0.0)
        replica.gauge(BEGIN + 30 * MINUTE, "atoms_exporter_state_up", 1.0)
        for at in _every(15.0, BEGIN, BEGIN + 30 * MINUTE):
            replica.count(at, "atoms_exporter_checkpoint_failures_total")
    return world


def _fleet(seconds: float, absent: dict[int, Spans], *, reason: str) -> World:
    """Three replicas; who is there sees who else is, and takes over what those leave that are not, for this reason."""
    replicas = [
        World(seconds, instance=name, gone=list(absent.get(number, ()))) for number, name in enumerate(REPLICAS)
    ]
    spans = [(who, *span) for who, those in absent.items() for span in those]
    changes = sorted({0.0, *(at for _, *span in spans for at in span)})
    for number, replica in enumerate(replicas):
        for other in ("dead", "left"):
            replica.known("atoms_exporter_fleet_takeovers_total", reason=other)
        for at in changes:
            members = len(REPLICAS) - sum(begin <= at < end for _, begin, end in spans)
            replica.gauge(at, "atoms_exporter_fleet_members", members)
        for who, begin, _ in spans:
            if who != number:
                replica.count(begin + 15, "atoms_exporter_fleet_takeovers_total", 20, reason=reason)
        began = [0.0, *(end for who, _, end in spans if who == number)]
        for at in began:
            replica.gauge(at, "process_start_time_seconds", at)
    first, *others = replicas
    first.beside += others
    return first


def _every(step: float, begin: float, end: float) -> Iterable[float]:
    return (begin + number * step for number in range(int((end - begin) / step)))
