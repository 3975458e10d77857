"""The page of one call: its hops, turns, stages and tools as a waterfall, with the slowest turn marked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from html import escape

from exporter.outputs.spans import SpanRecord
from exporter.web.pages.charts import fall_chart
from exporter.web.pages.frame import clock_time, named, page, seconds, table
from exporter.web.pages.view import CallPage, CallView

_MOST_ROWS = 2000
_DEEPEST = 4
_REFRESH_SECONDS = 15
_GOES_ON = " (goes on)"
_HEADS = ("At", "What", "Took", "")


def call_page(view: CallPage) -> str:
    """The whole page as HTML. Attributes of spans, which may hold content, are never shown."""
    call = view.call
    spans = sorted({span.span_id: span for span in view.spans}.values(), key=_by_time)
    body = f'<nav><a href="../">All calls</a></nav>\n<h1><code>{escape(call.call_id)}</code></h1>\n{_about(call)}'
    if spans:
        going_on = call.ended_at is None and not view.left_out
        body += _waterfall(sorted([*_unended(call, spans), *spans], key=_by_time) if going_on else spans, view.left_out)
    else:
        body += '<p class="soft">The API has no events of this call yet.</p>'
    return page(call.call_id, body, refresh_seconds=_REFRESH_SECONDS if call.ended_at is None else None)


def _by_time(span: SpanRecord) -> tuple[int, int]:
    return span.start_ns, -span.end_ns


def _unended(call: CallView, spans: Sequence[SpanRecord]) -> list[SpanRecord]:
    """What spans are within and has none of its own yet: the call, and the hop into the node it is in."""
    known = {span.span_id for span in spans}
    within: dict[int, list[SpanRecord]] = defaultdict(list)
    for span in spans:
        if span.parent_id is not None and span.parent_id not in known:
            within[span.parent_id].append(span)
    whole = next((each for each, inside in within.items() if any(_is_hop(span) for span in inside)), None)
    return [
        SpanRecord(
            trace_id=spans[0].trace_id,
            span_id=each,
            parent_id=None if each == whole else whole,
            name=f"call{_GOES_ON}" if each == whole else f"hop {call.node_name or call.node_id or ''}{_GOES_ON}",
            start_ns=min(span.start_ns for span in (spans if each == whole else inside)),
            end_ns=max(span.end_ns for span in (spans if each == whole else inside)),
            attributes={},
        )
        for each, inside in within.items()
    ]


def _about(call: CallView) -> str:
    state = (
        call.state if call.ended_at is None else f"{call.outcome}" + (f", {call.end_reason}" if call.end_reason else "")
    )
    slowest = f" · slowest turn {seconds(call.slowest_turn_seconds)} in {named(call.slowest_node_name)}"
    trace = f'<p class="soft">trace id <code>{escape(call.trace_id)}</code></p>' if call.trace_id else ""
    return (
        f"<p>{named(call.agent_name, call.agent_id)} · {escape(state)} · since {clock_time(call.since_at)} UTC · "
        f"{call.turns} {'turn' if call.turns == 1 else 'turns'}"
        f"{slowest if call.slowest_turn_seconds is not None else ''}</p>{trace}"
    )


def _waterfall(spans: Sequence[SpanRecord], left_out: int) -> str:
    begins, ends = min(span.start_ns for span in spans), max(span.end_ns for span in spans)
    whole = max(1, ends - begins)
    turns = [span for span in spans if span.name == "turn"]
    slowest = max(turns, key=lambda span: span.end_ns - span.start_ns, default=None)
    rows: list[str] = []
    for depth, span in _in_order(spans):
        if len(rows) == _MOST_ROWS:
            break
        took = (span.end_ns - span.start_ns) / 1e9
        mark = ' <b class="bad">◀ slowest</b>' if span is slowest and len(turns) > 1 else ""
        failed = ' <b class="bad">✗</b>' if span.error is not None else ""
        chart = fall_chart((span.start_ns - begins) / whole, (span.end_ns - begins) / whole, _kind(span, slowest))
        rows.append(
            f'<tr><td class="n">{_offset((span.start_ns - begins) / 1e9)}</td>'
            f'<td class="name d{min(depth, _DEEPEST)}">{escape(span.name)}{mark}{failed}</td>'
            f'<td class="n">{seconds(took)}</td><td class="fall">{chart}</td></tr>'
        )
    others = len(spans) - len(rows) + left_out
    more = f'<p class="soft">… and {others} more.</p>' if others else ""
    return f"<h2>Waterfall</h2>{table(_HEADS, chr(10).join(rows), frozenset(('At', 'Took')))}{more}"


def _in_order(spans: Sequence[SpanRecord]) -> Iterator[tuple[int, SpanRecord]]:
    """Parents before their children, by time; the depth of each."""
    known = {span.span_id for span in spans}
    children: dict[int | None, list[SpanRecord]] = defaultdict(list)
    for span in spans:
        children[span.parent_id if span.parent_id in known else None].append(span)
    waiting = [(0, span) for span in reversed(children[None])]
    while waiting:
        depth, span = waiting.pop()
        yield depth, span
        waiting.extend((depth + 1, child) for child in reversed(children.get(span.span_id, ())))


def _kind(span: SpanRecord, slowest: SpanRecord | None) -> str:
    if span is slowest or span.error is not None:
        return "slow"
    if span.name == "turn":
        return "turn"
    return "hop" if _is_hop(span) or span.parent_id is None else "work"


def _is_hop(span: SpanRecord) -> bool:
    return span.name.startswith("hop ")


def _offset(since_seconds: float) -> str:
    return f"{int(since_seconds // 60)}:{since_seconds % 60:04.1f}"
