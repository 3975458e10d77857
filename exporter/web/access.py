"""Who may in: the web configuration at work, read again when its file changes."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from exporter.errors import ConfigError
from exporter.web.tls import remarks, server_context
from exporter.web.web_config import RateLimit, WebConfig, read_web_config

__all__ = ["TokenBucket", "WebConfigFile", "certificate_names"]


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
