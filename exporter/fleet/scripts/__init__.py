"""Everything that decides something between replicas: Lua, run inside Redis, each script whole or not at all.

Scripts are named here and loaded by their hash. Time is Redis' own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from pathlib import Path

NAMES = ("join", "rejoin", "renew", "leave", "bury", "publish", "claim", "say", "commit", "ahead", "expire")


@dataclass(frozen=True, slots=True)
class Script:
    """One of them: its text, and the hash that Redis knows it by."""

    name: str
    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """The script of this name."""
    folder = Path(__file__).parent
    text = (folder / "_begin.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())
