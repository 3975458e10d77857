"""The container's HEALTHCHECK and Kubernetes' probes: does the exporter in this container answer?

It asks ``/-/healthy``, or the path that is its one argument (``/-/ready``), at
``ATOMS_EXPORTER_WEB__LISTEN_ADDRESS`` (port 9464 without it), in plain HTTP and then in TLS. Any answer below 500 is
good: one that asks for a password or a client's certificate is alive too. It stands alone, without the rest of the
package, so that a check costs little.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from collections.abc import Mapping

_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def address_of(environment: Mapping[str, str]) -> tuple[str, int]:
    """Where to ask: the address the environment gives the exporter, the loopback when that is every interface."""
    host, _, port = environment.get("ATOMS_EXPORTER_WEB__LISTEN_ADDRESS", "").strip().rpartition(":")
    host = host.strip("[]")
    return _LOOPBACK.get(host, host), int(port or 9464)


def healthy(host: str, port: int, path: str = "/-/healthy", *, timeout_seconds: float = 2.0) -> bool:
    """True when something that speaks HTTP there says that it works."""
    return _answers(http.client.HTTPConnection(host, port, timeout=timeout_seconds), path) or _answers(
        http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=_without_checks()), path
    )


def _without_checks() -> ssl.SSLContext:
    """The exporter asks itself, inside one container: whose certificate it is does not matter."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _answers(connection: http.client.HTTPConnection, path: str) -> bool:
    try:
        connection.connect()
    except OSError:
        return False
    try:
        connection.request("GET", path)
        return connection.getresponse().status < 500
    except TimeoutError:
        return False
    except (OSError, http.client.HTTPException):
        # Hung up on after a TLS handshake: it wants to see a certificate, and is alive.
        return isinstance(connection, http.client.HTTPSConnection)
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if healthy(*address_of(os.environ), *sys.argv[1:2]) else 1)
