"""Where facts go: to the metrics, and, those that have a span, to the traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from exporter.calls.observations import Observation
from exporter.outputs.metrics import Metrics
from exporter.outputs.spans import SHOWN, SpanRecord, spans_of
from exporter.protocol.events import Event

_SHOWN = frozenset(SHOWN)


class Outputs:
    """A ``Recorder`` over metrics and, if there is somewhere to send them, spans.

    :param put_span: takes a finished span; must not block.
    """

    def __init__(self, metrics: Metrics, put_span: Callable[[SpanRecord], None] | None = None) -> None:
        self._metrics = metrics
        self._put_span = put_span
        self.event_received: Callable[[type[Event], float | None], None] = metrics.event_received
        self.event_duplicate: Callable[[], None] = metrics.event_duplicate
        self.event_recovered: Callable[[], None] = metrics.event_recovered
        self.event_rejected: Callable[[str], None] = metrics.event_rejected
        self.sample_skipped: Callable[[str], None] = metrics.sample_skipped

    def observed(self, facts: Sequence[Observation]) -> None:
        """Count them, and show those that can be shown."""
        self._metrics.observed(facts)
        if self._put_span is not None:
            for fact in facts:
                if type(fact) in _SHOWN:
                    for span in spans_of(fact):
                        self._put_span(span)
