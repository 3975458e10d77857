"""What may be shown of a URL, and of what others say: no login, no query, nothing that is not printable."""

from __future__ import annotations

from urllib.parse import urlsplit


def shown_text(text: str, most: int = 200) -> str:
    """Words from outside on one line, printable and short."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split())[:most])


def shown_url(url: str) -> str:
    """Scheme, host, port and path. Of what is no URL nothing is shown: it may be a secret in the wrong place."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "(not a URL)"
    if not parts.scheme or not host:
        return "(not a URL)"
    host = f"[{host}]" if ":" in host else host
    text = f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path}"
    return shown_text(text, 300)


def shown_host(url: str) -> str:
    """The host a URL names, for a log; empty when it names none."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return shown_text(host, 253)
