"""The configuration of several replicas, as an operator meets it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from exporter.config import Config, effective, load, secrets_of
from exporter.errors import ConfigError

URL = "redis://cache:6379/0"


def given(**keys: str) -> Config:
    return load({f"fleet.{key}": value for key, value in keys.items()}, {}, None)


def refused(flags: dict[str, object], env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        load(flags, env or {}, None)
    return str(error.value)


def test_one_process_is_the_default() -> None:
    fleet = load({}, {}, None).fleet
    assert (fleet.shards, fleet.shard, fleet.redis_url, fleet.lease, fleet.expect) == (1, 0, None, 15.0, 0)
    assert fleet.namespace == "default"
    assert fleet.replica_name == socket.gethostname()


def test_a_shard_that_does_not_exist_is_refused() -> None:
    says = refused({"fleet.shards": "4", "fleet.shard": "4"})
    assert "fleet.shard: must be below fleet.shards, which is 4; shards count from 0 (--set fleet.shard)" in says
    assert given(shards="4", shard="3").fleet.shard == 3


def test_shards_and_redis_are_two_ways_to_do_one_thing() -> None:
    says = refused({"fleet.shards": "2", "fleet.redis_url": URL})
    assert "fleet.shards: set it or fleet.redis_url, not both" in says


def test_a_state_file_and_redis_are_two_places_for_one_thing() -> None:
    says = refused({"state.path": "/data/state.db", "fleet.redis_url": URL})
    assert "state.path: set it or fleet.redis_url, not both" in says
    for path in ("auto", ""):
        assert load({"state.path": path, "fleet.redis_url": URL}, {}, None).fleet.redis_url is not None


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "rediss://user:p%40ss@cache.example:6380/1?ssl_ca_certs=/etc/ca.pem",
        "redis://[::1]:6379",
        "unix:///run/redis.sock?db=1",
        "redis+sentinel://one:26379,two:26379,three/main/0",
        "rediss+sentinel://:secret@one,two/main",
    ],
)
def test_addresses_of_redis_are_taken(url: str) -> None:
    secret = given(redis_url=url).fleet.redis_url
    assert secret is not None
    assert secret.get_secret_value() == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("cache:6379", "must be a URL that begins with redis://"),
        ("http://cache", "must be a URL that begins with redis://"),
        ("redis://", "must name a host"),
        ("redis://:word-of-honour@/0", "must name a host"),
        ("redis://cache:0", "must name a host"),
        ("redis://cache:99999", "must name a host"),
        ("unix://run/redis.sock", "must name a socket"),
        ("redis+sentinel://one,two", "must be redis+sentinel://HOST:PORT,HOST:PORT/SERVICE"),
        ("redis+sentinel://one,,two/main", "must be redis+sentinel://HOST:PORT,HOST:PORT/SERVICE"),
        ("redis://a b", "holds characters"),
    ],
)
def test_an_address_that_cannot_work_is_refused_without_being_quoted(url: str, says: str) -> None:
    told = refused({"fleet.redis_url": url})
    assert says in told
    assert "word-of-honour" not in told


@pytest.mark.parametrize("name", ["a b", "-a", "a/b", "a\nb", "{a}", "x" * 129])
def test_a_name_is_one_that_can_stand_in_a_key(name: str) -> None:
    assert "fleet.name: must be letters, digits, dots and dashes" in refused({"fleet.name": name})
    assert given(name="atoms-exporter-0").fleet.replica_name == "atoms-exporter-0"


@pytest.mark.parametrize("namespace", ["a}b", "a:b", "", "x" * 65])
def test_a_namespace_too(namespace: str) -> None:
    assert "fleet.namespace: must be letters" in refused({"fleet.namespace": namespace})


def test_the_address_may_come_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("redis://:word-of-honour@cache:6379\n")
    config = load({}, {"ATOMS_EXPORTER_FLEET__REDIS_URL_FILE": str(file)}, None)
    assert config.fleet.redis_url is not None
    assert config.fleet.redis_url.get_secret_value() == "redis://:word-of-honour@cache:6379"
    assert "word-of-honour" not in yaml.safe_dump(effective(config))
    assert "word-of-honour" in secrets_of(config), "masked in logs"


def test_the_password_may_stand_in_a_file_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("word-of-honour\n")
    config = load({"fleet.redis_url": URL, "fleet.redis_password_file": str(file)}, {}, None)
    assert config.fleet.redis_password is not None
    assert config.fleet.redis_password.get_secret_value() == "word-of-honour"
    assert "word-of-honour" in secrets_of(config)
    twice = {"fleet.redis_url": "redis://:other-word@cache", "fleet.redis_password_file": str(file)}
    assert "fleet.redis_password: set it or a password in fleet.redis_url, not both" in refused(twice)


def test_without_a_password_an_address_is_no_secret_that_logs_must_hide() -> None:
    assert secrets_of(given(redis_url=URL)) == []


@pytest.mark.parametrize(("lease", "seconds"), [("2s", 2), ("15s", 15), ("10m", 600)])
def test_a_lease_is_seconds_to_minutes(lease: str, seconds: float) -> None:
    assert given(lease=lease).fleet.lease == seconds
    assert "fleet.lease: must be a duration from 1s to 10m" in refused({"fleet.lease": "100ms"})
