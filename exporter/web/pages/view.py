"""What the pages show, as plain values: filled by whoever knows, rendered by whoever draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from exporter.outputs.recent import NodeHour, Trouble, Version
from exporter.outputs.spans import SpanRecord

__all__ = ["CallPage", "CallView", "CallsView", "Capacity", "FrontView", "Health", "Spent"]


@dataclasses.dataclass(frozen=True, slots=True)
class CallView:
    """A call, as an operator sees it: where it is and whether it is alive, nothing of what was said.

    ``since_at`` is Unix time of the first thing known of the call, ``ended_at`` of its end; ``state`` of a call that is
    over is ``ended``. ``last_event_age_seconds`` is None before the first event. What is unknown is None.
    """

    call_id: str
    state: str
    since_at: float
    events: int = 0
    last_event_age_seconds: float | None = None
    agent_id: str | None = None
    agent_name: str | None = None
    node_id: str | None = None
    node_name: str | None = None
    trace_id: str | None = None
    turns: int = 0
    last_turn_seconds: float | None = None
    slowest_turn_seconds: float | None = None
    slowest_node_name: str | None = None
    outcome: str | None = None
    end_reason: str | None = None
    ended_at: float | None = None


class CallsView(NamedTuple):
    """Some of the calls: those of a ``page`` of ``pages``, from 1, of ``total`` in all."""

    calls: Sequence[CallView]
    page: int
    pages: int
    total: int


class Health(NamedTuple):
    """One thing the exporter needs; ``good`` is None for what is switched off.

    ``last`` is the class of its last error and when that was, Unix time; nothing of what it said. ``blind`` is that
    calls go on of which nothing is seen: nobody can say that all is well.
    """

    name: str
    good: bool | None
    says: str
    last: tuple[str, float] | None = None
    blind: bool = False


class Capacity(NamedTuple):
    """Calls the account may have at once; None for what the API has not told."""

    active: int
    limit: int | None
    shared: int | None
    """What no agent has reserved for itself."""
    shared_active: int
    """Calls beyond what their agents have reserved."""
    queued: int | None

    @property
    def used(self) -> float | None:
        """The larger share in use: of the limit, or of what is shared."""
        known = [
            active / most for active, most in ((self.active, self.limit), (self.shared_active, self.shared)) if most
        ]
        return max(known, default=None)


class Spent(NamedTuple):
    """What the calls of an agent cost that ended within the hour, in the API's own unit, and its version."""

    agent_id: str
    agent_name: str
    calls: int
    cost: float
    minutes: float
    """Of talk."""
    version: Version | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrontView:
    """Everything on the page at ``/``. Counts are of the last fifteen minutes and the last hour.

    ``lines`` are the calls of this page (``page`` of ``pages``, from 1), slowest turn first; ``nodes`` likewise.
    """

    version: str
    now_at: float
    ready: tuple[bool, str]
    slow_seconds: float
    troubles: Sequence[Trouble] = ()
    lately: Sequence[NodeHour] = ()
    nodes: Sequence[NodeHour] = ()
    nodes_page: int = 1
    nodes_pages: int = 1
    outcomes_lately: Mapping[str, int] = dataclasses.field(default_factory=dict)
    outcomes_hour: Mapping[str, int] = dataclasses.field(default_factory=dict)
    reasons_lately: Mapping[str, int] = dataclasses.field(default_factory=dict)
    reasons_hour: Mapping[str, int] = dataclasses.field(default_factory=dict)
    capacity: Capacity | None = None
    spent: Sequence[Spent] = ()
    minute: int = 0
    """The running minute, as versions and troubles number them."""
    going_on: int = 0
    ended: int = 0
    lines: Sequence[CallView] = ()
    page: int = 1
    pages: int = 1
    health: Sequence[Health] = ()


@dataclasses.dataclass(frozen=True)
class CallPage:
    """One call: what is known of it, and its spans as far as they are known, less those that were ``left_out``."""

    call: CallView
    spans: Sequence[SpanRecord]
    now_at: float
    left_out: int = 0
