"""Hostile calls beside honest ones on the running process, each kind bounded in time.

What is asserted is an order, not a time: scrapes and probes are answered before the attack is over, and no other call
loses an event.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.bounds import MOST_MEMORY_MIB
from exporter.simulator.hostile import HOSTILE
from tests.attack.victims import honest_settled, losses, watching
from tests.system.world import until, world

MOST_BYTES = MOST_MEMORY_MIB << 20
"""Of the whole process under any one attack; SECURITY.md says so."""

COUNTED = {
    "flood": "stream_share",
    "small_chunks": "stream_share",
    "large_history": "answer_bytes",
    "packed_history": "answer_bytes",
}
"""What each shows in atoms_exporter_bounds_hit_total."""


async def attacked(folder: Path, kinds: list[str], *, calls: int = 2, seconds: float = 6.0) -> None:
    async with world(folder, calls=10, total_calls=20, speed=10.0) as here:
        exporter = await here.exporter()
        here.simulator.begin()
        async with watching(exporter) as watch:
            await until(lambda: watch.scrapes >= 2)
            ids = [
                each
                for kind in kinds
                for each in here.simulator.hostile.begin(kind, calls, seconds, here.simulator.now_ms())
            ]

            async def followed() -> bool:
                return set(ids) <= {call["call_id"] for call in await exporter.calls()}

            await until(followed, what="the hostile calls are followed")
            before = watch.scrapes
            await until(lambda: all(here.simulator.hostile.over(each) for each in ids), seconds + 60)
            assert watch.scrapes - before >= 2, "scrapes are answered while the attack goes on"
            await here.played(120)
            page = await honest_settled(exporter, set(ids), 120)
        assert watch.unanswered == []
        assert losses(here, page) == []
        assert watch.most_bytes < MOST_BYTES, f"{watch.most_bytes / 2**20:.0f} MB"
        for kind in kinds:
            if kind in COUNTED:
                assert page.total("atoms_exporter_bounds_hit_total", what=COUNTED[kind]) > 0, kind
        assert await exporter.stop() == 0
        assert "Traceback" not in exporter.log


@pytest.mark.attack
@pytest.mark.parametrize("kind", HOSTILE)
async def test_one_kind_of_hostile_call_takes_nothing_from_the_others(kind: str, tmp_path: Path) -> None:
    await attacked(tmp_path, [kind])


async def test_hostile_calls_of_several_kinds_take_nothing_from_the_others(tmp_path: Path) -> None:
    await attacked(tmp_path, ["flood", "bomb", "names", "packed_history", "goodbyes"], calls=1, seconds=4.0)


async def test_a_history_beyond_our_bound_is_asked_for_once_and_what_the_list_says_ends_the_call(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, webhooks=False, total_calls=0) as here:
        exporter = await here.exporter()
        ids = here.simulator.hostile.begin("large_history", 2, 2.0, here.simulator.now_ms())
        await until(lambda: all(f"call_id={each} outcome=" in exporter.log for each in ids), 30, "they have ended")
        assert sum(here.simulator.hostile.asked.values()) <= 3, "one of two may be asked twice"
        assert exporter.log.count("is beyond our bound and is not asked for again") == 2
        page = await exporter.page()
        assert page.total("atoms_exporter_bounds_hit_total", what="answer_bytes") == 2
        assert page.total("atoms_calls_ended_total", outcome="lost") == 2
        assert await exporter.stop() == 0


@pytest.mark.attack
@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("heavy_history", "completed"),
        ("long_history", "completed"),
        ("large_history", "lost"),
        ("packed_history", "lost"),
        ("bomb", "completed"),
    ],
)
async def test_eight_at_once_take_no_more_memory_than_one_and_nobody_waits_until_they_are_over(
    kind: str, outcome: str, tmp_path: Path
) -> None:
    """Histories come down when their calls are over, compressed streams until then: eight of a kind at a time."""
    async with world(tmp_path, webhooks=False, calls=4, total_calls=8, speed=10.0) as here:
        exporter, hostile = await here.exporter(), here.simulator.hostile
        here.simulator.begin()
        ids = hostile.begin(kind, 8, 6.0, here.simulator.now_ms())

        async def followed() -> bool:
            return set(ids) <= {call["call_id"] for call in await exporter.calls()}

        def ended() -> int:
            return sum(f"call_id={each} outcome=" in exporter.log for each in ids)

        async with watching(exporter) as watch:
            await until(followed, what="the hostile calls are followed")
            if kind != "bomb":
                await until(lambda: hostile.asked.total() > 0, 60, "the first of their histories is asked for")
            scrapes, probes = watch.scrapes, watch.probes
            assert ended() == 0, "they are not over yet"
            await until(lambda: ended() == len(ids), 300, "they are over")
            assert watch.scrapes > scrapes, "a scrape is answered before the last of them is over"
            assert watch.probes > probes
            await here.played(120)
            page = await honest_settled(exporter, set(ids), 60)
        assert watch.unanswered == []
        assert losses(here, page) == []
        ends = page.rows("atoms_calls_ended_total", ["agent_id", "outcome"])
        assert {how: times for (who, how), times in ends.items() if who == "hostile"} == {outcome: len(ids)}
        assert exporter.most_rss < MOST_BYTES, f"{exporter.most_rss / 2**20:.0f} MiB"
        assert await exporter.stop() == 0
        assert "Traceback" not in exporter.log
