"""The Prometheus text format 0.0.4 and OpenMetrics 1.0, line by line.

Byte for byte what prometheus_client writes for the same series (a test compares them), but made from parts that are
prepared once for each metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from prometheus_client.utils import floatToGoString

from exporter.outputs.prometheus.catalogue import MetricSpec

_FIRST_EXPONENT = 1_000_000
_LONGEST_CALL_ID = 128 - len("call_idspan_idtrace_id") - 16 - 32


class SpanReference(Protocol):
    """A span that shows a measurement. Asked for its ids only when a page is written."""

    @property
    def trace_id(self) -> str:
        """32 hex digits."""

    @property
    def span_id(self) -> str:
        """16 hex digits."""

    @property
    def call_id(self) -> str:
        """The call it belongs to."""


ExemplarAt = tuple[SpanReference, float, float]
"""A trace to look at for a bucket: its span, the value, Unix time. A bare tuple: one is made for every observation,
and a named one costs half a microsecond."""


class Layout:
    """How a family's lines are written: everything about them that is the same for every child and every scrape."""

    def __init__(self, spec: MetricSpec, bounds: tuple[float, ...]) -> None:
        base = spec.name.removesuffix("_total")
        text = spec.help.replace("\\", r"\\").replace("\n", r"\n")
        unit = f"# UNIT {base} {spec.unit}\n" if spec.unit else ""
        self.text_header = f"# HELP {spec.name} {text}\n# TYPE {spec.name} {spec.type}\n"
        quoted = text.replace('"', r"\"")
        self.openmetrics_header = f"# HELP {base} {quoted}\n# TYPE {base} {spec.type}\n{unit}"
        self.name = spec.name
        self.les = tuple(number(bound) for bound in (*bounds, float("inf")))
        self.order = sorted(range(len(spec.labels)), key=lambda position: spec.labels[position])
        self.names = spec.labels
        self.before_le = [position for position in self.order if spec.labels[position] < "le"]
        self.after_le = [position for position in self.order if spec.labels[position] > "le"]

    def _pairs(self, values: tuple[str, ...], positions: list[int]) -> str:
        return ",".join(f'{self.names[position]}="{escaped(values[position])}"' for position in positions)

    def value_line(self, values: tuple[str, ...], value: float) -> str:
        """The line of a counter or gauge."""
        labels = self._pairs(values, self.order)
        return f"{self.name}{{{labels}}} {number(value)}\n" if labels else f"{self.name} {number(value)}\n"

    def histogram_lines(
        self,
        values: tuple[str, ...],
        counts: Sequence[int],
        total: float,
        exemplars: Mapping[int, ExemplarAt] | None,
    ) -> str:
        """The lines of a histogram; ``counts`` are per bucket."""
        labels = self._pairs(values, self.order)
        braces = f"{{{labels}}}" if labels else ""
        before, after = self._pairs(values, self.before_le), self._pairs(values, self.after_le)
        head = f'{self.name}_bucket{{{before}{"," if before else ""}le="'
        tail = f'"{"," if after else ""}{after}}} '
        lines = []
        cumulative = 0
        for bucket, le in enumerate(self.les):
            cumulative += counts[bucket]
            exemplar = ""
            if exemplars is not None and (shown := exemplars.get(bucket)) is not None:
                span, value, at = shown
                names = ",".join(f'{name}="{escaped(text)}"' for name, text in exemplar_labels(span).items())
                exemplar = f" # {{{names}}} {number(value)} {float(at)}"
            lines.append(f"{head}{le}{tail}{number(cumulative)}{exemplar}\n")
        lines.append(f"{self.name}_count{braces} {number(cumulative)}\n{self.name}_sum{braces} {number(total)}\n")
        return "".join(lines)

    def created_line(self, values: tuple[str, ...], created_at: float) -> str:
        """When a counter or histogram began, as OpenMetrics has it."""
        labels = self._pairs(values, self.order)
        braces = f"{{{labels}}}" if labels else ""
        return f"{self.name.removesuffix('_total')}_created{braces} {number(created_at)}\n"


def exemplar_labels(span: SpanReference) -> dict[str, str]:
    """What an exemplar carries, in the order of the names. OpenMetrics allows 128 characters, names included: a call
    id that is longer than any the API gives is left out."""
    labels = {"span_id": span.span_id, "trace_id": span.trace_id}
    call_id = span.call_id
    return {"call_id": call_id, **labels} if call_id and len(call_id) <= _LONGEST_CALL_ID else labels


def escaped(value: str) -> str:
    """A label value between its quotes."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value


def number(value: int | float) -> str:
    """A sample's value as Prometheus writes it."""
    if type(value) is int and 0 <= value < _FIRST_EXPONENT:
        return f"{value}.0"
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]  # prometheus_client left it untyped
