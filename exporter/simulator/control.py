"""The simulator's own side door: ``/_simulator/ledger``, ``…/calls``, ``…/faults``, ``…/drain``. No token needed."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import Any, Protocol

from aiohttp import web

from .book import Book
from .faults import FAULTS, Fault, Faults, fault_from
from .hostile import Hostile
from .live import Call, agent_of
from .options import SimulatorOptions
from .streams import Wire
from .switchboard import Switchboard
from .webhooks import Postman


class Controlled(Protocol):
    """What the side door reads and moves of a simulator."""

    options: SimulatorOptions
    faults: Faults
    wire: Wire
    hostile: Hostile
    switchboard: Switchboard
    postman: Postman

    @property
    def running(self) -> bool:
        """Whether it plays."""

    def now_ms(self) -> int:
        """The simulated clock, Unix milliseconds."""

    def change_faults(self, faults: tuple[Fault, ...]) -> None:
        """Set these faults from now on, leave the others as they are."""

    def clear_faults(self) -> None:
        """Behave from now on."""

    def drain(self) -> None:
        """No new calls."""


class Control:
    """Reads the books and changes the faults of one simulator."""

    def __init__(self, simulator: Controlled) -> None:
        self._simulator = simulator

    def add_routes(self, app: web.Application) -> None:
        """Everything under ``/_simulator``."""
        app.router.add_get("/_simulator/ledger", self._get_ledger)
        app.router.add_get("/_simulator/calls", self._get_calls)
        app.router.add_get("/_simulator/faults", self._get_faults)
        app.router.add_post("/_simulator/faults", self._post_faults)
        app.router.add_delete("/_simulator/faults", self._delete_faults)
        app.router.add_post("/_simulator/drain", self._post_drain)
        app.router.add_post("/_simulator/hostile", self._post_hostile)

    def totals(self, *, so_far: bool = False) -> Book:
        """The book over all calls that have ended; ``so_far``: and what has happened in those in progress."""
        board = self._simulator.switchboard
        book = Book()
        book.add_book(board.totals)
        if so_far:
            for call in board.live.values():
                book.add_book(call.book())
        return book

    def book_of(self, call_id: str) -> Book:
        """The book of one call; KeyError when there is none (any more)."""
        call = self._simulator.switchboard.call(call_id)
        if call is None:
            raise KeyError(call_id)
        return call.book()

    def ledger(self, *, so_far: bool = False, books: bool = False) -> dict[str, Any]:
        """What happened, what was sent, as JSON. ``books`` adds every call's own book.

        ``totals`` by family (see ``book.LABELS``), ``calls`` by id, ``wire`` what the streams carried, ``garbage``
        what no reader should count, ``faults`` how often each fault struck, ``webhooks`` what was delivered.
        """
        simulator = self._simulator
        board, wire, sent = simulator.switchboard, simulator.wire, simulator.postman.deliveries
        known = [*board.live.values(), *(ended.call for ended in board.past.values())]
        return {
            "seed": simulator.options.seed,
            "dialect": simulator.options.dialect,
            "now_ms": simulator.now_ms() if simulator.running else None,
            "begun": board.begun,
            "ended": board.ended,
            "in_progress": len(board.live),
            "queued": len(board.queue),
            "dropped": [
                {"agent_id": agent_id, "channel": channel, "value": value}
                for (agent_id, channel), value in sorted(board.dropped.items())
            ],
            "published": board.published,
            "totals": self.totals(so_far=so_far).as_json(),
            "calls": {call.call_id: self.call_entry(call, book=books) for call in known},
            "wire": {
                "connections": wire.connections,
                "frames": wire.frames,
                "bytes": wire.bytes,
                "replayed": wire.replayed,
                "lost": wire.lost,
                "duplicated": wire.duplicated,
                "ended": dict(wire.ended),
                "requests": _nested(wire.requests),
            },
            "garbage": dict(wire.garbage + board.garbage),
            "faults": dict(simulator.faults.struck),
            "webhooks": {
                "sent": dict(sent.sent),
                "answers": _nested(sent.answers),
                "forged": sent.forged,
                "missing": dict(sent.missing),
                "dispositions": simulator.postman.dispositions.as_json(),
            },
        }

    def call_entry(self, call: Call, *, book: bool = False) -> dict[str, Any]:
        """One call in the ledger."""
        board = self._simulator.switchboard
        entry: dict[str, Any] = {
            "number": call.number,
            "agent_id": call.agent_id,
            "agent_name": agent_of(call.agent_id).name,
            "channel": call.channel,
            "status": board.status(call) if call.call_id in board.live else "ended",
            "started_ms": call.started_ms,
            "skew_ms": call.skew_ms,
            "version": call.version,
            "attempt": call.attempt,
            "is_test": call.is_test,
            "events": call.published(),
            "connections": call.connections,
        }
        if call.call_id not in board.live:
            entry["ended_ms"] = board.updated_ms(call)
        if book:
            entry["outcome"] = call.script().outcome
            entry["book"] = call.book().as_json()
        return entry

    async def _get_ledger(self, request: web.Request) -> web.Response:
        flags = {name: request.query.get(name, "") in ("1", "true") for name in ("so_far", "books")}
        return web.json_response(self.ledger(**flags))

    async def _get_calls(self, request: web.Request) -> web.Response:
        board = self._simulator.switchboard
        calls = [{"id": call.call_id, **self.call_entry(call)} for call in board.live.values()]
        return web.json_response({"calls": calls})

    async def _get_faults(self, request: web.Request) -> web.Response:
        active = [dataclasses.asdict(fault) for fault in self._simulator.faults]
        return web.json_response(
            {"active": active, "struck": dict(self._simulator.faults.struck), "known": dict(FAULTS)}
        )

    async def _post_faults(self, request: web.Request) -> web.Response:
        """``{"drop": 0.1, "slow_node": {"node_id": "10007", "factor": 4}}``; a list sets several of a name."""
        try:
            given = json.loads(await request.read())
            if not isinstance(given, dict):
                raise ValueError("an object of faults is expected")
            faults: list[Fault] = []
            for name, value in given.items():
                several = value if isinstance(value, list) else [value]
                faults.extend(fault_from(name, one) for one in several)
        except ValueError as error:
            return web.json_response({"status": False, "errors": [str(error)]}, status=400)
        self._simulator.change_faults(tuple(faults))
        return await self._get_faults(request)

    async def _delete_faults(self, request: web.Request) -> web.Response:
        self._simulator.clear_faults()
        return await self._get_faults(request)

    async def _post_hostile(self, request: web.Request) -> web.Response:
        try:
            asked = await request.json()
            begun = self._simulator.hostile.begin(
                str(asked["kind"]),
                int(asked.get("calls", 1)),
                float(asked.get("seconds", 20)),
                self._simulator.now_ms(),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"calls": begun})

    async def _post_drain(self, request: web.Request) -> web.Response:
        self._simulator.drain()
        return web.json_response({"in_progress": len(self._simulator.switchboard.live)})


def _nested(counts: Counter[tuple[str, int]]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (name, status), count in sorted(counts.items()):
        nested.setdefault(name, {})[str(status)] = count
    return nested
