"""Commands about configuration: rules, check-config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import yaml

from exporter.cli.options import BaseUrl, ConfigFile, ListenAddress, Settings, WebConfig, configured
from exporter.cli.printing import remark, say
from exporter.config import api_key, effective, environment, objectives
from exporter.errors import ConfigError
from exporter.outputs.otlp import describe
from exporter.slo import render_pyrra, render_rules, render_sloth
from exporter.slo.annotations import DEFAULT_DASHBOARDS_URL, DEFAULT_RUNBOOK_URL
from exporter.web import WebConfigFile

_FORMATS = ("prometheus", "sloth", "pyrra")
_PARTS = ("slo", "calls", "exporter")
DEFAULT_JOB = "atoms-exporter"


def rules_command(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write there, not to stdout.", show_default=False),
    ] = None,
    style: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="prometheus, sloth or pyrra.")
    ] = "prometheus",
    dashboards_url: Annotated[
        str, typer.Option("--dashboards-url", metavar="URL", help="Root of your Grafana, for links in alerts.")
    ] = DEFAULT_DASHBOARDS_URL,
    runbook_url: Annotated[
        str, typer.Option("--runbook-url", metavar="URL", help="Where the runbook is.")
    ] = DEFAULT_RUNBOOK_URL,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="PART", help="slo, calls or exporter. May be repeated; all of them by default."),
    ] = None,
    job: Annotated[str, typer.Option("--job", help="The scrape job, for the alerts about the exporter.")] = DEFAULT_JOB,
    file: ConfigFile = None,
    settings: Settings = None,
) -> None:
    """Prometheus recording and alerting rules for the configured SLOs.

    The SLOs are those of `slo:` in the configuration; without it 95 % of turns under 2 s and 99 % under 4 s.
    """
    if style not in _FORMATS:
        raise ConfigError("--format", f"must be one of {', '.join(_FORMATS)}")
    parts = tuple(only or _PARTS)
    if not set(parts) <= set(_PARTS):
        raise ConfigError("--only", f"must be one of {', '.join(_PARTS)}")
    wanted = objectives(configured(file, settings))
    if style == "sloth":
        text = render_sloth(wanted, dashboards_url=dashboards_url, runbook_url=runbook_url)
    elif style == "pyrra":
        text = render_pyrra(wanted)
    else:
        text = render_rules(wanted, dashboards_url=dashboards_url, runbook_url=runbook_url, job=job, only=parts)
    if output is None:
        say(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise ConfigError("--output", f"{output}: {problem.strerror}") from problem
    remark(f"wrote {output}")


def check_config_command(
    file: ConfigFile = None,
    base_url: BaseUrl = None,
    listen: ListenAddress = None,
    web_config: WebConfig = None,
    settings: Settings = None,
) -> None:
    """Load and validate everything, print the effective configuration with secrets masked. Exit code 0 or 2."""
    config = configured(
        file,
        settings,
        api__base_url=base_url,
        web__listen_address=listen,
        web__config_file=str(web_config) if web_config is not None else None,
    )
    api_key(config)
    objectives(config)
    WebConfigFile(config.web.config_file)
    if config.state.path is not None and not config.state.path.resolve().parent.is_dir():
        raise ConfigError("state.path", f"{config.state.path}: its directory does not exist")
    pushed = describe(environment())
    say(yaml.safe_dump(effective(config), sort_keys=False, allow_unicode=True))
    for line, meaning in pushed.items():
        say(f"# {line}: {meaning}")
