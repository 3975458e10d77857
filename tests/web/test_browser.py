"""The pages in a real browser: narrow and wide, by keyboard, with hostile names, with ten thousand calls."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from exporter.calls.observations import Place
from exporter.outputs.recent import Trouble
from exporter.outputs.spans import SpanRecord
from exporter.web import CallPage, CallView
from tests.support.browser import browser
from tests.web.test_pages import CALL, MARKUP, NOW, node, view
from tests.webserver import Backstage, site

_TROUBLE = Trouble("slow", "a1", "Sales", "2", "Payment", 0.8, 25, 6.1, 720.0, CALL)


@pytest.fixture
def backstage() -> Backstage:
    lines = [
        CallView(f"CALL-{1758124225863 + number}-80752e", "following", NOW - number, agent_name="Sales " * 8, turns=9)
        for number in range(50)
    ]
    nodes = [node(Place("a1", f"Agent {MARKUP}", str(number), f"Node {MARKUP}")) for number in range(12)]
    front = view(nodes=nodes, lines=lines, troubles=[_TROUBLE], going_on=10_000, page=3, pages=200, nodes_pages=4)
    call = dataclasses.replace(lines[0], call_id=CALL)
    return Backstage(front_view=front, call_pages={CALL: CallPage(call, [], NOW)})


async def test_the_pages_fit_a_phone_and_a_wall_and_ask_for_nothing_else(backstage: Backstage, tmp_path: Path) -> None:
    async with site(backstage) as at, browser() as tab:
        base = at.web.urls[0].rstrip("/")
        for path in ("/", f"/calls/{CALL}"):
            for width, dark in ((320, False), (400, True), (1600, False)):
                await tab.open(base + path, width, dark=dark)
                assert await tab.value("document.documentElement.scrollWidth") <= width
                await tab.picture(tmp_path / f"{width}.png")
                assert (tmp_path / f"{width}.png").stat().st_size > 5000
        asked = {url.removeprefix(base) for url in tab.requested}
        assert asked <= {"/", f"/calls/{CALL}", "/favicon.ico"}
        assert [said for said in tab.complaints if "favicon" not in said and "404" not in said] == []
        assert await tab.value("document.scripts.length") == 0


async def test_a_phone_shows_the_whole_waterfall_without_moving_it_sideways(backstage: Backstage) -> None:
    names = (("call", None), ("hop Start - Determine If Reached Owner", 1), ("turn", 2), ("text_to_speech", 3))
    spans = [
        SpanRecord(
            trace_id=1, span_id=number, parent_id=parent, name=name, start_ns=0, end_ns=97 * 10**9, attributes={}
        )
        for number, (name, parent) in enumerate(names, 1)
    ]
    backstage.call_pages[CALL] = dataclasses.replace(backstage.call_pages[CALL], spans=spans)
    async with site(backstage) as at, browser() as tab:
        await tab.open(f"{at.web.urls[0].rstrip('/')}/calls/{CALL}", 400)
        table = "document.querySelector('.scroll')"
        assert await tab.value(f"{table}.scrollWidth") <= await tab.value(f"{table}.clientWidth")
        assert await tab.value("Math.min(...[...document.querySelectorAll('svg.fall')].map(e => e.clientWidth))") >= 40


async def test_names_stay_text_in_a_browser(backstage: Backstage) -> None:
    async with site(backstage) as at, browser() as tab:
        await tab.open(at.web.urls[0])
        text = await tab.value("document.body.innerText")
        assert f"Node {MARKUP}" in text
        assert "Sales is slow in Payment" in text
        assert await tab.value("document.querySelectorAll('script, img, iframe, form').length") == 0


async def test_everything_can_be_reached_by_keyboard(backstage: Backstage) -> None:
    async with site(backstage) as at, browser() as tab:
        await tab.open(at.web.urls[0])
        reached = []
        for _ in range(6):
            await tab.press_tab()
            reached.append(await tab.value("document.activeElement.getAttribute('href')"))
        assert reached[:5] == ["metrics", "api/v1/calls", "-/healthy", "-/ready", f"calls/{CALL}"]
        outline = await tab.value("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none"


async def test_without_scripts_the_page_says_the_same(backstage: Backstage) -> None:
    async with site(backstage) as at, browser() as tab:
        await tab.command("Emulation.setScriptExecutionDisabled", value=True)
        await tab.open(at.web.urls[0])
        assert "page 3 of 200" in await tab.value("document.body.innerText")
