"""What the SDK knows about spans: resource, instrumentation scope, sampling."""

from __future__ import annotations

import importlib.metadata
import math
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBasedTraceIdRatio,
    Sampler,
    TraceIdRatioBased,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind

from exporter import __version__
from exporter.errors import ConfigError
from exporter.outputs.otlp.settings import DEFAULT_SERVICE_NAME, resource_attributes

SCOPE = InstrumentationScope(DEFAULT_SERVICE_NAME, __version__)
_FIXED_SAMPLERS = {
    "always_on": ALWAYS_ON,
    "always_off": ALWAYS_OFF,
    "parentbased_always_on": DEFAULT_ON,
    "parentbased_always_off": DEFAULT_OFF,
}
_RATIO_SAMPLERS = {"traceidratio": TraceIdRatioBased, "parentbased_traceidratio": ParentBasedTraceIdRatio}


def resource(env: Mapping[str, str], instance_id: str | None = None) -> Resource:
    """Who sends: ``OTEL_RESOURCE_ATTRIBUTES``, the service's name and version, and an id for this very process.

    ``service.instance.id`` keeps replicas apart that push metrics under one name. It is ``instance_id``, a random one
    when that is None; an operator who wants series to survive a restart sets it in ``OTEL_RESOURCE_ATTRIBUTES``.
    """
    known = {"service.version": __version__, "service.instance.id": instance_id or str(uuid.uuid4())}
    return Resource.create({**known, **resource_attributes(env)})


def sampling(env: Mapping[str, str]) -> Callable[[int], bool]:
    """Whether a trace id is sampled, by ``OTEL_TRACES_SAMPLER``: one of the SDK's, or an installed sampler's name.

    A call is a root: the parent-based samplers decide as their root does. A decision is remembered, so that a sampler
    that throws dice gives all spans of a call the same answer.
    """
    sampler = _sampler(env)
    if sampler in (ALWAYS_ON, DEFAULT_ON):
        return lambda _trace_id: True
    if sampler in (ALWAYS_OFF, DEFAULT_OFF):
        return lambda _trace_id: False

    @lru_cache(maxsize=65_536)
    def sampled(trace_id: int) -> bool:
        return sampler.should_sample(None, trace_id, "call", SpanKind.INTERNAL).decision is Decision.RECORD_AND_SAMPLE

    return sampled


def _sampler(env: Mapping[str, str]) -> Sampler:
    name = env.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
    argument = env.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if name in _FIXED_SAMPLERS:
        return _FIXED_SAMPLERS[name]
    if name in _RATIO_SAMPLERS:
        return _RATIO_SAMPLERS[name](_ratio(argument))
    installed = importlib.metadata.entry_points(group="opentelemetry_traces_sampler", name=name)
    if not installed:
        known = ", ".join((*_FIXED_SAMPLERS, *_RATIO_SAMPLERS))
        raise ConfigError("OTEL_TRACES_SAMPLER", f"must be one of {known}, or an installed sampler")
    try:
        sampler = next(iter(installed)).load()(argument)
    except Exception as error:  # a plug-in of the operator's: whatever it does not like ends here
        raise ConfigError("OTEL_TRACES_SAMPLER", f"the installed sampler fails: {type(error).__name__}") from error
    if not isinstance(sampler, Sampler):
        raise ConfigError("OTEL_TRACES_SAMPLER", "names something that does not make a sampler")
    return sampler


def _ratio(text: str) -> float:
    try:
        ratio = float(text or 1.0)
    except ValueError:
        ratio = math.nan
    if not 0 <= ratio <= 1:
        raise ConfigError("OTEL_TRACES_SAMPLER_ARG", "must be a probability from 0 to 1")
    return ratio
