"""Ordinary requests over httpx: connections kept, through the environment's proxies, with certificates as they are now.

What httpx leaves to its user is done here, for the API's answers and for OTLP alike: a request whose kept connection
the server had just closed goes out again at once on a new one, and a handshake that failed looks whether certificates
were renewed. Who waits for an answer sets a deadline for the whole of it: httpx's own timeouts are between bytes.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import httpx

from exporter.network.codings import decoder_for
from exporter.network.proxies import Proxies
from exporter.network.trust import Trust

KEPT_CONNECTIONS: Final = 16
_CUT: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class Transport(httpx.AsyncBaseTransport):
    """An httpx transport; its users limit how many requests are under way.

    :param keep: connections kept for the next request; none for streams, whose connection ends with them.
    :param repeated: methods whose request may reach the server twice.
    """

    def __init__(
        self, trust: Trust, proxies: Proxies, *, keep: int = KEPT_CONNECTIONS, repeated: Collection[str] = ("GET",)
    ) -> None:
        self._trust = trust
        self._proxies = proxies
        self._keep = keep
        self._repeated = frozenset(repeated)
        self._context = trust.context()
        self._pools: dict[tuple[str | None, bool], _Pool] = {}  # by proxy, and whether connections are kept

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._sent(request)
        except httpx.ConnectError as error:
            if not is_about_certificates(error) or self._trust.context(now=True) is self._context:
                raise
        return await self._sent(request)

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        opened = _Opened()
        request.extensions = {**request.extensions, "trace": opened}
        try:
            return await (await self._pool(request.url, kept=self._keep > 0)).send(request)
        except _CUT:
            if opened.connection or request.method not in self._repeated:
                raise
        return await (await self._pool(request.url, kept=False)).send(request)

    async def _pool(self, url: httpx.URL, *, kept: bool) -> _Pool:
        context = self._trust.context()
        if context is not self._context:
            self._context = context
            retired, self._pools = self._pools, {}
            for pool in retired.values():
                await pool.retire()
        proxy = self._proxies.for_url(str(url))
        found = self._pools.get((proxy, kept))
        if found is None:
            found = self._pools[proxy, kept] = _Pool(context, proxy, self._keep if kept else 0)
        return found

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.close()


class _Pool:
    """httpx's own transport, which can be retired: then it closes once its last answer was read."""

    def __init__(self, context: ssl.SSLContext, proxy: str | None, keep: int) -> None:
        self._transport = httpx.AsyncHTTPTransport(
            verify=context,
            proxy=None
            if proxy is None
            else httpx.Proxy(proxy, ssl_context=context if proxy.startswith("https:") else None),
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=keep),
        )
        self._under_way = 0
        self._retired = False

    async def send(self, request: httpx.Request) -> httpx.Response:
        self._under_way += 1
        try:
            with _told():
                response = await self._transport.handle_async_request(request)
        except BaseException:
            await self._done()
            raise
        response.stream = _Lent(response.stream, self)  # type: ignore[arg-type]  # an async transport's is async
        return response

    async def _done(self) -> None:
        self._under_way -= 1
        if self._retired and not self._under_way:
            await self._transport.aclose()

    async def retire(self) -> None:
        self._retired = True
        if not self._under_way:
            await self._transport.aclose()

    async def close(self) -> None:
        await self._transport.aclose()


@contextmanager
def _told() -> Iterator[None]:
    """What TLS refuses after the handshake (a certificate that TLS 1.3 misses, a broken record) httpx passes on as it
    is; here it is what it is for everybody else: a connection that broke while it was read."""
    try:
        yield
    except ssl.SSLError as error:
        raise httpx.ReadError(f"TLS: {error.reason or error}") from error


class _Lent(httpx.AsyncByteStream):
    """A body whose end its pool hears of."""

    def __init__(self, stream: httpx.AsyncByteStream, pool: _Pool) -> None:
        self._stream = stream
        self._pool: _Pool | None = pool

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _told():
            async for chunk in self._stream:
                yield chunk

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            pool, self._pool = self._pool, None
            if pool is not None:
                await pool._done()  # one thing in two classes


class _Opened:
    """Whether a connection was opened for a request (httpcore's ``trace`` extension)."""

    connection = False

    async def __call__(self, event: str, details: dict[str, Any]) -> None:
        if event.startswith("connection.connect"):
            self.connection = True


class Routed(httpx.AsyncBaseTransport):
    """One transport where the environment names a proxy for a URL, another where it does not."""

    def __init__(self, proxies: Proxies, direct: httpx.AsyncBaseTransport, proxied: httpx.AsyncBaseTransport) -> None:
        self._proxies = proxies
        self._direct = direct
        self._proxied = proxied

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        through = self._direct if self._proxies.for_url(str(request.url)) is None else self._proxied
        return await through.handle_async_request(request)

    async def aclose(self) -> None:
        await self._direct.aclose()
        await self._proxied.aclose()


def is_about_certificates(error: BaseException) -> bool:
    """Whether TLS is what failed, however deep the cause."""
    found: BaseException | None = error
    for _ in range(10):
        if found is None:
            return False
        if isinstance(found, ssl.SSLError):
            return True
        found = found.__cause__ or found.__context__
    return False


async def decoded(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body in pieces of bounded size, its codings undone. Raises UnknownCoding, BrokenCoding, httpx's errors."""
    decoder = decoder_for(response.headers.get("content-encoding", ""))
    async for chunk in response.aiter_raw():
        if decoder is None:
            yield chunk
        else:
            for piece in decoder.feed(chunk):
                yield piece
    if decoder is not None:
        decoder.end()


_NO_BODY: Final = httpx.ByteStream(b"")


def unbind(response: httpx.Response) -> None:
    """Part an answer whose stream is closed, or read elsewhere, from it: httpx ties them to each other, and only the
    cycle collector, which hardly ever comes, would free both with all that hangs on them."""
    response.stream = _NO_BODY


async def close(response: httpx.Response) -> None:
    """Nothing more is wanted of an answer; it is freed with whoever holds it."""
    await response.aclose()
    unbind(response)


@asynccontextmanager
async def answered(client: httpx.AsyncClient, method: str, url: str, **sent: Any) -> AsyncIterator[httpx.Response]:
    """An answer whose body is yet to be read, closed at the end. ``sent`` is what httpx takes; its errors come out."""
    async with client.stream(method, url, **sent) as response:
        try:
            yield response
        finally:
            await close(response)
