"""The container's HEALTHCHECK: does the exporter in this container answer?

It asks ``/-/healthy`` at ``ATOMS_EXPORTER_WEB__LISTEN_ADDRESS`` (port 9464 without it), in plain HTTP and then in TLS.
Any answer below 500 is good: one that asks for a password or a client's certificate is alive too. It stands alone,
without the rest of the package, so that a check costs little.
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


def healthy(host: str, port: int, *, timeout_seconds: float = 2.0) -> bool:
    """True when something that speaks HTTP there says that it works."""
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname = False
    anyone.verify_mode = ssl.CERT_NONE  # the exporter asks itself, inside one container
    for connection in (
        http.client.HTTPConnection(host, port, timeout=timeout_seconds),
        http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=anyone),
    ):
        try:
            connection.request("GET", "/-/healthy")
            return connection.getresponse().status < 500
        except ssl.SSLError as error:
            if "CERTIFICATE_REQUIRED" in str(error):
                return True
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
    return False


if __name__ == "__main__":
    sys.exit(0 if healthy(*address_of(os.environ)) else 1)
