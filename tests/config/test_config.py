"""The configuration as an operator meets it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from exporter.config import AUTO, Config, ConfigErrors, api_key, effective, load, objectives, reference
from exporter.errors import ConfigError


def written(tmp_path: Path, text: str | bytes) -> Path:
    file = tmp_path / "config.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def refused(flags: dict[str, object], env: dict[str, str], file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as error:
        load(flags, env, file)
    return str(error.value)


def test_without_any_source_the_defaults_are_those_of_the_documentation() -> None:
    config = load({}, {}, None)
    assert config.api.base_url == "https://api.smallest.ai/atoms/v1"
    assert (config.api.connect_timeout, config.api.idle_timeout, config.api.max_streams) == (5.0, 60.0, 4000)
    assert config.discovery.poll.statuses == ("active", "in_progress")
    assert config.discovery.webhook.path == "/webhooks/atoms"
    assert config.metrics.latency_buckets[:2] == (0.1, 0.2)
    assert config.traces.max_retry_age == 3600
    assert config.state.path == AUTO
    assert str(config.web.listen_address) == ":9464"
    assert config.shutdown_timeout == 25
    assert [(slo.threshold, slo.objective, slo.window) for slo in config.slo] == [
        (2.0, 0.95, 30 * 86_400),
        (4.0, 0.99, 30 * 86_400),
    ]


def test_flags_win_over_the_environment_over_the_file_over_defaults(tmp_path: Path) -> None:
    file = written(tmp_path, "api: {idle_timeout: 10s, connect_timeout: 11s, max_streams: 12}")
    env = {"ATOMS_EXPORTER_API__IDLE_TIMEOUT": "20s", "ATOMS_EXPORTER_API__CONNECT_TIMEOUT": "21s"}
    config = load({"api.idle_timeout": "30s", "api.max_streams": None}, env, file)
    assert config.api.idle_timeout == 30
    assert config.api.connect_timeout == 21
    assert config.api.max_streams == 12
    assert config.api.connect_concurrency == 50


def test_the_whole_file_of_the_documentation_is_read(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
api: {base_url: https://atoms-api.smallest.ai/api/v1/, api_key: k-1, connect_timeout: 5s, idle_timeout: 1m30s}
discovery:
  calls: [CALL-1758124225863-80752e]
  poll:
    {enabled: no, interval: 10, limit: 500, statuses: [active], agent_ids: [0123, 6e1234567890], call_types: [webcall]}
  webhook: {path: /hooks/a, secret: "one, two"}
metrics:
  latency_buckets: [0.5, 1, 2.5]
  max_series_per_metric: 10
  series_ttl: 1d
  units: {turn_latency: ms, tts_latency: s}
  disposition_values: {interest: [hot, cold]}
traces: {capture_content: true, max_queue_spans: 1000, max_retry_age: 2h}
state: {path: state.db}
slo: [{name: quick, metric: turn_latency, threshold: 700ms, objective: 0.95, window: 28d, agent_ids: [a1]}]
web: {listen_address: "[::1]:1234"}
log: {level: debug, format: json}
shutdown_timeout: 5
""",
    )
    config = load({}, {}, file)
    assert config.api.base_url == "https://atoms-api.smallest.ai/api/v1"
    assert config.discovery.poll.agent_ids == ("0123", "6e1234567890")  # ids stay as they were written
    assert config.discovery.poll.enabled is False
    assert config.discovery.webhook.secrets == ("one", "two")
    assert config.metrics.latency_buckets == (0.5, 0.7, 1, 2.5)
    assert config.metrics.disposition_values == {"interest": ("hot", "cold")}
    assert config.state.path == tmp_path / "state.db"
    assert objectives(config)[0].threshold_seconds == 0.7
    assert (config.web.listen_address.host, config.web.listen_address.port) == ("::1", 1234)
    assert config.log.format == "json"


def test_a_threshold_that_is_no_bucket_becomes_one() -> None:
    slo = '[{"name": "odd", "threshold": "3.2s", "objective": 0.95}]'
    assert 3.2 in load({}, {"ATOMS_EXPORTER_SLO": slo}, None).metrics.latency_buckets


@pytest.mark.parametrize("given", ["a1,b2", " a1 , b2,", '["a1", "b2"]'])
def test_a_list_in_the_environment_is_comma_separated_or_json(given: str) -> None:
    config = load({}, {"ATOMS_EXPORTER_DISCOVERY__POLL__AGENT_IDS": given}, None)
    assert config.discovery.poll.agent_ids == ("a1", "b2")


def test_the_variables_of_their_own_are_read(tmp_path: Path) -> None:
    env = {
        "ATOMS_API_KEY": "k-1\n",
        "SMALLEST_API_KEY": "ignored-beside-the-other",
        "ATOMS_BASE_URL": "http://127.0.0.1:8080",
        "ATOMS_WEBHOOK_SECRET": "s-1,s-2",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true",
    }
    config = load({}, env, None)
    assert api_key(config) == "k-1"
    assert config.api.base_url == "http://127.0.0.1:8080"
    assert config.discovery.webhook.secrets == ("s-1", "s-2")
    assert config.traces.capture_content is True
    assert api_key(load({}, {"SMALLEST_API_KEY": "k-2"}, None)) == "k-2"


@pytest.mark.parametrize(
    ("word", "captured"),
    [("SPAN_ONLY", True), ("span_and_event", True), ("EVENT_ONLY", False), ("NO_CONTENT", False), ("False", False)],
)
def test_content_capture_knows_the_words_of_the_conventions(word: str, captured: bool) -> None:
    env = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": word}
    assert load({}, env, None).traces.capture_content is captured


def test_an_empty_variable_is_not_set_but_for_what_can_be_empty(tmp_path: Path) -> None:
    file = written(tmp_path, "state: {path: kept.db}\napi: {idle_timeout: 7s}\n")
    env = {"ATOMS_EXPORTER_STATE__PATH": "", "ATOMS_EXPORTER_API__IDLE_TIMEOUT": "", "ATOMS_API_KEY": ""}
    config = load({}, env, file)
    assert config.state.path is None
    assert config.api.idle_timeout == 7
    assert config.api.api_key is None


def test_a_secret_comes_from_a_file_without_its_newline(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k-from-file\r\n")
    assert api_key(load({}, {"ATOMS_API_KEY_FILE": str(tmp_path / "key")}, None)) == "k-from-file"
    file = written(tmp_path, "api: {api_key_file: key}\ndiscovery: {webhook: {secret_file: key}}")
    config = load({}, {}, file)
    assert api_key(config) == "k-from-file"
    assert config.discovery.webhook.secrets == ("k-from-file",)


def test_a_key_from_a_stronger_source_replaces_a_key_file_of_a_weaker_one(tmp_path: Path) -> None:
    file = written(tmp_path, "api: {api_key_file: /nowhere}")
    assert api_key(load({}, {"ATOMS_API_KEY": "k-env"}, file)) == "k-env"
    (tmp_path / "key").write_text("k-file")
    file = written(tmp_path, "api: {api_key: k-yaml}")
    assert api_key(load({}, {"ATOMS_API_KEY_FILE": str(tmp_path / "key")}, file)) == "k-file"


def test_a_key_and_a_key_file_from_one_source_are_refused() -> None:
    says = refused({}, {"ATOMS_API_KEY": "k-1234567", "ATOMS_API_KEY_FILE": "/x"})
    assert "api.api_key" in says
    assert "not both" in says
    assert "ATOMS_API_KEY_FILE" in says
    assert "k-1234567" not in says


def test_two_variables_that_say_different_things_are_refused() -> None:
    says = refused({}, {"ATOMS_BASE_URL": "http://a", "ATOMS_EXPORTER_API__BASE_URL": "http://b"})
    assert "ATOMS_BASE_URL and ATOMS_EXPORTER_API__BASE_URL differ" in says
    same = {"ATOMS_BASE_URL": "http://a", "ATOMS_EXPORTER_API__BASE_URL": "http://a"}
    assert load({}, same, None).api.base_url == "http://a"


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "No such file"), ("", "is empty"), (" \n", "is empty"), (b"\xff\xfe", "is not a text file")],
)
def test_a_secret_file_that_gives_nothing_is_an_error(tmp_path: Path, content: str | bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content if isinstance(content, bytes) else content.encode())
    message = refused({}, {"ATOMS_API_KEY_FILE": str(tmp_path / "key")})
    assert says in message
    assert "ATOMS_API_KEY_FILE" in message
    assert "api.api_key_file" in message


def test_a_secret_file_that_is_a_directory_or_not_readable_is_an_error(tmp_path: Path) -> None:
    assert "Is a directory" in refused({}, {"ATOMS_API_KEY_FILE": str(tmp_path)})
    (tmp_path / "key").write_text("x")
    (tmp_path / "key").chmod(0)
    if os.geteuid() != 0:
        assert "Permission denied" in refused({}, {"ATOMS_API_KEY_FILE": str(tmp_path / "key")})


def test_run_needs_a_key_and_says_how_to_give_one() -> None:
    with pytest.raises(ConfigError, match="ATOMS_API_KEY") as error:
        api_key(load({}, {}, None))
    assert error.value.key == "api.api_key"


UNKNOWN = [
    ("api: {idle_timout: 5s}", "api.idle_timout", "did you mean idle_timeout?", "line 1"),
    ("discovery:\n  poll:\n    stati: []", "discovery.poll.stati", "did you mean statuses?", "line 3"),
    ("listen_address: ':1'", "listen_address", "did you mean web.listen_address?", "line 1"),
    ("slo:\n- {name: a, threshold: 2s, objective: 0.99}\n- {nam: b}", "slo[1].nam", "did you mean name?", "line 3"),
    ("zebra: 1", "zebra", "there are api, discovery", "line 1"),
]


@pytest.mark.parametrize(("text", "key", "hint", "place"), UNKNOWN)
def test_an_unknown_key_is_an_error_with_a_suggestion(
    tmp_path: Path, text: str, key: str, hint: str, place: str
) -> None:
    says = refused({}, {}, written(tmp_path, text))
    assert f"{key}: unknown key" in says
    assert hint in says
    assert place in says


def test_an_unknown_variable_is_an_error_with_a_suggestion() -> None:
    says = refused({}, {"ATOMS_EXPORTER_API__IDLE_TIMOUT": "5s"})
    assert "ATOMS_EXPORTER_API__IDLE_TIMOUT: unknown variable" in says
    assert "did you mean ATOMS_EXPORTER_API__IDLE_TIMEOUT?" in says
    assert "__ between section and key" in refused({}, {"ATOMS_EXPORTER_FOO": "bar"})


def test_an_unknown_flag_is_an_error_with_a_suggestion() -> None:
    says = refused({"web.listen_adress": ":1"}, {})
    assert "did you mean web.listen_address?" in says
    assert "--set web.listen_adress" in says


def test_what_kubernetes_puts_beside_a_service_of_our_name_is_not_ours() -> None:
    env = {
        "ATOMS_EXPORTER_SERVICE_HOST": "10.0.0.1",
        "ATOMS_EXPORTER_SERVICE_PORT": "9464",
        "ATOMS_EXPORTER_SERVICE_PORT_METRICS": "9464",
        "ATOMS_EXPORTER_PORT": "tcp://10.0.0.1:9464",
        "ATOMS_EXPORTER_PORT_9464_TCP": "tcp://10.0.0.1:9464",
        "ATOMS_EXPORTER_PORT_9464_TCP_PROTO": "tcp",
        "ATOMS_EXPORTER_PORT_9464_TCP_PORT": "9464",
        "ATOMS_EXPORTER_PORT_9464_TCP_ADDR": "10.0.0.1",
        "ATOMS_EXPORTER_HEADLESS_SERVICE_HOST": "None",
    }
    del env["ATOMS_EXPORTER_HEADLESS_SERVICE_HOST"]
    assert load({}, env, None) == load({}, {}, None)


BAD = [
    ("api.idle_timeout", "5 parsecs", "must be a duration"),
    ("api.idle_timeout", "-5s", "must be a duration"),
    ("api.idle_timeout", "0", "must be a duration from 1ms"),
    ("api.max_streams", "many", "must be a whole number from 1 to 100000"),
    ("api.max_streams", "1.5", "must be a whole number"),
    ("api.max_streams", "0", "must be a whole number from 1"),
    ("api.base_url", "api.smallest.ai", "must begin with https://"),
    ("api.base_url", "ftp://x", "must begin with https://"),
    ("api.base_url", "https://u:p@x", "must not carry a user"),
    ("api.base_url", "https://x/?a=b", "must not have a query"),
    ("api.base_url", "https://x/#a", "must not have a query or fragment"),
    ("api.base_url", "https://", "must name a host"),
    ("api.base_url", "https://x:99999", "cannot be read"),
    ("api.base_url", "https://[::1", "cannot be read"),
    ("discovery.calls", "a/b", "every item must be a call id"),
    ("discovery.calls", "CALL-1?x=y", "every item must be a call id"),
    ("discovery.poll.enabled", "maybe", "must be true or false"),
    ("discovery.poll.limit", "501", "must be a whole number from 1 to 500"),
    ("discovery.poll.statuses", "active,resting", "every item must be one of"),
    ("discovery.poll.statuses", "", "must be a list of at least 1"),
    ("discovery.webhook.path", "hooks", "must be a path"),
    ("discovery.webhook.path", "/metrics", "not taken"),
    ("discovery.webhook.path", "/api/v1/hook", "not taken"),
    ("metrics.latency_buckets", "1,0.5", "must be in ascending order"),
    ("metrics.latency_buckets", "1,1", "must be in ascending order"),
    ("metrics.latency_buckets", "0,1", "every bound must be a number above 0"),
    ("metrics.latency_buckets", "nan", "every bound must be a number above 0"),
    ("metrics.units.turn_latency", "minutes", "must be one of auto, s, ms"),
    ("web.listen_address", "9464", "must be host:port"),
    ("web.listen_address", "::1:9464", "needs brackets"),
    ("web.listen_address", ":70000", "from 0 to 65535"),
    ("log.level", "loud", "must be one of debug, info, warning, error"),
    ("slo", "[1]", "must be a list of mappings"),
    ("slo", "{", "must be valid JSON"),
    ("slo", '[{"name": "x", "threshold": "2s"}]', "slo[0].objective: is required"),
    ("slo", '[{"name": "x", "threshold": "2s", "objective": 95}]', "above 0 and below 1"),
    ("slo", '[{"name": "x", "threshold": "2s", "objective": 0.5}]', "could never fire"),
    ("slo", '[{"name": "x", "metric": "mood", "threshold": "2s", "objective": 0.99}]', "is not one of turn_latency"),
]


@pytest.mark.parametrize(("key", "value", "says"), BAD)
def test_a_bad_value_names_its_key_its_place_and_what_is_allowed(key: str, value: str, says: str) -> None:
    variable = "ATOMS_EXPORTER_" + key.upper().replace(".", "__")
    message = refused({}, {variable: value})
    assert message.startswith(key)
    assert says in message
    assert variable in message


@pytest.mark.parametrize(
    "text",
    [
        "user: root\npassword: hunter2-canary\nhost: db-canary\n",
        "".join(f"canary-{number}: x\n" for number in range(50)),
        "api: {}\n" + "".join(f"Canary{number}: x\n" for number in range(50)),
        'api: {}\n"-----BEGIN canary KEY-----": x\n',
    ],
)
def test_a_wrong_file_is_not_echoed(text: str, tmp_path: Path) -> None:
    says = refused({}, {}, written(tmp_path, text))
    assert says.lower().count("canary") <= 5
    assert "hunter2" not in says
    assert says.count("\n") <= 8
    assert "config.yaml" in says


def test_several_errors_are_reported_together(tmp_path: Path) -> None:
    file = written(tmp_path, "api: {max_streams: x, nope: 1}\nlog: 7\n")
    with pytest.raises(ConfigErrors) as error:
        load({"web.listen_address": "x"}, {"ATOMS_EXPORTER_LOG__FORMAT": "xml"}, file)
    assert {problem.key for problem in error.value.problems} == {
        "api.max_streams",
        "api.nope",
        "log",
        "log.format",
        "web.listen_address",
    }


SECRET = "sk-canary-7f3a9"


def test_no_secret_is_ever_shown(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text(SECRET + "-hook")
    env = {"ATOMS_API_KEY": SECRET, "ATOMS_WEBHOOK_SECRET_FILE": str(tmp_path / "hook")}
    config = load({}, env, None)
    for shown in (repr(config), str(config), str(effective(config)), yaml.safe_dump(effective(config)), f"{config!a}"):
        assert SECRET not in shown
    assert effective(config)["api"]["api_key"] == "<secret>"


@pytest.mark.parametrize("value", [f"{SECRET} with space", f"{SECRET}\nx", f"{SECRET}ü", SECRET * 1000])
@pytest.mark.parametrize("variable", ["ATOMS_API_KEY", "ATOMS_EXPORTER_API__API_KEY"])
def test_an_error_about_a_secret_does_not_quote_it(value: str, variable: str) -> None:
    assert SECRET not in refused({}, {variable: value})


@pytest.mark.parametrize("variable", ["ATOMS_BASE_URL", "ATOMS_EXPORTER_API__IDLE_TIMEOUT", "ATOMS_EXPORTER_SLO"])
def test_a_secret_in_the_wrong_place_is_not_quoted(variable: str) -> None:
    assert SECRET not in refused({}, {variable: SECRET})


@pytest.mark.parametrize("text", [f"api: {SECRET}", f"api: {{api_key: [{SECRET}]}}", f"- {SECRET}", SECRET])
def test_a_secret_in_the_wrong_place_of_the_file_is_not_quoted(tmp_path: Path, text: str) -> None:
    assert SECRET not in refused({}, {}, written(tmp_path, text))


def test_the_mask_is_not_a_secret() -> None:
    assert "is the mask" in refused({}, {"ATOMS_API_KEY": "<secret>"})


def test_the_effective_configuration_is_itself_a_configuration(tmp_path: Path) -> None:
    env = {"ATOMS_EXPORTER_API__IDLE_TIMEOUT": "1h30m", "ATOMS_EXPORTER_METRICS__DISPOSITION_VALUES": '{"a": ["b"]}'}
    config = load({}, env, None)
    assert load({}, {}, written(tmp_path, yaml.safe_dump(effective(config)))) == config


def test_the_configuration_is_frozen() -> None:
    config: Any = load({}, {}, None)
    with pytest.raises(ValidationError):
        config.api.base_url = "http://elsewhere"


def test_every_key_has_a_meaning_for_the_documentation() -> None:
    rows = reference()
    assert len(rows) > 40
    assert all(key and variable.startswith("ATOMS_EXPORTER_") and meaning for key, variable, _, meaning in rows)
    assert isinstance(Config(), Config)


HOSTILE = [
    (
        b"a: &a [x, x, x, x, x, x, x, x, x]\n"
        + b"".join(
            b"%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n" % ((c + 1, c + 1, *[c] * 9))
            for c in range(97, 106)
        ),
        "more than 50000 values",
    ),
    (b"api: &a [*a]", "contains itself"),
    (b"api: *nothing", "anchor"),
    (b"api: !!python/object/apply:os.system [id]", "tags are not allowed"),
    (b"api: !thing {}", "tags are not allowed"),
    (b"api: {}\napi: {}", "stands here twice"),
    (b"log:\n  level: info\n  level: debug", "line 3"),
    (b"a: 1\n---\nb: 2", "second document"),
    (b"log: {level: \xff}", "not UTF-8"),
    ("log: {level: info}".encode("utf-16"), "not UTF-8"),
    (b"log: {level: \x00}", "not valid YAML"),
    (b"[" * 100_000, "nested deeper"),
    (b"{a: " * 5_000, "nested deeper"),
    (b"? [a]\n: b", "a key must be plain text"),
    (b"log: {level: info", "not valid YAML"),
    (b"\tlog: x", "not valid YAML"),
    (b"- api", "must be a mapping of sections"),
    (b"just text", "must be a mapping of sections"),
    (b"<<: 3", "<< takes a mapping"),
    (b"#" * (1 << 20) + b"#", "is larger than"),
]


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """libyaml, and PyYAML's own parser where it was built without."""
    monkeypatch.setattr("exporter.strict_yaml._Loader", getattr(yaml, request.param))


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(("content", "says"), HOSTILE, ids=[says for _, says in HOSTILE])
def test_a_hostile_file_is_a_clear_error(tmp_path: Path, content: bytes, says: str) -> None:
    message = refused({}, {}, written(tmp_path, content))
    assert says in message
    assert "config.yaml" in message
    assert len(message) < 1_000


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    assert "is larger than" in refused({}, {}, Path("/dev/zero"))


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"---\n", b"api:\n", b"api: ~\n", b"\xef\xbb\xbflog: {}\n"])
def test_a_file_that_says_nothing_changes_nothing(tmp_path: Path, content: bytes) -> None:
    assert load({}, {}, written(tmp_path, content)) == load({}, {}, None)


@pytest.mark.usefixtures("parser")
def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    text = """
slo:
- &quick {name: quick, threshold: 2s, objective: 0.95}
- {<<: *quick, name: slow, threshold: 4s}
"""
    slow = load({}, {}, written(tmp_path, text)).slo[1]
    assert (slow.name, slow.threshold, slow.objective) == ("slow", 4.0, 0.95)


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = written(tmp_path, "log: {level: error}")
    assert load({}, {"ATOMS_EXPORTER_CONFIG_FILE": str(file)}, None).log.level == "error"
    assert "ATOMS_EXPORTER_CONFIG_FILE" in refused({}, {"ATOMS_EXPORTER_CONFIG_FILE": "/nowhere"})
