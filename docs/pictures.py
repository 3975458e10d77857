"""Takes the terminal pictures of the README: real commands in a real terminal (tmux), drawn as SVG.

usage: python docs/pictures.py [NAME]…   needs tmux; run it by hand when what the commands print has changed.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console

IMAGES = Path(__file__).resolve().parent / "images"
ROOT = IMAGES.parent.parent
_SOCKET = "atoms-exporter-pictures"
_FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"


@dataclass(frozen=True)
class Picture:
    """A command, the size of its terminal in characters, and how many seconds until it is worth looking at."""

    title: str
    command: str
    columns: int
    rows: int
    seconds: float


PICTURES = {
    "demo": Picture("make demo", "atoms-exporter demo --seed 7", 120, 26, 75.0),
    "explain": Picture("a call, explained", "atoms-exporter explain docs/example/call.json", 120, 44, 4.0),
}


def _tmux(*words: str) -> str:
    done = subprocess.run(["tmux", "-L", _SOCKET, *words], check=True, capture_output=True, text=True)
    return done.stdout


def screen(picture: Picture) -> str:
    """What the terminal shows, with its colours as escape sequences."""
    size = ["-x", str(picture.columns), "-y", str(picture.rows)]
    path = Path(sys.executable).absolute().parent
    words = f"cd {ROOT}; export PATH={path}:$PATH COLORTERM=truecolor; clear; {picture.command}; sleep 60"
    _tmux("new-session", "-d", *size, words)
    try:
        time.sleep(picture.seconds)
        return _tmux("capture-pane", "-e", "-p")
    finally:
        _tmux("kill-server")


def drawn(shown: str, picture: Picture) -> str:
    """The screen as SVG, in whatever fixed-width font the reader has: nothing is fetched from elsewhere."""
    console = Console(record=True, width=picture.columns, file=io.StringIO(), force_terminal=True)
    for line in AnsiDecoder().decode(shown.rstrip()):
        console.print(line, no_wrap=True, crop=True)
    svg = console.export_svg(title=picture.title, unique_id=re.sub(r"\W+", "-", picture.title))
    without_webfonts = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return without_webfonts.replace("Fira Code, monospace", _FONTS)


if __name__ == "__main__":
    for name in sys.argv[1:] or PICTURES:
        (IMAGES / f"{name}.svg").write_text(drawn(screen(PICTURES[name]), PICTURES[name]), encoding="utf-8")
