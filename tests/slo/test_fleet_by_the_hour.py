"""Hours of a fleet's life, played by promtool: what is told of it, how often, and what passes in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dashboards.rules.tests import fleets, worlds
from dashboards.rules.tests.harness import HOUR, MINUTE, Firing, World, firings
from exporter.slo import AlertThresholds, render_rules
from tests.support.peers import needs

pytestmark = needs("promtool")


def played(world: World, folder: Path, *, expect: int = 0) -> list[Firing]:
    """What fires with the rules of who has set ``fleet.expect``; 0: of who has not."""
    rules = folder / "exporter.yml"
    rules.write_text(render_rules(only=("exporter",), thresholds=AlertThresholds(fleet_members=expect)))
    return firings(world, [rules], MINUTE)


def test_a_replica_that_is_gone_is_told_once_after_its_time_until_it_is_back(tmp_path: Path) -> None:
    (told,) = played(fleets.one_gone(), tmp_path, expect=3)
    assert (told.name, told.labels["severity"]) == ("AtomsFleetTooSmall", "warning")
    back = fleets.BEGIN + fleets.AWAY_SECONDS
    assert fleets.BEGIN + 10 * MINUTE <= told.begun <= fleets.BEGIN + 16 * MINUTE
    assert back - 2 * MINUTE <= told.ended <= back + MINUTE


def test_a_fleet_that_is_restarted_one_by_one_is_told_of_by_nothing(tmp_path: Path) -> None:
    assert played(fleets.rolling_restart(), tmp_path, expect=3) == []


@pytest.mark.parametrize("world", [fleets.one_gone, fleets.rolling_restart])
def test_where_nobody_has_said_how_many_there_should_be_no_fleet_is_too_small(
    tmp_path: Path, world: Callable[[], World]
) -> None:
    assert played(world(), tmp_path) == []
    assert firings(world(), worlds.SHIPPED[2:], MINUTE) == []


def test_a_replica_that_is_killed_again_and_again_is_one_alert_unbroken_and_no_fleet_too_small(tmp_path: Path) -> None:
    (told,) = played(fleets.one_killed_again_and_again(), tmp_path, expect=3)
    assert (told.name, told.labels["severity"]) == ("AtomsFleetTakeovers", "warning")
    assert fleets.BEGIN + 30 * MINUTE <= told.begun <= fleets.BEGIN + 35 * MINUTE, "at the third time"
    assert fleets.BEGIN + 3 * HOUR < told.ended < fleets.BEGIN + 4.5 * HOUR, "until an hour has passed with fewer"


def test_a_redis_that_is_away_is_told_once_by_each_replica_and_no_fleet_is_too_small(tmp_path: Path) -> None:
    told = played(fleets.redis_away(), tmp_path, expect=3)
    assert sorted((one.name, one.labels["instance"]) for one in told) == [
        ("AtomsStateNotKept", replica) for replica in fleets.REPLICAS
    ]
    for one in told:
        assert fleets.BEGIN + 5 * MINUTE <= one.begun <= fleets.BEGIN + 10 * MINUTE
        assert fleets.BEGIN + 30 * MINUTE <= one.ended <= fleets.BEGIN + HOUR
