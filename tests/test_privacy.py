"""What people say, their numbers, their data and the customers' secrets stay in the process."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from exporter.errors import Malformed
from exporter.outputs.prometheus.exposition import render
from exporter.outputs.spans import SpanRecord
from exporter.protocol.decode import decode_event
from exporter.protocol.events import EVENT_CLASSES
from exporter.protocol.webhooks import AnalyticsCompleted, decode_delivery
from tests.support.canary import CANARY, PHONE, SECRET, canaried_events, canaried_webhooks, sings, words
from tests.support.lives import AGENT, Life
from tests.support.wire import CALL_ID, encoded

CONTENT = {
    "gen_ai.output.messages": {"tts_text"},
    "gen_ai.tool.call.arguments": {"tool arguments"},
    "gen_ai.tool.call.result": {"tool response"},
    "atoms.knowledgebase.query": {"user_transcript"},
    "atoms.knowledgebase.response": {"knowledgebase response"},
    "atoms.variables": {"variables"},
    "error.message": {"tool error", "tool_call_error", "knowledgebase error", "variable_extraction error"},
}
"""The span attributes that carry content once its capture is on, and whose words may be in them."""


def _life(*, capture: bool) -> Life:
    life = Life(capture_content=capture)
    life.feed([encoded(event) for event in canaried_events(CALL_ID)])
    life.feed([b"not JSON but " + words("garbage").encode(), encoded({"event_type": 5, "x": words("no type")})])
    webhooks = [decode_delivery(encoded(body)) for body in canaried_webhooks(CALL_ID, "a1")]
    for delivery in webhooks:
        if isinstance(delivery, AnalyticsCompleted):
            life.tracker.analysed(delivery.call_id, AGENT, delivery.dispositions)
    return life.end()


def _page(life: Life) -> str:
    life.metrics.refresh()
    _, body = render(life.metrics.store, life.metrics.others, "application/openmetrics-text")
    return body.decode()


def _leaks(spans: list[SpanRecord]) -> dict[str, list[Any]]:
    """Where in the spans canaries sing: by attribute, or by what else of a span it is."""
    found: defaultdict[str, list[Any]] = defaultdict(list)
    for span in spans:
        for part, value in (("name", span.name), ("error", span.error), ("kind", span.kind)):
            if sings(str(value)):
                found[f"the {part}"].append(value)
        for name, value in span.attributes.items():
            if sings(f"{name} {value}"):
                found[name].append(value)
    return found


def test_every_event_type_has_its_canaries() -> None:
    types = {event["event_type"] for event in canaried_events(CALL_ID)}
    assert set(EVENT_CLASSES) - {"sse_init", "sse_close"} <= types
    for event in canaried_events(CALL_ID):
        assert sings(str(event)), event["event_type"]


@pytest.mark.parametrize("capture", [False, True])
def test_no_canary_sings_on_the_metrics_page(capture: bool) -> None:
    page = _page(_life(capture=capture))
    assert [line for line in page.splitlines() if sings(line)] == []
    assert 'identifier="' not in page, "free text without a list of words makes no series"


def test_no_canary_sings_in_any_span_by_default() -> None:
    life = _life(capture=False)
    assert _leaks(life.spans) == {}
    assert len(life.spans) > 10


def test_with_capture_on_content_is_where_it_is_documented_and_nowhere_else() -> None:
    leaks = _leaks(_life(capture=True).spans)
    assert set(leaks) == set(CONTENT)
    for attribute, values in leaks.items():
        told = {where for value in values for where in CONTENT[attribute] if words(where)[:-15] in value}
        assert told == CONTENT[attribute]


def test_secrets_stay_even_with_capture_on() -> None:
    life = _life(capture=True)
    assert SECRET.lower() not in str(life.spans).lower()
    assert SECRET.lower() not in _page(life).lower()


def test_what_is_content_is_cut_and_never_breaks_an_export() -> None:
    life = Life(capture_content=True)
    deep: Any = "x"
    for _ in range(400):
        deep = [deep]
    odd: list[Any] = ["\ud800", {"a": "\udfff"}, "y" * 100_000, deep, float("nan"), 10**300, True, ["ü"]]
    life.feed(
        [
            encoded({"event_type": "knowledgebase", "event_id": f"e{n}", "timestamp": 1758124305 + n, "response": each})
            for n, each in enumerate(odd)
        ]
    )
    life.end()
    said = [span.attributes["atoms.knowledgebase.response"] for span in life.spans if span.name == "knowledgebase"]
    assert len(said) == len(odd)
    for text in said:
        assert isinstance(text, str)
        assert len(text.encode()) <= 3 * 4096


def test_what_cannot_be_read_is_not_quoted() -> None:
    for payload in (words("x"), f'"{words("x")}"', f'{{"a": "{words("x")}"', f'["{words("x")}"]'):
        with pytest.raises(Malformed) as refused:
            decode_event(payload.encode())
        assert not sings(str(refused.value))


def test_the_canaries_themselves_sing() -> None:
    assert sings(f"a {CANARY.upper()}-x")
    assert sings(f"{PHONE}")
    assert sings(f"{float(PHONE)}")
    assert not sings("1758124305.25")
