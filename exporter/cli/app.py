"""Every command, and how each of them ends."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

import typer

from exporter.cli.checking import check_config_command
from exporter.cli.fleet import fleet_command, state, state_copy_command
from exporter.cli.looking import backfill_command, explain_command, replay_command, trace_id_command
from exporter.cli.printing import fail, give_up_stdout, say, stdout_is_lost
from exporter.cli.rules import rules_command
from exporter.cli.running import demo_command, run_command, simulate_command
from exporter.errors import AtomsExporterError, ConfigError

__all__ = ["app", "run"]

app = typer.Typer(
    name="atoms-exporter",
    help="Prometheus metrics and OpenTelemetry traces of voice-agent calls on smallest.ai Atoms.",
    epilog="First steps: `demo` needs nothing; `run` follows your calls, once ATOMS_API_KEY is set.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut names at 80 columns, and in pipes
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


_COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("run", run_command, "Find calls, follow them, serve /metrics, push OTLP."),
    ("demo", demo_command, "The same against simulated calls: needs nothing."),
    ("simulate", simulate_command, "Only the simulator: an Atoms API on a port."),
    ("replay", replay_command, "Recorded events to OpenMetrics text, offline."),
    ("explain", explain_command, "One call as a person reads it."),
    ("backfill", backfill_command, "Export the traces of finished calls."),
    ("rules", rules_command, "Recording and alerting rules for your SLOs."),
    ("check-config", check_config_command, "Check everything `run` needs, and show it."),
    ("fleet", fleet_command, "Replicas that share an account: who is there, with how many calls."),
    ("trace-id", trace_id_command, "The trace id of a call."),
)
for _name, _command, _short in _COMMANDS:
    app.command(_name, short_help=_short)(_command)
state.command("copy", short_help="Move it between a file and a fleet's Redis.")(state_copy_command)
app.add_typer(state, name="state", short_help="What is kept of an account.")


def run() -> None:
    """Exit codes: 0 fine, 1 failed at run time, 2 usage or configuration error."""
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
        pass
    except OSError as problem:
        if not stdout_is_lost(problem):
            raise
        fail(f"stdout: {problem.strerror}")
        sys.exit(1)
    finally:
        give_up_stdout()
