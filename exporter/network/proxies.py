"""The proxy environment: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``, ``NO_PROXY``, in either case.

curl and Go read ``NO_PROXY`` as here: names match their subdomains, ``.name`` and ``*.name`` mean the same, addresses
and networks (``10.0.0.0/8``, ``fd00::/8``) match addresses, an entry may end in a port, ``*`` is everything. What is
none of these matches nothing: an environment made for other programs is no reason not to start.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import ipaddress
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from exporter.errors import ConfigError

_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
_PORTS: Final = {"http": 80, "https": 443}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class _Past(NamedTuple):
    """One entry of ``NO_PROXY``: a name or a network, perhaps of one scheme or port only."""

    name: str | None
    network: Network | None
    scheme: str | None
    port: int | None

    def matches(self, scheme: str, host: str, address: _Address | None, port: int | None) -> bool:
        if self.scheme not in (None, scheme) or self.port not in (None, port):
            return False
        if self.network is not None:
            return address is not None and address.version == self.network.version and address in self.network
        return self.name is not None and (host == self.name or host.endswith(f".{self.name}"))


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclasses.dataclass(frozen=True)
class Proxies:
    """Which proxy a request goes through. ``by_scheme`` has ``http``, ``https`` and ``all``."""

    by_scheme: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)  # may hold passwords
    past: tuple[_Past, ...] = ()
    past_all: bool = False

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Proxies:
        """Read the environment. Raises ConfigError that names the variable and shows no value."""
        by_scheme = {}
        for scheme in ("http", "https", "all"):
            if scheme == "http" and "REQUEST_METHOD" in env and "http_proxy" not in env:
                continue  # under CGI this one is the client's "Proxy:" header
            variable, value = _variable(env, f"{scheme}_proxy")
            if value:
                by_scheme[scheme] = _checked(variable, value)
        entries = [entry for entry in re.split(r"[\s,]+", _variable(env, "no_proxy")[1]) if entry]
        past = tuple(found for entry in entries if (found := _past(entry)) is not None)
        return cls(by_scheme, past, past_all="*" in entries)

    def for_url(self, url: str) -> str | None:
        """The URL of the proxy for a request to ``url``; None to go there directly."""
        if not self.by_scheme or self.past_all:
            return None
        parts = urlsplit(url)
        proxy = self.by_scheme.get(parts.scheme) or self.by_scheme.get("all")
        if proxy is None:
            return None
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or _PORTS.get(parts.scheme)
        address = _address(host)
        return None if any(entry.matches(parts.scheme, host, address, port) for entry in self.past) else proxy


def _variable(env: Mapping[str, str], name: str) -> tuple[str, str]:
    """The lower-case variable wins where it is set, even to nothing."""
    variable = name if name in env else name.upper()
    return variable, env.get(variable, "").strip()


def _checked(variable: str, value: str) -> str:
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
        usable = usable and url.isprintable() and " " not in url
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(variable, f"must be the URL of a proxy ({', '.join(_SCHEMES)}), such as http://proxy:3128")
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigError(variable, "is a SOCKS proxy, for which the package socksio is missing")
    return url


def _past(entry: str) -> _Past | None:
    scheme, separator, rest = entry.rpartition("://")
    host, port = _host_and_port(rest if separator else entry)
    if host.endswith("."):
        host = host[:-1]
    wanted = scheme.lower() if separator and scheme.lower() not in ("", "all") else None
    try:
        return _Past(None, ipaddress.ip_network(host, strict=False), wanted, port)
    except ValueError:
        name = host.removeprefix("*").removeprefix(".").lower()
        return _Past(name, None, wanted, port) if name else None


def _host_and_port(text: str) -> tuple[str, int | None]:
    bracketed = re.fullmatch(r"\[([^\]]*)\](/\d+)?(?::(\d{1,5}))?", text)
    if bracketed:
        return bracketed[1] + (bracketed[2] or ""), int(bracketed[3]) if bracketed[3] else None
    host, colon, port = text.rpartition(":")
    if colon and ":" not in host and port.isascii() and port.isdigit():
        return host, int(port)
    return text, None


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
