"""Where facts go: to the metrics, and, those that have a span, to the traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from exporter.calls.observations import Observation
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recent import Recent
from exporter.outputs.spans import SHOWN, SpanRecord, spans_of
from exporter.protocol.events import Event


class Outputs:
    """A ``Recorder`` over metrics and, if there is somewhere to send them, spans.

    :param show: takes a fact of which spans can be made; must not block.
    :param watch: shown all facts.
    :param recent: remembers the last hour; costs nothing for facts it has no use for.
    """

    def __init__(
        self,
        metrics: Metrics,
        show: Callable[[Observation], None] | None = None,
        watch: Callable[[Sequence[Observation]], None] | None = None,
        recent: Recent | None = None,
    ) -> None:
        self._recorders = dict(metrics.calls.recorders)
        for kind, remember in recent.recorders.items() if recent is not None else ():
            self._recorders[kind] = _both(self._recorders[kind], remember)
        if show is not None:
            for kind in SHOWN:
                self._recorders[kind] = _both(self._recorders[kind], show)
        self._watch = watch
        self.event_received: Callable[[type[Event], float | None], None] = metrics.event_received
        self.event_duplicate: Callable[[], None] = metrics.event_duplicate
        self.event_recovered: Callable[[], None] = metrics.event_recovered
        self.event_rejected: Callable[[str], None] = metrics.event_rejected
        self.sample_skipped: Callable[[str], None] = metrics.sample_skipped

    def observed(self, facts: Sequence[Observation]) -> None:
        """Count them, and show those that can be shown."""
        recorders = self._recorders
        for fact in facts:
            recorders[type(fact)](fact)
        if self._watch is not None:
            self._watch(facts)


def _both(first: Callable[[Any], None], second: Callable[[Any], None]) -> Callable[[Any], None]:
    def take(fact: Any) -> None:
        first(fact)
        second(fact)

    return take


def built(put_span: Callable[[SpanRecord], None]) -> Callable[[Observation], None]:
    """A way to show facts: their spans are built at once."""

    def show(fact: Observation) -> None:
        for span in spans_of(fact):
            put_span(span)

    return show


class SpansOnly:
    """A ``Recorder`` that counts nothing: for calls that are over and were counted when they happened."""

    def __init__(self, put_span: Callable[[SpanRecord], None]) -> None:
        self._show = built(put_span)

    def observed(self, facts: Sequence[Observation]) -> None:
        """Show those that can be shown."""
        for fact in facts:
            self._show(fact)

    def event_received(self, kind: type[Event], lag_seconds: float | None) -> None:
        """Not counted."""

    def event_duplicate(self) -> None:
        """Not counted."""

    def event_recovered(self) -> None:
        """Not counted."""

    def event_rejected(self, reason: str) -> None:
        """Not counted."""

    def sample_skipped(self, reason: str) -> None:
        """Not counted."""
