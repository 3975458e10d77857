"""Several replicas for one account: the keys, and what must fit together among them."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, Field, SecretStr

from exporter.config.places import File
from exporter.config.section import Section
from exporter.config.types import Amount, Duration, Secrets, Text

__all__ = ["Fleet", "RedisUrl", "fleet_secrets", "unfit"]

MOST_SHARDS = 1_000
SENTINELS = ("redis+sentinel", "rediss+sentinel")
SCHEMES = ("redis", "rediss", "unix", *SENTINELS)

_NAME = Text(
    r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?|", "must be letters, digits, dots and dashes, at most 128 of them"
)
OptionalFile = Annotated[Path | None, BeforeValidator(File())]
_NAMESPACE = Text(r"[A-Za-z0-9._-]{1,64}", "must be letters, digits, dots and dashes, at most 64 of them")


@dataclasses.dataclass(frozen=True)
class RedisUrl(Secrets):
    """Where Redis is, its password perhaps in it: never shown. What is wrong is said without quoting it."""

    def __call__(self, value: Any) -> SecretStr | None:
        secret = Secrets.__call__(self, value)
        if secret is not None:
            _check(secret.get_secret_value())
        return secret


def _check(url: str) -> None:
    scheme, found, rest = url.partition("://")
    if not found or scheme.lower() not in SCHEMES:
        raise ValueError(f"must be a URL that begins with {'://, '.join(SCHEMES)}://")
    where = rest.partition("?")[0].rpartition("@")[2]
    if scheme.lower() == "unix":
        if not where.startswith("/"):
            raise ValueError("must name a socket, as in unix:///run/redis.sock")
    elif scheme.lower() in SENTINELS:
        hosts, _, path = where.partition("/")
        if not all(_is_host(host) for host in hosts.split(",")) or not path.partition("/")[0]:
            raise ValueError("must be redis+sentinel://HOST:PORT,HOST:PORT/SERVICE: hosts of sentinels, then a service")
    elif not _is_host(where.partition("/")[0]):
        raise ValueError("must name a host, and a port that exists if any")


def _is_host(text: str) -> bool:
    try:
        parts = urlsplit(f"redis://{text}")
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class Fleet(Section):
    """Several replicas for one account."""

    shards: Annotated[int, BeforeValidator(Amount(1, MOST_SHARDS))] = Field(
        1,
        description="how many processes divide the calls among themselves by call id, asking nobody",
    )
    shard: Annotated[int, BeforeValidator(Amount(0, MOST_SHARDS - 1))] = Field(
        0, description="which of them this is, from 0"
    )
    redis_url: Annotated[SecretStr | None, BeforeValidator(RedisUrl())] = Field(
        None,
        description="Redis (or Valkey) that makes replicas one fleet: `redis://`, `rediss://` (TLS), `unix://`, "
        "`redis+sentinel://HOST,HOST/SERVICE`; everything is kept there, and `state.path` is not used",
    )
    redis_url_file: OptionalFile = Field(None, description="file that holds the URL")
    redis_password: Annotated[SecretStr | None, BeforeValidator(Secrets())] = Field(
        None, description="its password, where the URL has none"
    )
    redis_password_file: OptionalFile = Field(None, description="file that holds the password")
    name: Annotated[str, BeforeValidator(_NAME)] = Field(
        "", description="this replica's own name, under which its counters are kept; empty: the host name"
    )
    namespace: Annotated[str, BeforeValidator(_NAMESPACE)] = Field(
        "default", description="what the keys of one account's fleet share; another one for another account"
    )
    lease: Annotated[float, BeforeValidator(Duration(1, 600))] = Field(
        15.0, description="a replica not heard of for so long is taken for dead; renewed every third of it"
    )
    expect: Annotated[int, BeforeValidator(Amount(0, MOST_SHARDS))] = Field(
        0, description="how many replicas there should be, for an alert; 0: no alert"
    )

    @property
    def replica_name(self) -> str:
        """The name this replica goes by."""
        return self.name or socket.gethostname().strip() or "atoms-exporter"


def unfit(fleet: Fleet, *, state_file_named: bool) -> Iterator[tuple[str, str]]:
    """What does not fit together: the key and the rest of the sentence."""
    if fleet.shard >= fleet.shards:
        yield "fleet.shard", f"must be below fleet.shards, which is {fleet.shards}; shards count from 0"
    if fleet.redis_url is None:
        return
    if fleet.shards > 1:
        yield "fleet.shards", "set it or fleet.redis_url, not both: over Redis replicas share the calls as they come"
    if state_file_named:
        yield "state.path", "set it or fleet.redis_url, not both: a fleet keeps everything in Redis"
    if fleet.redis_password is not None and password_in(fleet.redis_url.get_secret_value()):
        yield "fleet.redis_password", "set it or a password in fleet.redis_url, not both"


def password_in(url: str) -> str:
    """The password a URL carries; empty where it carries none."""
    user, at, _ = url.partition("://")[2].partition("?")[0].rpartition("@")
    return unquote(user.partition(":")[2]) if at else ""


def fleet_secrets(fleet: Fleet) -> list[str]:
    """What must not be seen anywhere."""
    url = fleet.redis_url.get_secret_value() if fleet.redis_url is not None else ""
    password = fleet.redis_password.get_secret_value() if fleet.redis_password is not None else ""
    hidden = password_in(url)
    return [secret for secret in (password, hidden, url if hidden else "") if secret]
