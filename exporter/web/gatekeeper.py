"""What stands before every path: rate limit, client certificate, password, and the headers the operator wants."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from aiohttp import web

from exporter.web.access import TokenBucket, WebConfigFile, certificate_names
from exporter.web.connections import network
from exporter.web.passwords import Passwords
from exporter.web.web_config import TlsServer

__all__ = ["Gatekeeper", "cross_origin"]

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gatekeeper:
    """Lets a request through or answers it. ``open_paths`` are not its business: the webhook has its signature."""

    def __init__(
        self,
        access: WebConfigFile,
        open_paths: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
        bound_hit: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._access = access
        self._open_paths = open_paths
        self._passwords = Passwords(bound_hit, clock)
        self._bucket = TokenBucket(clock)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Next) -> web.StreamResponse:
        """One request on its way in."""
        config = self._access.current
        if request.path in self._open_paths:
            return await handler(request)
        if not self._bucket.take(config.rate_limit):
            return _refusal(429, "too many requests")
        if config.tls is not None and (says := _certificate_problem(request, config.tls)) is not None:
            return _refusal(403, says)
        if config.users:
            given = _credentials(request)
            place = network(request.get_extra_info("peername"))
            right = await self._passwords.right(config.users, *given, place) if given is not None else False
            if right is None:
                return _refusal(503, "too many passwords are being checked", {"Retry-After": "1"})
            if not right:
                challenge = {"WWW-Authenticate": 'Basic realm="atoms-exporter", charset="UTF-8"'}
                return _refusal(401, "unauthorized", challenge)
        return await handler(request)

    async def dress(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put the operator's headers on an answer that is about to go out, and say little about ourselves."""
        response.headers["Server"] = "atoms-exporter"
        if request.path not in self._open_paths:
            response.headers.update(self._access.current.headers)


def _refusal(status: int, says: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": says}, status=status, headers=headers)


def _credentials(request: web.Request) -> tuple[str, str] | None:
    """User and password of the Authorization header."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return None
    user, colon, password = decoded.partition(":")
    return (user, password) if colon else None


def _certificate_problem(request: web.Request, tls: TlsServer) -> str | None:
    """Why this connection's certificate does not do; OpenSSL has verified whatever was presented."""
    if not tls.verifies_clients:
        return None
    certificate = request.get_extra_info("peercert")
    if not certificate:
        return "a client certificate is required"
    if tls.client_allowed_sans is not None and not certificate_names(certificate) & set(tls.client_allowed_sans):
        return "this client certificate is not allowed here"
    return None


def cross_origin(request: web.Request) -> bool:
    """Whether a browser sent this for a page of another site: passwords it remembers must not work for that page."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("Origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc != request.host
    except ValueError:
        return True
