"""OTLP out, built from the ``OTEL_*`` environment: traces and metrics, each only when an endpoint is set for it.

The SDK and the exporters are imported where they are needed: without an endpoint they cost neither time nor memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from exporter.outputs import otlp_settings as settings
from exporter.outputs.otlp_answer import FAILURE_REASONS, FailureReason
from exporter.outputs.otlp_retry import DROP_REASONS, Backoff, DropReason, ExportCounts
from exporter.outputs.otlp_settings import Signal, describe

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from exporter.outputs.otlp_metrics import MetricPush, MetricsSender
    from exporter.outputs.otlp_traces import SpanSender, TraceExport

__all__ = [
    "DROP_REASONS",
    "FAILURE_REASONS",
    "DropReason",
    "ExportCounts",
    "FailureReason",
    "Signal",
    "describe",
    "metric_push",
    "trace_export",
]

DEFAULT_MAX_RETRY_AGE_SECONDS = 3_600.0


def trace_export(
    env: Mapping[str, str],
    counts: ExportCounts,
    *,
    max_queue_spans: int | None = None,
    max_retry_age_seconds: float = DEFAULT_MAX_RETRY_AGE_SECONDS,
    instance_id: str | None = None,
    backoff: Backoff | None = None,
) -> TraceExport | None:
    """Where spans go, started; None when no endpoint is set for traces. Raises ConfigError naming the variable.

    ``max_queue_spans`` None leaves it to ``OTEL_BSP_MAX_QUEUE_SIZE``, else 50,000. ``instance_id`` becomes
    ``service.instance.id``: give traces and metrics the same. Close what you get.
    """
    endpoint = settings.endpoint(env, "traces")
    if endpoint is None:
        return None
    from exporter.outputs.otlp_convert import resource, sampling, to_span
    from exporter.outputs.otlp_traces import TraceExport

    sender: SpanSender
    if endpoint.protocol == "grpc":
        from exporter.outputs.otlp_grpc import GrpcSpans

        sender = GrpcSpans(endpoint)
    else:
        from exporter.outputs.otlp_http import HttpSpans

        sender = HttpSpans(endpoint)
    return TraceExport(
        sender,
        to_span(resource(env, instance_id), settings.attribute_limits(env)),
        sampled=sampling(env),
        counts=counts,
        batching=settings.batching(env, max_queue_spans),
        max_retry_age_seconds=max_retry_age_seconds,
        backoff=backoff,
    )


def metric_push(
    env: Mapping[str, str],
    registry: CollectorRegistry,
    counts: ExportCounts,
    *,
    units: Mapping[str, str] | None = None,
    instance_id: str | None = None,
    backoff: Backoff | None = None,
) -> MetricPush | None:
    """What pushes the registry, started; None when no endpoint is set for metrics. Raises ConfigError.

    Counters are taken to have started at zero now: call it before anything is counted. ``units`` gives the UCUM unit
    of metrics whose name does not end in one. Close what you get.
    """
    endpoint = settings.endpoint(env, "metrics")
    if endpoint is None:
        return None
    from exporter.outputs.otlp_convert import SCOPE, resource
    from exporter.outputs.otlp_metrics import MetricPush

    sender: MetricsSender
    if endpoint.protocol == "grpc":
        from exporter.outputs.otlp_grpc import GrpcMetrics

        sender = GrpcMetrics(endpoint)
    else:
        from exporter.outputs.otlp_http import HttpMetrics

        sender = HttpMetrics(endpoint)
    return MetricPush(
        sender,
        registry,
        resource=resource(env, instance_id),
        scope=SCOPE,
        counts=counts,
        interval_seconds=settings.push_interval_seconds(env),
        timeout_seconds=settings.push_timeout_seconds(env),
        delta=settings.delta_temporality(env),
        exemplars=settings.exemplars_wanted(env),
        units=units,
        backoff=backoff,
    )
