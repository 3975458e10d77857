"""The command line."""

from __future__ import annotations

import gc
import os
import sys

import typer

from exporter.cli.looking import backfill_command, explain_command, replay_command, trace_id_command
from exporter.cli.printing import fail, say
from exporter.cli.rules import check_config_command, rules_command
from exporter.cli.running import demo_command, run_command, simulate_command
from exporter.errors import AtomsExporterError, ConfigError

__all__ = ["app", "main"]

app = typer.Typer(
    name="atoms-exporter",
    help="Prometheus metrics and OpenTelemetry traces of voice-agent calls on smallest.ai Atoms.",
    epilog="First steps: `atoms-exporter demo` needs nothing; `ATOMS_API_KEY=… atoms-exporter run` follows your calls.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from exporter import __version__

        say(f"atoms-exporter {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """What every command has."""


app.command("run")(run_command)
app.command("demo")(demo_command)
app.command("simulate")(simulate_command)
app.command("replay")(replay_command)
app.command("explain")(explain_command)
app.command("backfill")(backfill_command)
app.command("rules")(rules_command)
app.command("check-config")(check_config_command)
app.command("trace-id")(trace_id_command)


def main() -> None:
    """The console script. Exit codes: 0 fine, 1 failed at run time, 2 usage or configuration error."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # a full collection over 10,000 calls would stall every stream
    try:
        app()
    except ConfigError as problem:
        fail(str(problem))
        sys.exit(2)
    except AtomsExporterError as problem:
        fail(str(problem))
        sys.exit(1)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
