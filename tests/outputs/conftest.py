"""OTLP backends to export to that misbehave on demand, and what the tests of the export share."""

from __future__ import annotations

import collections
import dataclasses
import gzip
import http.server
import random
import socket
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc

from exporter.outputs.otlp import trace_export
from exporter.outputs.otlp.retry import Backoff
from exporter.outputs.spans import SpanRecord
from tests.support.peers import missing, need_program

_RESPONSES = {"/v1/traces": trace_pb.ExportTraceServiceResponse, "/v1/metrics": metrics_pb.ExportMetricsServiceResponse}
_REQUESTS = {"/v1/traces": trace_pb.ExportTraceServiceRequest, "/v1/metrics": metrics_pb.ExportMetricsServiceRequest}


def wait_until(true: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Poll until ``true()`` is, and return it; fail when it is not within the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return found


@dataclasses.dataclass
class Received:
    """One request as a backend saw it."""

    at: float
    path: str
    headers: dict[str, str]
    message: Any
    answered: int | str


@dataclasses.dataclass
class Misbehaviour:
    """How a backend answers one request: an HTTP status or a gRPC code, after ``seconds`` of silence."""

    status: int | str = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    partial: tuple[int, str] | None = None
    retry_seconds: int | None = None
    only_over: int = -1  # applies to requests with more spans or data points than this
    only_with: str = ""  # … to requests with a metric whose name holds this


class Backend:
    """What both kinds have in common: a script of answers, and what arrived."""

    protocol = ""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.script: collections.deque[Misbehaviour] = collections.deque()
        self.always: Misbehaviour | None = None
        self.stopping = threading.Event()
        self.port = 0

    @property
    def env(self) -> dict[str, str]:
        """The environment that points at this backend, quick to send."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": self.protocol,
            "OTEL_BSP_SCHEDULE_DELAY": "10",
            "OTEL_METRIC_EXPORT_INTERVAL": "50",
        }

    def next_answer(self, message: Any) -> Misbehaviour:
        answer = self.script.popleft() if self.script else self.always
        if answer is None or answer.only_over >= _items_in(message) or not _has(message, answer.only_with):
            answer = Misbehaviour()
        if answer.seconds:
            self.stopping.wait(answer.seconds)
        return answer

    def span_names(self, *, taken: bool = True) -> list[str]:
        """The names of all spans that arrived in requests it took (or in all), in order."""
        return [
            span.name
            for request in list(self.requests)
            if request.path == "/v1/traces" and (request.answered in (200, "OK") or not taken)
            for resource in request.message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metrics(self) -> dict[str, Any]:
        """Every metric that arrived, the latest of each name."""
        return {
            metric.name: metric
            for request in list(self.requests)
            if request.path == "/v1/metrics" and request.answered in (200, "OK")
            for resource in request.message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def _items_in(message: Any) -> int:
    """Spans, or data points."""
    spans = sum(
        len(scope.spans) for resource in getattr(message, "resource_spans", ()) for scope in resource.scope_spans
    )
    return spans + sum(len(getattr(metric, metric.WhichOneof("data")).data_points) for metric in _metrics_in(message))


def _metrics_in(message: Any) -> list[Any]:
    return [
        metric
        for resource in getattr(message, "resource_metrics", ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]


def _has(message: Any, name: str) -> bool:
    return not name or any(name in metric.name for metric in _metrics_in(message))


class HttpBackend(Backend):
    """An OTLP receiver over http/protobuf."""

    protocol = "http/protobuf"

    def start(self, port: int = 0, wrap: Callable[[socket.socket], socket.socket] | None = None) -> None:
        backend = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                encoding = self.headers.get("Content-Encoding", "none")
                body = {"gzip": gzip.decompress, "deflate": zlib.decompress}.get(encoding, bytes)(body)
                kind = _REQUESTS.get(self.path)
                message = kind.FromString(body) if kind else None
                arrived = time.monotonic()
                answer = backend.next_answer(message)
                headers = {name.lower(): value for name, value in self.headers.items()}
                backend.requests.append(Received(arrived, self.path, headers, message, answer.status))
                self._answer(answer)

            def do_GET(self) -> None:  # what a client that follows a redirect would do
                backend.requests.append(Received(time.monotonic(), "GET " + self.path, {}, None, 200))
                self._answer(Misbehaviour())

            def _answer(self, answer: Misbehaviour) -> None:
                body, kind = answer.body, "application/x-protobuf"
                if answer.status == 200 and not body and self.path in _RESPONSES:
                    body = _response(_RESPONSES[self.path], answer.partial).SerializeToString()
                elif answer.status != 200:
                    body, kind = body or Status(message="no").SerializeToString(), kind if not body else "text/plain"
                try:
                    self.send_response(int(answer.status))
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Type", kind)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:  # the client gave up
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:  # a client that does not trust us is no news
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        if wrap is not None:
            self._server.socket = wrap(self._server.socket)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()


class GrpcBackend(Backend):
    """An OTLP receiver over gRPC."""

    protocol = "grpc"

    def start(self, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> None:
        self._server = grpc.server(ThreadPoolExecutor(8), options=(("grpc.so_reuseport", 0),))
        trace_grpc.add_TraceServiceServicer_to_server(_Service(self, "/v1/traces"), self._server)
        metrics_grpc.add_MetricsServiceServicer_to_server(_Service(self, "/v1/metrics"), self._server)
        address = f"127.0.0.1:{port}"
        self.port = (
            self._server.add_insecure_port(address)
            if credentials is None
            else self._server.add_secure_port(address, credentials)
        )
        self._server.start()

    def stop(self) -> None:
        self.stopping.set()
        self._server.stop(0).wait(5)


class _Service:
    def __init__(self, backend: Backend, path: str) -> None:
        self._backend = backend
        self._path = path

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:
        arrived = time.monotonic()
        answer = self._backend.next_answer(request)
        code = "OK" if answer.status == 200 else str(answer.status)
        headers = {str(key): str(value) for key, value in context.invocation_metadata()}
        self._backend.requests.append(Received(arrived, self._path, headers, request, code))
        if code != "OK":
            if answer.retry_seconds is not None:
                from google.protobuf.any_pb2 import Any as AnyMessage
                from google.rpc.error_details_pb2 import RetryInfo

                detail = AnyMessage()
                info = RetryInfo()
                info.retry_delay.seconds = answer.retry_seconds
                detail.Pack(info)
                status = Status(code=grpc.StatusCode[code].value[0], message="busy", details=[detail])
                context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(grpc.StatusCode[code], answer.body.decode() or "no")
        return _response(_RESPONSES[self._path], answer.partial)


def _response(kind: Any, partial: tuple[int, str] | None) -> Any:
    response = kind()
    if partial is not None:
        count, message = partial
        if kind is trace_pb.ExportTraceServiceResponse:
            response.partial_success.rejected_spans = count
        else:
            response.partial_success.rejected_data_points = count
        response.partial_success.error_message = message
    return response


class Counts:
    """What the export reported, added up. Thread-safe as its Protocol wants it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.exported = 0
        self.dropped: collections.Counter[str] = collections.Counter()
        self.failed: collections.Counter[tuple[str, str]] = collections.Counter()
        self.queue = 0

    def spans_exported(self, n: int) -> None:
        with self._lock:
            self.exported += n

    def spans_dropped(self, reason: str, n: int) -> None:
        with self._lock:
            self.dropped[reason] += n

    def export_failed(self, signal: str, reason: str) -> None:
        with self._lock:
            self.failed[signal, reason] += 1

    def export_queue(self, n: int) -> None:
        self.queue = n


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture(params=[HttpBackend, GrpcBackend], ids=["http", "grpc"])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """A backend of each protocol, running."""
    made = request.param()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def http_backend() -> Iterator[HttpBackend]:
    made = HttpBackend()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def grpc_backend() -> Iterator[GrpcBackend]:
    made = GrpcBackend()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def without() -> Callable[[str], None]:
    """Call it when something real is not installed."""
    return missing


@pytest.fixture
def export(counts: Counts) -> Iterator[Callable[..., Any]]:
    """Starts exports, impatient ones unless told otherwise, and sees to it that none outlives its test."""
    started = []

    def start(env: dict[str, str], **options: Any) -> Any:
        backoff = Backoff(random.Random(1), first_seconds=0.02, most_seconds=0.1)
        made = trace_export(env, counts, **({"backoff": backoff} | options))
        assert made is not None
        started.append(made)
        return made

    yield start
    for made in started:
        made.close(0.0)


@pytest.fixture
def misbehaviour() -> type[Misbehaviour]:
    return Misbehaviour


@pytest.fixture
def until() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def record() -> Callable[..., SpanRecord]:
    """Makes spans; all that matters can be given."""

    def make(name: str = "turn", *, trace_id: int = 0xA1 << 100, number: int = 1, **fields: Any) -> SpanRecord:
        fields = {"parent_id": None, "attributes": {"gen_ai.conversation.id": "CALL-1"}} | fields
        fields = {"start_ns": 1_758_124_305_194_836_000, "end_ns": 1_758_124_306_194_836_001} | fields
        return SpanRecord(trace_id=trace_id, span_id=number, name=name, **fields)

    return make


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key."""
    openssl = need_program("openssl", "on Debian: apt-get install openssl")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(
        [*command, "-keyout", str(key), "-out", str(cert), "-days", "2", *subject], check=True, capture_output=True
    )
    return cert, key
