"""The page at ``/``: are callers suffering now, where, since when, and which call shows it. For 3 a.m., by phone."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import quote

from exporter.outputs.recent import NodeHour, quantiles, summed
from exporter.web.pages.charts import hour_chart
from exporter.web.pages.foot import ends, health, spent
from exporter.web.pages.frame import ago, call_link, clock_time, named, page, seconds, table
from exporter.web.pages.told import FULL, NEAR, crowded, told
from exporter.web.pages.view import CallView, FrontView

_REFRESH_SECONDS = 10
_GOOD_SECONDS = 0.9
_BAD = ("failed", "lost")
_NODE_HEADS = ("Slow", "p95", "Node", "Agent", "Turns", "p50", "Slowest", "Last hour: p50, p95 and turns by minute")
"""What matters first: a phone shows the left of it."""
_CALL_HEADS = (
    "Slowest turn",
    "in node",
    "Call",
    "Agent",
    "Now in",
    "State",
    "Turns",
    "Last turn",
    "Since (UTC)",
    "Last event",
)
_NUMERIC = frozenset(("Turns", "Slow", "p50", "p95", "Slowest", "Slowest turn", "Last turn"))


def front_page(view: FrontView) -> str:
    """The whole page as HTML; every name in it is escaped."""
    body = "\n".join(
        (
            f"<h1>atoms-exporter<small>{escape(view.version)}</small></h1>",
            '<nav><a href="metrics">Metrics</a><a href="api/v1/calls">Calls (JSON)</a><a href="-/healthy">Healthy</a>'
            f'<a href="-/ready">Ready</a><span class="soft">as of {clock_time(view.now_at)} UTC</span></nav>',
            _state(view),
            _tiles(view),
            _nodes(view),
            _calls(view),
            ends(view),
            spent(view),
            health(view),
        )
    )
    return page("atoms-exporter", body, refresh_seconds=_REFRESH_SECONDS)


# -- are callers suffering?


def _state(view: FrontView) -> str:
    ready, reason = view.ready
    said = [] if ready else [f'<p class="state bad"><b>This exporter is not ready:</b> {escape(reason)}</p>']
    unwell = [
        each
        for each in view.health
        if each.good is False and (each.blind or each.name != "Streams") and each.says != reason  # said already
    ]
    said += [f'<p class="state warn"><b>{escape(each.name)}:</b> {escape(each.says)}</p>' for each in unwell]
    blind = not ready or any(each.blind for each in unwell)
    crowds = crowded(view)
    said += [f'<p class="state {kind}">{words}</p>' for kind, words in crowds]
    said += [f'<p class="state bad">{told(trouble, view)}</p>' for trouble in view.troubles[:10]]
    if len(view.troubles) > 10:
        said.append(f'<p class="state bad">… and {len(view.troubles) - 10} more places.</p>')
    if not (blind or view.troubles or crowds):
        turns = sum(node.turns for node in view.lately)
        calm = "Callers are being answered." if turns else "Nobody was answered in the last fifteen minutes."
        said.append(f'<p class="state{"" if turns or not view.going_on else " warn"}"><b>{calm}</b></p>')
    return "\n".join(said)


# -- the numbers of now


def _tiles(view: FrontView) -> str:
    turns = sum(node.turns for node in view.lately)
    p50: float | None = None
    p95: float | None = None
    if turns:
        slowest = max(node.slowest_seconds for node in view.lately)
        p50, p95 = quantiles(summed(node.counts for node in view.lately), slowest)
    over = sum(view.outcomes_lately.values())
    bad = sum(view.outcomes_lately.get(outcome, 0) for outcome in _BAD)
    tiles = (
        (str(view.going_on), "calls now", ""),
        (str(turns), "turns in 15 min", ""),
        (seconds(p50), "median turn, 15 min", _class_of(p50, view)),
        (seconds(p95), "p95 turn, 15 min", _class_of(p95, view)),
        (str(over), "calls ended in 15 min", ""),
        (f"{bad / over:.0%}" if over else "–", "of them failed or lost", "bad" if bad else ""),
        *_room(view),
    )
    items = "".join(f'<li><b class="{kind}">{text}</b><span>{label}</span></li>' for text, label, kind in tiles)
    return f'<ul class="tiles">{items}</ul>'


def _room(view: FrontView) -> list[tuple[str, str, str]]:
    capacity = view.capacity
    if capacity is None or capacity.used is None:
        return []
    of = f"of {capacity.limit} calls at once" if capacity.limit else "of the shared calls"
    kind = "bad" if capacity.used >= FULL else "warn" if capacity.used >= NEAR else ""
    queue = (
        [] if capacity.queued is None else [(str(capacity.queued), "in the queue", "warn" if capacity.queued else "")]
    )
    return [(f"{capacity.used:.0%}", of, kind), *queue]


def _class_of(value: float | None, view: FrontView) -> str:
    if value is None:
        return ""
    return "good" if value < _GOOD_SECONDS else "bad" if value > view.slow_seconds else "warn"


# -- where


def _nodes(view: FrontView) -> str:
    if not view.nodes:
        return '<h2>Nodes</h2><p class="soft">Nobody was answered within the last hour.</p>'
    rows = "\n".join(_node_row(node, view) for node in view.nodes)
    links = _pages("nodes", view.nodes_page, view.nodes_pages, {"page": view.page})
    return f"<h2>Nodes, by their share of slow turns in the last hour</h2>{table(_NODE_HEADS, rows, _NUMERIC)}{links}"


def _node_row(node: NodeHour, view: FrontView) -> str:
    share = node.slow / node.turns
    kind = "bad" if share >= 0.25 else "warn" if node.slow else ""
    return (
        f'<tr><td class="n {kind}">{share:.0%}</td>'
        f'<td class="n {_class_of(node.p95_seconds, view)}">{seconds(node.p95_seconds)}</td>'
        f'<td class="name">{named(node.place.node_name, node.place.node_id)}</td>'
        f'<td class="name">{named(node.place.agent_name, node.place.agent_id)}</td>'
        f'<td class="n">{node.turns}</td>'
        f'<td class="n {_class_of(node.p50_seconds, view)}">{seconds(node.p50_seconds)}</td>'
        f'<td class="n"><a href="calls/{quote(node.slowest_call, safe="")}">{seconds(node.slowest_seconds)}</a></td>'
        f"<td>{hour_chart(node.minutes, view.slow_seconds)}</td></tr>"
    )


# -- which calls


def _calls(view: FrontView) -> str:
    going_on = "1 call is being followed" if view.going_on == 1 else f"{view.going_on} calls are being followed"
    if not view.going_on:
        going_on = "No call is being followed"
    heading = f"{going_on}, {view.ended} ended within the hour"
    if not view.lines:
        return f'<h2>{heading}</h2><p class="soft">Calls show up here as they are discovered.</p>'
    rows = "\n".join(_call_row(call, view) for call in view.lines)
    links = _pages("page", view.page, view.pages, {"nodes": view.nodes_page})
    return f"<h2>{heading}, slowest turn first</h2>{table(_CALL_HEADS, rows, _NUMERIC)}{links}"


def _call_row(call: CallView, view: FrontView) -> str:
    slowest = call.slowest_turn_seconds
    if call.ended_at is None:
        state, last = escape(call.state), ago(call.last_event_age_seconds)
    else:
        kind = "bad" if call.outcome in _BAD else ""
        word = f"{call.outcome}, {call.end_reason}" if call.end_reason else str(call.outcome)
        state, last = f'<span class="{kind}">{escape(word)}</span>', f"ended {ago(view.now_at - call.ended_at)}"
    return (
        f'<tr><td class="n {_class_of(slowest, view)}">{seconds(slowest)}</td>'
        f'<td class="name">{named(call.slowest_node_name)}</td><td>{call_link(call.call_id)}</td>'
        f'<td class="name">{named(call.agent_name, call.agent_id)}</td>'
        f'<td class="name">{named(call.node_name, call.node_id)}</td><td>{state}</td>'
        f'<td class="n">{call.turns}</td><td class="n">{seconds(call.last_turn_seconds)}</td>'
        f"<td>{clock_time(call.since_at)}</td><td>{last}</td></tr>"
    )


def _pages(name: str, number: int, of: int, others: Mapping[str, int]) -> str:
    """Links to the pages before and after."""
    if of <= 1:
        return ""
    rest = "".join(f"&amp;{other}={value}" for other, value in others.items() if value > 1)
    before = f'<a href="?{name}={number - 1}{rest}" rel="prev">before</a> · ' if number > 1 else ""
    after = f' · <a href="?{name}={number + 1}{rest}" rel="next">next</a>' if number < of else ""
    return f'<p class="pages">{before}page {number} of {of}{after}</p>'
