"""Names of agents, from the API, remembered."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from structlog.typing import FilteringBoundLogger

from exporter.calls.observations import Agent
from exporter.errors import AtomsExporterError, Interrupted, Malformed, Refused
from exporter.protocol.api import AgentInfo, decode_agent, decode_agent_page
from exporter.protocol.fields import LONGEST_TEXT
from exporter.protocol.labels import name_label
from exporter.receivers.backoff import Backoff
from exporter.receivers.client import AtomsApi

PAGE_SIZE: Final = 100
MOST_PAGES: Final = 50


class _Entry(NamedTuple):
    agent: Agent
    good_until: float


class Directory:
    """Answers who an agent is, asking the API at most once at a time for each.

    :param keep_seconds: how long a name is believed. One that cannot be renewed is kept.
    :param unknown_seconds: how long an agent that could not be resolved is not asked for again.
    :param patience_seconds: the longest a question may take, tries again included; then the answer is "unknown".
        The labels of a call never change under way, so a busy moment of the API must not name it.
    """

    def __init__(
        self,
        api: AtomsApi,
        *,
        log: FilteringBoundLogger,
        keep_seconds: float = 3600.0,
        unknown_seconds: float = 60.0,
        patience_seconds: float = 10.0,
        capacity: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._api = api
        self._rng = rng or random.Random()
        self._sleep = sleep
        self._log = log
        self._keep = keep_seconds
        self._unknown = unknown_seconds
        self._patience = patience_seconds
        self._capacity = capacity
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._asking: dict[str, asyncio.Event] = {}

    async def resolve(self, agent_id: str) -> Agent:
        """The agent, by name if the API gives one. Never fails: an agent without a name is called ``unknown``."""
        if len(agent_id) > LONGEST_TEXT:  # no id: it would not even fit into a URL
            return Agent(name_label(agent_id[:LONGEST_TEXT]))
        while True:
            entry = self._entries.get(agent_id)
            if entry is not None and self._clock() < entry.good_until:
                self._entries.move_to_end(agent_id)
                return entry.agent
            answered = self._asking.get(agent_id)
            if answered is None:
                return await self._ask(agent_id)
            await answered.wait()

    async def prefetch(self) -> int:
        """Learn all agents of the account page by page; returns how many. What fails is left to ``resolve``."""
        learnt: set[str] = set()
        for page in range(1, MOST_PAGES + 1):
            params = {"page": str(page), "offset": str(PAGE_SIZE)}  # the API calls the page size "offset"
            try:
                answer = await self._api.get("agent", source="agents", read=decode_agent_page, params=params)
            except AtomsExporterError as error:
                self._log.debug("agents cannot be listed", error=str(error))
                break
            before = len(learnt)
            for info in answer.agents:
                learnt.add(info.agent_id)
                self._learn(info.agent_id, _agent(info, info.agent_id), self._keep)
            if len(learnt) == before or (answer.total is not None and len(learnt) >= answer.total):
                break
        return len(learnt)

    async def _ask(self, agent_id: str) -> Agent:
        answered = self._asking[agent_id] = asyncio.Event()
        try:
            agent, keep = await self._fetch(agent_id)
            return self._learn(agent_id, agent, keep)
        finally:
            del self._asking[agent_id]
            answered.set()

    async def _fetch(self, agent_id: str) -> tuple[Agent, float]:
        before = self._entries.get(agent_id)
        unknown = before.agent if before is not None else Agent(agent_id=name_label(agent_id))
        try:
            async with asyncio.timeout(self._patience):
                info = await self._answer(agent_id, insist=before is None or before.agent == Agent(agent_id=agent_id))
        except (TimeoutError, Malformed, AtomsExporterError) as error:
            status = error.status if isinstance(error, Refused) else None
            self._log.info("agent not resolved", agent_id=agent_id, status=status, error=str(error))
            return unknown, self._unknown
        return _agent(info, agent_id), self._keep

    async def _answer(self, agent_id: str, *, insist: bool) -> AgentInfo:
        """:param insist: nothing is known yet, so try again."""
        backoff = Backoff(self._rng)
        while True:
            try:
                return await self._api.get(
                    "agent", agent_id, source="agents", read=partial(decode_agent, agent_id=agent_id)
                )
            except Interrupted as interrupted:
                if not insist:
                    raise
                await self._sleep(backoff.delay(at_least_seconds=interrupted.retry_after_seconds))

    def _learn(self, agent_id: str, agent: Agent, keep: float) -> Agent:
        """By the id it was asked for, whatever id the answer bears: else it would be asked for each call again."""
        self._entries[agent_id] = _Entry(agent, self._clock() + keep)
        self._entries.move_to_end(agent_id)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
        return agent


def _agent(info: AgentInfo, agent_id: str) -> Agent:
    return Agent(name_label(agent_id), name_label(info.name), info.workflow_type == "single_prompt")
