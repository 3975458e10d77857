"""`fleet` and `state copy`: who is there, and what is kept on its way from one process to a fleet and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from exporter.calls.observations import Agent
from exporter.cli.app import app
from exporter.errors import ConfigError
from exporter.fleet.connecting import Redis
from exporter.fleet.facts import Row, found
from exporter.fleet.store import RedisStore
from exporter.outputs.prometheus.children import packed
from exporter.outputs.prometheus.kept import KeptSeries
from exporter.outputs.prometheus.scrapers import SeenPages
from exporter.state.kept import CallNews, Commit, PagesSeen
from exporter.state.sqlite import SQLiteStore
from tests.support.redis_server import LEASE_SECONDS, claimed, lapsed, reached, seated

ANNA = Agent("a1", "Anna", True)
LAYOUTS = {"a_total": "counter x"}


@pytest.fixture
def redis(redis_port: int, namespace: str) -> Redis:
    return reached(redis_port, namespace)


@pytest.fixture
def told(redis_port: int, namespace: str) -> list[str]:
    """The settings that name the fleet."""
    settings = {"redis_url": f"redis://127.0.0.1:{redis_port}/0", "namespace": namespace, "name": "one"}
    return [part for key, value in settings.items() for part in ("--set", f"fleet.{key}={value}")]


def said(*words: str) -> str:
    result = CliRunner(env={"ATOMS_API_KEY": "k"}).invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def a_row(value: float) -> KeptSeries:
    return KeptSeries("a_total", ("x",), packed([value]), 5, 100.5, None, False)


def test_the_table_says_who_is_there_and_what_nobody_follows(redis: Redis, told: list[str]) -> None:
    one, two = seated(redis, "one"), seated(redis, "two")
    three = seated(redis, "three")
    claimed(redis, one, "call-1", "call-2")
    claimed(redis, two, "call-3")
    lapsed(redis, "three")
    redis.run("leave", two.name, two.epoch)
    redis.run("publish", "call-4", found(Row("listed", "call-4")), "new")
    redis.run("renew", one.name, one.epoch, one.fleet_id, int(LEASE_SECONDS * 1000), b"no message")
    table = said("fleet", *told)
    lines = {line.split()[0]: line for line in table.splitlines() if line}
    assert lines["one"].split()[2] == "2"
    assert lines["one"].endswith("polls")
    assert "over for" in lines["three"]
    assert "left" in lines["two"]
    assert "calls found and not claimed yet: 1\n  call-4\n" in table
    assert "calls left by replicas that are gone: 1\n  call-3\n" in table
    known = json.loads(said("fleet", "--json", *told))
    assert [each["name"] for each in known["members"]] == ["one", "three"]
    assert known["gone"][0] | {"last": 0} == {"name": "two", "calls": 1, "why": "left", "last": 0}
    assert (known["waiting"], known["left_calls"]) == (["call-4"], ["call-3"])
    assert three.epoch


def test_who_does_not_name_a_fleet_is_told_so() -> None:
    with pytest.raises(ConfigError, match=r"fleet\.redis_url"):
        CliRunner(env={"ATOMS_API_KEY": "k"}).invoke(app, ["fleet"], catch_exceptions=False)


def test_what_one_process_kept_goes_to_a_fleet_and_back(
    redis: Redis, redis_port: int, namespace: str, told: list[str], tmp_path: Path
) -> None:
    before, after = tmp_path / "before.db", tmp_path / "after.db"
    store = SQLiteStore(before)
    waiting = {2: frozenset({"TurnAnswered"})}
    pages = PagesSeen(9, 4, [SeenPages("k", 7, 8, 1000.25)])
    store.save(
        Commit(
            5.0,
            calls=[CallNews("call-1", ANNA, "webcall", 100.5, (1, 2), waiting)],
            over=["call-0", "result:00000000000000ff"],
            series=[a_row(3.0)],
            layouts=LAYOUTS,
            pages=pages,
            instance_id="me",
            counts_since=4.0,
        )
    )
    store.close()
    said("state", "copy", str(before), "redis", *told)

    one, two = seated(redis, "one"), seated(redis, "two")
    of_one = RedisStore(reached(redis_port, namespace), one, lease_seconds=LEASE_SECONDS)
    state = of_one.load()
    assert (state.series, state.pages, state.instance_id, state.counts_since) == ([a_row(3.0)], pages, "me", 4.0)
    assert state.existed
    assert state.finished == ["call-0", "result:00000000000000ff"]
    (call,) = state.calls
    assert (call.call_id, sorted(call.counted), call.waiting) == ("call-1", [1, 2], waiting)

    of_one.save(Commit(6.0, over=["call-1"], series=[a_row(4.0)], layouts=LAYOUTS))
    claimed(redis, two, "call-2")
    of_two = RedisStore(reached(redis_port, namespace), two, lease_seconds=LEASE_SECONDS)
    of_two.save(
        Commit(6.0, [CallNews("call-2", ANNA, "webcall", 100.5, (7,), {})], series=[a_row(9.0)], layouts=LAYOUTS)
    )
    with pytest.raises(ConfigError, match="stop all of them first"):
        said("state", "copy", "redis", str(after), *told)
    for seat in (one, two):
        redis.run("leave", seat.name, seat.epoch)
    said("state", "copy", "redis", str(after), *told)

    again = SQLiteStore(after)
    state = again.load()
    assert state.series == [a_row(4.0)], "of the replica that was named"
    assert [(call.call_id, sorted(call.counted)) for call in state.calls] == [("call-2", [7])], "of all of them"
    assert set(state.finished) == {"call-0", "call-1", "result:00000000000000ff"}
    again.close()


def test_a_file_that_is_there_already_is_left_alone(told: list[str], tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    SQLiteStore(path).close()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        said("state", "copy", "redis", str(path), *told)
    assert path.read_bytes() == before
