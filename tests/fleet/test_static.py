"""Static shards as processes: they never talk to each other, and together they count what happened, once."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.fleet.scraper import Scraper, scraped
from tests.fleet.world import fleet
from tests.system.books import differences, report
from tests.system.traces import Backend, flaws

_SHARDS = 2


async def test_two_shards_count_every_call_once_whatever_finds_it(tmp_path: Path) -> None:
    backend = await Backend().start()
    async with fleet(tmp_path, everybody=True, env=backend.env, calls=10, total_calls=20) as here:
        for shard in range(_SHARDS):
            here.add(f"shard-{shard}", fleet__shards=str(_SHARDS), fleet__shard=str(shard))
        await here.start()
        async with scraped(Scraper(here)) as scraper:
            here.simulator.begin()
            await here.played()
            await here.settled()
            await scraper.visited_again()
            page, ledger = scraper.added_up(), here.ledger
        assert not (wrong := differences(ledger, page)), report(wrong)
        assert not scraper.shared_seconds, "no call was followed by two"
        shares = [len(scraper.seen_at[name]) for name in here.replicas]
        assert min(shares) >= 3, f"both had some: {shares}"
        # Of the account, not of a call: one shows it, and a sum over all is right.
        pages = {name: await replica.life.page() for name, replica in here.replicas.items()}
        assert [bool(pages[name].samples["atoms_concurrency_limit"]) for name in here.replicas] == [True, False]
        elsewhere = page.total("atoms_exporter_webhooks_total", outcome="elsewhere")
        assert elsewhere == page.total("atoms_exporter_webhooks_total", outcome="accepted"), "each went to both"
        for name in here.replicas:
            assert await here.stop(name) == 0
    await backend.stop()
    assert not (wrong := flaws(backend.spans, ledger)), report(wrong)


async def test_a_call_asked_for_by_hand_is_taken_by_its_shard_and_turned_away_by_the_others(tmp_path: Path) -> None:
    call_id = "CALL-1758124225863-80752e"
    async with fleet(tmp_path, webhooks=False, calls=1, total_calls=1) as here:
        for shard in range(_SHARDS):
            here.add(
                f"shard-{shard}",
                fleet__shards=str(_SHARDS),
                fleet__shard=str(shard),
                web__allow_unauthenticated_api="true",
                discovery__poll__enabled="false",
            )
        await here.start()
        async with httpx.AsyncClient(trust_env=False) as client:
            answers = [
                await client.post(f"{replica.url}/api/v1/calls", json={"callId": call_id})
                for replica in here.replicas.values()
            ]
        assert sorted(answer.status_code for answer in answers) == [202, 421]
        (turned_away,) = (answer.json() for answer in answers if answer.status_code == 421)
        assert "belongs to another shard" in turned_away["error"]
