"""Logs: one line per happening on stderr, logfmt or JSON, without secrets and without phone numbers."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from exporter.printable import printable

__all__ = ["Redaction", "also_mask", "set_up_logs"]

MASK = "<secret>"
_PHONE_MASK = "<phone number>"
_PHONE_NUMBER = re.compile(r"(?<![\w+.:/-])\+\d(?:[ .()-]{0,2}\d){6,14}(?!\w)", re.ASCII)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/\s@]+@")
_NEVER = frozenset(
    {
        "to_phone",
        "from_phone",
        "to_number",
        "from_number",
        "phone",
        "phone_number",
        "transcript",
        "authorization",
        "api_key",
        "secret",
        "password",
        "token",
    }
)
_SHORTEST_SECRET = 6
_LONGEST_FIELD = 8_192
_QUIET: Mapping[str, int] = {
    # Each logs what is either a URL per request or an outage per attempt; ours says it once, with its meaning.
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx_sse": logging.WARNING,
    "urllib3": logging.ERROR,
    "asyncio": logging.WARNING,
    "aiohttp": logging.WARNING,
    "aiohttp.access": logging.CRITICAL,
    "grpc": logging.ERROR,
    "opentelemetry": logging.ERROR,
}


class Redaction:
    """A structlog processor: known secrets, bearer tokens, users in URLs and phone numbers become a mask.

    The secrets are those of the configuration; ones shorter than six characters are left alone, they would mask
    ordinary words.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self.learn(secrets)

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these as well: a secret was rotated. The old one stays masked."""
        self._known |= {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        known = sorted(self._known, key=len, reverse=True)
        self._longest = len(known[0]) if known else 0
        self._secrets = re.compile("|".join(re.escape(secret) for secret in known)) if known else None

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Mask every value of one entry, however deep."""
        for key, value in event.items():
            if not key.startswith("_"):  # what structlog carries along for itself
                event[key] = MASK if key.lower() in _NEVER else self._masked(value, 0)
        return event

    def text(self, text: str) -> str:
        """The text with everything masked that must not be written, cut where it is endless, and nothing in it that a
        terminal would obey."""
        text, whole = text[: _LONGEST_FIELD + self._longest], text
        if self._secrets is not None:
            text = self._secrets.sub(MASK, text)
        if len(whole) > _LONGEST_FIELD:
            text = text[:_LONGEST_FIELD] + "…"
        text = _BEARER.sub(rf"\1 {MASK}", text)
        text = _USERINFO.sub(f"{MASK}@", text)
        return printable(_PHONE_NUMBER.sub(_PHONE_MASK, text))

    def _masked(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping) and depth < 4:
            return {
                str(key): MASK if str(key).lower() in _NEVER else self._masked(inner, depth + 1)
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple | set | frozenset) and depth < 4:
            return [self._masked(inner, depth + 1) for inner in value]
        return self.text(value if isinstance(value, str) else str(value))


_redaction = Redaction()
"""As logging itself: one for the process."""


def also_mask(secrets: Iterable[str]) -> None:
    """Mask these in all logs from now on."""
    _redaction.learn(secrets)


def set_up_logs(
    level: str = "info", style: str = "logfmt", *, secrets: Iterable[str] = (), stream: TextIO | None = None
) -> None:
    """Send every log of this process, dependencies included, to ``stream`` (stderr) in one format.

    ``level`` is debug, info, warning or error; ``style`` is logfmt or json. Calling it again replaces what was set,
    but for the secrets: one that was ever given stays masked.
    """
    _redaction.learn(secrets)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redaction,
        _names,
    ]
    renderer: Processor = structlog.processors.LogfmtRenderer(bool_as_flag=False)
    if style == "json":
        renderer = structlog.processors.JSONRenderer()
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _one_line, renderer],
    )
    output = logging.StreamHandler(stream if stream is not None else sys.stderr)
    output.setFormatter(formatter)
    root = logging.getLogger()
    for earlier in root.handlers[:]:
        root.removeHandler(earlier)
    root.addHandler(output)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(threshold)
    for name, quiet in _QUIET.items():
        logging.getLogger(name).setLevel(max(quiet, threshold))
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _names(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """``msg`` and ``err`` are what the Prometheus world calls them."""
    event["msg"] = event.pop("event", "")
    if "exception" in event:
        event["traceback"] = event.pop("exception")
    return event


def _one_line(logger: WrappedLogger, method: str, event: EventDict) -> MutableMapping[str, Any]:
    """Time, level and message first; keys a logfmt reader accepts; None is left out."""
    ordered = {key: event.pop(key, None) for key in _FIRST} | dict(event)
    return {_NOT_IN_KEYS.sub("_", str(key)): value for key, value in ordered.items() if value is not None}


_FIRST = ("ts", "level", "msg")
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_.]")
