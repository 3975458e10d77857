"""The kinds of configuration values that name a place: a file, a URL, an address to listen on, a path of our own."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from exporter.address import ListenAddress
from exporter.config.types import Rule

__all__ = ["AUTO", "File", "Listen", "UpstreamUrl", "WebPath"]

AUTO = Path("auto")
"""The word for a place that is chosen at start."""

_LONGEST_PATH = 4_096


@dataclasses.dataclass(frozen=True)
class File(Rule):
    """A path on this machine, or nothing."""

    may_be_empty: ClassVar[bool] = True

    def __call__(self, value: Any) -> Path | None:
        text = str(value).strip() if isinstance(value, str | Path) else None
        if text is None or "\0" in text or len(text) > _LONGEST_PATH:
            raise ValueError("must be a path")
        return Path(text).expanduser() if text and not text.startswith("~") else _home(text)

    def show(self, value: Any) -> str:
        return "" if value is None else str(value)


def _home(text: str) -> Path | None:
    try:
        return Path(text).expanduser() if text else None
    except RuntimeError:
        raise ValueError("must be a path (there is no such home directory)") from None


@dataclasses.dataclass(frozen=True)
class UpstreamUrl(Rule):
    """The root of an HTTP API, without user, query or fragment."""

    def __call__(self, value: Any) -> str:
        text = value.strip() if isinstance(value, str) else ""
        if not text or not text.isascii() or not text.isprintable() or " " in text or len(text) > 2_048:
            raise ValueError("must be a URL such as https://api.smallest.ai/atoms/v1")
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError("must be a URL; its host or port cannot be read") from None
        if parts.scheme not in ("http", "https"):
            raise ValueError("must begin with https:// (or http://)")
        if "@" in parts.netloc:
            raise ValueError("must not carry a user or password: the key goes into api.api_key")
        if not host or port == 0:
            raise ValueError("must name a host")
        if "?" in text or "#" in text or "\\" in text:
            raise ValueError("must not have a query or fragment")
        return text.rstrip("/")


@dataclasses.dataclass(frozen=True)
class Listen(Rule):
    """host:port to listen on."""

    def __call__(self, value: Any) -> ListenAddress:
        if not isinstance(value, str):
            raise ValueError("must be host:port, such as :9464")
        return ListenAddress.parse(value)

    def show(self, value: Any) -> str:
        return str(value)


@dataclasses.dataclass(frozen=True)
class WebPath(Rule):
    """A path of our own web server that is not taken yet."""

    taken: tuple[str, ...] = ("/", "/metrics", "/-/", "/api/")

    def __call__(self, value: Any) -> str:
        text = value.strip() if isinstance(value, str) else ""
        if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", text) or len(text) > 200:
            raise ValueError("must be a path such as /webhooks/atoms (letters, digits and . _ ~ - between slashes)")
        if text in self.taken or any(
            text.startswith(start) for start in self.taken if len(start) > 1 and start[-1] == "/"
        ):
            raise ValueError("must be a path that is not taken: /metrics, /-/… and /api/… are")
        return text
