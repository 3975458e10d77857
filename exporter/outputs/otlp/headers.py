"""The headers sent to an OTLP backend (``OTEL_EXPORTER_OTLP_HEADERS``): they carry its tokens, so they are never shown.

Why not leave it to the SDK: what it cannot parse it logs, value included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from exporter.errors import ConfigError

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_GRPC_NAME = re.compile(r"[0-9a-z_.-]+")
_GRPC_VALUE = re.compile(r"[\x20-\x7e]*")
_OURS = frozenset({"connection", "content-encoding", "content-length", "content-type", "te", "transfer-encoding"})
_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_ENCODED = re.compile(r"[!#-+\--:<-\[\]-~]*")  # W3C baggage octets: only such a value is percent-decoded, as in the SDK


def read_headers(key: str, text: str, *, grpc: bool = False) -> dict[str, str]:
    """``name=value,name=value``, values percent-encoded or plain. Raises ConfigError that shows no value.

    ``grpc``: they become gRPC's metadata, which takes less than HTTP does, and refuses a whole request for one entry.
    """
    headers: dict[str, str] = {}
    for position, item in enumerate(text.split(","), start=1):
        if not item.strip():
            continue
        name, equals, value = item.partition("=")
        name, value = unquote(name).strip().lower(), value.strip()
        if _ENCODED.fullmatch(value):
            value = unquote(value).strip()
        if not equals or not _NAME.fullmatch(name):
            raise ConfigError(key, f"must be name=value,name=value; entry {position} is not")
        if name in _OURS:
            raise ConfigError(key, f"entry {position} is a header that belongs to the request itself")
        if grpc and (not _GRPC_NAME.fullmatch(name) or name.startswith("grpc-") or name.endswith("-bin")):
            raise ConfigError(key, f"entry {position} has a name that gRPC cannot carry")
        if not (_GRPC_VALUE if grpc else _VALUE).fullmatch(value):
            raise ConfigError(key, f"the value of entry {position} has a character that no header can carry")
        headers[name] = value
    return headers


def without_secrets(text: str, headers: Mapping[str, str]) -> str:
    """``text`` with every header value blotted out: a backend may echo in its answer what it was sent."""
    for value in headers.values():
        for secret in {value, value.rpartition(" ")[2]}:
            if len(secret) >= 4:
                text = text.replace(secret, "***")
    return text
