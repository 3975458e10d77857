"""OTLP over gRPC, with an interceptor under every channel that sees how each call ended.

Metrics go by the stock exporter; spans come encoded (``otlp_encode``) and are only sent. The stock exporter retries
for itself and tells its caller only "failure". Its ``retryable_error_codes`` names the codes it retries, so it gets one
that is no error; its ``stub`` makes the client of a channel, so the interceptor goes there. Waiting and trying again
happens in one place, ours. Imported only when the protocol is grpc: grpcio is heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # ships no types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types
from opentelemetry.exporter.otlp.proto.grpc.exporter import OTLPExporterMixin
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData

from exporter.outputs.otlp.answer import Answer, from_grpc
from exporter.outputs.otlp.headers import without_secrets
from exporter.outputs.otlp.settings import USER_AGENT, Endpoint

_COMPRESSIONS = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}
_NOT_SENT = Answer("smaller", "other", "the request could not be made")
_init: Any = OTLPExporterMixin.__init__  # its type variables cannot be inferred from outside the class
_EXPORT_SPANS = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_NEVER_RETRIED = frozenset({grpc.StatusCode.OK})


class _Bounded(grpc.ClientCallDetails):
    """The call as the exporter wants it, with a shorter time limit."""

    def __init__(self, details: grpc.ClientCallDetails, limit_seconds: float) -> None:
        self.method = details.method
        self.timeout = min(details.timeout or limit_seconds, limit_seconds)
        self.metadata = details.metadata
        self.credentials = details.credentials
        self.wait_for_ready = details.wait_for_ready
        self.compression = details.compression


class Witness(grpc.UnaryUnaryClientInterceptor):
    """Remembers in ``answer`` how the last call ended and holds it to ``limit_seconds``."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.answer: Answer | None = None
        self.limit_seconds = float("inf")
        self._headers = headers

    def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.ClientCallDetails, Any], Any],
        client_call_details: grpc.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Called by grpc for every request."""
        call = continuation(_Bounded(client_call_details, self.limit_seconds), request)
        code = call.code().name
        if code == "OK":
            partial = call.result().partial_success
            rejected = getattr(partial, "rejected_spans", 0) or getattr(partial, "rejected_data_points", 0)
            said = partial.error_message
        else:
            rejected, said = 0, call.details() or ""
        said = without_secrets(" ".join(said.split())[:200], self._headers)
        self.answer = from_grpc(code, said, _retry_info(call.trailing_metadata() or ()), rejected)
        return call

    def stub(self, make: Callable[[grpc.Channel], Any]) -> Callable[[grpc.Channel], Any]:
        """A maker of clients whose calls pass here."""
        return lambda channel: make(grpc.intercept_channel(channel, self))


class _Metrics(OTLPMetricExporter):
    """The stock metric exporter, which is built first for what it alone sets, then again with our stub."""

    def __init__(self, endpoint: Endpoint, witness: Witness) -> None:
        super().__init__(**_options(endpoint))
        self.shutdown()
        stub = witness.stub(MetricsServiceStub)
        _init(self, stub=stub, result=MetricExportResult, signal="metrics", **_options(endpoint))


class GrpcSpans:
    """Sends spans over gRPC, one attempt at a time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._witness = Witness(endpoint.headers)
        self._channel = _channel(endpoint)
        self._export: Callable[..., ExportTraceServiceResponse] = grpc.intercept_channel(
            self._channel, self._witness
        ).unary_unary(_EXPORT_SPANS, response_deserializer=ExportTraceServiceResponse.FromString)
        self._metadata = tuple(endpoint.headers.items())
        self._timeout_seconds = endpoint.timeout_seconds

    def send(self, request: bytes, limit_seconds: float) -> Answer:
        """One attempt; it takes no longer than ``limit_seconds`` or the endpoint's timeout."""
        self._witness.answer, self._witness.limit_seconds = None, max(limit_seconds, 0.001)
        try:
            self._export(request, timeout=self._timeout_seconds, metadata=self._metadata)
        except grpc.RpcError:  # the witness knows
            pass
        return self._witness.answer or _NOT_SENT

    def close(self) -> None:
        """Close the channel; a call under way is cancelled."""
        self._channel.close()


class GrpcMetrics:
    """Sends metrics over gRPC, one attempt at a time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._witness = Witness(endpoint.headers)
        self._exporter = _Metrics(endpoint, self._witness)

    def send(self, batch: MetricsData, limit_seconds: float) -> Answer:
        """One attempt; it takes no longer than ``limit_seconds`` or the endpoint's timeout."""
        self._witness.answer, self._witness.limit_seconds = None, max(limit_seconds, 0.001)
        self._exporter.export(batch)
        return self._witness.answer or _NOT_SENT

    def close(self) -> None:
        """Close the channel; a call under way is cancelled."""
        self._exporter.shutdown()


def _channel(endpoint: Endpoint) -> grpc.Channel:
    target = urlsplit(endpoint.url).netloc or endpoint.url
    options: Any = (("grpc.primary_user_agent", USER_AGENT),)
    compression = _COMPRESSIONS[endpoint.compression]
    if endpoint.insecure:
        return grpc.insecure_channel(target, options, compression)
    return grpc.secure_channel(target, _credentials(endpoint), options, compression)


def _options(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "endpoint": endpoint.url,
        "insecure": endpoint.insecure,
        "credentials": None if endpoint.insecure else _credentials(endpoint),
        "headers": tuple(endpoint.headers.items()),
        "timeout": endpoint.timeout_seconds,
        "compression": _COMPRESSIONS[endpoint.compression],
        "retryable_error_codes": _NEVER_RETRIED,
    }


def _credentials(endpoint: Endpoint) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_read(endpoint.certificate),
        private_key=_read(endpoint.client_key),
        certificate_chain=_read(endpoint.client_certificate),
    )


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def _retry_info(trailing: Sequence[tuple[str, str | bytes]]) -> float | None:
    """How long the server asks us to wait: in the rich status as gRPC defines it, or bare as some servers send it."""
    for key, value in trailing:
        if not isinstance(value, bytes):
            continue
        info: Any = RetryInfo()
        try:
            if key == "google.rpc.retryinfo-bin":
                info.ParseFromString(value)
            elif key != "grpc-status-details-bin" or not any(
                detail.Unpack(info) for detail in Status.FromString(value).details
            ):
                continue
        except DecodeError:
            continue
        return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
    return None
