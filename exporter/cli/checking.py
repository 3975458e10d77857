"""check-config: everything `run` would build is built, and nobody is talked to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import structlog
import typer
import yaml

from exporter.calls.telemetry import NoTelemetry
from exporter.cli.options import BaseUrl, ConfigFile, ListenAddress, Settings, WebConfig, configured
from exporter.cli.printing import say
from exporter.config import AUTO, Config, api_key, effective, environment, objectives
from exporter.errors import ConfigError
from exporter.fleet.connecting import Redis
from exporter.outputs.otlp import describe
from exporter.outputs.prometheus.metrics import Metrics
from exporter.receivers.client import AtomsApi
from exporter.service import fleet_settings
from exporter.web import WebConfigFile
from exporter.web.web_config import read_web_config

_SQLITE = b"SQLite format 3\0"
_IDENTITY = ("CLIENT_CERTIFICATE", "CLIENT_KEY")


def check_config_command(
    file: ConfigFile = None,
    base_url: BaseUrl = None,
    listen: ListenAddress = None,
    web_config: WebConfig = None,
    settings: Settings = None,
    no_secrets: Annotated[
        bool, typer.Option("--no-secrets", help="Leave out what needs a secret, and say so: for CI.")
    ] = False,
) -> None:
    """Check everything `run` needs, and print the effective configuration with secrets masked. Exit code 0 or 2.

    Clients, certificates, encoders and stores are built as `run` builds them; nobody is asked anything.
    """
    config = configured(
        file,
        settings,
        without_secrets=no_secrets,
        api__base_url=base_url,
        web__listen_address=listen,
        web__config_file=web_config,
    )
    env, left_out = (_without_identity(environment())) if no_secrets else (environment(), [])
    token = "no secret" if no_secrets else api_key(config)
    objectives(config)
    Metrics(version="", latency_buckets=config.metrics.latency_buckets)
    asyncio.run(_build_client(config, token, env))
    _check_web(config, no_secrets)
    if config.state.path not in (None, AUTO):
        check_state_path(config.state.path)
    if (fleet := fleet_settings(config)) is not None:
        Redis(fleet.url, fleet.namespace, password=fleet.password).close()
    pushed = describe(env)
    say(yaml.safe_dump(effective(config), sort_keys=False, allow_unicode=True))
    for line, meaning in pushed.items():
        say(f"# {line}: {meaning}")
    if no_secrets:
        secret = ["the API key", "webhook secrets", "certificates and keys of web.config_file", *left_out]
        say(f"# not checked, because of --no-secrets: {', '.join(secret)}")


async def _build_client(config: Config, token: str, env: Mapping[str, str]) -> None:
    """Proxies, certificates and the URL: whatever the client of the API would trip over."""
    api = AtomsApi(config.api.base_url, token, telemetry=NoTelemetry(), log=structlog.get_logger(), env=env)
    await api.aclose()


def _check_web(config: Config, no_secrets: bool) -> None:
    if no_secrets and config.web.config_file is not None:
        read_web_config(config.web.config_file)  # not what it names: a key is a secret
    else:
        WebConfigFile(config.web.config_file)


def _without_identity(env: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment without client certificates and keys that are not here, and the names of these variables."""
    named = [name for name in env if name.startswith("OTEL_EXPORTER_OTLP_") and name.endswith(_IDENTITY)]
    missing = any(not Path(env[name].strip()).exists() for name in named if env[name].strip())
    left_out = named if missing else []
    return {name: value for name, value in env.items() if name not in left_out}, left_out


def check_state_path(path: Path) -> None:
    """Whether state can be kept there. Raises ConfigError. Nothing is written: another process may be at work on it."""
    folder = path.resolve().parent
    if not folder.is_dir():
        raise ConfigError("state.path", f"{path}: its directory does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError("state.path", f"{path}: its directory cannot be written to")
    if not path.exists():
        return
    if not path.is_file() or not os.access(path, os.R_OK | os.W_OK):
        raise ConfigError("state.path", f"{path}: is not a file that can be read and written")
    with path.open("rb") as file:
        start = file.read(len(_SQLITE))
    if start not in (b"", _SQLITE):
        raise ConfigError("state.path", f"{path}: belongs to something else; it is not a state file")
