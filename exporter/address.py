"""Where the web server listens: ``:9464``, ``127.0.0.1:0``, ``[::1]:9464``, ``localhost:9464``."""

from __future__ import annotations

import dataclasses
import errno
import ipaddress
import re
import socket

from exporter.errors import ConfigError

__all__ = ["ListenAddress", "listening_socket"]

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_EXAMPLES = "must be host:port, such as :9464, 127.0.0.1:9464 or [::1]:9464"
_BACKLOG = 128


@dataclasses.dataclass(frozen=True, slots=True)
class ListenAddress:
    """One address to listen on. An empty ``host`` means every interface, IPv4 and IPv6; port 0 means any free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Read ``host:port``; IPv6 addresses stand in brackets. Raises ValueError that says what is allowed."""
        host, colon, port = text.strip().rpartition(":")
        if not colon:
            raise ValueError(_EXAMPLES)
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535):
            raise ValueError(f"{_EXAMPLES}; the port is a number from 0 to 65535")
        if host.startswith("[") and host.endswith("]"):
            try:
                host = str(ipaddress.IPv6Address(host[1:-1]))
            except ValueError:
                raise ValueError(f"{_EXAMPLES}; what is in brackets is not an IPv6 address") from None
        elif ":" in host:
            raise ValueError(f"{_EXAMPLES}; an IPv6 address needs brackets")
        elif host and not _HOST_NAME.fullmatch(host):
            raise ValueError(f"{_EXAMPLES}; this host is neither an address nor a name")
        return cls(host, int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def url(self, *, tls: bool) -> str:
        """What to open in a browser on this machine."""
        wildcard = self.host in ("", "0.0.0.0", "::")
        host = "localhost" if wildcard else f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if tls else 'http'}://{host}:{self.port}"


def listening_socket(address: ListenAddress) -> socket.socket:
    """Bind and listen. Raises ConfigError naming the address when it cannot be had."""
    try:
        return _open(address)
    except OSError as error:
        raise ConfigError("web.listen_address", f"cannot listen on {address}: {_reason(error)}") from error


def _open(address: ListenAddress) -> socket.socket:
    if not address.host:
        if socket.has_dualstack_ipv6():
            try:
                return socket.create_server(
                    ("", address.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG
                )
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
        return socket.create_server(("", address.port), backlog=_BACKLOG)
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
    )
    family, _, _, _, place = min(found, key=lambda one: one[0] != socket.AF_INET)
    return socket.create_server((str(place[0]), int(place[1])), family=family, backlog=_BACKLOG)


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "the host name does not resolve"
    if error.errno == errno.EADDRINUSE:
        return "another process already listens there (port 0 takes any free port)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "not permitted (ports below 1024 need a privilege)"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return error.strerror or type(error).__name__
