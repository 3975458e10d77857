"""Prometheus' web configuration file: what ``promtool check web-config`` accepts is understood here.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from exporter.durations import parse_duration
from exporter.errors import ConfigError
from exporter.strict_yaml import Document, Place, Quoted, Tree, read_yaml_file

__all__ = ["Pem", "RateLimit", "TlsServer", "WebConfig", "read_web_config"]

TLS_VERSIONS = ("TLS10", "TLS11", "TLS12", "TLS13")
CLIENT_AUTH_TYPES = (
    "NoClientCert",
    "RequestClientCert",
    "RequireClientCert",
    "RequireAnyClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
)
CURVES: Mapping[str, str] = MappingProxyType(
    {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
)
CIPHERS: Mapping[str, str | None] = MappingProxyType(
    {
        # Go's name: OpenSSL's; None where TLS 1.3 leaves no choice.
        "TLS_AES_128_GCM_SHA256": None,
        "TLS_AES_256_GCM_SHA384": None,
        "TLS_CHACHA20_POLY1305_SHA256": None,
        "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
        "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
        "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
        "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    }
)
_HEADERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Strict-Transport-Security": (),
        "X-Content-Type-Options": ("nosniff",),
        "X-Frame-Options": ("deny", "sameorigin"),
        "X-XSS-Protection": (),
        "Content-Security-Policy": (),
    }
)
_TRUE = {"y", "yes", "on", "true"}
_FALSE = {"n", "no", "off", "false"}
_BCRYPT = re.compile(r"\$2[a-z]?\$(?P<cost>\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Pem:
    """A certificate or key: a file that is read again when it changes, or text in the configuration itself."""

    path: Path | None = None
    text: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class TlsServer:
    """``tls_server_config``, complete: with certificate and key."""

    cert: Pem
    key: Pem
    client_auth: str = "NoClientCert"
    client_ca: Pem | None = None
    client_allowed_sans: tuple[str, ...] | None = None
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    curve_preferences: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True

    @property
    def verifies_clients(self) -> bool:
        """Whether nobody comes in without a certificate that was checked."""
        return self.client_auth == "RequireAndVerifyClientCert"

    @property
    def files(self) -> tuple[Path, ...]:
        """What must be watched for renewed certificates."""
        return tuple(pem.path for pem in (self.cert, self.key, self.client_ca) if pem is not None and pem.path)


@dataclasses.dataclass(frozen=True, slots=True)
class RateLimit:
    """One request per ``interval_seconds`` on average, ``burst`` at once."""

    interval_seconds: float
    burst: int


@dataclasses.dataclass(frozen=True, slots=True)
class WebConfig:
    """What the file says. Without a file: no TLS, no users, no headers."""

    tls: TlsServer | None = None
    users: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rate_limit: RateLimit | None = None

    @property
    def authenticates(self) -> bool:
        """Whether somebody unknown is turned away."""
        return bool(self.users) or (self.tls is not None and self.tls.verifies_clients)


def read_web_config(path: Path) -> WebConfig:
    """Read and check the file (not the certificates). Raises ConfigError that names the file, line and key."""
    try:
        document = read_yaml_file(path)
    except ConfigError as error:
        raise ConfigError("web.config_file", str(error)) from None
    top = _Mapping(document, (), document.value)
    tls = top.mapping("tls_server_config")
    http = top.mapping("http_server_config")
    limit = top.mapping("rate_limit")
    users = top.mapping("basic_auth_users")
    config = WebConfig(
        tls=_tls(tls, path.parent),
        users={name: _bcrypt(users, name) for name in users.keys()},  # noqa: SIM118 - not a dict
        headers=_headers(http),
        rate_limit=_rate_limit(limit),
    )
    for mapping in (top, tls, http, limit):
        mapping.refuse_what_is_left()
    return config


class _Mapping:
    """One mapping of the file; remembers which keys were asked for."""

    def __init__(self, document: Document, place: Place, value: Tree) -> None:
        self._document = document
        self._place = place
        self._asked: set[str] = set()
        if value is not None and not isinstance(value, dict):
            raise self.error("", "must be a mapping")
        self._value = value or {}

    def keys(self) -> list[str]:
        return list(self._value)

    def error(self, key: str, problem: str) -> ConfigError:
        place = (*self._place, key) if key else self._place
        written = ".".join(str(part) for part in place)
        at = self._document.where(place).removeprefix(self._document.name).strip()
        return ConfigError("web.config_file", ": ".join(filter(None, [self._document.name, at, written, problem])))

    def refuse_what_is_left(self) -> None:
        for key in self._value:
            if key not in self._asked:
                raise self.error(key, f"unknown key; there are {', '.join(sorted(self._asked))}")

    def _get(self, key: str) -> Tree:
        self._asked.add(key)
        return self._value.get(key)

    def mapping(self, key: str) -> _Mapping:
        return _Mapping(self._document, (*self._place, key), self._get(key))

    def text(self, key: str) -> str:
        value = self._get(key)
        if value is not None and not isinstance(value, str):
            raise self.error(key, "must be text")
        return str(value or "")

    def texts(self, key: str) -> tuple[str, ...] | None:
        value = self._get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, "must be a list of text")
        return tuple(str(item) for item in value)

    def switch(self, key: str, default: bool) -> bool:
        value = self._get(key)
        if value is None:
            return default
        word = value.lower() if isinstance(value, str) and not isinstance(value, Quoted) else ""
        if word not in _TRUE | _FALSE:
            raise self.error(key, "must be true or false")
        return word in _TRUE

    def word(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(key) or default
        if value not in allowed:
            raise self.error(key, f"must be one of {', '.join(allowed)}")
        return value


def _tls(given: _Mapping, directory: Path) -> TlsServer | None:
    cert = _pem(given, "cert", directory)
    key = _pem(given, "key", directory)
    client_ca = _pem(given, "client_ca", directory)
    client_auth = given.word("client_auth_type", CLIENT_AUTH_TYPES, "") if given.text("client_auth_type") else ""
    sans = given.texts("client_allowed_sans")
    ciphers = _known(given, "cipher_suites", CIPHERS)
    curves = _known(given, "curve_preferences", CURVES)
    min_version = given.word("min_version", TLS_VERSIONS, "TLS12")
    max_version = given.word("max_version", TLS_VERSIONS, "TLS13")
    prefer = given.switch("prefer_server_cipher_suites", True)
    if cert is None and key is None and client_ca is None and not client_auth:
        if sans is not None:
            raise given.error("client_allowed_sans", "needs client_auth_type: RequireAndVerifyClientCert")
        return None
    if cert is None:
        raise given.error("", "needs cert_file (or cert)")
    if key is None:
        raise given.error("", "needs key_file (or key)")
    tls = TlsServer(
        cert, key, client_auth or "NoClientCert", client_ca, sans, min_version, max_version, ciphers, curves, prefer
    )
    _check_clients(given, tls)
    if TLS_VERSIONS.index(min_version) > TLS_VERSIONS.index(max_version):
        raise given.error("min_version", f"{min_version} is above max_version {max_version}: nobody could connect")
    return tls


def _check_clients(given: _Mapping, tls: TlsServer) -> None:
    if tls.client_auth in ("RequireAnyClientCert", "RequireClientCert"):
        raise given.error(
            "client_auth_type",
            f"{tls.client_auth} lets in any certificate, whoever made it, and is not offered here: "
            "use RequireAndVerifyClientCert with client_ca_file",
        )
    if tls.client_ca is not None and tls.client_auth == "NoClientCert":
        raise given.error("", "client_ca_file has no effect without client_auth_type: RequireAndVerifyClientCert")
    if tls.client_allowed_sans is not None and not tls.verifies_clients:
        raise given.error("client_allowed_sans", "needs client_auth_type: RequireAndVerifyClientCert")


def _pem(given: _Mapping, key: str, directory: Path) -> Pem | None:
    file, text = given.text(f"{key}_file"), given.text(key)
    if "\0" in file:
        raise given.error(f"{key}_file", "must be a path")
    if file:
        return Pem(directory / file)
    return Pem(text=text) if text else None


def _known(given: _Mapping, key: str, names: Mapping[str, str | None] | Mapping[str, str]) -> tuple[str, ...]:
    chosen = given.texts(key) or ()
    for name in chosen:
        if name not in names:
            raise given.error(key, f"{name[:60]!r} is not one of {', '.join(names)}")
    return tuple(dict.fromkeys(chosen))


def _headers(given: _Mapping) -> dict[str, str]:
    given.switch("http2", True)  # aiohttp speaks HTTP/1.1 only: true promises nothing, false asks for what is so
    headers = given.mapping("headers")
    chosen = {}
    for name in headers.keys():  # noqa: SIM118 - not a dict
        value = headers.text(name)
        if name not in _HEADERS:
            raise headers.error(name, f"this header cannot be set; there are {', '.join(_HEADERS)}")
        if _HEADERS[name] and value not in _HEADERS[name]:
            raise headers.error(name, f"must be {' or '.join(_HEADERS[name])}")
        if not value.isprintable():
            raise headers.error(name, "must be on one line")
        if value:
            chosen[name] = value
    return chosen


def _rate_limit(given: _Mapping) -> RateLimit | None:
    interval = _number(given, "interval", parse_duration, "must be a duration such as 1s")
    burst = _number(given, "burst", int, "must be a whole number")
    if not interval:
        return None
    if burst < 1:
        raise given.error("burst", "must be at least 1 beside an interval: nothing would be answered")
    return RateLimit(interval, int(burst))


def _number(given: _Mapping, key: str, read: Callable[[str], float], says: str) -> float:
    text = given.text(key)
    try:
        return read(text) if text else 0
    except ValueError:
        raise given.error(key, says) from None


def _bcrypt(users: _Mapping, name: str) -> str:
    """The hash in the spelling the bcrypt library takes: what Go calls 2a and htpasswd 2y is one algorithm."""
    hashed = users.text(name)
    found = _BCRYPT.fullmatch(hashed)
    if not found or not 4 <= int(found["cost"]) <= 31:
        raise users.error(name, "must be a bcrypt hash ($2a$, $2b$ or $2y$, 60 characters), made by htpasswd -nBC 10")
    return "$2b$" + hashed.split("$", 2)[2]
