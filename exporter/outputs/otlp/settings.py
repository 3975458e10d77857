"""The ``OTEL_*`` environment, read as the OpenTelemetry Python SDK documents it, with its errors named.

Nothing is pushed unless an endpoint is set. A value the SDK would warn about and replace by its default is an error
here: the operator hears of it at the start, not from a dashboard that stays empty. No error quotes a value.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from exporter import __version__
from exporter.errors import ConfigError
from exporter.network.trust import Files, Trust
from exporter.outputs.otlp.headers import read_headers
from exporter.outputs.otlp.variables import milliseconds, positive_seconds, whole

Signal = Literal["traces", "metrics"]

DEFAULT_SERVICE_NAME = "atoms-exporter"
USER_AGENT = f"{DEFAULT_SERVICE_NAME}/{__version__}"
DEFAULT_MAX_QUEUE_SPANS = 50_000
_NO_FILES = Files()
_PREFIX = "OTEL_EXPORTER_OTLP_"
_COMPRESSIONS = {"http/protobuf": ("none", "gzip", "deflate"), "grpc": ("none", "gzip")}
_PROTOCOL_OF = {"otlp": None, "otlp_proto_http": "http/protobuf", "otlp_proto_grpc": "grpc"}
_NOT_PUSHED = {"traces": ("none",), "metrics": ("none", "prometheus")}
_CREDENTIAL_PROVIDER = "OTEL_PYTHON_EXPORTER_OTLP_{protocol}_{signal}CREDENTIAL_PROVIDER"


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one signal goes, and how.

    ``url`` is the complete URL for http/protobuf (path included), the target for grpc. ``timeout_seconds`` bounds one
    request: the Python SDK reads ``OTEL_EXPORTER_OTLP_TIMEOUT`` in seconds.
    """

    signal: Signal
    protocol: str
    url: str = dataclasses.field(repr=False)
    headers: Mapping[str, str] = dataclasses.field(repr=False)
    timeout_seconds: float = 10.0
    compression: str = "none"
    insecure: bool = False
    files: Files = _NO_FILES

    @property
    def masked_url(self) -> str:
        """The URL without what could be a secret: user information, query and fragment."""
        if "://" not in self.url:
            return self.url
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        user = "***@" if "@" in parts.netloc else ""
        return f"{parts.scheme}://{user}{host}{parts.path}{'?***' if parts.query else ''}"


@dataclasses.dataclass(frozen=True, slots=True)
class Batching:
    """How spans are collected (``OTEL_BSP_*``), times in seconds."""

    schedule_delay_seconds: float = 5.0
    max_batch_spans: int = 512
    max_queue_spans: int = DEFAULT_MAX_QUEUE_SPANS
    export_timeout_seconds: float = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class AttributeLimits:
    """How many attributes a span keeps and how long their text may be (``None``: as long as it is)."""

    max_attributes: int | None = 128
    max_value_length: int | None = None


def endpoint(env: Mapping[str, str], signal: Signal) -> Endpoint | None:
    """Where ``signal`` is pushed to, or None when it is not. Raises ConfigError naming the variable."""
    exporter = _exporter(env, signal)
    if sdk_disabled(env) or exporter is None:
        return None
    key, url = _of_signal(env, signal, "ENDPOINT")
    if not url:
        return None
    protocol = _protocol(env, signal, exporter)
    _no_credential_provider(env, signal, protocol)
    url = _http_url(key, url, signal) if protocol == "http/protobuf" else _grpc_target(key, url)
    compression_key, compression = _of_signal(env, signal, "COMPRESSION")
    compression = compression.lower() or "none"
    if compression not in _COMPRESSIONS[protocol]:
        allowed = ", ".join(_COMPRESSIONS[protocol])
        raise ConfigError(compression_key, f"must be one of {allowed} with {protocol}")
    headers_key, headers = _of_signal(env, signal, "HEADERS")
    timeout_key, timeout = _of_signal(env, signal, "TIMEOUT")
    files = _tls_files(env, signal)
    Trust(env, files)  # looks whether all of it can be used
    return Endpoint(
        signal=signal,
        protocol=protocol,
        url=url,
        headers=read_headers(headers_key, headers, grpc=protocol == "grpc"),
        timeout_seconds=positive_seconds(timeout_key, timeout) if timeout else 10.0,
        compression=compression,
        insecure=_insecure(env, signal, key, url) if protocol == "grpc" else False,
        files=files,
    )


def batching(env: Mapping[str, str], max_queue_spans: int | None = None) -> Batching:
    """``OTEL_BSP_*``; ``max_queue_spans`` is what the configuration file says and wins over the environment."""
    queue = max_queue_spans or whole(env, "OTEL_BSP_MAX_QUEUE_SIZE", DEFAULT_MAX_QUEUE_SPANS, least=1)
    return Batching(
        schedule_delay_seconds=milliseconds(env, "OTEL_BSP_SCHEDULE_DELAY", 5_000, least=1),
        max_batch_spans=min(queue, whole(env, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, least=1)),
        max_queue_spans=queue,
        export_timeout_seconds=milliseconds(env, "OTEL_BSP_EXPORT_TIMEOUT", 30_000) or 30.0,
    )


def attribute_limits(env: Mapping[str, str]) -> AttributeLimits:
    """The span's own limit wins over the general one, as the SDK documents it."""
    return AttributeLimits(
        max_attributes=_limit(env, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT", 128),
        max_value_length=_limit(
            env, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", None
        ),
    )


def push_interval_seconds(env: Mapping[str, str]) -> float:
    """Time between two pushes of metrics (``OTEL_METRIC_EXPORT_INTERVAL``, 60 s)."""
    return milliseconds(env, "OTEL_METRIC_EXPORT_INTERVAL", 60_000, least=1)


def push_timeout_seconds(env: Mapping[str, str]) -> float:
    """Time one push of metrics may take (``OTEL_METRIC_EXPORT_TIMEOUT``, 30 s)."""
    return milliseconds(env, "OTEL_METRIC_EXPORT_TIMEOUT", 30_000) or 30.0


def delta_temporality(env: Mapping[str, str]) -> bool:
    """Whether counters and histograms are sent as deltas (``delta``, ``lowmemory``) or cumulative (the default)."""
    key = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    preference = env.get(key, "").strip().lower() or "cumulative"
    if preference not in ("cumulative", "delta", "lowmemory"):
        raise ConfigError(key, "must be cumulative, delta or lowmemory")
    return preference != "cumulative"


def explicit_buckets(env: Mapping[str, str]) -> None:
    """Our histograms have the buckets of the catalogue: ``explicit_bucket_histogram`` is what they are, anything else
    of ``…_DEFAULT_HISTOGRAM_AGGREGATION`` is refused, not ignored."""
    key = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    if env.get(key, "").strip().lower() not in ("", "explicit_bucket_histogram"):
        raise ConfigError(key, "must be explicit_bucket_histogram: other histograms are not made here")


def exemplars_wanted(env: Mapping[str, str]) -> bool:
    """Whether exemplars go along with the metrics (``OTEL_METRICS_EXEMPLAR_FILTER`` other than ``always_off``)."""
    key = "OTEL_METRICS_EXEMPLAR_FILTER"
    chosen = env.get(key, "").strip().lower() or "trace_based"
    if chosen not in ("always_on", "always_off", "trace_based"):
        raise ConfigError(key, "must be trace_based, always_on or always_off")
    return chosen != "always_off"


def resource_attributes(env: Mapping[str, str]) -> dict[str, str]:
    """``OTEL_RESOURCE_ATTRIBUTES`` and the service name: ``OTEL_SERVICE_NAME`` first, ``atoms-exporter`` last."""
    attributes: dict[str, str] = {}
    for position, item in enumerate(env.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","), start=1):
        if not item.strip():
            continue
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise ConfigError("OTEL_RESOURCE_ATTRIBUTES", f"must be key=value,key=value; entry {position} is not")
        attributes[key.strip()] = unquote(value.strip())
    if name := env.get("OTEL_SERVICE_NAME", "").strip():
        attributes["service.name"] = name
    attributes.setdefault("service.name", DEFAULT_SERVICE_NAME)
    return attributes


def sdk_disabled(env: Mapping[str, str]) -> bool:
    """``OTEL_SDK_DISABLED=true``: nothing at all is pushed."""
    return env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def describe_endpoints(env: Mapping[str, str]) -> dict[str, str]:
    """Where each signal goes, or why it does not: header values and credentials in URLs are masked."""
    lines: dict[str, str] = {}
    for signal in ("traces", "metrics"):
        found = endpoint(env, signal)
        if found is None:
            lines[f"otlp.{signal}"] = f"not pushed: {_why_not(env, signal)}"
            continue
        lines[f"otlp.{signal}"] = f"{found.protocol} to {found.masked_url}"
        if found.protocol == "grpc":
            lines[f"otlp.{signal}.tls"] = "off" if found.insecure else "on"
        if found.headers:
            lines[f"otlp.{signal}.headers"] = ", ".join(f"{name}=***" for name in sorted(found.headers))
        lines[f"otlp.{signal}.compression"] = found.compression
        lines[f"otlp.{signal}.timeout"] = f"{found.timeout_seconds:g}s"
    return lines


def _why_not(env: Mapping[str, str], signal: Signal) -> str:
    if sdk_disabled(env):
        return "OTEL_SDK_DISABLED=true"
    if _exporter(env, signal) is None:
        return f"OTEL_{signal.upper()}_EXPORTER={env[f'OTEL_{signal.upper()}_EXPORTER'].strip().lower()}"
    return f"{_PREFIX}ENDPOINT is not set"


def _of_signal(env: Mapping[str, str], signal: Signal, what: str) -> tuple[str, str]:
    """The signal's own variable, else the general one, and its value; an empty value is no value."""
    own = f"{_PREFIX}{signal.upper()}_{what}"
    if value := env.get(own, "").strip():
        return own, value
    return _PREFIX + what, env.get(_PREFIX + what, "").strip()


def _exporter(env: Mapping[str, str], signal: Signal) -> str | None:
    """``otlp``, or one of the names that fix its protocol; None when the signal is not pushed. Metrics stand at
    ``/metrics`` whatever is pushed, so ``prometheus`` alone asks for nothing more."""
    key = f"OTEL_{signal.upper()}_EXPORTER"
    names = [name.strip().lower() for name in env.get(key, "").split(",") if name.strip()] or ["otlp"]
    allowed = (*_PROTOCOL_OF, *_NOT_PUSHED[signal])
    if not set(names) <= set(allowed):
        raise ConfigError(key, f"must be one of {', '.join(allowed)}")
    pushed = dict.fromkeys(name for name in names if name in _PROTOCOL_OF)
    if "none" in names or not pushed:
        return None
    if len(pushed) > 1:
        raise ConfigError(key, f"must be one of {', '.join(_PROTOCOL_OF)}, not several")
    return next(iter(pushed))


def _protocol(env: Mapping[str, str], signal: Signal, exporter: str) -> str:
    if (fixed := _PROTOCOL_OF[exporter]) is not None:
        return fixed
    key, protocol = _of_signal(env, signal, "PROTOCOL")
    if protocol not in ("", *_COMPRESSIONS):
        raise ConfigError(key, "must be http/protobuf or grpc")
    return protocol or "http/protobuf"


def _no_credential_provider(env: Mapping[str, str], signal: Signal, protocol: str) -> None:
    """The SDK's plug-ins for credentials replace the very session that tells us how a request ended."""
    for part in ("", f"{signal.upper()}_"):
        key = _CREDENTIAL_PROVIDER.format(protocol="GRPC" if protocol == "grpc" else "HTTP", signal=part)
        if env.get(key):
            raise ConfigError(key, "is not supported here; use OTEL_EXPORTER_OTLP_HEADERS or client certificates")


def _http_url(key: str, url: str, signal: Signal) -> str:
    """A signal's own endpoint is used as it stands; the general one gets the signal's path."""
    says = "must be a URL such as http://collector:4318"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(key, f"{says}; its host or port cannot be read") from None
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise ConfigError(key, says)
    path = parts.path or "/"
    if key == f"{_PREFIX}ENDPOINT":
        path = f"{path.removesuffix('/')}/v1/{signal}"
    return urlunsplit(parts._replace(path=path))


def _grpc_target(key: str, url: str) -> str:
    """What gRPC is told to connect to. It would take a user and password for a part of the host, and show them."""
    says = "must name a host, such as http://collector:4317 or collector:4317"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(key, f"{says}; its host or port cannot be read") from None
    if "@" in url:
        raise ConfigError(key, "must not carry a user or password: gRPC sends none. Use OTEL_EXPORTER_OTLP_HEADERS")
    if (parts.scheme in ("http", "https") and not host) or not url.isprintable() or " " in url:
        raise ConfigError(key, says)
    return url


def _insecure(env: Mapping[str, str], signal: Signal, key: str, url: str) -> bool:
    """Plain text for http://, TLS for https:// and for a bare host:port, unless ``…_INSECURE`` says otherwise."""
    scheme = urlsplit(url).scheme
    if scheme == "https":
        return False
    insecure_key, wanted = _of_signal(env, signal, "INSECURE")
    if wanted:
        if wanted.lower() not in ("true", "false"):
            raise ConfigError(insecure_key, "must be true or false")
        return wanted.lower() == "true"
    return scheme == "http"


def _tls_files(env: Mapping[str, str], signal: Signal) -> Files:
    """The files of certificates and keys, each with the variable that names it."""
    found = [_of_signal(env, signal, what) for what in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")]
    for key, path in found:
        if "-----BEGIN" in path or not path.isprintable():
            raise ConfigError(key, "must be the path of a PEM file, not what stands in one")
    (ca_key, ca), (certificate_key, certificate), (key_key, key) = found
    if ca and os.path.isdir(ca):
        raise ConfigError(ca_key, f"{ca} is a folder; it must be a PEM file")
    return Files(ca or None, certificate or None, key or None, ca_key, certificate_key, key_key)


def _limit(env: Mapping[str, str], own: str, general: str, default: int | None) -> int | None:
    for key in (own, general):
        if env.get(key, "").strip():
            return whole(env, key, 0, least=0)
    return default
