"""The lower part of the page at ``/``: why calls ended, what they cost, and the exporter itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape

from exporter.calls.account import FAILING_REASONS
from exporter.outputs.recent import BAD_OUTCOMES
from exporter.web.pages.frame import ago, clock_time, named, table
from exporter.web.pages.view import FrontView, Health


def ends(view: FrontView) -> str:
    """How calls ended, and who or what ended them."""
    heads = ("last hour", "share", "last 15 min")
    outcomes = _counted(
        "Outcome", heads, view.outcomes_hour, view.outcomes_lately, lambda outcome: outcome in BAD_OUTCOMES
    )
    reasons = _counted(
        "Reason", heads, view.reasons_hour, view.reasons_lately, lambda reason: reason in FAILING_REASONS
    )
    return (f"<h2>How calls ended</h2>{outcomes}" if outcomes else "") + (
        f"<h2>Who or what ended them</h2>{reasons}" if reasons else ""
    )


def _counted(
    what: str,
    heads: tuple[str, ...],
    hour: Mapping[str, int],
    lately: Mapping[str, int],
    is_bad: Callable[[str], bool],
) -> str:
    if not hour:
        return ""
    total = sum(hour.values())
    rows = "\n".join(
        f'<tr><td class="{"bad" if is_bad(word) else ""}">{escape(word)}</td><td class="n">{number}</td>'
        f'<td class="n">{number / total:.0%}</td><td class="n">{lately.get(word, 0)}</td></tr>'
        for word, number in sorted(hour.items(), key=lambda pair: (-pair[1], pair[0]))
    )
    return table((what, *heads), rows, frozenset(heads))


def spent(view: FrontView) -> str:
    """What calls cost, by agent, with the version in use."""
    if not view.spent:
        return ""
    heads = ("Agent", "Calls", "Cost", "Per call", "Per minute", "Version")
    rows = "\n".join(
        f'<tr><td class="name">{named(each.agent_name, each.agent_id)}</td><td class="n">{each.calls}</td>'
        f'<td class="n">{each.cost:.2f}</td><td class="n">{each.cost / each.calls:.4f}</td>'
        f'<td class="n">{f"{each.cost / each.minutes:.4f}" if each.minutes else "–"}</td>'
        f'<td class="name">{escape(each.version.version) if each.version else "–"}</td></tr>'
        for each in view.spent
    )
    head = "What calls of the last hour cost, in the API's own unit"
    return f"<h2>{head}</h2>{table(heads, rows, frozenset(heads[1:5]))}"


def health(view: FrontView) -> str:
    """What the exporter needs, and the class of the last error of each."""
    rows = "\n".join(_needed(each, view.now_at) for each in view.health)
    return f"<h2>The exporter itself</h2>{table(('', 'State', '', 'Last error'), rows)}" if rows else ""


def _needed(each: Health, now_at: float) -> str:
    words = {True: '<span class="good">good</span>', False: '<span class="bad">bad</span>', None: "off"}
    last = "–"
    if each.last is not None:
        kind, at = each.last
        last = f"{escape(kind)}, {clock_time(at)} ({ago(now_at - at)})"
    return (
        f'<tr><td>{escape(each.name)}</td><td>{words[each.good]}</td><td class="name">{escape(each.says)}</td>'
        f"<td>{last}</td></tr>"
    )
