"""The rules command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.cli.options import ConfigFile, Settings, configured
from exporter.cli.printing import remark, say
from exporter.config import objectives, thresholds
from exporter.errors import ConfigError
from exporter.slo import PARTS, render_prometheus_rule, render_pyrra, render_rules, render_sloth
from exporter.slo.annotations import DEFAULT_DASHBOARDS_URL, DEFAULT_RUNBOOK_URL

_FORMATS = ("prometheus", "prometheusrule", "sloth", "pyrra")
DEFAULT_JOB = "atoms-exporter"


def rules_command(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write there, not to stdout.", show_default=False),
    ] = None,
    style: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="prometheus, prometheusrule, sloth or pyrra.")
    ] = "prometheus",
    external_url: Annotated[
        str,
        typer.Option(
            "--external-url",
            "--dashboards-url",
            metavar="URL",
            help="Where people reach your Grafana, for links in alerts; without it they are paths.",
            show_default=False,
        ),
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

    The SLOs are those of `slo:` in the configuration; without it 95 % of turns under 2 s and 99 % under 4 s. When the
    other alerts speak, and which labels all of them bear, says `alerts:`; what models cost, `prices:`.
    """
    if style not in _FORMATS:
        raise ConfigError("--format", f"must be one of {', '.join(_FORMATS)}")
    parts = tuple(only or PARTS)
    if not set(parts) <= set(PARTS):
        raise ConfigError("--only", f"must be one of {', '.join(PARTS)}")
    config = configured(file, settings)
    wanted = objectives(config)
    if style == "sloth":
        text = render_sloth(wanted, dashboards_url=external_url, runbook_url=runbook_url)
    elif style == "pyrra":
        text = render_pyrra(wanted)
    else:
        render = render_rules if style == "prometheus" else render_prometheus_rule
        text = render(
            wanted,
            dashboards_url=external_url,
            runbook_url=runbook_url,
            job=job,
            labels=config.alerts.labels,
            prices=config.prices,
            thresholds=thresholds(config),
            only=parts,
        )
    if output is None:
        say(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise ConfigError("--output", f"{output}: {problem.strerror}") from problem
    remark(f"wrote {output}")
