"""How Redis is reached: by which URL, with how much patience, and what its errors mean.

``redis://``, ``rediss://`` (TLS) and ``unix://`` are redis-py's own, with its parameters (``?ssl_ca_certs=…``). A
Sentinel is asked with ``redis+sentinel://user:password@host:26379,host:26379/service/0``, or ``rediss+sentinel://``;
``sentinel_username`` and ``sentinel_password`` as parameters are for the Sentinels themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from exporter.errors import ConfigError, Interrupted
from exporter.fleet.scripts import script

_KEY = "fleet.redis_url"
SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_CONNECT_SECONDS = 3.0
_Argument = str | bytes | int | float


def need_redis() -> None:
    """Raises ConfigError where the extra is not installed."""
    try:
        import redis  # noqa: F401  (whether it is there is the question)
    except ImportError:
        raise ConfigError(_KEY, "needs redis-py: pip install 'atoms-exporter[fleet]'") from None


class Redis:
    """For a thread that may block. ``client`` is redis-py's, whose types do not know that answers are bytes here."""

    def __init__(
        self, url: str, namespace: str, *, password: str | None = None, patience_seconds: float = 10.0
    ) -> None:
        need_redis()
        self.client: Any = _client(url, password, patience_seconds, of_a_loop=False)
        self.prefix = prefix_of(namespace)

    def run(self, name: str, *arguments: _Argument) -> list[Any]:
        """One script's answer. Raises Interrupted."""
        from redis.exceptions import NoScriptError

        wanted, key = script(name), f"{self.prefix}fleet"
        with meaning():
            try:
                answer = self.client.evalsha(wanted.sha, 1, key, *arguments)
            except NoScriptError:
                answer = self.client.eval(wanted.text, 1, key, *arguments)
        return list(answer)

    def close(self) -> None:
        """Let go of the connections."""
        self.client.close()


class AsyncRedis:
    """The same for an event loop."""

    def __init__(self, url: str, namespace: str, *, password: str | None = None, patience_seconds: float) -> None:
        need_redis()
        self.client: Any = _client(url, password, patience_seconds, of_a_loop=True)
        self.prefix = prefix_of(namespace)

    async def run(self, name: str, *arguments: _Argument) -> list[Any]:
        """One script's answer. Raises Interrupted."""
        from redis.exceptions import NoScriptError

        wanted, key = script(name), f"{self.prefix}fleet"
        with meaning():
            try:
                answer = await self.client.evalsha(wanted.sha, 1, key, *arguments)
            except NoScriptError:
                answer = await self.client.eval(wanted.text, 1, key, *arguments)
        return list(answer)

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self.client.aclose()


def goes_on() -> bool:
    """Whether this task may: redis-py now and then takes being cancelled for a connection that broke."""
    task = asyncio.current_task()
    return task is None or not task.cancelling()


def prefix_of(namespace: str) -> str:
    """What all keys of a fleet begin with: one slot of a cluster."""
    return "{atoms-exporter:" + namespace + "}:"


class meaning:
    """Around whatever is asked of Redis: its errors become ours, and being cancelled stays what it is.

    redis-py now and then takes the latter for a connection that broke; whoever asked would go on, and never end.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: object) -> None:
        from redis.exceptions import RedisError

        if _is_cancelled() and (problem is None or isinstance(problem, Exception)):
            raise asyncio.CancelledError from problem
        if isinstance(problem, RedisError | OSError):
            raise Interrupted(f"Redis: {problem}", reason=_reason(problem)) from problem


def _is_cancelled() -> bool:
    """Whether this runs in a task that was told to end; in a thread nobody is."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and task.cancelling() > 0


def _reason(problem: Exception) -> str:
    """A word for it, fit for a metric label."""
    from redis import exceptions as known

    words: tuple[tuple[type[Exception], str], ...] = (
        (known.BusyLoadingError, "loading"),
        (known.AuthenticationError, "unauthorized"),
        (known.NoPermissionError, "unauthorized"),
        (known.ReadOnlyError, "read_only"),
        (known.OutOfMemoryError, "out_of_memory"),
        (known.TimeoutError, "timeout"),
        (known.ConnectionError, "unreachable"),
        (OSError, "unreachable"),
    )
    for kind, word in words:
        if isinstance(problem, kind):
            return word
    text = str(problem)
    return "out_of_memory" if text.startswith("OOM") else "read_only" if text.startswith("READONLY") else "error"


# -- clients


def _client(url: str, password: str | None, patience_seconds: float, *, of_a_loop: bool) -> Any:
    """A client. Nothing is tried again behind our back: a commit that timed out may have been taken.

    :raises ConfigError: the URL is none of Redis.
    """
    parts = check_url(url)
    options: dict[str, Any] = {"socket_timeout": patience_seconds, "socket_connect_timeout": _CONNECT_SECONDS}
    if of_a_loop:
        from redis import asyncio as library
        from redis.asyncio.retry import Retry
    else:
        import redis as library  # type: ignore[no-redef]  # the same names, another way to wait
        from redis.retry import Retry  # type: ignore[assignment]
    from redis.backoff import NoBackoff

    options["retry"] = Retry(NoBackoff(), 0)
    with contextlib.suppress(ImportError):  # what one vendor's service announces, a question at every connection
        from redis.maint_notifications import MaintNotificationsConfig

        options["maint_notifications_config"] = MaintNotificationsConfig(enabled=False)
    if password:
        options["password"] = password
    try:
        if not parts.scheme.endswith("+sentinel"):
            return library.Redis.from_url(url, **options)
        return _by_sentinel(library, url, options)
    except (ValueError, TypeError) as problem:
        raise ConfigError(_KEY, f"cannot be used: {problem}") from None


def _by_sentinel(library: Any, url: str, options: dict[str, Any]) -> Any:
    from redis.connection import parse_url

    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    service, _, db = parts.path.strip("/").partition("/")
    if not service:
        raise ConfigError(_KEY, "must name the Sentinels' service: redis+sentinel://host:26379/service")
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    of_sentinels: dict[str, Any] = {
        name.removeprefix("sentinel_"): query.pop(name) for name in list(query) if name.startswith("sentinel_")
    }
    tls = parts.scheme == "rediss+sentinel"
    plain = f"{'rediss' if tls else 'redis'}://{f'{login}@' if login else ''}localhost/{db}?{urlencode(query)}"
    of_the_master: dict[str, Any] = dict(parse_url(plain))  # type: ignore[no-untyped-call]  # redis-py's own
    for name in ("host", "port", "connection_class"):
        of_the_master.pop(name, None)
    if tls:
        of_the_master["ssl"] = True
        of_sentinels = {"ssl": True, **{k: v for k, v in of_the_master.items() if k.startswith("ssl_")}, **of_sentinels}
    sentinel = library.sentinel.Sentinel(
        list(_addresses(hosts)), sentinel_kwargs={**of_sentinels, **options}, **{**of_the_master, **options}
    )
    return sentinel.master_for(service)


def _addresses(hosts: str) -> Iterable[tuple[str, int]]:
    for each in hosts.split(","):
        parts = urlsplit(f"//{each}")
        if not parts.hostname:
            raise ConfigError(_KEY, "must name at least one Sentinel: redis+sentinel://host:26379/service")
        yield unquote(parts.hostname), parts.port or 26379


def check_url(url: str) -> Any:
    """Its parts. Raises ConfigError, without the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in SCHEMES or not (parts.netloc or parts.scheme == "unix"):
        raise ConfigError(_KEY, f"must be a URL such as redis://host:6379/0; schemes are {', '.join(SCHEMES)}")
    return parts


def shown_url(url: str) -> str:
    """The URL without what may be a secret."""
    parts = urlsplit(url)
    _, _, hosts = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{hosts}{parts.path}"
