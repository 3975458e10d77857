"""What all pages share: the style, the policy that allows nothing else, and how numbers and times are written."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote

from exporter.calls.visits import UNKNOWN_NAME

__all__ = [
    "CONTENT_SECURITY_POLICY",
    "ago",
    "call_link",
    "clock_time",
    "message_page",
    "named",
    "page",
    "seconds",
    "table",
]

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--paper:#fff;--panel:#f6f8fa;--link:#0b62c4;
--good:#1a7f37;--warn:#9a6700;--bad:#b42318;--badpaper:#fff1ef;--bar:#c8d1da}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;--paper:#0d1117;--panel:#151b23;
--link:#4493f8;--good:#3fb950;--warn:#d29922;--bad:#ff7b72;--badpaper:#2d1414;--bar:#30363d}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:90rem;margin:0 auto;padding:1rem 1rem 3rem}
h1{font-size:1.25rem;margin:0}h1 small{font-weight:400;font-size:.875rem;color:var(--soft);margin-left:.5rem}
h2{font-size:1.05rem;margin:1.75rem 0 .5rem}p{margin:.25rem 0}.soft{color:var(--soft)}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin:.5rem 0 1rem;font-size:.875rem}
a{color:var(--link)}a:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}
.state{border-left:.375rem solid var(--good);background:var(--panel);padding:.625rem .875rem;margin:.5rem 0}
.state.bad{border-color:var(--bad);background:var(--badpaper);color:var(--ink)}
.state.warn{border-color:var(--warn);color:var(--ink)}
.state b{font-weight:600}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.5rem;margin:1rem 0;padding:0;
list-style:none}
.tiles li{background:var(--panel);border:1px solid var(--line);border-radius:.375rem;padding:.5rem .75rem}
.tiles b{display:block;font-size:1.375rem;line-height:1.3;font-variant-numeric:tabular-nums}
.tiles span{font-size:.8125rem;color:var(--soft)}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:.375rem}
table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem .625rem;border-bottom:1px solid var(--line);white-space:nowrap}
td.name{white-space:normal;min-width:9rem;overflow-wrap:anywhere}tr:last-child td{border-bottom:0}
th{background:var(--panel);font-weight:600}td.n,th.n{text-align:right}
code{font:.8125rem/1.4 ui-monospace,monospace}
svg{display:block}svg.hour{width:15rem;height:2.5rem}svg.fall{width:100%;min-width:16rem;height:.875rem}
td.fall{width:50%}
.p95{fill:none;stroke:var(--bad);stroke-width:1.5}.p50{fill:none;stroke:var(--link);stroke-width:1.5}
.turns{fill:var(--bar)}.limit{stroke:var(--warn);stroke-width:1;stroke-dasharray:3 3}.dot95{fill:var(--bad)}
.dot50{fill:var(--link)}.hop{fill:var(--bar)}.turn{fill:var(--link)}.slow{fill:var(--bad)}.work{fill:var(--warn)}
.d1{padding-left:1.5rem}.d2{padding-left:2.5rem}.d3{padding-left:3.5rem}.d4{padding-left:4.5rem}
.pages{margin:.5rem 0;font-size:.875rem}
@media(max-width:40rem){th,td{padding:.3rem .35rem}td.fall{width:25%}svg.fall{min-width:4rem}.d1{padding-left:.75rem}
.d2{padding-left:1.1rem}.d3{padding-left:1.5rem}.d4{padding-left:1.9rem}}
""".strip()

_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def page(title: str, body: str, *, refresh_seconds: int | None = None) -> str:
    """A whole page around a body that is HTML already."""
    head = f'<meta http-equiv="refresh" content="{refresh_seconds}">\n' if refresh_seconds is not None else ""
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
{head}<title>{escape(title)}</title>
<style>{_STYLE}</style></head>
<body><main>
{body}
</main></body>
</html>
"""


def message_page(title: str, says: str, *, start: str = "/") -> str:
    """A page that only says something; nothing of the request is repeated.

    :param start: the way from there to the page at ``/``; one that is relative works behind a proxy's path as well.
    """
    return page(title, f'<h1>{escape(title)}</h1><p>{escape(says)} <a href="{start}">Start page</a></p>')


def table(heads: tuple[str, ...], rows: str, numeric: frozenset[str] = frozenset()) -> str:
    """A table that scrolls sideways where the screen is narrow; ``rows`` is HTML."""
    cells = "".join(f'<th class="n">{head}</th>' if head in numeric else f"<th>{head}</th>" for head in heads)
    whole = f"<table><thead><tr>{cells}</tr></thead><tbody>\n{rows}\n</tbody></table>"
    return f'<div class="scroll" tabindex="0">{whole}</div>'


def call_link(call_id: str) -> str:
    """A call, with the way to its page from the one at ``/``."""
    return f'<a href="calls/{quote(call_id, safe="")}"><code>{escape(call_id)}</code></a>'


def named(name: str | None, identity: str | None = None) -> str:
    """A name, else the id, escaped. What the calls did not name has an id all the same, and its workflow shows that."""
    known = name if name and name != UNKNOWN_NAME else None
    return escape(known or identity or name or "–")


def seconds(value: float | None) -> str:
    """A duration as it is read at a glance: ``350 ms``, ``1.69 s``, ``12.3 s``, ``3 min 12 s``."""
    if value is None:
        return "–"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 9.995:
        return f"{value:.2f} s"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def ago(value: float | None) -> str:
    """An age in whole seconds, minutes or hours."""
    if value is None:
        return "–"
    whole = max(0, int(value))
    if whole < 60:
        return f"{whole} s ago"
    return f"{whole // 60} min ago" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min ago"


def clock_time(at: float) -> str:
    """A time of day in UTC, with its date for whoever points at it."""
    try:
        moment = datetime.fromtimestamp(at, UTC).replace(microsecond=0)
        return f'<time datetime="{moment.isoformat()}" title="{moment:%Y-%m-%d %H:%M:%S} UTC">{moment:%H:%M:%S}</time>'
    except (ValueError, OverflowError, OSError):
        return "–"
