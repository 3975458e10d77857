"""Options that several commands share, and the configuration they make."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import structlog
import typer
from structlog.typing import FilteringBoundLogger

from exporter.config import Config, environment, load, secrets_of
from exporter.errors import ConfigError
from exporter.logs import set_up_logs

ConfigFile = Annotated[
    Path | None, typer.Option("--config.file", metavar="FILE", help="YAML configuration file.", show_default=False)
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set any key of the configuration, such as `api.idle_timeout=30s`. May be repeated.",
        show_default=False,
    ),
]
BaseUrl = Annotated[
    str | None, typer.Option("--api.base-url", metavar="URL", help="Root of the Atoms API.", show_default=False)
]
ListenAddress = Annotated[
    str | None,
    typer.Option(
        "--web.listen-address",
        metavar="HOST:PORT",
        help="Where to listen; port 0 takes a free one.",
        show_default=False,
    ),
]
WebConfig = Annotated[  # text, as --state.path: an empty one says that there is none
    str | None,
    typer.Option(
        "--web.config.file",
        metavar="FILE",
        help="Prometheus web configuration file: TLS, basic authentication.",
        show_default=False,
    ),
]
LogLevel = Annotated[
    str | None, typer.Option("--log.level", metavar="LEVEL", help="debug, info, warning, error.", show_default=False)
]
LogFormat = Annotated[
    str | None, typer.Option("--log.format", metavar="FORMAT", help="logfmt or json.", show_default=False)
]


FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "api.base_url": "--api.base-url",
        "discovery.calls": "--call",
        "discovery.poll.enabled": "--discovery.poll",
        "log.format": "--log.format",
        "log.level": "--log.level",
        "state.path": "--state.path",
        "web.config_file": "--web.config.file",
        "web.listen_address": "--web.listen-address",
    }
)
"""The keys that have a flag of their own, as a person types it."""


def configured(
    file: Path | None,
    settings: list[str] | None = None,
    env: Mapping[str, str] | None = None,
    *,
    without_secrets: bool = False,
    **flags: object,
) -> Config:
    """The configuration: flags over environment over file over defaults. Raises ConfigError.

    Flags are given by their dotted keys with ``__`` for the dots: ``web__listen_address=":9464"``. ``without_secrets``
    leaves the files of secrets alone.
    """
    given = {name.replace("__", "."): value for name, value in flags.items()}
    spelled = dict(FLAGS)
    for setting in settings or ():
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError("--set", "must be KEY=VALUE, such as api.idle_timeout=30s")
        name = key.strip().replace("-", "_")
        given[name], spelled[name] = value, f"--set {name[:60]}"
    return load(given, environment() if env is None else env, file, spelled=spelled, without_secrets=without_secrets)


def logging_as(config: Config) -> FilteringBoundLogger:
    """Logs to stderr as configured, its secrets masked."""
    set_up_logs(config.log.level, config.log.format, secrets=secrets_of(config))
    logger: FilteringBoundLogger = structlog.get_logger("exporter")
    return logger
