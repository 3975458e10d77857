"""Who may in: the web configuration at work, read again when its file changes."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import os
import secrets
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import bcrypt
import structlog

from exporter.errors import ConfigError
from exporter.web.tls import remarks, server_context
from exporter.web.web_config import RateLimit, WebConfig, read_web_config

__all__ = ["Passwords", "TokenBucket", "WebConfigFile", "certificate_names"]

_LONGEST_BCRYPT_PASSWORD = 72
_REMEMBERED = 100
_MAX_WAITING_CHECKS = 16
_NOBODY = "a7G6TfwF8vRk9wrLr61s9.vw4I3dwkaTWNXgONMiTWycunoTKGxr6"
"""Salt and hash that no password is known for, checked for users that do not exist so that they take as long."""


class WebConfigFile:
    """The web configuration as it is now.

    A file that became unusable is reported once and leaves what was there before: a certificate half copied must
    not lock everybody out.
    """

    def __init__(self, path: Path | None = None, *, webhook_open: bool = False) -> None:
        """Read the file, and the certificates it names. Raises ConfigError.

        ``webhook_open`` lets clients without a certificate through the handshake, for the webhook alone.
        """
        self._path = path
        self._webhook_open = webhook_open
        self._log = structlog.get_logger("exporter.web")
        self.current = WebConfig()
        self.context: ssl.SSLContext | None = None
        self._seen: tuple[object, ...] = ()
        if path is not None:
            self._read(path)

    def changed(self) -> bool:
        """Read again if a file changed since; True when something else is served now."""
        if self._path is None or self._signature() == self._seen:
            return False
        try:
            self._read(self._path)
        except ConfigError as error:
            self._seen = self._signature()
            self._log.error("web configuration cannot be used, keeping the one before", err=str(error))
            return False
        self._log.info("web configuration read again", path=str(self._path))
        return True

    def _read(self, path: Path) -> None:
        before = _signature([path])
        config = read_web_config(path)
        files = [path, *(config.tls.files if config.tls else ())]
        seen = before + _signature(files[1:])
        context = None
        if config.tls is not None:
            context = server_context(config.tls, clients_may_stay_unknown=self._webhook_open)
            for remark in remarks(config.tls):
                self._log.warning(remark)
        self.current, self.context, self._seen = config, context, seen

    def _signature(self) -> tuple[object, ...]:
        tls = self.current.tls
        return _signature([*([self._path] if self._path else []), *(tls.files if tls else ())])


def _signature(files: list[Path]) -> tuple[object, ...]:
    """What changes when a file is written or replaced."""
    found: list[object] = []
    for file in files:
        try:
            status = os.stat(file)
        except OSError as error:
            found.append(error.errno)
        else:
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


class Passwords:
    """Checks passwords against bcrypt hashes: in a thread, one at a time, what was checked remembered.

    What is remembered is a keyed digest, never a password, and a bounded number of right ones and of wrong ones,
    so that guessing does not push a scraper's out.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._turn = asyncio.Semaphore(1)
        self._waiting = 0

    async def right(self, users: Mapping[str, str], user: str, password: str) -> bool | None:
        """Whether this is that user's password; None when too many wait for an answer already."""
        hashed = users.get(user)
        digest = self._digest(user, hashed or "", password)
        if (known := self._remembered(digest)) is not None:
            return known and hashed is not None
        if self._waiting >= _MAX_WAITING_CHECKS:
            return None
        self._waiting += 1
        try:
            async with self._turn:
                if (known := self._remembered(digest)) is None:
                    matches = await asyncio.to_thread(_matches, password, hashed or _nobody(users))
                    known = matches and hashed is not None
                    self._remember(digest, known)
        finally:
            self._waiting -= 1
        return known

    def _digest(self, *parts: str) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            encoded = part.encode("utf-8", "surrogateescape")
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        return digest.digest()

    def _remembered(self, digest: bytes) -> bool | None:
        if digest in self._right:
            self._right.move_to_end(digest)
            return True
        return False if digest in self._wrong else None

    def _remember(self, digest: bytes, right: bool) -> None:
        known = self._right if right else self._wrong
        known[digest] = None
        if len(known) > _REMEMBERED:
            known.popitem(last=False)


def _nobody(users: Mapping[str, str]) -> str:
    """A hash as expensive as the real ones."""
    cost = max((hashed[4:6] for hashed in users.values()), default="10")
    return f"$2b${cost}${_NOBODY}"


def _matches(password: str, hashed: str) -> bool:
    # Longer passwords are cut as htpasswd and Prometheus cut them; the library would refuse.
    try:
        return bcrypt.checkpw(password.encode("utf-8", "surrogateescape")[:_LONGEST_BCRYPT_PASSWORD], hashed.encode())
    except ValueError:
        return False


class TokenBucket:
    """``rate_limit``: a token per interval, at most ``burst`` of them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._limit: RateLimit | None = None
        self._tokens = 0.0
        self._at = 0.0

    def take(self, limit: RateLimit | None) -> bool:
        """Whether one more request may be answered now."""
        if limit is None:
            return True
        now = self._clock()
        if limit != self._limit:
            self._limit, self._tokens, self._at = limit, float(limit.burst), now
        self._tokens = min(limit.burst, self._tokens + (now - self._at) / limit.interval_seconds)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def certificate_names(certificate: Mapping[str, object]) -> set[str]:
    """Every subject alternative name (DNS, e-mail, IP, URI) of a client certificate as ``ssl`` describes it."""
    found: set[str] = set()
    names = certificate.get("subjectAltName", ())
    for kind, value in names if isinstance(names, tuple) else ():
        if kind == "IP Address":
            try:
                value = str(ipaddress.ip_address(value))
            except ValueError:
                continue
        if kind in ("DNS", "email", "IP Address", "URI"):
            found.add(value)
    return found
