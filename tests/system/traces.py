"""An OTLP backend for tests: keeps every span that arrives over http/protobuf, and says what is wrong with traces."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.system.books import ledger_totals


@dataclass(frozen=True)
class Span:
    """One span as it arrived."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    error: bool


@dataclass
class Backend:
    """A receiver on a port of loopback. ``spans`` holds everything, repetitions too; a ``status`` but 200 refuses."""

    spans: list[Span] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    refused: int = 0
    status: int = 200
    port: int = 0
    _loop: asyncio.AbstractEventLoop | None = None

    @property
    def env(self) -> dict[str, str]:
        """The environment that sends traces (only) here, quickly."""
        return {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{self.port}/v1/traces",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }

    async def start(self, port: int = 0) -> Backend:
        """Serve, in a thread of its own, so that it goes on while a test holds its breath."""
        serving: Future[int] = Future()
        threading.Thread(target=asyncio.run, args=(self._serve(port, serving),), daemon=True).start()
        self.port = await asyncio.wrap_future(serving)
        return self

    async def stop(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._over.set)
            self._loop = None

    async def _serve(self, port: int, serving: Future[int]) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/traces", self._traces)
        app.router.add_post("/v1/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
            serving.set_result(runner.addresses[0][1])
            await self._over.wait()
        except OSError as problem:
            serving.set_exception(problem)
        finally:
            await runner.cleanup()

    async def _body(self, request: web.Request) -> bytes:
        raw = await request.read()
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw

    async def _traces(self, request: web.Request) -> web.Response:
        if self.status != 200:
            self.refused += 1
            return web.Response(status=self.status)
        body = await self._body(request)
        self.texts.append(body)
        message = ExportTraceServiceRequest.FromString(body)
        for resource in message.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(_span(span) for span in scope.spans)
        return _answer(ExportTraceServiceResponse())

    async def _metrics(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        self.texts.append(body)
        message = ExportMetricsServiceRequest.FromString(body)
        self.metrics += [
            metric.name
            for resource in message.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return _answer(ExportMetricsServiceResponse())


def _answer(message: Any) -> web.Response:
    return web.Response(body=message.SerializeToString(), content_type="application/x-protobuf")


def _span(span: Any) -> Span:
    attributes = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}
    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        attributes,
        span.status.code == 2,
    )


def flaws(
    spans: Iterable[Span], ledger: Mapping[str, Any], *, calls: bool = True, once: bool = True, places: bool = True
) -> list[str]:
    """What is wrong with these traces: empty when every one is whole.

    One root for each call of the ledger and no other trace; every parent is there; no span has two shapes; as many
    turns, tools, visits … as the ledger counts.

    :param once: no span may arrive twice.
    :param calls: compare with the ledger's calls and totals.
    :param places: compare the number of visits, too.
    """
    spans = list(spans)
    lines = []
    traces: defaultdict[str, dict[str, Span]] = defaultdict(dict)
    for span in spans:
        before = traces[span.trace_id].setdefault(span.span_id, span)
        if once and before is not span:
            lines.append(f"span {span.span_id} ({span.name}) arrived more than once")
        if (before.parent_id, before.name) != (span.parent_id, span.name):
            lines.append(f"span {span.span_id} is {before.name} under {before.parent_id} and {span.name} elsewhere")
    for trace_id, known in traces.items():
        roots = [span for span in known.values() if not span.parent_id]
        if len(roots) != 1:
            lines.append(f"trace {trace_id} has {len(roots)} roots")
        orphans = Counter(span.name for span in known.values() if span.parent_id and span.parent_id not in known)
        if orphans:
            lines.append(f"trace {trace_id} has orphans: {dict(orphans)}")
    if calls:
        lines += _against(traces, ledger, places=places)
    return lines


def _against(traces: Mapping[str, Mapping[str, Span]], ledger: Mapping[str, Any], *, places: bool) -> list[str]:
    unique = [span for known in traces.values() for span in known.values()]
    roots = Counter(span.attributes["gen_ai.conversation.id"] for span in unique if not span.parent_id)
    lines = [f"call {call_id} has no trace" for call_id in ledger["calls"] if call_id not in roots]
    lines += [f"a trace of {call_id}, which was no call" for call_id in roots if call_id not in ledger["calls"]]
    names = Counter(span.name.split(" ")[0] for span in unique)
    totals = ledger_totals(ledger)
    for name, family in (
        ("turn", "atoms_turn_latency_seconds_count"),
        ("text_to_speech", "atoms_tts_latency_seconds_count"),
        ("hop", "atoms_node_visits_total"),
        ("execute_tool", "atoms_tool_calls_total"),
        ("knowledgebase", "atoms_knowledgebase_queries_total"),
        ("variable_extraction", "atoms_variable_extractions_total"),
    ):
        sent = sum(totals.get(family, {}).values())
        if names[name] != sent and (places or name != "hop"):
            lines.append(f"{names[name]} {name} spans for {sent:g} of {family}")
    return lines
