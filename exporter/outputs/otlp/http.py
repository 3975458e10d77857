"""OTLP over http/protobuf, with an adapter under every session that sees how each request ended.

Metrics go by the stock exporter; spans come encoded (``otlp_encode``) and are only posted. The stock exporter retries
for itself within its timeout, drops the batch afterwards, takes a redirect for success and tells its caller only
"failure". All it does with an exception it does not know is to give up at once: so the adapter judges the answer, keeps
the verdict, and raises ``NotTaken``. Waiting and trying again happens in one place, ours.
"""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import requests
import urllib3
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.metrics.export import MetricsData
from requests.adapters import HTTPAdapter

from exporter.outputs.otlp.answer import Answer, FailureReason, from_http
from exporter.outputs.otlp.headers import without_secrets
from exporter.outputs.otlp.settings import USER_AGENT, Endpoint

_BODY_LIMIT = 64 * 1024
_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": partial(gzip.compress, compresslevel=6),
    "deflate": partial(zlib.compress, level=6),
}
_COMPRESSIONS = {"none": Compression.NoCompression, "gzip": Compression.Gzip, "deflate": Compression.Deflate}
_NOT_SENT = Answer("smaller", "other", "the request could not be made")


class NotTaken(Exception):
    """The backend did not take the request. No kind of ``requests`` error, so that nothing below retries."""


class WitnessAdapter(HTTPAdapter):
    """Sends for one signal's session and remembers the verdict on the last request in ``answer``."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(max_retries=0)
        self.answer: Answer | None = None
        self.limit_seconds = float("inf")
        self._signal = endpoint.signal
        self._headers = endpoint.headers
        self._certificate = endpoint.certificate

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: dict[str, str] | None = None,
    ) -> requests.Response:
        """One request, bounded by the smaller of the exporter's timeout and ``limit_seconds``."""
        trusted = self._certificate or verify  # requests lets REQUESTS_CA_BUNDLE win over a session's own setting
        bound = min(timeout, self.limit_seconds) if isinstance(timeout, int | float) else self.limit_seconds
        try:
            response = super().send(request, stream, max(bound, 0.001), trusted, cert, proxies)
        except (requests.RequestException, OSError) as error:  # OSError: a certificate file that is gone
            self.answer = _from_error(error)
            raise NotTaken(self.answer.detail) from None
        said, rejected = self._body(response)
        self.answer = from_http(
            response.status_code,
            response.headers,
            now_unix=time.time(),
            said=without_secrets(said, self._headers),
            rejected=rejected,
        )
        if self.answer.verdict != "taken":
            response.close()
            raise NotTaken(self.answer.detail)
        return response

    def _body(self, response: requests.Response) -> tuple[str, int]:
        """What the body says, and how many items a success left out. A body that cannot be read says nothing."""
        try:
            body = response.raw.read(_BODY_LIMIT, decode_content=True)
        except (urllib3.exceptions.HTTPError, OSError):
            return "", 0
        if "protobuf" not in response.headers.get("Content-Type", ""):
            return _shortened(body.decode("utf-8", "replace")), 0
        try:
            if not response.ok:
                return _shortened(Status.FromString(body).message), 0
            if self._signal == "traces":
                spans = ExportTraceServiceResponse.FromString(body).partial_success
                return _shortened(spans.error_message), spans.rejected_spans
            points = ExportMetricsServiceResponse.FromString(body).partial_success
            return _shortened(points.error_message), points.rejected_data_points
        except DecodeError:
            return "", 0


class HttpSpans:
    """Sends spans over http/protobuf, one attempt at a time. All but the body of a request is prepared once: at
    thousands of spans a second that is half of what ``requests`` costs."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._adapter, self._session = _session(endpoint)
        self._timeout_seconds = endpoint.timeout_seconds
        self._compress = _COMPRESS[endpoint.compression]
        headers = {"User-Agent": USER_AGENT, "Content-Type": "application/x-protobuf"}
        if endpoint.compression != "none":
            headers["Content-Encoding"] = endpoint.compression
        request = requests.Request("POST", endpoint.url, headers | dict(endpoint.headers), data=b"-")
        self._prepared = self._session.prepare_request(request)
        certificate, key = endpoint.client_certificate, endpoint.client_key
        cert = (certificate, key) if certificate is not None and key is not None else certificate
        # What the environment says of proxies. Which certificates are trusted is the adapter's business.
        self._settings: Any = self._session.merge_environment_settings(endpoint.url, {}, False, None, cert)

    def send(self, request: bytes, limit_seconds: float) -> Answer:
        """One attempt; it takes no longer than ``limit_seconds`` or the endpoint's timeout."""
        self._adapter.answer, self._adapter.limit_seconds = None, limit_seconds
        prepared = self._prepared.copy()
        prepared.body = self._compress(request)
        prepared.headers["Content-Length"] = str(len(prepared.body))
        try:
            self._session.send(prepared, timeout=self._timeout_seconds, **self._settings)
        except NotTaken:
            pass
        return self._adapter.answer or _NOT_SENT

    def close(self) -> None:
        """Close idle connections; a request under way ends by its own timeout."""
        self._session.close()


class HttpMetrics:
    """Sends metrics over http/protobuf, one attempt at a time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._adapter, session = _session(endpoint)
        self._exporter = OTLPMetricExporter(
            endpoint=endpoint.url,
            headers=dict(endpoint.headers),
            timeout=endpoint.timeout_seconds,
            compression=_COMPRESSIONS[endpoint.compression],
            certificate_file=endpoint.certificate,
            client_key_file=endpoint.client_key,
            client_certificate_file=endpoint.client_certificate,
            session=session,
        )

    def send(self, batch: MetricsData, limit_seconds: float) -> Answer:
        """One attempt; it takes no longer than ``limit_seconds`` or the endpoint's timeout."""
        self._adapter.answer, self._adapter.limit_seconds = None, limit_seconds
        try:
            self._exporter.export(batch)
        except NotTaken:  # exporters before 1.36 let it through
            pass
        return self._adapter.answer or _NOT_SENT

    def close(self) -> None:
        """Close idle connections; a request under way ends by its own timeout."""
        self._exporter.shutdown()


def _session(endpoint: Endpoint) -> tuple[WitnessAdapter, requests.Session]:
    adapter = WitnessAdapter(endpoint)
    session = requests.Session()
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return adapter, session


def _from_error(error: Exception) -> Answer:
    """Everything that kept an answer from coming may be gone next time.

    Told is its innermost cause, which names hosts and ports: the text around it shows the URL, which may hold a key.
    """
    reason: FailureReason = "other"
    if isinstance(error, requests.exceptions.Timeout):
        reason = "timeout"
    elif isinstance(error, requests.exceptions.ConnectionError):
        reason = "timeout" if "timed out" in str(error) else "refused"
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else None
    cause = getattr(cause, "reason", None) or cause  # urllib3's MaxRetryError holds the reason
    return Answer("later", reason, _shortened(f"{type(cause or error).__name__}: {cause or ''}"))


def _shortened(text: str) -> str:
    return " ".join(text.split())[:200]
