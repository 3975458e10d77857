"""Writes the generated parts of the documentation: metrics, configuration keys, commands, faults of the simulator.

``python docs/generate.py`` rewrites what stands between the markers; ``--check`` only says whether something is stale
(exit code 1), which is what the tests do.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
import typer.main
import yaml

from exporter.cli.app import app
from exporter.config import reference
from exporter.outputs.prometheus.catalogue import AGENT, CALL_METRICS, NODE, PROCESSOR, SELF_METRICS, MetricSpec
from exporter.outputs.prometheus.groups import GROUPS
from exporter.simulator.faults import FAULTS

DOCS = Path(__file__).resolve().parent
_TABLE = runpy.run_path(str(DOCS / "bounds.py"))
_SIZING = runpy.run_path(str(DOCS / "sizing.py"))
_DASHBOARDS = DOCS.parent / "dashboards"
_ASKED = runpy.run_path(str(DOCS.parent / "dashboards" / "asked.py"))
SECURITY = DOCS.parent / "SECURITY.md"
_BASES = ((PROCESSOR, "processor labels"), (NODE, "node labels"), (AGENT, "agent labels"))


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    return "\n".join([_row(*head), "|" + "---|" * len(head), *(_row(*row) for row in rows)])


def _labels(spec: MetricSpec) -> str:
    for base, name in _BASES:
        if spec.labels[: len(base)] == base:
            rest = spec.labels[len(base) :]
            return name + "".join(f", `{label}`" for label in rest)
    return ", ".join(f"`{label}`" for label in spec.labels) or "–"


def _meaning(spec: MetricSpec) -> str:
    closed = (f"`{label}`: {', '.join(f'`{value}`' for value in values)}." for label, values in spec.closed.items())
    return " ".join([spec.help, *closed])


def _metrics(specs: tuple[MetricSpec, ...]) -> str:
    rows = ((f"`{spec.name}`", spec.type, _labels(spec), _meaning(spec)) for spec in specs)
    return _table(("metric", "type", "labels", "meaning"), rows)


def _buckets() -> str:
    by_bounds: dict[tuple[float, ...], list[MetricSpec]] = {}
    for spec in CALL_METRICS + SELF_METRICS:
        if spec.buckets:
            by_bounds.setdefault(spec.buckets, []).append(spec)
    rows = (
        (" ".join(f"{bound:g}" for bound in bounds), ", ".join(f"`{spec.name}`" for spec in specs))
        for bounds, specs in by_bounds.items()
    )
    return _table(("bounds", "histograms"), rows)


def _default(value: Any) -> str:
    if value is None or value in ([], {}):
        return "–"
    if isinstance(value, list) and isinstance(value[0], dict):
        return "see below"
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    return f"`{text}`"


def _configuration() -> str:
    rows = (
        (f"`{key}`", f"`{variable}`", _default(default), meaning) for key, variable, default, meaning in reference()
    )
    return _table(("key", "environment", "default", "meaning"), rows)


def _objectives() -> str:
    (slo,) = (default for key, _, default, _ in reference() if key == "slo")
    return "```yaml\n" + yaml.safe_dump({"slo": slo}, sort_keys=False) + "```"


def _commands() -> str:
    group = typer.main.get_command(app)
    context = typer.Context(group)
    commands = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return "\n\n".join(_command(name, command) for name, command in commands.items())


def _command(name: str, command: Any) -> str:
    parts = [f"## atoms-exporter {name}", " ".join((command.help or "").split())]
    rows = [_parameter(parameter) for parameter in command.params if parameter.name != "help"]
    if rows:
        parts.append(_table(("argument", "meaning", "default"), iter(rows)))
    return "\n\n".join(parts)


def _parameter(parameter: Any) -> tuple[str, str, str]:
    shown = parameter.show_default if isinstance(getattr(parameter, "show_default", None), str) else None
    default = shown or ("–" if parameter.default in (None, False, ()) else f"`{parameter.default}`")
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name}`", parameter.help or "", "–"
    spelled = ", ".join([*parameter.opts, *parameter.secondary_opts])
    metavar = f" {parameter.metavar}" if parameter.metavar and not parameter.is_flag else ""
    return f"`{spelled}{metavar}`", parameter.help or "", default


def _faults() -> str:
    return _table(("fault", "what it does"), ((f"`{name}`", meaning) for name, meaning in FAULTS.items()))


def _bounds() -> str:
    head = ("input", "bytes", "count", "time", "beyond it", "counted as")
    rows = (
        (f"{bound.what} ({', '.join(f'`{where}`' for where in bound.where)})", *bound[3:]) for bound in _TABLE["BOUNDS"]
    )
    return _table(head, rows)


def _sizes(what: str) -> Callable[[], str]:
    return lambda: _table(_SIZING[f"{what.upper()}_HEAD"], iter(_SIZING[f"{what}_table"]()))


def _needed() -> str:
    """What shows or alerts on the metrics of each group: rules by way of the series they record, too."""
    boards = {path: path.read_text(encoding="utf-8") for path in sorted((_DASHBOARDS / "grafana").glob("*.json"))}
    rules = [
        rule
        for path in sorted((_DASHBOARDS / "rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
    ]
    rows = []
    for group, names in GROUPS.items():
        names = {*names}
        while more := {rule["record"] for rule in rules if "record" in rule and _mentions(rule["expr"], names)} - names:
            names |= more
        shown = [json.loads(text)["title"] for text in boards.values() if _mentions(text, names)]
        alerts = sorted({rule["alert"] for rule in rules if "alert" in rule and _mentions(rule["expr"], names)})
        rows.append((f"`{group}`", ", ".join(shown) or "–", ", ".join(f"`{alert}`" for alert in alerts) or "–"))
    return _table(("group", "dashboards with panels of it", "alerts that need it"), iter(rows))


def _mentions(text: str, names: set[str]) -> bool:
    return any(re.search(rf"(?<![\w:]){re.escape(name)}(_bucket|_sum|_count)?(?![\w:])", text) for name in names)


def _asked() -> str:
    head = ("question", "metric", "panel, where the alert's link leads", "alert", "the page at `/` says", "runbook")
    rows = (
        (
            asked.question,
            f"`{asked.metric}`",
            f"*{asked.panel}* on `{asked.dashboard}`",
            f"`{asked.alert}`",
            asked.on_the_page,
            f"[section](../dashboards/runbook.md#{asked.alert.lower()})",
        )
        for asked in _ASKED["QUESTIONS"]
    )
    return _table(head, rows)


PARTS: dict[str, Callable[[], str]] = {
    "call metrics": lambda: _metrics(CALL_METRICS),
    "self metrics": lambda: _metrics(SELF_METRICS),
    "buckets": _buckets,
    "configuration": _configuration,
    "objectives": _objectives,
    "commands": _commands,
    "faults": _faults,
    "bounds": _bounds,
    "groups": _sizes("groups"),
    "accounts": _sizes("accounts"),
    "switches": _sizes("switches"),
    "needed": _needed,
    "questions": _asked,
    "memory": lambda: f"**{_TABLE['MOST_MEMORY_MIB']} MiB**",
}


def written(text: str) -> str:
    """The page with its generated parts made new. Raises KeyError for a part nobody generates."""
    marked = re.compile(r"(<!-- generated: ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return marked.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}\n{found[3]}", text)


def stale() -> dict[Path, str]:
    """The pages that say something else than the code, with what they should say."""
    pages = {page: page.read_text(encoding="utf-8") for page in [*sorted(DOCS.glob("*.md")), SECURITY]}
    return {page: new for page, text in pages.items() if (new := written(text)) != text}


if __name__ == "__main__":
    pages = stale()
    for page, text in pages.items():
        if "--check" not in sys.argv:
            page.write_text(text, encoding="utf-8")
        sys.stderr.write(f"{'stale' if '--check' in sys.argv else 'wrote'}: {page.name}\n")
    sys.exit(1 if pages and "--check" in sys.argv else 0)
