"""Takes the pictures of the exporter's own pages in a real Chromium: light, dark, and as wide as a phone.

usage: python docs/screens.py [MINUTES]   needs Chromium; MINUTES (default 12) is how long all is well before a node
becomes slow, so that the charts have something to show.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dashboards.rehearsal import Rehearsal  # noqa: E402 # the path has to be set first
from tests.support.browser import Tab, browser  # noqa: E402 # as above

IMAGES = ROOT / "docs" / "images"
SLOW = {"node_id": "10001", "agent_id": "66f0a1c2d3e4f5a6b7c8d901", "factor": 8}
SIZES = {"": (1300, False), "-dark": (1300, True), "-phone": (400, False)}
HIGHEST = 1500


async def _taken(exporter: str, call: str) -> None:
    async with browser() as tab:
        for name, path in (("page", "/"), ("call", f"/calls/{call}")):
            for kind, (width, dark) in SIZES.items():
                await tab.open(exporter + path, width, await _height(tab, exporter + path, width), dark=dark)
                await tab.picture(IMAGES / f"{name}{kind}.png")


async def _height(tab: Tab, url: str, width: int) -> int:
    await tab.open(url, width)
    return min(HIGHEST, int(await tab.value("document.documentElement.scrollHeight")))


def main(minutes: float) -> None:
    """Play, wait until the page names the node, and take the pictures."""
    with tempfile.TemporaryDirectory() as folder, Rehearsal(Path(folder), calls=80, speed=1.0).serving() as stage:
        time.sleep(60 * minutes)
        stage.misbehave({"slow_node": SLOW})

        def named() -> str | None:
            told = re.search(r"is slow in .*?calls/(CALL-[\w-]+)", httpx.get(stage.exporter, timeout=60).text)
            return told[1] if told else None

        stage.wait_for("a slow node on the page", named, 300, every=2)
        time.sleep(90)
        call = stage.wait_for("a call that shows it", named, 60)
        asyncio.run(_taken(stage.exporter, str(call)))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 12.0)
