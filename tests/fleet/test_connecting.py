"""Ways to Redis: URLs, passwords, Sentinels; what its errors mean; what is said where redis-py is missing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from exporter.errors import ConfigError, Interrupted
from exporter.fleet.connecting import AsyncRedis, Redis, shown_url
from tests.support.peers import free_port, need_program, redis_in
from tests.system.world import until


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis that wants a password."""
    with redis_in(tmp_path_factory.mktemp("guarded"), "--requirepass", "the password") as port:
        yield port


def joins(redis: Redis) -> bool:
    """Whether scripts can be run there."""
    return bool(redis.run("join", "one", 2000, b"", uuid4().hex)[0] == b"joined")


def test_a_password_comes_in_the_url_or_beside_it(guarded: int) -> None:
    assert joins(Redis(f"redis://:the%20password@127.0.0.1:{guarded}/0", "in-the-url"))
    assert joins(Redis(f"redis://127.0.0.1:{guarded}/0", "beside", password="the password"))


@pytest.mark.parametrize("password", [None, "another"])
def test_a_wrong_password_is_said_and_not_shown(guarded: int, password: str | None) -> None:
    with pytest.raises(Interrupted) as interrupted:
        joins(Redis(f"redis://127.0.0.1:{guarded}/0", "wrong", password=password))
    assert interrupted.value.reason == "unauthorized"
    assert "another" not in str(interrupted.value)


async def test_nobody_there_is_an_interruption_for_both_clients() -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with pytest.raises(Interrupted) as interrupted:
        joins(Redis(url, "nobody"))
    assert interrupted.value.reason == "unreachable"
    redis = AsyncRedis(url, "nobody", patience_seconds=2)
    with pytest.raises(Interrupted) as interrupted:
        await redis.run("leave", "one", "1")
    assert interrupted.value.reason == "unreachable"
    await redis.aclose()


def test_a_full_redis_is_an_interruption(tmp_path: Path) -> None:
    with redis_in(tmp_path, "--maxmemory", "1") as port, pytest.raises(Interrupted) as interrupted:
        joins(Redis(f"redis://127.0.0.1:{port}/0", "full"))
    assert interrupted.value.reason == "out_of_memory"


def test_a_socket_of_this_machine(tmp_path: Path) -> None:
    with redis_in(tmp_path, "--unixsocket", str(tmp_path / "redis.sock")):
        assert joins(Redis(f"unix://{tmp_path}/redis.sock", "socket"))


async def test_sentinels_say_where_it_is(tmp_path: Path) -> None:
    program = need_program("redis-server")
    with redis_in(tmp_path, "--requirepass", "secret") as port:
        sentinel, file = free_port(), tmp_path / "sentinel.conf"
        file.write_text(
            f"port {sentinel}\nbind 127.0.0.1\ndir {tmp_path}\nsentinel monitor voice 127.0.0.1 {port} 1\n"
            f"sentinel auth-pass voice secret\nlogfile {tmp_path}/sentinel.log\n"
        )
        process = subprocess.Popen([program, str(file), "--sentinel"])
        try:
            log = tmp_path / "sentinel.log"
            await until(lambda: log.exists() and "monitor master voice" in log.read_text(), 20, "a Sentinel")
            url = f"redis+sentinel://:secret@127.0.0.1:{sentinel}/voice/0"
            assert await asyncio.to_thread(joins, Redis(url, "sentinel"))
            redis = AsyncRedis(url, "sentinel", patience_seconds=2)
            assert (await redis.run("leave", "one", "1")) == [b"fenced"]
            await redis.aclose()
        finally:
            process.terminate()
            process.wait(10)


@pytest.mark.parametrize(
    "url", ["http://host/0", "redis:///0", "redis+sentinel://host:26379/", "redis+sentinel:///service", "host:6379"]
)
def test_what_is_no_url_of_redis_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Redis(url, "none")
    assert refused.value.key == "fleet.redis_url"


def test_a_url_is_shown_without_what_may_be_secret() -> None:
    assert shown_url("rediss://user:password@host:6379/1?ssl_password=x") == "rediss://host:6379/1"
    assert shown_url("redis+sentinel://:p@a:1,b:2/voice?sentinel_password=x") == "redis+sentinel://a:1,b:2/voice"


def test_without_the_extra_it_says_how_to_get_it() -> None:
    program = """
        import sys
        sys.modules["redis"] = None
        sys.argv = ["atoms-exporter", "run", "--set", "fleet.redis_url=redis://127.0.0.1:1/0"]
        from exporter.cli import main
        main()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={"ATOMS_API_KEY": "k"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "fleet.redis_url: needs redis-py: pip install 'atoms-exporter[fleet]'" in done.stderr
    assert "Traceback" not in done.stderr
