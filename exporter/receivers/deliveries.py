"""What a webhook delivery sets in motion. The work is done from a bounded queue.

The answer goes out at once, but for a delivery that brings results of analytics: that one waits until they are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Protocol

from structlog.typing import FilteringBoundLogger

from exporter.calls.telemetry import Telemetry
from exporter.calls.tracker import Tracker
from exporter.errors import Malformed, Refused
from exporter.outputs.prometheus.metrics import Metrics
from exporter.protocol.webhooks import AnalyticsCompleted, PostConversation, PreConversation, WebhookAnswer
from exporter.receivers.acknowledging import ANSWER_SECONDS, Acknowledging, Receipts
from exporter.receivers.directory import Directory
from exporter.receivers.discovery import FoundCall
from exporter.receivers.late import BeforeResults
from exporter.receivers.webhook import AnyDelivery, DuplicateDelivery, ElsewhereDelivery, Webhooks, identity_of

NAMING: Final = 8
"""Analyses that wait for the name of their agent at one time. One slow agent must not hold up the others."""

_UNUSABLE = {413: WebhookAnswer.TOO_LARGE, 401: WebhookAnswer.BAD_SIGNATURE}


LONGEST_QUEUE: Final = 10_000


class Finding(Protocol):
    """Who is told which calls there are."""

    def follow(self, found: FoundCall) -> bool:
        """A call begins."""

    def told(
        self, found: FoundCall, outcome: str | None, ended_at: float | None, lasted_seconds: float | None = None
    ) -> None:
        """A call is over."""


class Deliveries:
    """Takes deliveries in and works them off.

    :param tracker: knows which results of analytics were counted.
    :param counted: told the identity of each delivery that was counted by itself, for the state.
    :param before_results: waits, however long, until it knows; None where there are no others.
    :param longest_queue: deliveries that may wait; the next one is turned away.
    :param receipts: says when results are kept; None where nothing is: then they are acknowledged at once.
    :param answer_seconds: the longest an answer waits for that.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        following: Finding,
        directory: Directory,
        metrics: Metrics,
        *,
        tracker: Tracker,
        log: FilteringBoundLogger,
        longest_queue: int = LONGEST_QUEUE,
        counted: Callable[[bytes], None] = lambda _: None,
        before_results: BeforeResults | None = None,
        receipts: Receipts | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._webhooks = webhooks
        self._following = following
        self._directory = directory
        self._metrics = metrics
        self._log = log
        self._tracker = tracker
        # What begins and ends calls never waits for names, which the API may take its time with.
        self._counted = counted
        self._before_results = before_results
        self._calls: asyncio.Queue[tuple[AnyDelivery, bytes]] = asyncio.Queue(longest_queue)
        self._analyses: asyncio.Queue[tuple[AnyDelivery, bytes]] = asyncio.Queue(longest_queue)
        self._acknowledging = Acknowledging(
            receipts, forget=webhooks.forget, bound_hit=metrics.bound_hit, seconds=answer_seconds
        )
        self.draining = False

    async def take(self, raw: bytes, signature: str | None) -> WebhookAnswer:
        """Check a delivery, queue it, and see to it that the results it brings are kept.

        ``UNAVAILABLE`` may mean that they are not kept yet: see ``acknowledging``.
        """
        telemetry: Telemetry = self._metrics
        if self.draining:
            telemetry.webhook("other", "unavailable")
            return WebhookAnswer.UNAVAILABLE
        try:
            delivery = self._webhooks.accept(raw, signature)
        except DuplicateDelivery as again:
            kept = await self._acknowledging.kept(again.identity)
            return WebhookAnswer.DUPLICATE if kept else WebhookAnswer.UNAVAILABLE
        except ElsewhereDelivery:
            return WebhookAnswer.ELSEWHERE
        except Refused as refused:
            return _UNUSABLE.get(refused.status, WebhookAnswer.MALFORMED)
        except Malformed:
            return WebhookAnswer.MALFORMED
        identity = identity_of(delivery, raw)
        try:
            queue = self._analyses if isinstance(delivery, AnalyticsCompleted) else self._calls
            queue.put_nowait((delivery, identity))
        except asyncio.QueueFull:
            self._webhooks.forget(identity)
            telemetry.webhook(delivery.kind, "unavailable")
            return WebhookAnswer.UNAVAILABLE
        if isinstance(delivery, AnalyticsCompleted) and delivery.dispositions:
            self._acknowledging.brings(identity)
        kept = await self._acknowledging.kept(identity)
        answer = WebhookAnswer.ACCEPTED if kept else WebhookAnswer.UNAVAILABLE
        telemetry.webhook(delivery.kind, answer.value)
        return answer

    async def drain(self, seconds: float) -> None:
        """Turn away what comes from now on, and work off the results that were taken, as far as that is quick."""
        self.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._analyses.join()

    async def run(self) -> None:
        """Work the queues off, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work_off(self._calls))
                for _ in range(NAMING):
                    group.create_task(self._work_off(self._analyses))
        finally:
            self._acknowledging.end()

    async def _work_off(self, queue: asyncio.Queue[tuple[AnyDelivery, bytes]]) -> None:
        log = self._log
        while True:
            delivery, identity = await queue.get()
            try:
                await self._work(delivery, identity)
            except Exception:  # the edge between one delivery and all the others
                log.exception("a delivery could not be worked off", webhook=delivery.kind)
                self._acknowledging.lost(identity)
            finally:
                queue.task_done()
            await asyncio.sleep(0)  # thousands may have waited for one name: others have their turn in between

    async def _work(self, delivery: AnyDelivery, identity: bytes) -> None:
        match delivery:
            case PreConversation():
                self._metrics.discovery_request("webhook", "ok")
                self._following.follow(
                    FoundCall(delivery.call_id, delivery.agent_id, delivery.channel, source="webhook")
                )
            case PostConversation():
                found = FoundCall(delivery.call_id, delivery.agent_id, delivery.channel, source="webhook")
                self._following.told(found, delivery.outcome, delivery.ended_at, delivery.duration_seconds)
            case AnalyticsCompleted():
                if await self._analysed(delivery):
                    self._counted(identity)
                    self._acknowledging.counted(identity)
                else:
                    self._acknowledging.lost(identity)
            case _:
                pass

    async def _analysed(self, delivery: AnalyticsCompleted) -> bool:
        """Count its results, but for those that others have; ``False`` when nobody can say any more which these are."""
        agent = await self._directory.resolve(delivery.agent_id or "unknown")
        ask = self._before_results
        if ask is not None and not await ask(delivery.call_id, delivery.dispositions):
            return False
        self._tracker.analysed(delivery.call_id, agent, delivery.dispositions)
        return True
