"""flags > environment > YAML file > defaults → one frozen Config, or every reason why not at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from exporter.config.fleet import fleet_secrets, unfit
from exporter.config.model import (
    Api,
    Capacity,
    Config,
    Discovery,
    Fleet,
    History,
    Log,
    Metrics,
    Poll,
    Section,
    SloEntry,
    State,
    Traces,
    Units,
    Web,
    Webhook,
)
from exporter.config.places import AUTO
from exporter.config.sources import (
    CONFIG_FILE_VARIABLE,
    Key,
    Leaves,
    Setting,
    dotted,
    environment_name,
    from_environment,
    from_file,
    from_flags,
    leaf_keys,
    rules,
    sections,
    suggestion,
)
from exporter.config.types import Secrets
from exporter.errors import ConfigError
from exporter.slo import (
    SHORTEST_RATE_SECONDS,
    AlertThresholds,
    Objective,
    bucket_thresholds,
    check_labels,
    check_objectives,
)
from exporter.strict_yaml import read_bounded

__all__ = [
    "Api",
    "Capacity",
    "Config",
    "ConfigErrors",
    "Discovery",
    "Fleet",
    "History",
    "Log",
    "Metrics",
    "Poll",
    "SloEntry",
    "State",
    "Traces",
    "Units",
    "Web",
    "Webhook",
    "api_key",
    "effective",
    "load",
    "objectives",
    "reference",
    "secrets_of",
    "thresholds",
    "token_in",
]

MAX_SECRET_BYTES = 64 * 1024
_SCRAPES_OF_A_RATE = 4
"""Fewer in a window, and a rate hangs on a single one."""
_SECRET_PAIRS: tuple[tuple[Key, Key], ...] = (
    (("api", "api_key"), ("api", "api_key_file")),
    (("discovery", "webhook", "secret"), ("discovery", "webhook", "secret_file")),
    (("fleet", "redis_url"), ("fleet", "redis_url_file")),
    (("fleet", "redis_password"), ("fleet", "redis_password_file")),
)


class ConfigErrors(ConfigError):
    """Several things are wrong with the configuration; ``problems`` has them one by one."""

    def __init__(self, problems: tuple[ConfigError, ...]) -> None:
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__("", f"{len(problems)} problems in the configuration:\n{lines}")
        self.key = problems[0].key
        self.problems = problems


def load(
    flags: Mapping[str, object],
    env: Mapping[str, str],
    file: Path | None,
    *,
    spelled: Mapping[str, str] | None = None,
    without_secrets: bool = False,
) -> Config:
    """Read every source and check everything. Raises ConfigError, or ConfigErrors when there are several.

    ``flags`` has dotted keys (``web.listen_address``), None for a flag that was not given. ``file`` falls back to
    ``ATOMS_EXPORTER_CONFIG_FILE``. ``spelled`` has the flags as they were typed, for errors. ``without_secrets``
    opens no file that holds a secret.
    """
    problems: list[ConfigError] = []
    named_by = "--config.file"
    if file is None and env.get(CONFIG_FILE_VARIABLE, "").strip():
        file, named_by = Path(env[CONFIG_FILE_VARIABLE].strip()), CONFIG_FILE_VARIABLE
    layers = [
        from_file(file, named_by, problems) if file is not None else {},
        from_environment(env, problems),
        from_flags(flags, problems, spelled or {}),
    ]
    settings = _merged(layers, problems)
    if not without_secrets:
        _read_secret_files(settings, problems)
    config = _validated(settings, problems)
    if config is not None:
        config = _with_thresholds(config, settings, problems)
        problems.extend(_unfit(config, settings))
    if len(problems) > 1:
        raise ConfigErrors(tuple(problems))
    if problems or config is None:
        raise problems[0]
    return config


def _merged(layers: list[Leaves], problems: list[ConfigError]) -> Leaves:
    """Later layers win, key by key; a secret and its file are one decision."""
    merged: Leaves = {}
    for layer in layers:
        for secret, file in _SECRET_PAIRS:
            if secret in layer and file in layer:
                both = f"{layer[secret].source()} and {layer[file].source()}"
                problems.append(ConfigError(dotted(secret), f"set it or {dotted(file)}, not both ({both})"))
            if secret in layer or file in layer:
                merged.pop(secret, None)
                merged.pop(file, None)
        merged |= layer
    return merged


def _read_secret_files(settings: Leaves, problems: list[ConfigError]) -> None:
    for secret, file in _SECRET_PAIRS:
        setting = settings.get(file)
        path = str(setting.value).strip() if setting is not None else ""
        if setting is None or not path or secret in settings:
            continue
        try:
            settings[secret] = Setting(_text_of(path), path)
        except ConfigError as error:
            problems.append(ConfigError(dotted(file), f"{error} ({setting.source()})"))


def _text_of(path: str) -> str:
    """What a file of a secret holds. Raises ConfigError that names the file and quotes nothing of it."""
    try:
        text = read_bounded(Path(path).expanduser(), MAX_SECRET_BYTES).decode("utf-8-sig").strip()
    except (UnicodeDecodeError, RuntimeError):
        raise ConfigError(path, "is not a text file") from None
    if not text:
        raise ConfigError(path, "is empty")
    return text


def token_in(path: Path) -> str:
    """The bearer token in a file as it is now. Raises ConfigError when it holds none that could be sent."""
    text = _text_of(str(path))
    try:
        Secrets()(text)
    except ValueError as error:
        raise ConfigError(str(path), str(error)) from None
    return text


def _validated(settings: Leaves, problems: list[ConfigError]) -> Config | None:
    tree: dict[str, Any] = {}
    for key, setting in settings.items():
        inner = tree
        for name in key[:-1]:
            inner = inner.setdefault(name, {})
        inner[key[-1]] = _without_nulls(setting.value) if key == ("slo",) else setting.value
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        problems.extend(_problem(one, settings) for one in found)
        return None


def _without_nulls(entries: Any) -> Any:
    """An entry's key with nothing behind it is as good as absent, as it is everywhere else in the file."""
    if not isinstance(entries, list):
        return entries
    return [
        {key: value for key, value in entry.items() if value is not None} if isinstance(entry, dict) else entry
        for entry in entries
    ]


def _problem(found: Any, settings: Leaves) -> ConfigError:
    place: tuple[str | int, ...] = found["loc"]
    where = ""
    for end in range(len(place), 0, -1):
        key = tuple(part for part in place[:end] if isinstance(part, str))
        if len(key) == end and key in settings:
            where = f" ({settings[key].source(place[end:])})"
            break
    cause = found.get("ctx", {}).get("error")
    if isinstance(cause, ValueError):
        says = str(cause)
    elif found["type"] == "extra_forbidden":
        says = f"unknown key; {suggestion(str(place[-1]), SloEntry.model_fields)}"
    elif found["type"] == "missing":
        says = "is required"
    elif place[:1] == ("slo",):
        says = "must be a list of mappings, each with name, threshold, objective, …"
    else:
        says = str(found["msg"])
    return ConfigError(dotted(place), says + where)


def _with_thresholds(config: Config, settings: Leaves, problems: list[ConfigError]) -> Config:
    """Every SLO threshold becomes a bucket, so that what it promises can be counted."""
    try:
        wanted = bucket_thresholds(objectives(config))
    except ConfigError as error:
        where = f" ({settings[('slo',)].source()})" if ("slo",) in settings else ""
        problems.append(ConfigError(error.key, error.problem + where))
        return config
    bounds = {*config.metrics.latency_buckets, *(bound for bounds in wanted.values() for bound in bounds)}
    metrics = config.metrics.model_copy(update={"latency_buckets": tuple(sorted(bounds))})
    return config.model_copy(update={"metrics": metrics})


def _unfit(config: Config, settings: Leaves) -> Iterator[ConfigError]:
    """Keys of which each is right and that do not go together."""
    for key, says in unfit(config.fleet, state_file_named=config.state.path not in (None, AUTO)):
        setting = settings.get(tuple(key.split(".")))
        yield ConfigError(key, says + (f" ({setting.source()})" if setting is not None else ""))


def objectives(config: Config) -> tuple[Objective, ...]:
    """The configured SLOs as :mod:`exporter.slo` takes them. Raises ConfigError for one that could not work."""
    shortest = max(SHORTEST_RATE_SECONDS, _SCRAPES_OF_A_RATE * config.alerts.scrape_interval)
    made = tuple(
        Objective(
            name=entry.name,
            objective=entry.objective,
            metric=entry.metric,
            threshold_seconds=entry.threshold,
            window_seconds=entry.window,
            agent_ids=entry.agent_ids,
            agent_names=entry.agent_names,
            node_ids=entry.node_ids,
            node_names=entry.node_names,
            by=entry.by,
            minimum_events=entry.minimum_events,
            minimum_calls=entry.minimum_calls,
            labels=tuple(entry.labels.items()),
            shortest_seconds=shortest,
        )
        for entry in config.slo
    )
    check_objectives(made)
    check_labels(config.alerts.labels.items(), "alerts.labels")
    return made


def thresholds(config: Config) -> AlertThresholds:
    """When the alerts beside the objectives speak, as :mod:`exporter.slo` takes it."""
    names = [field.name for field in fields(AlertThresholds) if field.name != "fleet_members"]
    limits = {name: getattr(config.alerts, name) for name in names}
    return AlertThresholds(**limits, fleet_members=config.fleet.expect)


def api_key(config: Config) -> str:
    """The bearer token. Raises ConfigError that says how to give one."""
    if config.api.api_key is None:
        raise ConfigError(
            "api.api_key", "is required: set ATOMS_API_KEY (or ATOMS_API_KEY_FILE, api.api_key_file in the YAML file)"
        )
    return config.api.api_key.get_secret_value()


def secrets_of(config: Config) -> list[str]:
    """Every secret of the configuration, to be masked wherever it turns up."""
    key = config.api.api_key
    mine = [key.get_secret_value()] if key is not None else []
    return [*config.discovery.webhook.secrets, *mine, *fleet_secrets(config.fleet)]


def effective(config: Config) -> dict[str, Any]:
    """The whole configuration as plain values, ready for YAML, secrets masked."""
    return _shown(config)


def _shown(section: Section) -> dict[str, Any]:
    inner = sections(type(section))
    shown: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if name in inner:
            shown[name] = _shown(value)
        elif isinstance(value, SecretStr):
            shown[name] = "<secret>"
        else:
            shown[name] = _written(field, value)
    return shown


def _written(field: Any, value: Any) -> Any:
    if isinstance(value, tuple) and value and isinstance(value[0], Section):
        return [_shown(entry) for entry in value]
    rule = next(rules(field), None)
    return value if rule is None or value is None else rule.show(value)


def reference() -> list[tuple[str, str, Any, str]]:
    """(key, environment variable, default, meaning) of every key, for the documentation."""
    rows = []
    for key, field in leaf_keys().items():
        default = field.get_default(call_default_factory=True)
        rows.append((dotted(key), environment_name(key), _written(field, default), field.description or ""))
    return rows
