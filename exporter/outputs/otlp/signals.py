"""OTLP out, built from the ``OTEL_*`` environment: traces and metrics, each only when an endpoint is set for it.

The SDK and the exporters are imported where they are needed: without an endpoint they cost neither time nor memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from exporter.outputs.otlp import settings as settings
from exporter.outputs.otlp.answer import FAILURE_REASONS, FailureReason
from exporter.outputs.otlp.retry import DROP_REASONS, Backoff, DropReason, ExportCounts
from exporter.outputs.otlp.settings import Signal

if TYPE_CHECKING:
    from prometheus_client import Metric as Family

    from exporter.outputs.otlp.metrics import Families, MetricPush
    from exporter.outputs.otlp.retry import Sender
    from exporter.outputs.otlp.traces import TraceExport

__all__ = [
    "DROP_REASONS",
    "FAILURE_REASONS",
    "DropReason",
    "ExportCounts",
    "FailureReason",
    "Signal",
    "describe",
    "metric_push",
    "sampled_traces",
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
    from exporter.outputs.otlp.encode import SpanEncoder
    from exporter.outputs.otlp.sdk import SCOPE, resource, sampling
    from exporter.outputs.otlp.traces import TraceExport

    return TraceExport(
        _sender(endpoint, env),
        SpanEncoder(resource(env, instance_id), SCOPE, settings.attribute_limits(env)),
        sampled=sampling(env),
        counts=counts,
        batching=settings.batching(env, max_queue_spans),
        max_retry_age_seconds=max_retry_age_seconds,
        backoff=backoff,
    )


def sampled_traces(env: Mapping[str, str]) -> Callable[[str], bool] | None:
    """Whether a trace (32 hex digits) will be found in a backend; ``None`` where all are, or none is exported."""
    sampler = env.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    if settings.endpoint(env, "traces") is None or sampler in ("", "always_on", "parentbased_always_on"):
        return None
    from exporter.outputs.otlp.sdk import sampling

    sampled = sampling(env)
    return lru_cache(maxsize=65_536)(lambda trace_id: sampled(int(trace_id, 16)))


def metric_push(
    env: Mapping[str, str],
    registry: Families,
    counts: ExportCounts,
    *,
    units: Mapping[str, str] | None = None,
    instance_id: str | None = None,
    goes_on_from: Iterable[Family] | None = None,
    backoff: Backoff | None = None,
) -> MetricPush | None:
    """What pushes the registry, started; None when no endpoint is set for metrics. Raises ConfigError.

    Counters are taken to have started at zero now, where they do not say when: call it before anything is counted.
    ``goes_on_from``: what an earlier life has pushed. ``units`` gives the UCUM unit
    of metrics whose name does not end in one. Close what you get.
    """
    endpoint = settings.endpoint(env, "metrics")
    if endpoint is None:
        return None
    from exporter.outputs.otlp.metrics import MetricPush
    from exporter.outputs.otlp.sdk import SCOPE, resource

    settings.explicit_buckets(env)
    return MetricPush(
        _sender(endpoint, env),
        registry,
        resource=resource(env, instance_id),
        scope=SCOPE,
        counts=counts,
        interval_seconds=settings.push_interval_seconds(env),
        timeout_seconds=settings.push_timeout_seconds(env),
        delta=settings.delta_temporality(env),
        goes_on_from=goes_on_from,
        exemplars=settings.exemplars_wanted(env),
        units=units,
        backoff=backoff,
    )


def _sender(endpoint: settings.Endpoint, env: Mapping[str, str]) -> Sender:
    if endpoint.protocol == "grpc":
        # Its core writes past our log, a line for each connection that fails; what fails is said by us.
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
        from exporter.outputs.otlp.grpc import GrpcSender

        return GrpcSender(endpoint, env)
    from exporter.outputs.otlp.http import HttpSender

    return HttpSender(endpoint, env)


def describe(env: Mapping[str, str]) -> dict[str, str]:
    """What would be pushed where, as lines for ``check-config``; header values and credentials in URLs are masked.

    Raises ConfigError for all that ``trace_export`` and ``metric_push`` would refuse: it makes what they make, channels
    and credentials too, but starts no thread and sends nothing.
    """
    lines = settings.describe_endpoints(env)
    traces, metrics = settings.endpoint(env, "traces"), settings.endpoint(env, "metrics")
    if traces is not None:
        from exporter.outputs.otlp.encode import SpanEncoder
        from exporter.outputs.otlp.sdk import SCOPE, resource, sampling

        SpanEncoder(resource(env), SCOPE, settings.attribute_limits(env))
        _sender(traces, env).close()
        sampling(env)
        limits, batching = settings.attribute_limits(env), settings.batching(env)
        sampler = env.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
        share = env.get("OTEL_TRACES_SAMPLER_ARG", "").strip() if sampler.endswith("traceidratio") else ""
        lines["otlp.traces.sampler"] = f"{sampler} {share}".strip()
        lines["otlp.traces.batch"] = (
            f"up to {batching.max_batch_spans} spans every {batching.schedule_delay_seconds:g}s"
        )
        lines["otlp.traces.attributes"] = f"at most {limits.max_attributes} a span"
    if metrics is not None:
        _sender(metrics, env).close()
        settings.push_timeout_seconds(env)
        settings.exemplars_wanted(env)
        settings.explicit_buckets(env)
        lines["otlp.metrics.interval"] = f"{settings.push_interval_seconds(env):g}s"
        lines["otlp.metrics.temporality"] = "delta" if settings.delta_temporality(env) else "cumulative"
    lines |= {f"otlp.resource.{key}": value for key, value in sorted(settings.resource_attributes(env).items())}
    return lines
