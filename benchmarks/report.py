"""Results as a table and a plot, with the machine they come from."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.live import CANDIDATES
from benchmarks.targets import Figures, table

_PACKAGES = (
    "aiohttp", "httptools", "httpx", "httpx-aiohttp", "httpx-sse", "msgspec", "opentelemetry-sdk", "prometheus-client",
    "smallestai", "uvloop",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """What the figures depend on; no names of hosts or people."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**20, 1),
        "kernel": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "virtual": any("hypervisor" in line for line in _lines("/proc/cpuinfo")),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES if _installed(name)},
        "commit": _commit(),
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def about() -> str:
    """On what, when and of which commit, in one line; with the load there is now."""
    here = machine()
    load = os.getloadavg()[0]
    return f"{here['when']}, {here['commit']}, {here['cpu']}, {here['cores']} cores, load {load:.1f}"


def put(document: Path, begin: str, end: str, text: str) -> None:
    """A table into a document, between its marks."""
    before, found, rest = document.read_text("utf-8").partition(begin)
    if not found:
        raise SystemExit(f"{document} has no place for the table")
    document.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", "utf-8")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _commit() -> str:
    try:
        said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return said.stdout.strip()


_HOW = {"tls": " TLS", "singly": " singly"}


def markdown(figures: Figures) -> str:
    """The whole report."""
    return "\n".join(_report(figures)) + "\n"


def _report(figures: Figures) -> Iterator[str]:
    about = figures["machine"]
    yield "# Benchmark results\n"
    yield (
        f"{about['when']}, commit {about['commit'] or 'unknown'}, {figures['mode']} mode. {about['cpu']}, "
        f"{about['cores']} cores{' (virtual)' if about['virtual'] else ''}, {about['memory_gib']} GiB, "
        f"{about['kernel']}, "
        f"{about['python']}, {', '.join(f'{name} {version}' for name, version in about['packages'].items())}.\n"
    )
    if busy := figures.get("load_average_after"):
        yield (
            "Load average of the machine after each part (the benchmark itself makes about 2 of it; more means that "
            f"others were at work, and the figures are noisy): {', '.join(f'{k} {v:.1f}' for k, v in busy.items())}.\n"
        )
    yield "## Targets\n"
    yield from _grid(
        ("", "target", "measured", "met"),
        ((row["what"], row["target"], row["measured"], "yes" if row["met"] else "**no**") for row in table(figures)),
    )
    if figures.get("live"):
        yield from _live(figures)
    if "saturation" in figures:
        yield "\n## Events per second on one core\n"
        yield from _grid(
            ("", "streams", "kept up with", "flat out", "CPU per event then"),
            (
                (
                    CANDIDATES[name],
                    f"{found['streams']:,}",
                    f"{found['kept_up']:,.0f}/s",
                    f"{found['flat_out']:,.0f}/s",
                    f"{found['flat_out_microseconds']:.1f} µs",
                )
                for name, found in figures["saturation"].items()
            ),
        )
    if "stalls" in figures:
        yield from _stalls(figures)
    if "endurance" in figures:
        yield from _endurance(figures["endurance"])
    yield from _offline(figures.get("offline", {}))
    if figures.get("not_run"):
        yield "\n## Not run, and why\n"
        yield from (f"- {line}" for line in figures["not_run"])


def _live(figures: Figures) -> Iterator[str]:
    yield "\n## From the socket to metric and span\n"
    yield (
        "CPU time of the whole process per event; events come one at a time on each stream, those of a millisecond "
        "together, *singly* each as soon as it is due. The pace is 3 events/s on "
        "each stream, for slower candidates what they take with 40 % of a core. Floor and aiohttp only read.\n"
    )
    yield from _grid(
        ("streams", "", "CPU per event", "pace", "lag p50 / p99", "connects/s", "CPU per connect", "memory per call"),
        (
            (
                f"{found['streams']:,}{_HOW.get(key.split('/')[-1], '')}",
                CANDIDATES[key.split("/")[0]],
                f"{found['microseconds_per_event']:.1f} µs"
                + (f" ({found['spread']:.0%})" if found["spread"] > 0.1 else "")
                + (" behind" if found.get("behind") else ""),
                f"{found['pace']:g}/s",
                f"{found['lag_p50'] * 1e3:.1f} / {found['lag_p99'] * 1e3:.0f} ms" if "lag_p50" in found else "",
                f"{found['connects_per_second']:,.0f}",
                f"{found['connect_milliseconds']:.2f} ms",
                f"{found['kib_per_call']:.1f} KiB",
            )
            for key, found in figures["live"].items()
        ),
    )
    yield (
        "\nA percentage says by how much repeated runs differed, where that was more than 10 %. *Behind*: the "
        "candidate did not keep up, read several events at once, and looks cheaper or busier than it is."
    )


def _stalls(figures: Figures) -> Iterator[str]:
    yield "\n## The event loop during scrapes\n"
    yield (
        "One scrape follows the other without a pause, under 3,000 events/s; a probe asks to be woken every 5 ms and "
        "notes how late it was.\n"
    )
    rows = (
        (f"{figures['stalls']['series']:,} series, as Prometheus scrapes", "stalls"),
        ("every page from scratch (formats in turn)", "cold_stalls"),
    )
    yield from _grid(
        ("", "scrapes", "a scrape takes", "stall p50", "p99", "max"),
        (
            (
                name,
                str(figures[key]["scrapes"]),
                f"{figures[key]['scrape_seconds_mean'] * 1e3:.0f} ms",
                *(f"{figures[key][f'stall_{each}'] * 1e3:.1f} ms" for each in ("p50", "p99", "max")),
            )
            for name, key in rows
            if key in figures
        ),
    )


def _endurance(found: Figures) -> Iterator[str]:
    yield f"\n## {found['calls']:,} calls for {found['seconds'] / 60:.1f} minutes\n"
    yield from (
        f"- {line}"
        for line in (
            f"published by {found['simulators']} simulator process(es), by their ledgers: {found['published']:,}",
            f"counted by the exporter: {found['counted']:,}; lost: {found['lost']:,}; twice: {found['duplicates']:,}",
            f"lag p50 {found['lag_p50'] * 1e3:.1f} ms, p99 {found['lag_p99'] * 1e3:.0f} ms (the "
            "simulator's own lateness included)",
            f"CPU {found['cpu_share']:.0%} of a core, {found['microseconds_per_event']:.1f} µs per event; "
            f"spans exported: {found['spans']:,}",
            f"memory at the end {found['rss_mib']:.0f} MiB, {found['kib_per_call']:.1f} KiB per call",
            f"the simulators used {found['simulator_cpu_share']:.0%} of a core",
        )
    )


def _offline(found: Figures) -> Iterator[str]:
    if not found:
        return
    yield "\n## Without sockets\n"
    rows: list[tuple[str, str]] = []
    if replay := found.get("replay"):
        rows.append(("`replay`, typical traffic", f"{replay['events_per_second']:,.0f} events/s"))
        rows.append((f"… the command, {replay['events']:,} events, start included", f"{replay['cli_seconds']:.1f} s"))
    if spans := found.get("spans"):
        rows.append(("spans built", f"{spans['built_per_second']:,.0f}/s"))
        rows.append(("spans built and encoded as OTLP", f"{spans['spans_per_second']:,.0f}/s"))
    if hour := found.get("hour"):
        rows.append((f"an hour-long call ({hour['events']:,} events)", f"{hour['kib_per_call']:.0f} KiB"))
    if ended := found.get("ended_calls"):
        rows.append(
            (
                f"each of the first 200,000 of {ended['calls']:,} ended calls leaves",
                f"{ended['growth_bytes_per_call']:.0f} bytes (its id)",
            )
        )
    if start := found.get("start"):
        rows.append(("`atoms-exporter --version`", f"{start['version_seconds']:.2f} s"))
        rows.append(("`atoms-exporter run` until ready", f"{start['ready_seconds']:.2f} s"))
    yield from _grid(("", "measured"), rows)
    if pages := found.get("pages"):
        yield "\n`/metrics` in OpenMetrics with exemplars, CPU per page:\n"
        yield from _grid(
            ("series", "bytes", "first", "unchanged", "a tenth changed", "prometheus_client"),
            (
                (
                    f"{page['series']:,}",
                    f"{page['page_bytes']:,}",
                    *(
                        f"{page[f'{each}_seconds'] * 1e3:.1f} ms"
                        for each in ("first", "unchanged", "tenth_changed", "prometheus_client")
                    ),
                )
                for page in pages["pages"]
            ),
        )


def _grid(head: tuple[str, ...], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def plot(figures: Figures, path: Path) -> bool:
    """Cost per event against the number of streams; ``False`` without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "atoms-exporter"
    from matplotlib import pyplot

    drawing, axes = pyplot.subplots(figsize=(8, 5))
    for name, label in CANDIDATES.items():
        for tls in (False, True):
            points = sorted(
                (found["streams"], found["microseconds_per_event"])
                for key, found in figures["live"].items()
                if key.split("/")[0] == name and key.split("/")[2:] == (["tls"] if tls else [])
            )
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    marker="o",
                    linestyle="--" if tls else "-",
                    linewidth=2.5 if name == "ours" else 1.2,
                    color=f"C{list(CANDIDATES).index(name)}",
                    label=f"{label}{', TLS' if tls else ''}",
                )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("streams")
    axes.set_ylabel("CPU per event, µs")
    axes.set_title("From the socket to metric and span: CPU per event")
    ticks = sorted({found["streams"] for found in figures["live"].values()})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    costs = (5, 10, 20, 50, 100, 200, 500, 1000)
    axes.set_yticks(costs, [str(each) for each in costs])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    drawing.tight_layout()
    drawing.savefig(path, metadata={"Date": None})
    return True
