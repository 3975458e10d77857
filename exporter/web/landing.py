"""The page at ``/``: what this is, where to look, what is being followed. Nothing of what was said in a call."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from exporter.durations import format_duration
from exporter.web.ports import CallView

__all__ = ["CONTENT_SECURITY_POLICY", "landing_page", "not_found_page"]

_MOST_ROWS = 200
_REFRESH_SECONDS = 10

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--paper:#fff;--panel:#f6f8fa;--link:#0b62c4;
--good:#1a7f37;--bad:#bc4c00}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--paper:#0d1117;--panel:#151b23;
--link:#4493f8;--good:#3fb950;--bad:#f0883e}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:75rem;margin:0 auto;padding:2rem 1.25rem}
h1{font-size:1.5rem;margin:0}h1 small{font-weight:400;font-size:1rem;color:var(--soft);margin-left:.5rem}
h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.25rem 0;color:var(--soft)}
nav{display:flex;flex-wrap:wrap;gap:.5rem 1.25rem;margin:1.25rem 0}
a{color:var(--link)}.good{color:var(--good)}.bad{color:var(--bad)}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:.5rem}
table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.4rem .625rem;border-bottom:1px solid var(--line);white-space:nowrap}
td.name{white-space:normal;min-width:9rem}tr:last-child td{border-bottom:0}
th{background:var(--panel);font-weight:600}td.n,th.n{text-align:right}
code{font:.8125rem/1.4 ui-monospace,monospace}
""".strip()

_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def landing_page(version: str, ready: tuple[bool, str], calls: Sequence[CallView], now_at: float) -> str:
    """The whole page as HTML; every name in it is escaped."""
    is_ready, reason = ready
    state = '<span class="good">ready</span>' if is_ready else f'<span class="bad">not ready: {escape(reason)}</span>'
    body = f"""<h1>atoms-exporter<small>{escape(version)}</small></h1>
<p>Metrics and traces of voice-agent calls on smallest.ai Atoms, by agent and workflow node.</p>
<nav><a href="metrics">Metrics</a><a href="api/v1/calls">Calls (JSON)</a><a href="-/healthy">Healthy</a>\
<a href="-/ready">Ready</a><span>This exporter is {state}</span></nav>
{_followed(calls, now_at)}"""
    return _page("atoms-exporter", body, f'<meta http-equiv="refresh" content="{_REFRESH_SECONDS}">\n')


def not_found_page() -> str:
    """What a browser sees at a path that does not exist; the path is not repeated."""
    return _page("Not found", '<h1>Not found</h1><p>There is nothing here. <a href="/">Start page</a></p>')


def _page(title: str, body: str, head: str = "") -> str:
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
{head}<title>{title}</title>
<style>{_STYLE}</style></head>
<body><main>
{body}
</main></body>
</html>
"""


def _followed(calls: Sequence[CallView], now_at: float) -> str:
    if not calls:
        return "<h2>No call is being followed</h2><p>Calls show up here as they are discovered.</p>"
    newest = sorted(calls, key=lambda call: (-call.since_at, call.call_id))
    rows = "\n".join(_row(call, now_at) for call in newest[:_MOST_ROWS])
    rest = len(newest) - _MOST_ROWS
    more = f"<p>… and {rest} more; all of them are in the JSON.</p>" if rest > 0 else ""
    count = "1 call is" if len(newest) == 1 else f"{len(newest)} calls are"
    return f"""<h2>{count} being followed</h2>
<div class="scroll"><table>
<thead><tr><th>Call</th><th>Agent</th><th>Node</th><th>State</th><th>Since (UTC)</th><th class="n">For</th>\
<th class="n">Events</th><th class="n">Last event</th></tr></thead>
<tbody>
{rows}
</tbody></table></div>{more}"""


def _row(call: CallView, now_at: float) -> str:
    age = call.last_event_age_seconds
    last = "none yet" if age is None else f"{_rounded(age)} ago"
    return (
        f"<tr><td><code>{escape(call.call_id)}</code></td>"
        f'<td class="name">{_named(call.agent_name, call.agent_id)}</td>'
        f'<td class="name">{_named(call.node_name, call.node_id)}</td>'
        f"<td>{escape(call.state)}</td><td>{_clock_time(call.since_at)}</td>"
        f'<td class="n">{_rounded(now_at - call.since_at)}</td>'
        f'<td class="n">{call.events}</td><td class="n">{last}</td></tr>'
    )


def _named(name: str | None, identity: str | None) -> str:
    return escape(name or identity or "–")


def _rounded(seconds: float) -> str:
    return format_duration(float(max(0, int(seconds))))


def _clock_time(at: float) -> str:
    try:
        moment = datetime.fromtimestamp(at, UTC).replace(microsecond=0)
        return f'<time datetime="{moment.isoformat()}" title="{moment:%Y-%m-%d %H:%M:%S} UTC">{moment:%H:%M:%S}</time>'
    except (ValueError, OverflowError, OSError):
        return "–"
