"""Whom we trust and who we are: certificates from files, read again when these change.

Where nothing is named, ``SSL_CERT_FILE``, ``SSL_CERT_DIR``, ``REQUESTS_CA_BUNDLE`` and ``CURL_CA_BUNDLE`` say who is
trusted, the first of them that is set; without any it is Mozilla's list as certifi ships it.
"""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import certifi
import structlog

from exporter.errors import ConfigError

CA_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
LOOK_EVERY_SECONDS: Final = 1.0
"""How often it is looked at most whether files changed; a handshake that failed looks at once."""

MOST_BYTES: Final = 16 << 20
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_log = structlog.get_logger(__name__)


class Files(NamedTuple):
    """Where certificates are, and what the operator calls each place. A ``ca`` may be a directory of them."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    ca_key: str = "the CA file"
    certificate_key: str = "the client certificate"
    key_key: str = "the client key"


class Pem(NamedTuple):
    """The same as text, for gRPC: None where nothing is named."""

    ca: bytes | None
    key: bytes | None
    certificate: bytes | None


class Trust:
    """What TLS needs for one peer.

    ``Trust(…)`` reads everything and raises ConfigError that names the key and the file. Later a file that became
    unusable is reported once and leaves what was there before: a certificate half copied must end nothing.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        files: Files | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = _with_environment(files or Files(), env)
        self._clock = clock
        self._signature = self._used = self._look()
        self._looked_at = clock()
        self._context = _context(self._files)

    def context(self, *, now: bool = False) -> ssl.SSLContext:
        """TLS as the files say. The same object as before unless they changed; ``now``: look whatever the time."""
        if (now or self._clock() - self._looked_at >= LOOK_EVERY_SECONDS) and (self._files.ca or self._files[1]):
            self._looked_at = self._clock()
            signature = self._look()
            if signature != self._signature:
                self._signature = signature
                self._read_again()
        return self._context

    def pem(self) -> Pem:
        """What ``context()`` was made of, and so was found to fit together. Raises ConfigError when the files changed
        since: half of a pair ends a process that gives it to gRPC."""
        ca, certificate, key = self._files[:3]
        chain = _read(certificate, self._files.certificate_key) if certificate else None
        found = Pem(
            ca=b"\n".join(_authorities(ca, self._files.ca_key)) if ca else None,
            key=_read(key, self._files.key_key) if key else chain,
            certificate=chain,
        )
        if self._look() != self._used:
            raise ConfigError(self._files.certificate_key if certificate else self._files.ca_key, "is being changed")
        return found

    def _read_again(self) -> None:
        signature = self._signature
        try:
            self._context = _context(self._files)
        except ConfigError as error:
            _log.warning("certificates changed and cannot be used; the old ones are kept", error=str(error))
        else:
            self._used = signature
            _log.info("certificates read again", files=[path for path in self._files[:3] if path])

    def _look(self) -> tuple[object, ...]:
        return tuple(_signature(path) for path in self._files[:3] if path)


def _with_environment(files: Files, env: Mapping[str, str]) -> Files:
    if files.ca is None:
        for variable in CA_VARIABLES:
            if path := env.get(variable, "").strip():
                return files._replace(ca=path, ca_key=variable)
    return files


def _context(files: Files) -> ssl.SSLContext:
    if files.ca is None:
        context = ssl.create_default_context(cafile=certifi.where())
    else:
        found = _authorities(files.ca, files.ca_key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cadata=b"\n".join(found).decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(files.ca_key, f"{files.ca} holds a certificate that cannot be read: {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    if files.certificate is None:
        if files.key is not None:
            raise ConfigError(files.key_key, f"is set, but not {files.certificate_key}: one is of no use alone")
        return context
    _read(files.certificate, files.certificate_key)
    if files.key is not None:
        _read(files.key, files.key_key)
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise ConfigError(files.certificate_key, _pair_problem(files, error)) from None
    return context


def _pair_problem(files: Files, error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return f"{files.certificate} does not belong to the key in {files.key or files.certificate}"
    if files.key is None:
        return f"{files.certificate} holds no key that can be used, and {files.key_key} is not set"
    return f"{files.certificate} and {files.key} are no certificate and key in PEM that can be used without a password"


def _no_password() -> str:
    raise ValueError("the key wants a password")  # else OpenSSL would ask on the terminal


def _authorities(path: str, key: str) -> list[bytes]:
    """Every certificate of a file, or of all files of a directory, each once."""
    found: dict[bytes, None] = {}
    for each in _members(path, key):
        for block in _CERTIFICATE.findall(_read(str(each), key)):
            found[block] = None
    if not found:
        raise ConfigError(key, f"{path} holds no certificate")
    return list(found)


def _members(path: str, key: str) -> Iterator[Path]:
    place = Path(path)
    try:
        if place.is_dir():
            yield from sorted(each for each in place.iterdir() if each.is_file())
        else:
            yield place
    except OSError as error:
        raise ConfigError(key, f"cannot read {path}: {error.strerror or type(error).__name__}") from None


def _read(path: str, key: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MOST_BYTES)
    except OSError as error:
        raise ConfigError(key, f"cannot read {path}: {error.strerror or type(error).__name__}") from None


def _signature(path: str) -> object:
    """Changes when a file does, or any of a directory; what is gone has one, too."""
    try:
        if os.path.isdir(path):
            with os.scandir(path) as entries:
                return tuple(sorted((entry.name, _of(entry.stat())) for entry in entries if entry.is_file()))
        return _of(os.stat(path))
    except OSError:
        return None


def _of(stat: os.stat_result) -> tuple[int, int, int]:
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns)
