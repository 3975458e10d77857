"""What a delivery brought is acknowledged when it is kept; what is refused and comes again counts once."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import structlog

from exporter.calls.dispositions import Analyses
from exporter.calls.observations import Agent
from exporter.calls.tracker import Tracker
from exporter.outputs.prometheus.metrics import Metrics
from exporter.outputs.recorder import Outputs
from exporter.protocol.webhooks import WebhookAnswer
from exporter.receivers import acknowledging
from exporter.receivers.acknowledging import Acknowledging
from exporter.receivers.deliveries import Deliveries
from exporter.receivers.webhook import Webhooks
from exporter.simulator import signature
from tests.system.world import until

ACCEPTED, DUPLICATE, UNAVAILABLE = WebhookAnswer.ACCEPTED, WebhookAnswer.DUPLICATE, WebhookAnswer.UNAVAILABLE


class Commits:
    """Says what is kept when the test does: all that is counted up to ``commit``, or that it failed."""

    def __init__(self) -> None:
        self.number = 1
        self.upto = 0
        self.tried = asyncio.Event()

    async def kept(self, number: int) -> bool:
        if self.upto < number:
            await self.tried.wait()
        return self.upto >= number

    def commit(self, *, fails: bool = False) -> None:
        if not fails:
            self.upto = self.number
        self.number += 1
        self.tried.set()
        self.tried = asyncio.Event()


class Names:
    """Knows an agent when ``known`` is set."""

    def __init__(self) -> None:
        self.known = asyncio.Event()
        self.known.set()

    async def resolve(self, agent_id: str) -> Agent:
        await self.known.wait()
        if agent_id == "broken":
            raise RuntimeError("a bug")
        return Agent(agent_id)


class Desk:
    """Deliveries that are worked off, and what came of it."""

    def __init__(self, commits: Commits | None, **options: Any) -> None:
        self.metrics = Metrics(version="0")
        self.names = Names()
        self.told: list[bytes] = []
        nobody: Any = None
        directory: Any = self.names
        self.deliveries = Deliveries(
            Webhooks(["s3cret"], telemetry=self.metrics),
            nobody,
            directory,
            self.metrics,
            tracker=Tracker(Outputs(self.metrics), analyses=Analyses()),
            log=structlog.wrap_logger(structlog.testing.ReturnLogger(), processors=[structlog.testing.LogCapture()]),
            counted=self.told.append,
            receipts=commits,
            **options,
        )
        self.working = asyncio.ensure_future(self.deliveries.run())

    def post(self, number: int = 1, agent: str = "a1", *, results: int = 1) -> asyncio.Future[WebhookAnswer]:
        metrics = [{"identifier": f"booked-{each}", "value": True} for each in range(results)]
        metadata = {"callId": f"CALL-{number}", "analytics": {"dispositionMetrics": metrics}}
        raw = json.dumps({"event": f"{agent}.analytics-completed", "id": f"w{number}", "metadata": metadata}).encode()
        return asyncio.ensure_future(self.deliveries.take(raw, signature("s3cret", raw)))

    def value(self, name: str, **labels: str) -> float:
        rows = self.metrics.store[name].children
        wanted = set(labels.values())
        return sum(child.numbers()[0] for have, child in rows.items() if wanted <= set(have))

    @property
    def results(self) -> float:
        return self.value("atoms_disposition_results_total")


async def test_a_delivery_is_acknowledged_when_its_results_are_kept_and_so_is_the_same_one_meanwhile() -> None:
    commits = Commits()
    desk = Desk(commits)
    first, again = desk.post(), desk.post()
    await until(lambda: desk.results)
    assert [first.done(), again.done()] == [False, False], "counted, and not kept"
    commits.commit()
    assert (await first, await again) == (ACCEPTED, DUPLICATE)
    assert await desk.post() is DUPLICATE, "at once from now on"
    assert (desk.results, len(desk.told)) == (1, 1)
    assert desk.value("atoms_exporter_webhooks_total", outcome="accepted") == 1


async def test_one_that_was_refused_because_the_commit_failed_waits_again_when_it_comes_again_and_counts_once() -> None:
    commits = Commits()
    desk = Desk(commits)
    for tries in range(3):
        posted = desk.post()
        await until(lambda: desk.results)
        await asyncio.sleep(0)
        assert not posted.done()
        commits.commit(fails=True)
        assert await posted is UNAVAILABLE, tries
    assert desk.value("atoms_exporter_webhooks_total", outcome="accepted") == 0
    posted = desk.post()
    await asyncio.sleep(0)
    commits.commit()
    assert await posted is DUPLICATE
    assert desk.results == 1


async def test_an_answer_waits_for_so_long_and_the_delivery_counts_all_the_same() -> None:
    commits = Commits()
    desk = Desk(commits, answer_seconds=0.01)
    desk.names.known.clear()
    assert await desk.post() is UNAVAILABLE
    assert await desk.post() is UNAVAILABLE
    assert desk.results == 0, "the agent's name is not there yet"
    desk.names.known.set()
    await until(lambda: desk.results)
    assert await desk.post() is UNAVAILABLE
    commits.commit()
    assert await desk.post() is DUPLICATE
    assert desk.results == 1
    assert desk.value("atoms_exporter_bounds_hit_total", what="webhook_answers") == 3


async def test_only_so_many_answers_wait_and_the_others_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acknowledging, "MOST_ANSWERS", 3)
    commits = Commits()
    desk = Desk(commits)
    waiting = [desk.post(number) for number in range(3)]
    await until(lambda: desk.results == 3)
    assert await desk.post(3) is UNAVAILABLE
    await until(lambda: desk.results == 4)
    commits.commit()
    assert set(await asyncio.gather(*waiting)) == {ACCEPTED}
    assert await desk.post(3) is DUPLICATE, "it was kept as well"
    assert desk.results == 4


async def test_one_that_could_not_be_worked_off_is_refused_and_is_new_when_it_comes_again() -> None:
    desk = Desk(Commits())
    assert await desk.post(agent="broken") is UNAVAILABLE
    assert await desk.post(agent="broken") is UNAVAILABLE
    assert desk.value("atoms_exporter_webhooks_total", outcome="duplicate") == 0


async def test_who_ends_works_off_what_was_taken_and_refuses_what_cannot_be() -> None:
    commits = Commits()
    desk = Desk(commits)
    quick = desk.post(1)
    await asyncio.sleep(0)
    await desk.deliveries.drain(1.0)
    assert desk.results == 1
    assert await desk.post(2) is UNAVAILABLE, "nothing new is taken"
    desk.deliveries.draining = False
    desk.names.known.clear()
    late = desk.post(3)
    await asyncio.sleep(0)
    await desk.deliveries.drain(0.01)
    desk.working.cancel()
    assert await late is UNAVAILABLE
    assert not quick.done()
    commits.commit()
    assert await quick is ACCEPTED, "the last commit has it"


async def test_without_results_or_without_a_store_the_answer_goes_out_at_once() -> None:
    assert await Desk(Commits()).post(results=0) is ACCEPTED
    nothing_kept = Desk(None)
    assert await nothing_kept.post() is ACCEPTED
    assert await nothing_kept.post() is DUPLICATE


async def test_what_is_not_kept_is_known_of_so_many_and_the_oldest_is_new_when_it_comes_again() -> None:
    forgotten: list[bytes] = []
    waits = Acknowledging(Commits(), forget=forgotten.append, bound_hit=lambda _: None, most_unkept=2)
    for identity in (b"1", b"2", b"3"):
        waits.brings(identity)
        waits.counted(identity)
    assert (len(waits), forgotten) == (2, [b"1"])
