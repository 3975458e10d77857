"""What a backend, or whoever stands in its place, can do to one attempt: each has one deadline, and a verdict."""

from __future__ import annotations

import gzip
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from exporter.outputs.otlp import settings
from exporter.outputs.otlp.answer import Answer
from exporter.outputs.otlp.grpc import GrpcSender
from exporter.outputs.otlp.http import HttpSender
from tests.outputs.conftest import GrpcBackend, HttpBackend
from tests.support.authority import Authority

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n"
PARTIAL = ExportTraceServiceResponse()
PARTIAL.partial_success.rejected_spans = 2
PARTIAL.partial_success.error_message = "two of them"


@contextmanager
def playing(*writes: bytes, endless: bytes = b"", pause: float = 0.02, lives: int = 100) -> Iterator[str]:
    """A server that reads one request per connection and writes these bytes; gives its URL. ``endless`` comes again and
    again."""
    server = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(65_536)
                for write in writes:
                    connection.sendall(write)
                    time.sleep(0.01)
                while endless and not over.wait(pause):
                    connection.sendall(endless)
            except OSError:
                pass

    def serve() -> None:
        for _ in range(lives):
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        over.set()
        server.close()


def sent(url: str, seconds: float = 5.0, **env: str) -> Answer:
    """One attempt to send a request."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, **env}
    endpoint = settings.endpoint(env, "traces")
    assert endpoint is not None
    sender = HttpSender(endpoint, env) if endpoint.protocol == "http/protobuf" else GrpcSender(endpoint, env)
    try:
        return sender.send(b"", seconds)
    finally:
        sender.close()


@pytest.mark.parametrize(
    ("writes", "endless"),
    [
        ((b"HTTP/1.1 200 OK\r\n",), b"X-More: y\r\n"),
        ((OK + b"Content-Length: 100000\r\n\r\n",), b"x"),
        ((OK + b"Transfer-Encoding: chunked\r\n\r\n",), b"1\r\nx\r\n"),
        ((), b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
)
def test_an_answer_that_drips_ends_the_attempt_at_its_deadline(writes: tuple[bytes, ...], endless: bytes) -> None:
    with playing(*writes, endless=endless) as url:
        started = time.monotonic()
        answer = sent(url, 0.4)
        assert time.monotonic() - started < 3
    assert (answer.verdict, answer.reason) == ("later", "timeout")


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_server_that_says_nothing_ends_the_attempt_at_its_deadline(protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        answer = sent(url, 0.4, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
        assert time.monotonic() - started < 3
    assert (answer.verdict, answer.reason) == ("later", "timeout")


def body(content: bytes, kind: str, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


PROTOBUF = "application/x-protobuf"


@pytest.mark.parametrize(
    ("answer", "verdict", "reason", "detail"),
    [
        (body(b"", PROTOBUF), "taken", None, ""),
        (body(b"", "text/plain"), "taken", None, ""),
        (body(b"OK", "text/plain"), "taken", None, ""),
        (body(b"{}", "application/json"), "taken", None, ""),
        (body(b"<!DOCTYPE html><title>Sign in", "text/html"), "later", "not_otlp", "HTTP 200 with a web page"),
        (body(b"\n<html>", "text/plain"), "later", "not_otlp", "is the endpoint right?"),
        (body(b"<html>", "text/html", status="202 Accepted"), "later", "not_otlp", "HTTP 202"),
        (body(b"<html>busy", "text/html", status="503 No"), "later", "unavailable", "HTTP 503: <html>busy"),
        (body(b"", "text/plain", "Location: https://login.example/?token=t", status="302 Found"), "never", "http_3xx",
         "HTTP 302: a redirect to login.example, which is not followed"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + body(b"", PROTOBUF), "taken", None, ""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + body(b"no", "text/plain", status="400 Bad"), "never", "http_4xx",
         "HTTP 400: no"),
        (body(PARTIAL.SerializeToString(), PROTOBUF), "taken", "rejected", "2 rejected: two of them"),
        (body(gzip.compress(PARTIAL.SerializeToString()), PROTOBUF, "Content-Encoding: gzip"), "taken", "rejected",
         "2 rejected: two of them"),
        (body(b'{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "two"}}', "application/json"), "taken",
         "rejected", "2 rejected: two"),
        (body(b"\x8b\x00", PROTOBUF, "Content-Encoding: br"), "taken", None, ""),
        (body(b"\xff\xff\xff", PROTOBUF), "taken", None, ""),
        (OK + b"Content-Length: 50\r\n\r\nhalf", "later", "refused", "RemoteProtocolError"),
        (b"SSH-2.0-OpenSSH\r\n", "later", "refused", "RemoteProtocolError"),
        (b"", "later", "refused", "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000, "later", "refused", "RemoteProtocolError"),
    ],
)  # fmt: skip
def test_what_stands_in_a_backends_place_is_told_from_a_backend(
    answer: bytes, verdict: str, reason: str | None, detail: str
) -> None:
    with playing(answer) as url:
        found = sent(url)
    assert (found.verdict, found.reason) == (verdict, reason)
    assert detail in found.detail
    assert "token" not in found.detail


def test_an_answer_of_128_megabytes_is_read_no_further_than_its_beginning() -> None:
    with playing(OK + b"Content-Length: 134217728\r\n\r\n", endless=bytes(1 << 20), pause=0.0) as url:
        assert sent(url).verdict == "taken"


def test_netrc_says_nothing_about_a_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, http_backend: Any) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    url = f"http://127.0.0.1:{http_backend.port}"
    assert sent(url, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer ours").verdict == "taken"
    assert http_backend.requests[0].headers["authorization"] == "Bearer ours"


def test_a_request_that_is_too_large_for_now_is_no_error_in_the_log(
    backend: Any, export: Any, record: Any, misbehaviour: Any, capsys: Any, caplog: Any
) -> None:
    too_large = misbehaviour(413, only_over=3) if backend.protocol != "grpc" else misbehaviour(
        "RESOURCE_EXHAUSTED", body=b"grpc: received message larger than max (5 vs. 4)", only_over=3
    )  # fmt: skip
    backend.always = too_large
    traces = export(backend.env)
    for number in range(20):
        traces.put(record(f"span-{number}"))
    assert traces.flush(20) == 0
    assert sorted(backend.span_names()) == sorted(f"span-{number}" for number in range(20))
    assert "refused" not in caplog.text + "".join(capsys.readouterr())


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_an_authority_that_was_replaced_is_trusted_without_a_restart(
    protocol: str, tmp_path: Path, export: Any, counts: Any, record: Any, until: Any, misbehaviour: Any
) -> None:
    """First the server gets a certificate of a new authority, then we are told of that authority."""
    old, new = Authority(tmp_path / "old", "old"), Authority(tmp_path / "new", "new")
    trusted = tmp_path / "ca.pem"
    shutil.copy(old.ca, trusted)
    backend, start = tls_backend(protocol)
    start(old, 0)
    if protocol != "grpc":
        backend.script.append(misbehaviour(headers={"Connection": "close"}))  # it is stopped, but its threads are not
    env = backend.env | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{backend.port}",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(trusted),
    }
    try:
        traces = export(env)
        traces.put(record("before"))
        assert traces.flush(20) == 0
        backend.stop()
        backend.stopping.clear()
        start(new, backend.port)
        traces.put(record("between"))
        until(lambda: sum(counts.failed.values()) >= 1)
        shutil.copy(new.ca, trusted)
        assert traces.flush(20) == 0
        assert backend.span_names() == ["before", "between"]
    finally:
        backend.stop()


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_our_renewed_certificate_is_shown_without_a_restart(
    protocol: str, tmp_path: Path, export: Any, counts: Any, record: Any, until: Callable[..., Any]
) -> None:
    """The server wants clients of an authority that our first certificate is not of."""
    servers, ours, wanted = (Authority(tmp_path / name, name) for name in ("servers", "ours", "wanted"))
    mine, my_key = tmp_path / "mine.pem", tmp_path / "mine.key"
    for source, target in zip(ours.issue("client"), (mine, my_key), strict=True):
        shutil.copy(source, target)
    backend, start = tls_backend(protocol)
    start(servers, 0, wanted.ca)
    env = backend.env | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{backend.port}",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(servers.ca),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(mine),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(my_key),
    }
    try:
        traces = export(env)
        traces.put(record("a"))
        until(lambda: sum(counts.failed.values()) >= 1)
        mine.write_text("-----BEGIN CERTIFICATE-----\nhalf")
        until(lambda: sum(counts.failed.values()) >= 3)
        for source, target in zip(wanted.issue("client"), (mine, my_key), strict=True):
            shutil.copy(source, target)
        assert traces.flush(30) == 0
        assert backend.span_names() == ["a"]
    finally:
        backend.stop()


def tls_backend(protocol: str) -> tuple[Any, Callable[..., None]]:
    backend: Any = GrpcBackend() if protocol == "grpc" else HttpBackend()

    def start(authority: Authority, port: int, clients: Path | None = None) -> None:
        if protocol == "grpc":
            certificate, key = authority.issue("server")
            pair = [(key.read_bytes(), certificate.read_bytes())]
            ca = clients.read_bytes() if clients is not None else None
            backend.start(port, grpc.ssl_server_credentials(pair, ca, require_client_auth=clients is not None))
            return
        context: ssl.SSLContext = authority.server(clients=clients)
        backend.start(port, lambda raw: context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False))

    return backend, start
