"""What the pages show is gathered without holding more than they show."""

from __future__ import annotations

from exporter.overview import SPANS_ON_A_PAGE, first_spans
from exporter.protocol.api import decode_call_log
from exporter.protocol.units import UnitRules

CALL = "CALL-1758124225863-80752e"


def test_of_a_log_with_very_many_spans_the_first_and_the_root_are_kept() -> None:
    turns = b",".join(
        b'{"event_type":"turn_latency","event_id":"e%d","timestamp":%d,"turn_latency":1.5}' % (n, 1_758_124_225 + n)
        for n in range(SPANS_ON_A_PAGE + 100)
    )
    log = decode_call_log(b'{"data":{"callId":"%b","status":"completed","events":[%b]}}' % (CALL.encode(), turns), CALL)
    spans, left_out = first_spans(log, UnitRules(), over=True)
    assert len(spans) == SPANS_ON_A_PAGE + 1
    assert [span.parent_id for span in spans].count(None) == 1
    assert left_out >= 100 - 1
