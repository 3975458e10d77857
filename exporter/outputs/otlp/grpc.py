"""OTLP over gRPC: one attempt at a time, each with one deadline, each with a verdict.

Requests come encoded; the stock exporters retry for themselves and tell their caller only "failure". Proxies and
certificates follow the rules of ``exporter.network``, not those of gRPC's core: the same environment must mean the same
whatever the protocol. Imported only when the protocol is grpc: grpcio is heavy.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # ships no types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from exporter.errors import ConfigError
from exporter.network.proxies import Proxies
from exporter.network.shown import shown_text
from exporter.network.trust import Trust
from exporter.outputs.otlp.answer import Answer, from_grpc
from exporter.outputs.otlp.headers import without_secrets
from exporter.outputs.otlp.settings import USER_AGENT, Endpoint

_COMPRESSIONS: Final = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip}
_METHODS: Final[dict[str, tuple[str, Any]]] = {
    "traces": ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", ExportTraceServiceResponse),
    "metrics": ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", ExportMetricsServiceResponse),
}
_MOST_ANSWER_BYTES: Final = 4 << 20
_LONGEST_RECONNECT_MS: Final = 5_000
"""gRPC would not try a backend that was away for up to two minutes, whoever asks; when to try is our business."""

_NOT_SENT: Final = Answer("smaller", "other", "the request could not be made")
_GIVEN_UP: Final = Answer("later", "other", "given up: the process ends")


class GrpcSender:
    """Sends one signal's requests. For one thread at a time; ``close`` may come from another."""

    def __init__(self, endpoint: Endpoint, env: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._target = urlsplit(endpoint.url).netloc or endpoint.url
        self._options = _options(endpoint, self._target, env)
        self._trust = None if endpoint.insecure else Trust(env, endpoint.files)
        self._context: ssl.SSLContext | None = None
        self._metadata = tuple(endpoint.headers.items())
        self._closed = False
        self._connect()

    def send(self, request: bytes, limit_seconds: float) -> Answer:
        """One attempt; it takes no longer than ``limit_seconds`` or the endpoint's timeout."""
        seconds = max(min(limit_seconds, self._endpoint.timeout_seconds), 0.001)
        if self._trust is not None:
            self._renew(self._trust.context())
        answer = self._attempt(request, seconds)
        # The core does not tell why there is no connection: where certificates were renewed, that may be it.
        if answer.reason == "unavailable" and self._trust and self._renew(self._trust.context(now=True)):
            answer = self._attempt(request, seconds)
        return answer

    def close(self) -> None:
        """Close the channel; a call under way is cancelled."""
        self._closed = True
        self._channel.close()

    def _attempt(self, request: bytes, seconds: float) -> Answer:
        if self._closed:
            return _GIVEN_UP
        try:
            response, _ = self._export.with_call(request, timeout=seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            said = without_secrets(shown_text(error.details() or ""), self._endpoint.headers)
            return from_grpc(error.code().name, said, _retry_info(error.trailing_metadata() or ()))
        except ValueError:  # closed meanwhile, or what no request can carry
            return _GIVEN_UP if self._closed else _NOT_SENT
        partial = response.partial_success
        rejected = getattr(partial, "rejected_spans", 0) or getattr(partial, "rejected_data_points", 0)
        return from_grpc(
            "OK", without_secrets(shown_text(partial.error_message), self._endpoint.headers), None, rejected
        )

    def _renew(self, context: ssl.SSLContext | None) -> bool:
        """Connect anew when certificates were read again; whether it was done."""
        if context is self._context or self._closed:
            return False
        before = self._channel
        try:
            self._connect()
        except ConfigError:  # they change at this very moment: next time
            return False
        before.close()
        return True

    def _connect(self) -> None:
        compression = _COMPRESSIONS[self._endpoint.compression]
        if self._trust is None:
            self._channel = grpc.insecure_channel(self._target, self._options, compression)
        else:
            context, pem = self._trust.context(), self._trust.pem()
            credentials = grpc.ssl_channel_credentials(pem.ca, pem.key, pem.certificate)
            self._channel = grpc.secure_channel(self._target, credentials, self._options, compression)
            self._context = context
        method, response = _METHODS[self._endpoint.signal]
        self._export: Any = self._channel.unary_unary(method, response_deserializer=response.FromString)


def _options(endpoint: Endpoint, target: str, env: Mapping[str, str]) -> tuple[tuple[str, Any], ...]:
    proxy = _proxy(endpoint, target, env)
    return (
        ("grpc.primary_user_agent", USER_AGENT),
        ("grpc.max_receive_message_length", _MOST_ANSWER_BYTES),
        ("grpc.max_reconnect_backoff_ms", _LONGEST_RECONNECT_MS),
        ("grpc.enable_http_proxy", int(proxy is not None)),
        *((("grpc.http_proxy", proxy),) if proxy is not None else ()),
    )


def _proxy(endpoint: Endpoint, target: str, env: Mapping[str, str]) -> str | None:
    """By the rules of all proxies, where the variables of gRPC's own (``grpc_proxy``, ``no_grpc_proxy``) win."""
    variables = dict(env)
    if own := env.get("grpc_proxy"):
        variables["http_proxy"] = variables["https_proxy"] = own
    if "no_grpc_proxy" in env:
        variables["no_proxy"] = env["no_grpc_proxy"]
    scheme = "http" if endpoint.insecure else "https"
    try:
        proxy = Proxies.of(variables).for_url(f"{scheme}://{target.rpartition('/')[2]}")
    except ValueError:  # a target in a notation of gRPC's own, such as unix:path or several addresses
        return None
    if proxy is not None and not proxy.startswith("http://"):
        raise ConfigError(f"{scheme}_proxy", "gRPC goes through http:// proxies only")
    return proxy


def _retry_info(trailing: Iterable[Any]) -> float | None:
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
