"""What stands at the other end of a connection in the matrix: a server, a proxy, an address nobody answers at."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from tests.support.authority import Authority

EVENT = b'data: {"event_type": "sse_init", "event_time": "2026-03-02T10:00:00Z"}\n\n'
LIST = b'{"data": {"logs": [], "pagination": {"hasMore": false}}}'
KINDS = {
    "/events": ("text/event-stream", EVENT),
    "/conversation": ("application/json", LIST),
    "/v1/traces": ("application/x-protobuf", b""),
}
Play = Callable[[socket.socket, str], None]
"""Answers one request on a connection; gets the path that was asked for."""


def good(connection: socket.socket, path: str, *headers: str, body: bytes | None = None) -> None:
    """What the API, or a backend, answers where all is well."""
    kind, content = KINDS[path]
    content = content if body is None else body
    lines = ["HTTP/1.1 200 OK", f"Content-Type: {kind}", f"Content-Length: {len(content)}", *headers, "", ""]
    connection.sendall("\r\n".join(lines).encode() + content)


class Peer:
    """A server that plays; as a proxy it answers in the target's place, or joins both ends (``CONNECT``)."""

    def __init__(self, play: Play = good, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._server = socket.create_server((host, port), family=family)
        self._play = play
        self._tls = tls
        self.port = int(self._server.getsockname()[1])
        self.requests: list[str] = []
        self.over = threading.Event()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for each in (self._server, *self._open):
            _ends(each)  # whose thread closes it: the number of one that is closed elsewhere may be another's by then

    def _accept(self) -> None:
        with self._server:
            while True:
                try:
                    connection, _ = self._server.accept()
                except OSError:
                    return
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            while head := _head(connection):
                self._answer(connection, head)
        except (OSError, ValueError):
            pass
        finally:
            connection.close()

    def _answer(self, connection: socket.socket, head: str) -> None:
        method, target, _ = head.split("\r\n")[0].split(" ")
        self.requests.append(f"{method} {target}")
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port)), 5) as other:
                other.settimeout(None)
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(other, connection), daemon=True)
                back.start()
                _pump(connection, other)
                _ends(other)
                _ends(connection)
                back.join()
            raise ConnectionError("the tunnel is over")
        length = re.search(r"content-length: *(\d+)", head, re.IGNORECASE)
        left = int(length[1]) if length else 0
        while left > 0:
            left -= len(connection.recv(left)) or left
        path = re.sub(r"^https?://[^/]+", "", target).partition("?")[0]
        self._play(connection, path.removeprefix("/api/v1") if path.startswith("/api/v1/") else path)


def _head(connection: socket.socket) -> str:
    """A request's head, byte by byte so that nothing behind it is taken; empty at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return ""
        head += byte
    return head.decode("latin-1")


def _ends(connection: socket.socket) -> None:
    """Whoever reads or writes it is woken up."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class GrpcPeer:
    """A real gRPC server that takes any method and answers by ``play(context) -> bytes``."""

    def __init__(
        self,
        play: Callable[[grpc.ServicerContext], bytes] = lambda context: b"",
        host: str = "127.0.0.1",
        port: int = 0,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        class Everything(grpc.GenericRpcHandler):
            def service(self, details: grpc.HandlerCallDetails) -> Any:
                return grpc.unary_unary_rpc_method_handler(lambda request, context: play(context))

        self._pool = ThreadPoolExecutor(4)
        self._server = grpc.server(self._pool, options=(("grpc.so_reuseport", 0),))
        self._server.add_generic_rpc_handlers((Everything(),))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()

    def __enter__(self) -> GrpcPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait(5)
        self._pool.shutdown(wait=False, cancel_futures=True)


def grpc_credentials(authority: Authority, clients: Authority | None = None) -> grpc.ServerCredentials:
    """What a gRPC server presents; ``clients``: the authority of the clients it insists on."""
    certificate, key = authority.issue("server")
    pair = [(key.read_bytes(), certificate.read_bytes())]
    if clients is None:
        return grpc.ssl_server_credentials(pair)
    return grpc.ssl_server_credentials(pair, clients.ca.read_bytes(), require_client_auth=True)


@contextlib.contextmanager
def dead_address(port: int, host: str = "127.0.0.2") -> Iterator[None]:
    """An address of this machine at which connections are neither made nor refused: its queue of them is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind((host, port))
        server.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect((host, port))
        yield


@contextlib.contextmanager
def names(addresses: dict[str, list[str]]) -> Iterator[None]:
    """This machine's name service knows these names besides: nobody may write /etc/hosts for a test."""
    asked = socket.getaddrinfo

    def answer(host: Any, port: Any, *given: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return [
            entry
            for address in addresses.get(name, [name])
            for entry in asked(address if name in addresses else host, port, *given, **options)
        ]

    socket.getaddrinfo = answer
    try:
        yield
    finally:
        socket.getaddrinfo = asked
