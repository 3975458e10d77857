"""The ``OTEL_*`` environment: where things go, what is refused and what is never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry.util.re import parse_env_headers
from prometheus_client import CollectorRegistry

from exporter.errors import ConfigError
from exporter.outputs.otlp import describe, metric_push, trace_export
from exporter.outputs.otlp import settings as settings
from exporter.outputs.otlp.headers import read_headers
from exporter.outputs.otlp.sdk import resource, sampling
from tests.certificates import Certificates

BASE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def url(env: dict[str, str], signal: settings.Signal = "traces") -> str | None:
    found = settings.endpoint(env, signal)
    return found.url if found else None


def test_nothing_is_pushed_without_an_endpoint(counts: object) -> None:
    for env in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SERVICE_NAME": "x"}):
        assert trace_export(env, counts) is None
        assert metric_push(env, CollectorRegistry(), counts) is None


def test_the_general_endpoint_gets_the_path_of_the_signal_and_its_own_is_used_as_it_stands() -> None:
    assert url(BASE) == "http://collector:4318/v1/traces"
    assert url(BASE, "metrics") == "http://collector:4318/v1/metrics"
    assert url({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://host/otlp/"}) == "https://host/otlp/v1/traces"
    own = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://other:1/some/path"}
    assert url(BASE | own) == "http://other:1/some/path"
    assert url(BASE | own, "metrics") == "http://collector:4318/v1/metrics"
    assert url({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a?key=b"}) == "http://a/v1/traces?key=b"
    assert url({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://other:1"}) == "http://other:1/"
    assert url(own, "metrics") is None


def test_grpc_takes_the_endpoint_as_it_is_and_plain_text_follows_the_scheme() -> None:
    def insecure(endpoint: str, **more: str) -> bool:
        env = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **more}
        found = settings.endpoint(env, "traces")
        assert found is not None
        assert found.url == endpoint
        return found.insecure

    assert insecure("http://collector:4317")
    assert not insecure("https://collector:4317")
    assert not insecure("collector:4317")
    assert insecure("collector:4317", OTEL_EXPORTER_OTLP_INSECURE="true")
    assert insecure("collector:4317", OTEL_EXPORTER_OTLP_TRACES_INSECURE="TRUE")
    assert not insecure("https://collector:4317", OTEL_EXPORTER_OTLP_INSECURE="true")


def test_a_signal_can_be_switched_off() -> None:
    assert url(BASE | {"OTEL_SDK_DISABLED": "True"}) is None
    assert url(BASE | {"OTEL_TRACES_EXPORTER": "none"}) is None
    assert url(BASE | {"OTEL_TRACES_EXPORTER": "none"}, "metrics") == "http://collector:4318/v1/metrics"
    assert url(BASE | {"OTEL_METRICS_EXPORTER": "otlp"}, "metrics") is not None


@pytest.mark.parametrize(
    ("env", "key"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "udp"}, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_TRACES_EXPORTER": "otlp,console"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:port"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        ({"OTEL_EXPORTER_OTLP_COMPRESSION": "br"}, "OTEL_EXPORTER_OTLP_COMPRESSION"),
        (
            {"OTEL_EXPORTER_OTLP_COMPRESSION": "deflate", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_COMPRESSION",
        ),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "OTEL_EXPORTER_OTLP_TIMEOUT"),
        ({"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "-1"}, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "nan"}, "OTEL_EXPORTER_OTLP_TIMEOUT"),
        ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/does/not/exist"}, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        ({"OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": "/does/not/exist"}, "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a=1,b"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        (
            {"OTEL_EXPORTER_OTLP_INSECURE": "maybe", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_INSECURE",
        ),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "OTEL_BSP_MAX_QUEUE_SIZE"),
        ({"OTEL_BSP_SCHEDULE_DELAY": "1s"}, "OTEL_BSP_SCHEDULE_DELAY"),
        ({"OTEL_BSP_SCHEDULE_DELAY": "0"}, "OTEL_BSP_SCHEDULE_DELAY"),
        ({"OTEL_BSP_SCHEDULE_DELAY": "9" * 5_000}, "OTEL_BSP_SCHEDULE_DELAY"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "1e300"}, "OTEL_EXPORTER_OTLP_TIMEOUT"),
        ({"OTEL_TRACES_EXPORTER": "prometheus"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_TRACES_EXPORTER": "otlp_proto_http,otlp_proto_grpc"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a b"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "content-length=5"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "OTEL_TRACES_SAMPLER_ARG"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"}, "OTEL_TRACES_SAMPLER_ARG"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "half"}, "OTEL_TRACES_SAMPLER_ARG"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team"}, "OTEL_RESOURCE_ATTRIBUTES"),
        ({"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "-1"}, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
        ({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "-1"}, "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
        ({"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "many"}, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
        (
            {"OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": "x"},
            "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(env: dict[str, str], key: str, counts: object) -> None:
    with pytest.raises(ConfigError) as raised:
        trace_export(BASE | env, counts)
    assert raised.value.key == key
    assert raised.value.problem
    with pytest.raises(ConfigError):
        describe(BASE | env)


@pytest.mark.parametrize(
    ("env", "key"),
    [
        ({"OTEL_METRIC_EXPORT_INTERVAL": "0"}, "OTEL_METRIC_EXPORT_INTERVAL"),
        ({"OTEL_METRIC_EXPORT_INTERVAL": "soon"}, "OTEL_METRIC_EXPORT_INTERVAL"),
        ({"OTEL_METRICS_EXPORTER": "console"}, "OTEL_METRICS_EXPORTER"),
        (
            {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "base2_exponential_bucket_histogram"},
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        ),
        (
            {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "sideways"},
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        ),
        ({"OTEL_METRICS_EXEMPLAR_FILTER": "some"}, "OTEL_METRICS_EXEMPLAR_FILTER"),
    ],
)
def test_what_cannot_be_used_for_metrics_is_refused_by_name(env: dict[str, str], key: str, counts: object) -> None:
    with pytest.raises(ConfigError) as raised:
        metric_push(BASE | env, CollectorRegistry(), counts)
    assert raised.value.key == key


def test_a_bad_header_is_named_without_showing_it() -> None:
    with pytest.raises(ConfigError) as raised:
        settings.endpoint(BASE | {"OTEL_EXPORTER_OTLP_HEADERS": "a=1,Bearer s3cr3t"}, "traces")
    assert "s3cr3t" not in str(raised.value)
    with pytest.raises(ConfigError) as raised:
        settings.endpoint(BASE | {"OTEL_EXPORTER_OTLP_HEADERS": "a=s3cr3t%0d%0ax:y"}, "traces")
    assert "s3cr3t" not in str(raised.value)


def test_the_description_for_check_config_masks_what_is_secret() -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:pa55@host:443/otlp?key=s3cr3t",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer s3cr3t,x-scope=s3cr3t",
        "OTEL_METRICS_EXPORTER": "none",
    }
    said = describe(env)
    assert "s3cr3t" not in str(said)
    assert "pa55" not in str(said)
    assert said["otlp.traces"].startswith("http/protobuf to https://***@host:443/otlp")
    assert said["otlp.traces.headers"] == "authorization=***, x-scope=***"
    assert said["otlp.metrics"] == "not pushed: OTEL_METRICS_EXPORTER=none"
    assert "s3cr3t" not in repr(settings.endpoint(env, "traces"))
    assert describe({})["otlp.traces"] == "not pushed: OTEL_EXPORTER_OTLP_ENDPOINT is not set"
    assert describe({"OTEL_SDK_DISABLED": "true"})["otlp.metrics"] == "not pushed: OTEL_SDK_DISABLED=true"


def test_the_signals_own_settings_win_over_the_general_ones(certificates: Certificates) -> None:
    general, own = certificates.directory / "ca.crt", certificates.directory / "other-ca.crt"
    env = BASE | {
        "OTEL_EXPORTER_OTLP_HEADERS": "from=general",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "from=own",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "4.5",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "deflate",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(general),
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE": str(own),
    }
    traces, metrics = settings.endpoint(env, "traces"), settings.endpoint(env, "metrics")
    assert traces is not None
    assert metrics is not None
    assert (traces.headers, traces.timeout_seconds, traces.compression) == ({"from": "own"}, 4.5, "deflate")
    assert (metrics.headers, metrics.timeout_seconds, metrics.compression) == ({"from": "general"}, 3.0, "gzip")
    assert (traces.files.ca, metrics.files.ca) == (str(own), str(general))


def test_the_configuration_file_wins_over_the_environment_for_the_queue() -> None:
    env = {"OTEL_BSP_MAX_QUEUE_SIZE": "300", "OTEL_BSP_SCHEDULE_DELAY": "250"}
    assert settings.batching(env).max_queue_spans == 300
    assert settings.batching(env).max_batch_spans == 300, "a batch larger than the queue makes no sense"
    assert settings.batching(env, 5_000).max_queue_spans == 5_000
    assert settings.batching(env).schedule_delay_seconds == 0.25
    assert settings.batching({}).max_queue_spans == settings.DEFAULT_MAX_QUEUE_SPANS


def test_who_we_are_comes_from_the_service_name_then_the_attributes_then_the_default() -> None:
    assert resource({}).attributes["service.name"] == "atoms-exporter"
    env = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=by-attribute, deployment.environment.name=a%2Cb"}
    assert resource(env).attributes["service.name"] == "by-attribute"
    assert resource(env).attributes["deployment.environment.name"] == "a,b"
    assert resource(env | {"OTEL_SERVICE_NAME": "by-name"}).attributes["service.name"] == "by-name"


def test_each_process_is_an_instance_of_its_own_unless_it_is_told_which() -> None:
    assert resource({}).attributes["service.instance.id"] != resource({}).attributes["service.instance.id"]
    assert resource({}, "one").attributes["service.instance.id"] == "one"
    told = resource({"OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=pod-7"}, "one")
    assert told.attributes["service.instance.id"] == "pod-7"


def test_the_samplers_of_the_sdk_are_known_by_their_names() -> None:
    def share(**env: str) -> float:
        sampled = sampling(env)
        return sum(sampled(i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128)) for i in range(1, 1001)) / 1000

    assert share() == 1
    assert share(OTEL_TRACES_SAMPLER="always_on") == 1
    assert share(OTEL_TRACES_SAMPLER="always_off") == 0
    assert share(OTEL_TRACES_SAMPLER="parentbased_always_off") == 0
    assert share(OTEL_TRACES_SAMPLER="traceidratio") == 1
    assert 0.1 < share(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0.2") < 0.3


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("a=1,b=2", {"a": "1", "b": "2"}),
        (" A = 1 , ,", {"a": "1"}),
        ("authorization=Basic%20YTpi", {"authorization": "Basic YTpi"}),
        ("authorization=Basic YTpi", {"authorization": "Basic YTpi"}),
        ("authorization=Basic YTp%3D", {"authorization": "Basic YTp%3D"}),
        ("key=a=b==", {"key": "a=b=="}),
        ("empty=", {"empty": ""}),
    ],
)
def test_headers_are_read_as_the_sdk_reads_them(text: str, headers: dict[str, str]) -> None:
    assert read_headers("KEY", text) == headers
    assert parse_env_headers(text, liberal=True) == headers


def test_the_description_refuses_what_starting_would_refuse() -> None:
    for env in (
        {"OTEL_TRACES_SAMPLER": "sometimes"},
        {"OTEL_BSP_SCHEDULE_DELAY": "1s"},
        {"OTEL_METRIC_EXPORT_INTERVAL": "0"},
        {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "sideways"},
        {"OTEL_RESOURCE_ATTRIBUTES": "team"},
    ):
        with pytest.raises(ConfigError):
            describe(BASE | env)


@pytest.mark.parametrize(
    ("exporter", "signal", "pushed"),
    [
        ("otlp", "traces", "http/protobuf"),
        ("otlp_proto_http", "traces", "http/protobuf"),
        ("otlp_proto_grpc", "traces", "grpc"),
        ("OTLP_PROTO_GRPC", "metrics", "grpc"),
        ("prometheus", "metrics", None),
        ("prometheus,otlp", "metrics", "http/protobuf"),
        ("none", "metrics", None),
    ],
)
def test_exporters_go_by_the_names_the_sdk_knows(exporter: str, signal: settings.Signal, pushed: str | None) -> None:
    found = settings.endpoint(BASE | {f"OTEL_{signal.upper()}_EXPORTER": exporter}, signal)
    assert (found.protocol if found else None) == pushed


def test_the_histograms_we_make_may_be_asked_for_by_name() -> None:
    settings.explicit_buckets({"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "explicit_bucket_histogram"})


GRPC = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize(
    ("files", "key"),
    [
        ({"CLIENT_KEY": "client.key"}, "CLIENT_KEY"),
        ({"CLIENT_CERTIFICATE": "client.crt"}, "CLIENT_CERTIFICATE"),
        ({"CLIENT_CERTIFICATE": "client.crt", "CLIENT_KEY": "server.key"}, "CLIENT_CERTIFICATE"),
        ({"CLIENT_CERTIFICATE": "client.key", "CLIENT_KEY": "client.crt"}, "CLIENT_CERTIFICATE"),
        ({"CERTIFICATE": "."}, "CERTIFICATE"),
        ({"CERTIFICATE": "client.key"}, "CERTIFICATE"),
        ({"CLIENT_CERTIFICATE": ".", "CLIENT_KEY": "client.key"}, "CLIENT_CERTIFICATE"),
    ],
)
def test_certificates_that_cannot_be_used_are_refused_before_anything_is_built(
    protocol: str, files: dict[str, str], key: str, certificates: Certificates
) -> None:
    """Half a client certificate once aborted the process inside gRPC."""
    paths = {f"OTEL_EXPORTER_OTLP_{name}": str(certificates.directory / file) for name, file in files.items()}
    with pytest.raises(ConfigError) as raised:
        describe(GRPC | {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol} | paths)
    assert raised.value.key == f"OTEL_EXPORTER_OTLP_{key}"
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_certificate_and_its_key_may_stand_in_one_file(
    protocol: str, certificates: Certificates, tmp_path: Path
) -> None:
    both = tmp_path / "both.pem"
    both.write_text("".join((certificates.directory / f"client.{part}").read_text() for part in ("crt", "key")))
    env = GRPC | {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(both)}
    assert describe(env)["otlp.traces"].startswith(protocol)


@pytest.mark.parametrize("headers", ["a=%C3%BC", "a=x%09y", "a~b=1", "grpc-timeout=1", "trace-bin=abc"])
def test_headers_that_grpc_cannot_carry_are_refused(headers: str) -> None:
    """gRPC refuses the whole request for one of them: every span would be dropped."""
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_HEADERS"):
        describe(GRPC | {"OTEL_EXPORTER_OTLP_HEADERS": headers})


CANARY = "ca-na-ry"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize(
    "name",
    [
        *("OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_BSP_SCHEDULE_DELAY"),
        *("OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRICS_EXEMPLAR_FILTER", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"),
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        *(f"OTEL_EXPORTER_OTLP_{what}" for what in ("PROTOCOL", "HEADERS", "TIMEOUT", "COMPRESSION", "ENDPOINT")),
    ],
)
def test_a_secret_in_the_wrong_variable_is_not_quoted(name: str, protocol: str) -> None:
    """Whatever a person puts where: it is named by its variable."""
    env = BASE | {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    wrong = f"u:{CANARY}@host:4317" if name.endswith("ENDPOINT") else f"Bearer {CANARY}"
    with pytest.raises(ConfigError) as raised:
        describe(env | {name: wrong})
    assert raised.value.key == name
    assert CANARY not in str(raised.value)


def test_a_key_where_its_path_belongs_is_not_quoted(certificates: Certificates) -> None:
    text = (certificates.directory / "client.key").read_text()
    with pytest.raises(ConfigError) as raised:
        describe(GRPC | {"OTEL_EXPORTER_OTLP_CLIENT_KEY": text})
    assert text.splitlines()[1] not in str(raised.value)
