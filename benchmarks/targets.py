"""What the exporter promises, and whether a run shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

AT_MOST, AT_LEAST = "≤", "≥"
Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """One promise. ``measured`` raises KeyError when the run did not get to it."""

    what: str
    sign: str
    bound: float
    unit: str
    measured: Callable[[Figures], float]

    def row(self, figures: Figures) -> dict[str, Any] | None:
        """Target, measured, met; ``None`` when it was not measured."""
        try:
            value = self.measured(figures)
        except (KeyError, StopIteration, ZeroDivisionError):
            return None
        met = value <= self.bound if self.sign == AT_MOST else value >= self.bound
        return {
            "what": self.what,
            "target": f"{self.sign} {self.bound:,g}{self.unit}",
            "measured": f"{value:,.3g}{self.unit}" if abs(value) < 1000 else f"{value:,.0f}{self.unit}",
            "met": met,
        }


def cost(figures: Figures, name: str, streams: int, *, tls: bool = False) -> float:
    """Microseconds of CPU per event."""
    return float(point(figures, name, streams, tls=tls)["microseconds_per_event"])


def point(figures: Figures, name: str, streams: int, *, tls: bool = False) -> Figures:
    """What one candidate measured at one size. Raises KeyError when it was not run there."""
    found: Figures = figures["live"][f"{name}/{streams}{'/tls' if tls else ''}"]
    return found


def _compared(figures: Figures) -> int:
    """The number of streams at which the candidates are compared."""
    return 2_000 if "ours/2000" in figures["live"] else 1_000


def _over(other: str) -> Callable[[Figures], float]:
    return lambda figures: (
        cost(figures, "ours", _compared(figures)) / cost(figures, other, _compared(figures))
    )  # fmt: skip


def _largest(figures: Figures, *, tls: bool) -> Figures:
    sizes = [int(key.split("/")[1]) for key in figures["live"] if key.startswith("ours/") and ("/tls" in key) == tls]
    return point(figures, "ours", max(sizes, default=0), tls=tls)


def _stall_p99(figures: Figures) -> float:
    if figures["stalls"]["series"] < 50_000:  # quick mode renders smaller pages: no proof of anything
        raise KeyError
    return float(figures["stalls"]["stall_p99"])


TARGETS = (
    Target("CPU per event, of handwritten httpx", AT_MOST, 0.45, " ×", _over("handwritten")),
    Target("CPU per event, of the official SDK", AT_MOST, 0.15, " ×", _over("sdk")),
    Target("CPU per event, of httpx over aiohttp that only reads", AT_MOST, 1.6, " ×", _over("aiohttp_reading")),
    Target(
        "cost per event at 10,000 streams, of that at 1,000",
        AT_MOST,
        1.15,
        " ×",
        lambda figures: cost(figures, "ours", 10_000) / cost(figures, "ours", 1_000),
    ),
    Target(
        "10,000 live calls × 3 events/s for 5 minutes: events lost",
        AT_MOST,
        0,
        "",
        lambda figures: figures["endurance"]["lost"],
    ),
    Target("… median lag", AT_MOST, 50, " ms", lambda figures: figures["endurance"]["lag_p50"] * 1e3),
    Target("memory per followed call, plain", AT_MOST, 30, " KiB", lambda f: _largest(f, tls=False)["kib_per_call"]),
    Target("memory per followed call, TLS", AT_MOST, 90, " KiB", lambda f: _largest(f, tls=True)["kib_per_call"]),
    Target("memory of an hour-long call", AT_MOST, 300, " KiB", lambda f: f["offline"]["hour"]["kib_per_call"]),
    Target(
        "growth from the 240,000th ended call to the 300,000th",
        AT_MOST,
        1024,
        " KiB",
        lambda f: f["offline"]["ended_calls"]["last_fifth_growth_kib"],
    ),
    Target("loop stall p99 during scrapes of 50,000 series", AT_MOST, 30, " ms", lambda f: _stall_p99(f) * 1e3),
    Target("replay", AT_LEAST, 150_000, " events/s", lambda f: f["offline"]["replay"]["events_per_second"]),
)


def table(figures: Figures) -> list[dict[str, Any]]:
    """All that was measured."""
    return [row for target in TARGETS if (row := target.row(figures)) is not None]
