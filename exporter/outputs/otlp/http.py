"""OTLP over http/protobuf: one attempt at a time, each with one deadline, each with a verdict.

The stock exporters retry for themselves within their timeout, drop the batch afterwards, take a redirect for success
and tell their caller only "failure". Requests come encoded; here they are posted, by the same transport and rules as
the questions to the API (``exporter.network``). Waiting and trying again happens in one place, ours.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import httpx
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from exporter.network.addresses import DaemonLookups
from exporter.network.codings import BrokenCoding, UnknownCoding
from exporter.network.proxies import Proxies
from exporter.network.shown import shown_host, shown_text
from exporter.network.transport import Transport, answered, decoded
from exporter.network.trust import Trust
from exporter.outputs.otlp.answer import Answer, FailureReason, from_http
from exporter.outputs.otlp.headers import without_secrets
from exporter.outputs.otlp.settings import USER_AGENT, Endpoint

MOST_ANSWER_BYTES: Final = 64 * 1024
"""What is read of an answer: more is no answer of an OTLP backend, and says nothing."""

_COMPRESS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "none": bytes,
    "gzip": partial(gzip.compress, compresslevel=6),
    "deflate": partial(zlib.compress, level=6),
}
_NOT_SENT: Final = Answer("smaller", "other", "the request could not be made")
_GIVEN_UP: Final = Answer("later", "other", "given up: the process ends")


class HttpSender:
    """Sends one signal's requests. For one thread at a time; ``close`` may come from another."""

    def __init__(self, endpoint: Endpoint, env: Mapping[str, str]) -> None:
        self._endpoint = endpoint
        self._compress = _COMPRESS[endpoint.compression]
        headers = {
            **endpoint.headers,
            "User-Agent": USER_AGENT,
            "Content-Type": "application/x-protobuf",
            "Accept-Encoding": "identity",
        }
        if endpoint.compression != "none":
            headers["Content-Encoding"] = endpoint.compression
        # A request may arrive twice where its answer was lost: delivery is at least once anyway.
        transport = Transport(Trust(env, endpoint.files), Proxies.of(env), keep=1, repeated=("POST",))
        self._client = httpx.AsyncClient(headers=headers, transport=transport, timeout=None, trust_env=False)
        self._loop = DaemonLookups()
        self._sending = threading.Lock()
        self._attempt: asyncio.Task[Answer] | None = None
        self._closed = False

    def send(self, request: bytes, limit_seconds: float) -> Answer:
        """One attempt, no longer than ``limit_seconds`` or the endpoint's timeout, however the answer drips."""
        seconds = max(min(limit_seconds, self._endpoint.timeout_seconds), 0.001)
        with self._sending:
            if self._closed:
                return _GIVEN_UP
            self._attempt = self._loop.create_task(self._within(seconds, request))
            try:
                return self._loop.run_until_complete(self._attempt)
            except asyncio.CancelledError:
                return _GIVEN_UP
            finally:
                self._attempt = None
                self._let_go_if_closed()

    def close(self) -> None:
        """Close idle connections; a request under way is given up."""
        self._closed = True
        attempt = self._attempt
        if attempt is not None:
            try:
                self._loop.call_soon_threadsafe(attempt.cancel)
            except RuntimeError:  # it ended meanwhile, and let go of everything
                return
        elif self._sending.acquire(blocking=False):
            try:
                self._let_go_if_closed()
            finally:
                self._sending.release()

    def _let_go_if_closed(self) -> None:
        if self._closed and not self._loop.is_closed():
            self._loop.run_until_complete(self._client.aclose())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _within(self, seconds: float, request: bytes) -> Answer:
        try:
            async with asyncio.timeout(seconds):
                return await self._post(self._compress(request))
        except TimeoutError:
            return Answer("later", "timeout", f"no complete answer within {seconds:g} s")
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL):
            return _NOT_SENT
        except (httpx.RequestError, ssl.SSLError, OSError, UnicodeError) as error:
            return self._failure(error)

    async def _post(self, body: bytes) -> Answer:
        async with answered(self._client, "POST", self._endpoint.url, content=body) as response:
            return self._understood(response, await _read(response))

    def _understood(self, response: httpx.Response, answer: bytes) -> Answer:
        kind = response.headers.get("content-type", "").lower()
        said, rejected = self._said(response.is_success, kind, answer)
        if 300 <= response.status_code < 400:
            target = shown_host(response.headers.get("location", "")) or "another path"
            said = f"a redirect to {target}, which is not followed"
        return from_http(
            response.status_code,
            response.headers,
            now_unix=time.time(),
            said=without_secrets(said, self._endpoint.headers),
            rejected=rejected,
            web_page="html" in kind or answer.lstrip()[:1] == b"<",
        )

    def _said(self, good: bool, kind: str, body: bytes) -> tuple[str, int]:
        """What the body says, and how many items a success left out. A body that cannot be read says nothing."""
        try:
            if "json" in kind and good:
                return _from_json(body)
            if "protobuf" not in kind:
                return shown_text(body.decode("utf-8", "replace")), 0
            if not good:
                return shown_text(Status.FromString(body).message), 0
            if self._endpoint.signal == "traces":
                spans = ExportTraceServiceResponse.FromString(body).partial_success
                return shown_text(spans.error_message), spans.rejected_spans
            points = ExportMetricsServiceResponse.FromString(body).partial_success
            return shown_text(points.error_message), points.rejected_data_points
        except (DecodeError, ValueError, RecursionError):
            return "", 0

    def _failure(self, error: Exception) -> Answer:
        """Everything that kept an answer from coming may be gone next time.

        Told is its innermost cause, which names hosts and ports: what is around it may show more.
        """
        reason: FailureReason = "other"
        if isinstance(error, httpx.TimeoutException):
            reason = "timeout"
        elif isinstance(error, httpx.RequestError | OSError):
            reason = "refused"
        text = f"{type(error).__name__}: {error}"
        return Answer("later", reason, shown_text(without_secrets(text, self._endpoint.headers)))


async def _read(response: httpx.Response) -> bytes:
    """The beginning of the body; nothing where its coding cannot be undone."""
    body = bytearray()
    try:
        async with aclosing(decoded(response)) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) >= MOST_ANSWER_BYTES:
                    break
    except (UnknownCoding, BrokenCoding):
        return b""
    return bytes(body[:MOST_ANSWER_BYTES])


def _from_json(body: bytes) -> tuple[str, int]:
    """OTLP's JSON, which some backends answer whatever they were asked in. Raises ValueError."""
    answer: Any = json.loads(body or b"{}")
    partial_success = answer.get("partialSuccess") if isinstance(answer, dict) else None
    if not isinstance(partial_success, dict):
        return "", 0
    said = partial_success.get("errorMessage")
    counts = [partial_success.get(name) for name in ("rejectedSpans", "rejectedDataPoints")]
    # 64-bit numbers are text in protobuf's JSON
    rejected = next((int(count) for count in counts if isinstance(count, int | str) and str(count).isdecimal()), 0)
    return shown_text(said) if isinstance(said, str) else "", rejected
